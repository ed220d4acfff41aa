import json
from pathlib import Path

import pytest
import torch
from transformers import BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification, BertModel

from searchhub.errors import InvalidInputError
from searchhub.hub.pretrained import load_model
from searchhub.models.bert.checkpoint_bert import load_for_task

from .tiny_bert import stock_config, tiny_bert_supernet

NLI = ("entailment", "neutral", "contradiction")


@pytest.fixture
def checkpoint(tmp_path):
    """Saves a stock model, and says where."""

    def save(kind=BertForSequenceClassification, **changes):
        torch.manual_seed(1)
        model = kind(stock_config(**changes))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.startswith("classifier"):
                    parameter.normal_()
        model.save_pretrained(tmp_path)
        return model

    save.folder = str(tmp_path)
    return save


def test_a_classifier_of_as_many_labels_is_kept(checkpoint):
    stock = checkpoint(num_labels=3)
    supernet, new, note = load_for_task(checkpoint.folder, NLI)
    assert new == []
    assert "['LABEL_0', 'LABEL_1', 'LABEL_2'] are taken for" in note
    assert torch.equal(supernet.classifier.weight, stock.classifier.weight)
    assert supernet.config.problem_type == "single_label_classification"


def test_labels_in_another_order_are_brought_into_that_of_the_task(checkpoint):
    names = ["Contradiction", "Entailment", "Neutral"]
    stock = checkpoint(id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    supernet, new, note = load_for_task(checkpoint.folder, NLI)
    assert new == []
    assert "are brought into the order ['entailment', 'neutral', 'contradiction']" in note
    for ours, theirs in ((0, 1), (1, 2), (2, 0)):
        assert torch.equal(supernet.classifier.weight[ours], stock.classifier.weight[theirs])
        assert torch.equal(supernet.classifier.bias[ours], stock.classifier.bias[theirs])


def test_other_names_are_said(checkpoint):
    stock = checkpoint(id2label={0: "NEG", 1: "POS"}, label2id={"NEG": 0, "POS": 1})
    supernet, new, note = load_for_task(checkpoint.folder, ("negative", "positive"))
    assert new == []
    assert note == "The checkpoint's labels ['NEG', 'POS'] are taken for ['negative', 'positive'], in this order."
    assert torch.equal(supernet.classifier.weight, stock.classifier.weight)


def test_what_is_taken_as_it_is_must_have_the_labels_by_name(checkpoint):
    stock = checkpoint(id2label={0: "good", 1: "Bad"}, label2id={"good": 0, "Bad": 1})
    order = torch.tensor([1, 0])
    for fine_tune in (None, False):
        supernet, new, _ = load_for_task(checkpoint.folder, ("bad", "good"), fine_tune=fine_tune)
        assert new == []
        assert torch.equal(supernet.classifier.weight, stock.classifier.weight[order])
        # What the labels stand for is said by names in the classifier's order, or it stops.
        named = load_for_task(checkpoint.folder, ("1", "3"), fine_tune=fine_tune, names=("3", "1"))[0]
        assert torch.equal(named.classifier.weight, stock.classifier.weight[order])
        with pytest.raises(InvalidInputError) as stopped:
            load_for_task(checkpoint.folder, ("1", "3"), fine_tune=fine_tune)
        for words in ("['1', '3']", "has ['good', 'Bad']. If", "`--checkpoint_labels 1 3`", "`--original_epochs 3`"):
            assert words in str(stopped.value)
    with pytest.raises(InvalidInputError, match=r"`--checkpoint_labels` must name the 2 labels .* names 1, \['1'\]"):
        load_for_task(checkpoint.folder, ("1", "3"), names=("1",))


def test_labels_that_nobody_named_are_numbers_and_no_names(checkpoint):
    stock = checkpoint(num_labels=3)
    supernet, new, note = load_for_task(checkpoint.folder, ("0", "1", "2"), fine_tune=None)
    assert (new, note) == ([], None)
    assert torch.equal(supernet.classifier.weight, stock.classifier.weight)
    with pytest.raises(InvalidInputError, match=r"has \['LABEL_0', 'LABEL_1', 'LABEL_2'\], which nobody named\. If"):
        load_for_task(checkpoint.folder, NLI, fine_tune=None)
    # Who says that it is fine-tuned says that they are in the data's order.
    supernet, new, note = load_for_task(checkpoint.folder, NLI, fine_tune=False)
    assert torch.equal(supernet.classifier.weight, stock.classifier.weight)
    assert "are taken for ['entailment', 'neutral', 'contradiction'], in this order" in note


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(BertModel, ["classifier"]), (BertForMaskedLM, ["classifier", "pooler"])],
)
def test_what_a_pretrained_checkpoint_lacks_is_new(kind, expected, checkpoint):
    checkpoint(kind)
    drawn = []
    for _ in range(2):
        torch.manual_seed(4)
        supernet, new, note = load_for_task(checkpoint.folder, NLI)
        assert (new, note) == (expected, None)
        drawn.append(supernet.classifier.weight)
    assert torch.equal(*drawn)


def test_the_head_of_another_kind_of_task_is_no_classifier(checkpoint):
    stock = checkpoint(BertForTokenClassification, num_labels=3)
    supernet, new, _ = load_for_task(checkpoint.folder, NLI)
    assert new == ["classifier", "pooler"]
    assert not torch.equal(supernet.classifier.weight, stock.classifier.weight)
    assert supernet.classifier.weight.std().item() == pytest.approx(stock.config.initializer_range, rel=0.3)
    assert load_for_task(checkpoint.folder, ("no", "yes"))[1] == ["classifier", "pooler"]  # of another size, too


def test_a_classifier_of_other_labels_is_not_lost_unasked(checkpoint):
    checkpoint()
    with pytest.raises(InvalidInputError, match=r"the task's 3 labels, .* but has 2, .*`--ignore_mismatched_sizes`"):
        load_for_task(checkpoint.folder, NLI)
    supernet, new, _ = load_for_task(checkpoint.folder, NLI, ignore_mismatched_sizes=True)
    assert new == ["classifier"]
    assert supernet.classifier.weight.shape == (3, 24)


def test_a_saved_supernet_has_a_classifier(tmp_path):
    supernet = tiny_bert_supernet()
    supernet.save_pretrained(tmp_path)
    loaded, new, _ = load_for_task(str(tmp_path), ("no", "yes"))
    assert new == []
    assert torch.equal(loaded.classifier.weight, supernet.classifier.weight)
    with pytest.raises(InvalidInputError, match="the task's 1 labels"):
        load_for_task(str(tmp_path), ("score",), regression=True)


def test_a_configuration_that_does_not_say_what_it_is(checkpoint, tmp_path):
    stock = checkpoint()
    config = json.loads((tmp_path / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    supernet, new, _ = load_for_task(checkpoint.folder, ("no", "yes"))
    assert new == []
    assert torch.equal(supernet.classifier.weight, stock.classifier.weight)


def test_quantized_weights_are_refused_by_name(checkpoint):
    """Whether or not the package is there that would read them."""
    checkpoint(num_labels=3)
    file = Path(checkpoint.folder) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(InvalidInputError, match=r"are quantized \(`quantization_config`, gptq\). Give the checkpoint"):
        load_for_task(checkpoint.folder, NLI)
    with pytest.raises(InvalidInputError, match="are quantized"):
        load_model(Path(checkpoint.folder))
