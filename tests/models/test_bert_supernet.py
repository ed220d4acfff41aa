import json

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from searchhub.errors import InvalidInputError
from searchhub.models.bert.supernet_bert import BertSupernetConfig, BertSupernetForSequenceClassification
from searchhub.models.shells import Shells
from searchhub.space import Architecture
from searchhub.spaces.bert import heads_choice, intermediate_choice, kept_layers
from searchhub.testing.supernet import SupernetContract

from .tiny_bert import SUPERNET, stock_config, text_batch, tiny_bert_supernet

from_pretrained = BertSupernetForSequenceClassification.from_pretrained


class TestBertSupernet(SupernetContract):
    @pytest.fixture(
        params=[{}, {"depths": [3]}, {"sizes": "small", "depths": [2, 3]}], ids=["proportions", "one depth", "zeros"]
    )
    def supernet(self, request):
        return tiny_bert_supernet(**request.param)

    @pytest.fixture
    def batch(self):
        return text_batch()


def architecture(depth, intermediate_size, num_heads, layers=4):
    chosen = {"depth": depth}
    for layer in kept_layers(depth, layers):
        chosen |= {intermediate_choice(layer): intermediate_size, heads_choice(layer): num_heads}
    return Architecture(chosen)


def logits(model, **batch):
    with torch.no_grad():
        return model.eval()(**{k: v for k, v in batch.items() if k != "labels"}).logits


def stock_checkpoint(folder, kind=BertForSequenceClassification, seed=0, **changes):
    torch.manual_seed(seed)
    model = kind(stock_config(**changes)).eval()
    model.save_pretrained(folder)
    return model


# -- windows ----------------------------------------------------------------------------------------------------------


def test_space_has_the_checkpoints_proportions():
    space = tiny_bert_supernet().search_space
    assert [choice.candidates for choice in space.choices[:3]] == [(2, 3, 4), (5, 8, 11, 32), (1, 3, 4)]


def test_the_first_heads_and_neurons_of_the_layers_that_stay():
    supernet = tiny_bert_supernet()
    subnet = supernet.subnet(architecture(3, 8, 3))
    assert kept_layers(3, 4) == (0, 2, 3)
    theirs = supernet.bert.encoder.layer[2]
    ours = subnet.bert.encoder.layer[1]
    for name in ("query", "key", "value"):
        full, part = getattr(theirs.attention.self, name), getattr(ours.attention.self, name)
        assert torch.equal(part.weight, full.weight[:18])
        assert torch.equal(part.bias, full.bias[:18])
    assert torch.equal(ours.attention.output.dense.weight, theirs.attention.output.dense.weight[:, :18])
    assert torch.equal(ours.intermediate.dense.weight, theirs.intermediate.dense.weight[:8])
    assert torch.equal(ours.intermediate.dense.bias, theirs.intermediate.dense.bias[:8])
    assert torch.equal(ours.output.dense.weight, theirs.output.dense.weight[:, :8])
    shared = dict(supernet.named_parameters())
    whole = ("bert.embeddings.", "bert.pooler.", "classifier.")
    for name, parameter in subnet.named_parameters():
        if name.startswith(whole):
            assert parameter is shared[name], name
    assert ours.output.LayerNorm.weight is theirs.output.LayerNorm.weight
    assert ours.attention.output.dense.bias is theirs.attention.output.dense.bias


def test_shells_exchange_parts_that_are_left_out():
    """There and back, in one place of the model: no weight stays that the architecture lacks."""
    supernet, batch = tiny_bert_supernet(intermediate_sizes=[0, 8], num_heads=[0, 3]), text_batch()
    shells = Shells(supernet)
    for width, heads in ((8, 3), (0, 3), (0, 0), (8, 0), (8, 3), (0, 0)):
        chosen = architecture(3, width, heads)
        model, expected = shells.model(chosen), supernet.subnet(chosen)
        assert set(model.state_dict()) == set(expected.state_dict())
        assert torch.equal(logits(model, **batch), logits(expected, **batch))
    left = [name for name in model.state_dict() if name.startswith("bert.encoder.layer.1.")]
    norms = ("attention.output.LayerNorm", "output.LayerNorm")
    assert left == [f"bert.encoder.layer.1.{norm}.{kind}" for norm in norms for kind in ("weight", "bias")]


def test_sizes_are_saved_where_they_are_not_the_papers(tmp_path):
    """Runs from before they were a field have none in their settings."""
    assert "sizes" not in tiny_bert_supernet().config.to_dict()
    supernet = tiny_bert_supernet(sizes="small")
    supernet.save_pretrained(tmp_path)
    assert from_pretrained(tmp_path).search_space == supernet.search_space
    assert "sizes" not in supernet.subnet_config(architecture(2, 0, 0)).to_dict()


def test_subnets_keep_what_the_supernet_is(tmp_path):
    supernet = tiny_bert_supernet(
        id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}, hidden_dropout_prob=0.25, layer_norm_eps=1e-6
    )
    supernet.set_attn_implementation("eager")
    subnet = supernet.subnet(architecture(2, 5, 1))
    assert subnet.config.id2label == {0: "no", 1: "yes"}
    assert subnet.config._attn_implementation == "eager"
    assert subnet.bert.encoder.layer[0].attention.output.dropout.p == 0.25
    assert subnet.bert.encoder.layer[0].output.LayerNorm.eps == 1e-6
    supernet.extract(subnet).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert not {"depths", "intermediate_sizes", "num_heads", "sequence_length", "_name_or_path"} & set(written)
    assert written["attention_head_size"] == 6
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, attn_implementation="eager")
    assert torch.equal(logits(again, **text_batch()), logits(subnet, **text_batch()))


def test_an_architecture_of_another_space_is_refused():
    with pytest.raises(InvalidInputError, match="must be one of"):
        tiny_bert_supernet().subnet(architecture(3, 9, 3))


# -- from a checkpoint ------------------------------------------------------------------------------------------------


def test_a_full_size_subnet_is_the_checkpoint_to_the_bit(tmp_path):
    stock = stock_checkpoint(tmp_path, num_labels=3)
    supernet = from_pretrained(tmp_path)
    assert not supernet.training
    subnet = supernet.subnet(architecture(4, 32, 4))
    assert torch.equal(logits(subnet, **text_batch()), logits(stock, **text_batch()))
    shared = dict(supernet.named_parameters())
    assert all(parameter is shared[name] for name, parameter in subnet.named_parameters())


def test_the_classifier_stays_where_it_fits(tmp_path):
    stock = stock_checkpoint(tmp_path, num_labels=3)
    assert torch.equal(from_pretrained(tmp_path, num_labels=3).classifier.weight, stock.classifier.weight)
    torch.manual_seed(1)
    two = from_pretrained(tmp_path, num_labels=2)
    torch.manual_seed(1)
    again = from_pretrained(tmp_path, num_labels=2)
    assert two.classifier.weight.shape == (2, 24)
    assert torch.equal(two.classifier.weight, again.classifier.weight)
    assert two.classifier.weight.std() > 0.1
    assert torch.equal(two.classifier.bias, torch.zeros(2))
    assert two.config.num_labels == len(two.config.id2label) == 2
    assert torch.equal(two.bert.pooler.dense.weight, stock.bert.pooler.dense.weight)


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_any_head_or_none(tmp_path, kind):
    stock = stock_checkpoint(tmp_path, kind)
    body = stock if kind is BertModel else stock.bert
    supernet = from_pretrained(str(tmp_path), num_labels=1)
    own = supernet.bert.state_dict()
    for name, tensor in body.state_dict().items():
        assert torch.equal(own[name], tensor), name
    assert supernet.config.num_labels == 1
    for name, tensor in supernet.state_dict().items():
        assert tensor.float().abs().max() < 50, name  # nothing as memory happened to hold it


def test_lists_of_ones_own(tmp_path):
    stock_checkpoint(tmp_path)
    supernet = from_pretrained(tmp_path, depths=[2, 4], intermediate_sizes=[16], num_heads=[2, 4], sequence_length=7)
    assert [choice.candidates for choice in supernet.search_space.choices[:3]] == [(2, 4), (16,), (2, 4)]
    assert supernet.example_inputs()["input_ids"].shape == (1, 7)


def test_a_saved_supernet_comes_back(tmp_path):
    supernet = tiny_bert_supernet(depths=[2, 3], num_labels=3)
    supernet.head_order[1] = torch.tensor([2, 0, 3, 1])
    supernet.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert_supernet"
    again = from_pretrained(tmp_path)
    assert again.search_space == supernet.search_space
    assert again.state_dict().keys() == supernet.state_dict().keys()
    assert all(torch.equal(t, supernet.state_dict()[n]) for n, t in again.state_dict().items())
    batch, one = text_batch(), architecture(2, 8, 3)
    assert torch.equal(logits(again.subnet(one), **batch), logits(supernet.subnet(one), **batch))


def test_what_transformers_would_say_of_loading_is_there_on_request(tmp_path):
    stock_checkpoint(tmp_path, BertModel)
    _, info = from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}


# -- refused ----------------------------------------------------------------------------------------------------------


def write_config(folder, **changes):
    """The configuration again with some fields changed, or left out where None."""
    fields = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))


@pytest.mark.parametrize("architectures", [None, ["BertForSequenceClassification"]])
def test_a_configuration_from_before_model_types(tmp_path, architectures):
    stock = stock_checkpoint(tmp_path)
    write_config(tmp_path, model_type=None, architectures=architectures)
    supernet, batch = from_pretrained(tmp_path), text_batch()
    assert torch.equal(logits(supernet.subnet(architecture(4, 32, 4)), **batch), logits(stock, **batch))


@pytest.mark.parametrize("changes", [{"architectures": ["RobertaForMaskedLM"]}, {"type_vocab_size": None}])
def test_a_configuration_without_a_model_type_that_may_not_be_bert(tmp_path, changes):
    stock_checkpoint(tmp_path)
    write_config(tmp_path, model_type=None, **changes)
    with pytest.raises(
        InvalidInputError, match=r"must be there and name a `model_type`.*Write `\"model_type\": \"bert"
    ):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model.safetensors", None, "no file named model.safetensors"),
        ("model.safetensors", lambda whole: whole[:-100], "whole weights"),
        ("model.safetensors", lambda _: b"", "whole weights"),
        ("pytorch_model.bin", lambda _: b"garbage", "whole weights"),
        ("pytorch_model.bin", lambda _: b"", "whole weights"),
        ("config.json", lambda _: b"{", "not a valid JSON file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, damage, message):
    stock_checkpoint(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    if name != "config.json":
        (tmp_path / "model.safetensors").unlink()
    if damage is not None:
        (tmp_path / name).write_bytes(damage(whole))
    with pytest.raises(InvalidInputError, match=rf"The checkpoint must be .*{message}") as error:
        from_pretrained(tmp_path)
    assert str(error.value).endswith("Check the path, or fetch its files again.")


def test_a_checkpoint_that_is_not_bert(tmp_path):
    DistilBertForSequenceClassification(DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=1)).save_pretrained(
        tmp_path
    )
    with pytest.raises(InvalidInputError, match=r"must be BERT .*is `distilbert`"):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"is_decoder": True}, "must be an encoder"),
        ({"is_decoder": True, "add_cross_attention": True}, "must be an encoder"),
        ({"position_embedding_type": "relative_key"}, "absolute position embeddings, but those of .*`relative_key`"),
        ({"num_attention_heads": 5}, "`hidden_size` must be a multiple"),
        ({"num_hidden_layers": 5}, "16 are missing or of another shape, `bert.encoder.layer.4."),
        ({"vocab_size": 51}, "1 are missing or of another shape, `bert.embeddings.word_embeddings.weight` first"),
    ],
)
def test_checkpoints_of_other_kinds(tmp_path, fields, message):
    stock_checkpoint(tmp_path)
    write_config(tmp_path, **fields)
    with pytest.raises(InvalidInputError, match=message):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": [5]}, "`depths` must be distinct whole numbers from 1 to 4"),
        ({"intermediate_sizes": [33]}, "the width of the checkpoint"),
        ({"num_heads": [8]}, "the heads of the checkpoint"),
        ({"sequence_length": 41}, "`sequence_length` must be from 1 to 40"),
    ],
)
def test_candidates_beyond_the_checkpoint(tmp_path, changes, message):
    with pytest.raises(InvalidInputError, match=message):
        BertSupernetForSequenceClassification(BertSupernetConfig(**{**SUPERNET, **changes}))
    stock_checkpoint(tmp_path)
    with pytest.raises(InvalidInputError, match=message):
        from_pretrained(tmp_path, **changes)
