import json

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ResNetConfig,
    ResNetForImageClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from searchhub.errors import InvalidInputError
from searchhub.export.inputs import ModelInputs, PlainNetwork

from ..hub.test_folder import small_model
from ..training.tiny import tiny_supernet

SIZES = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


def bert():
    return BertForSequenceClassification(BertConfig(**SIZES, max_position_embeddings=12))


def resnet():
    return ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1]))


def test_pictures_have_the_size_of_the_configuration():
    inputs = ModelInputs.of(small_model())
    batch = inputs.batch(3, 99)
    assert {name: value.shape for name, value in batch.items()} == {"pixel_values": (3, 3, 8, 8)}
    assert inputs.axes == {"pixel_values": {0: "batch"}}
    assert torch.equal(batch["pixel_values"], inputs.batch(3, 1)["pixel_values"])
    assert not torch.equal(batch["pixel_values"], inputs.batch(3, 99, seed=1)["pixel_values"])


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"size": {"height": 20, "width": 24}}, (20, 24)),
        ({"size": {"shortest_edge": 20}}, (20, 20)),
        ({"size": 20}, (20, 20)),
        ({"size": {"shortest_edge": 28}, "do_center_crop": True, "crop_size": {"height": 20, "width": 20}}, (20, 20)),
        ({"size": {"shortest_edge": 28}, "do_center_crop": False, "crop_size": {"height": 20, "width": 20}}, (28, 28)),
    ],
)
def test_pictures_have_the_size_of_the_image_processor(tmp_path, settings, size):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    assert ModelInputs.of(resnet(), tmp_path).picture == (3, *size)
    assert ModelInputs.of(small_model(), tmp_path).picture == (3, *size)


def test_pictures_of_a_size_that_nobody_says(tmp_path):
    with pytest.raises(InvalidInputError, match="its configuration has no `image_size`"):
        ModelInputs.of(resnet(), tmp_path)


def test_text_has_what_the_model_knows_of():
    assert ModelInputs.of(bert()).names == ("input_ids", "attention_mask", "token_type_ids")
    assert ModelInputs.of(bert()).longest == 12
    roberta = RobertaForSequenceClassification(RobertaConfig(**SIZES, type_vocab_size=1))
    assert ModelInputs.of(roberta).names == ("input_ids", "attention_mask")
    distilbert = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2))
    assert ModelInputs.of(distilbert).names == ("input_ids", "attention_mask")


def test_padding_ends_half_of_the_examples_early():
    inputs = ModelInputs.of(bert())
    full, padded = inputs.batch(4, 10), inputs.batch(4, 10, padded=True)
    assert full["attention_mask"].all()
    assert padded["attention_mask"].sum(1).tolist() == [10, 10, 3, 1]
    assert (padded["input_ids"][padded["attention_mask"] == 0] == 0).all()
    kept = padded["attention_mask"] == 1
    assert torch.equal(padded["input_ids"][kept], full["input_ids"][kept])
    for value in full.values():
        assert value.shape == (4, 10)
        assert value.dtype == torch.int64
    assert full["input_ids"].unique().numel() > 10
    assert full["token_type_ids"].unique().tolist() == [0, 1]
    assert inputs.batch(1, 1, padded=True)["attention_mask"].tolist() == [[1]]


def test_the_network_is_a_copy_to_be_evaluated_in_float32():
    model = bert().to(torch.bfloat16).train()
    network = PlainNetwork.of(model, None)
    assert (model.dtype, model.training) == (torch.bfloat16, True)
    batch = network.inputs.batch(2, 5)
    assert network.outputs == ("logits",)
    (logits,) = network(*batch.values())
    assert logits.dtype == torch.float32
    assert torch.equal(logits, bert_like(model)(**batch).logits)


def bert_like(model):
    own = bert().eval()
    own.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    return own


def test_attention_that_onnx_does_not_know_is_replaced_in_the_copy():
    model = bert()
    model.set_attn_implementation("flex_attention")
    network = PlainNetwork.of(model, None)
    assert network.model.config._attn_implementation == "eager"
    assert model.config._attn_implementation == "flex_attention"


def test_what_is_no_network():
    with pytest.raises(InvalidInputError, match=r"got a supernet. Pass `supernet.extract\(architecture\)`"):
        PlainNetwork.of(tiny_supernet(), None)
    with pytest.raises(InvalidInputError, match="must be given, but got a Linear"):
        PlainNetwork.of(torch.nn.Linear(1, 1), None)
    audio = small_model()
    audio.main_input_name = "input_values"
    with pytest.raises(InvalidInputError, match="takes `input_values`"):
        ModelInputs.of(audio)
