import json
import os
import subprocess
import sys

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    BertTokenizer,
    pipeline,
)

from searchhub import export_onnx
from searchhub.errors import InvalidInputError
from searchhub.hub.card import CardFacts, model_card
from searchhub.hub.folder import save_model_folder
from searchhub.models.bert.configuration_bert import SearchedBertConfig
from searchhub.models.bert.modeling_bert import SearchedBertForSequenceClassification
from searchhub.models.bert.plain_bert import as_plain_bert

from .tiny_bert import NO_DROPOUT, SIZES, stock_config, text_batch

# Three heads of size 6 in one layer, which stock BERT cannot express; layer 1 is as the fields say.
LAYERS = {
    0: {"num_attention_heads": 3, "intermediate_size": 7},
    2: {"num_attention_heads": 1},
    3: {"intermediate_size": 5},
}


def searched_config(**changes):
    return SearchedBertConfig(**{**SIZES, **NO_DROPOUT, "per_layer_config": LAYERS, **changes})


def searched_bert(seed=0, **changes):
    torch.manual_seed(seed)
    return SearchedBertForSequenceClassification(searched_config(**changes)).eval()


def logits(model, **batch):
    with torch.no_grad():
        return model(**{k: v for k, v in batch.items() if k != "labels"}).logits


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_fewer_heads_are_fewer_parameters():
    model = searched_bert()
    first, second, third, fourth = model.bert.encoder.layer
    assert first.attention.self.query.weight.shape == (3 * 6, 24)
    assert first.attention.output.dense.weight.shape == (24, 3 * 6)
    assert first.intermediate.dense.weight.shape == (7, 24)
    assert second.attention.self.value.weight.shape == (24, 24)
    assert second.intermediate.dense.weight.shape == (32, 24)
    assert third.attention.self.key.bias.shape == (6,)
    assert fourth.output.dense.weight.shape == (24, 5)
    assert {layer.attention.self.attention_head_size for layer in model.bert.encoder.layer} == {6}
    assert {layer.attention.self.scaling for layer in model.bert.encoder.layer} == {6**-0.5}


def test_the_same_sizes_everywhere_are_stock_bert():
    torch.manual_seed(0)
    stock = BertForSequenceClassification(stock_config()).eval()
    model = searched_bert(per_layer_config=None)
    assert [n for n, _ in stock.named_parameters()] == [n for n, _ in model.named_parameters()]
    model.load_state_dict(stock.state_dict())
    for implementation in ("sdpa", "eager"):
        for each in (stock, model):
            each.set_attn_implementation(implementation)
        assert torch.equal(logits(model, **text_batch()), logits(stock, **text_batch()))


def test_a_head_that_is_left_out_is_one_whose_output_is_zero():
    """By hand: the same network at full size, the output matrix zero where heads and neurons are missing."""
    small = searched_bert(seed=1)
    full = searched_bert(seed=2, per_layer_config=None)
    with torch.no_grad():
        for name, parameter in full.named_parameters():
            part = small.get_parameter(name)
            if ".dense.weight" in name:
                parameter.zero_()
            parameter[tuple(map(slice, part.shape))] = part
    # Neurons without a weight after them add nothing, whatever is before them.
    torch.testing.assert_close(logits(full, **text_batch()), logits(small, **text_batch()), rtol=1e-5, atol=1e-5)


ZEROS = {
    0: {"num_attention_heads": 0},
    1: {"intermediate_size": 0},
    3: {"num_attention_heads": 0, "intermediate_size": 0},
}


def test_of_a_part_that_is_left_out_the_norm_stays():
    """By hand: the stock layers' own parts, with the LayerNorm alone where one is missing."""
    model, batch = searched_bert(per_layer_config=ZEROS), text_batch()
    hidden, norm = 24, 2 * 24
    attention, feed_forward = 4 * hidden * (hidden + 1) + norm, hidden * 32 + 32 + 32 * hidden + hidden + norm
    counts = [sum(p.numel() for p in layer.parameters()) for layer in model.bert.encoder.layer]
    assert counts == [norm + feed_forward, attention + norm, attention + feed_forward, 2 * norm]
    with torch.no_grad():
        states = model(**batch, output_hidden_states=True).hidden_states
        last = model.bert.encoder.layer[3]
        expected = last.output.LayerNorm(last.attention.output.LayerNorm(states[3]))
        assert torch.equal(states[4], expected)
        first = model.bert.encoder.layer[0]
        middle = first.attention.output.LayerNorm(states[0])
        assert torch.equal(states[1], first.output(first.intermediate(middle), middle))


# -- attention, padding, heads of the task ----------------------------------------------------------------------------


def test_sdpa_is_the_default_and_eager_agrees():
    model = searched_bert()
    assert model.config._attn_implementation == "sdpa"
    batch = text_batch()
    fast = logits(model, **batch)
    model.set_attn_implementation("eager")
    assert all(layer.attention.self.config._attn_implementation == "eager" for layer in model.bert.encoder.layer)
    torch.testing.assert_close(logits(model, **batch), fast, rtol=1e-5, atol=1e-5)
    attentions = model(**batch, output_attentions=True).attentions
    assert [a.shape[1] for a in attentions] == [3, 4, 1, 4]


def test_attentions_of_every_layer_where_some_have_none():
    model, batch = searched_bert(per_layer_config=ZEROS), text_batch()
    fast = logits(model, **batch)
    model.set_attn_implementation("eager")
    torch.testing.assert_close(logits(model, **batch), fast, rtol=1e-5, atol=1e-5)
    attentions = model(**batch, output_attentions=True).attentions
    assert [tuple(a.shape) for a in attentions] == [(5, n, 9, 9) for n in (0, 4, 4, 0)]


def test_hidden_states_of_every_layer():
    output = searched_bert()(**text_batch(), output_hidden_states=True)
    assert [tuple(h.shape) for h in output.hidden_states] == [(5, 9, 24)] * 5


def test_padding_changes_nothing():
    model, batch = searched_bert(), text_batch(n=1)
    padded = {k: torch.nn.functional.pad(v, (0, 6), value=0) for k, v in batch.items() if k != "labels"}
    torch.testing.assert_close(logits(model, **padded), logits(model, **batch), rtol=1e-5, atol=1e-5)


def test_the_second_of_a_pair_is_told_by_its_type():
    model, batch = searched_bert(), text_batch()
    assert not torch.allclose(
        logits(model, **batch), logits(model, **{**batch, "token_type_ids": torch.zeros_like(batch["input_ids"])})
    )


@pytest.mark.parametrize(
    ("num_labels", "loss"),
    [
        (1, lambda out, labels: (out.squeeze() - labels).square().mean()),
        (3, torch.nn.functional.cross_entropy),
    ],
)
def test_regression_and_classification(num_labels, loss):
    model, batch = searched_bert(num_labels=num_labels), text_batch(num_labels=num_labels)
    output = model(**batch)
    assert output.logits.shape == (5, num_labels)
    torch.testing.assert_close(output.loss, loss(output.logits, batch["labels"]))


@pytest.mark.parametrize(("num_labels", "layers"), [(1, LAYERS), (3, ZEROS)])
def test_onnx_computes_the_same(num_labels, layers, tmp_path):
    model = searched_bert(num_labels=num_labels, per_layer_config=layers)
    report = export_onnx(model, tmp_path / "x.onnx", sequence_length=9, threads=1, rounds=1, min_run_time=0.001)
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    for n, length in ((5, 9), (2, 20)):
        batch = text_batch(n, length, seed=length)
        del batch["labels"]
        (found,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in batch.items()})
        torch.testing.assert_close(torch.from_numpy(found), logits(model, **batch), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layers", [LAYERS, ZEROS], ids=["sizes", "zeros"])
def test_gradient_checkpointing_gives_the_same_gradients(layers):
    model, batch = searched_bert(per_layer_config=layers).train(), text_batch()
    model(**batch).loss.backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**batch).loss.backward()
    assert all(torch.equal(p.grad, expected[n]) for n, p in model.named_parameters())


# -- files ------------------------------------------------------------------------------------------------------------


def test_config_is_clean_and_comes_back(tmp_path):
    config = searched_config(id2label={0: "no", 1: "yes", 2: "maybe"}, label2id={"no": 0, "yes": 1, "maybe": 2})
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "searched_bert"
    assert written["attention_head_size"] == 6
    assert (written["num_attention_heads"], written["intermediate_size"]) == (4, 32)
    assert written["per_layer_config"] == {str(i): layer for i, layer in LAYERS.items()}
    assert not [name for name in written if name.startswith("_")]
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, SearchedBertConfig)
    assert again.to_dict() == {**config.to_dict(), "_name_or_path": str(tmp_path)}
    assert [layer.num_attention_heads for layer in again.per_layer_config] == [3, 4, 1, 4]


def test_auto_classes_build_and_reload(tmp_path):
    model = searched_bert(num_labels=3)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    batch = text_batch()
    assert type(again) is SearchedBertForSequenceClassification
    assert torch.equal(logits(again, **batch), logits(model, **batch))
    body = AutoModel.from_pretrained(tmp_path).eval()
    del batch["labels"]
    with torch.no_grad():
        assert torch.equal(body(**batch).pooler_output, model.bert(**batch).pooler_output)


def test_nothing_comes_back_as_garbage(tmp_path):
    """`from_pretrained` builds on the meta device: buffers, and weights that a file lacks, must be made anew."""
    model = searched_bert()
    model.bert.save_pretrained(tmp_path)
    torch.manual_seed(3)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert [n for n, _ in again.named_buffers()] == [n for n, _ in model.named_buffers()] != []
    for (name, a), (_, b) in zip(again.named_buffers(), model.named_buffers(), strict=True):
        assert torch.equal(a, b), name
    assert again.classifier.weight.abs().max() < 5
    assert torch.equal(again.classifier.bias, torch.zeros(2))


def vocabulary(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", *(f"w{i}" for i in range(42))]
    path = folder / "vocab.txt"
    path.write_text("\n".join(words))
    return BertTokenizer(vocab=str(path))


def test_pipeline(tmp_path):
    model = searched_bert(id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1})
    tokenizer = vocabulary(tmp_path)
    model.save_pretrained(tmp_path / "x")
    tokenizer.save_pretrained(tmp_path / "x")
    (said,) = pipeline("text-classification", model=str(tmp_path / "x"), top_k=None)("good film")
    expected = logits(model, **tokenizer("good film", return_tensors="pt")).softmax(-1)[0]
    assert {s["label"]: pytest.approx(s["score"], abs=1e-6) for s in said} == {
        "NEGATIVE": expected[0].item(),
        "POSITIVE": expected[1].item(),
    }


LOAD = """
import json, re, sys
folder, inputs, searchhub_here = sys.argv[1:]
with_searchhub, without = re.findall("```python\\n(.*?)```", open(folder + "/README.md").read(), flags=re.DOTALL)
if searchhub_here == "True":
    trust = {}
    exec(with_searchhub)
else:
    sys.modules["searchhub"] = None  # `import searchhub` is an ImportError from here on
    trust = {"trust_remote_code": True}
    exec(without)
import torch
from safetensors.torch import load_file
from transformers import AutoModel, pipeline

torch.set_num_threads(1)
model.eval()
body = AutoModel.from_pretrained(folder, **trust).eval()
said = pipeline("text-classification", model=folder, **trust)("good film")
with torch.no_grad():
    print("\\n" + json.dumps({
        "modules": [type(o).__module__.split(".")[0] for o in (model, body, model.config)],
        "logits": model(**load_file(inputs)).logits.tolist(),
        "label": said[0]["label"],
        "tokens": processor("good film")["input_ids"],
    }))
"""


FRESH_LAYERS = {0: {"num_attention_heads": 0, "intermediate_size": 7}, 2: {"num_attention_heads": 1}, 3: ZEROS[1]}


@pytest.mark.slow
@pytest.mark.parametrize("searchhub_here", [True, False], ids=["import searchhub", "trust_remote_code"])
def test_loads_in_a_fresh_process(tmp_path, searchhub_here):
    labels = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    model = searched_bert(per_layer_config=FRESH_LAYERS, **labels)
    classes = {"auto_class": "AutoModelForSequenceClassification", "processor_class": "AutoTokenizer"}
    card = model_card(CardFacts(model_name="x", model_class="X", architecture={}, remote_code=True, **classes))
    folder, tokenizer = tmp_path / "path" / "to" / "x", vocabulary(tmp_path)
    save_model_folder(model, folder, card=card, facts={}, processor=tokenizer)
    batch = {k: v for k, v in text_batch().items() if k != "labels"}
    save_file(batch, tmp_path / "inputs.safetensors")
    places = {name: str(tmp_path / name) for name in ("HF_HOME", "HF_MODULES_CACHE")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, "path/to/x", "inputs.safetensors", str(searchhub_here)],
        cwd=tmp_path,
        env={**os.environ, **places, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,  # a question whether to trust the code would be an error
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout.splitlines()[-1])
    assert got["modules"] == ["searchhub" if searchhub_here else "transformers_modules"] * 3
    assert torch.equal(torch.tensor(got["logits"]), logits(model, **batch))
    assert got["label"] in ("NEGATIVE", "POSITIVE")
    assert got["tokens"] == tokenizer("good film")["input_ids"]
    assert "You are using a model of type" not in done.stderr  # as a tokenizer says that may not read the configuration


# -- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_layer_config": {0: {"num_attention_heads": -1}}}, "Layer 0 must have at least 0 heads"),
        ({"per_layer_config": {1: {"intermediate_size": -1}}}, "Layer 1 must have at least 0 heads"),
        ({"per_layer_config": {1: {"hidden_size": 12}}}, r"`per_layer_config` holds \['hidden_size'\]"),
        ({"per_layer_config": {1: {"skip": ["attention"]}}}, "layer 1 has `skip"),
        ({"per_layer_config": {4: {"intermediate_size": 8}}}, r"\[0, 4\)"),
        ({"num_attention_heads": 5}, "multiple of `num_attention_heads`"),
        ({"is_decoder": True}, "only the encoder"),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        searched_config(**changes)


def test_heads_need_not_divide_the_hidden_size():
    model = searched_bert(num_attention_heads=5, attention_head_size=7, per_layer_config=None)
    assert model.bert.encoder.layer[0].attention.self.query.weight.shape == (35, 24)
    assert torch.isfinite(logits(model, **text_batch())).all()


# -- plain bert -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [None, {i: {"intermediate_size": 7} for i in range(4)}], ids=["full", "narrow"])
def test_plain_bert_is_equal_to_the_bit(tmp_path, layers):
    model = searched_bert(per_layer_config=layers, num_labels=3)
    plain = as_plain_bert(model)
    assert type(plain) is BertForSequenceClassification
    assert not plain.training
    expected = logits(model, **text_batch())
    assert torch.equal(logits(plain, **text_batch()), expected)
    plain.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "bert"
    assert written["intermediate_size"] == (7 if layers else 32)
    assert not {"attention_head_size", "per_layer_config"} & set(written)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(again) is BertForSequenceClassification
    assert torch.equal(logits(again, **text_batch()), expected)


def test_plain_bert_is_a_copy():
    model = searched_bert(per_layer_config=None).train()
    plain = as_plain_bert(model)
    assert plain.training
    assert not {p.data_ptr() for p in plain.parameters()} & {p.data_ptr() for p in model.parameters()}


@pytest.mark.parametrize(
    "layers",
    [
        LAYERS,
        {i: {"num_attention_heads": 2} for i in range(4)},
        {0: {"intermediate_size": 8}},
        {i: {"intermediate_size": 0} for i in range(4)},
    ],
    ids=["both", "fewer heads", "widths", "no feed-forward part"],
)
def test_what_stock_bert_cannot_express_is_refused(layers):
    with pytest.raises(InvalidInputError, match=r"Stock BERT must have one feed-forward width and 4 heads"):
        as_plain_bert(searched_bert(per_layer_config=layers))
