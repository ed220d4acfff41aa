import importlib.util
import json
import resource
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import quantize_dynamic
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

import searchhub
from searchhub import export_onnx
from searchhub.costs.onnx_session import PACKAGES, open_session
from searchhub.errors import ExportError, InvalidInputError, RunFolderError
from searchhub.export import onnx as export

from ..hub.test_folder import save, small_model
from ..models import tiny_segmentation

FAST = {"threads": 1, "rounds": 1, "min_run_time": 0.001}


def text_model():
    """Weights so large that what is masked out, or of which type a token is, would be seen in the output."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        initializer_range=0.3,
        num_labels=3,
    )
    return BertForSequenceClassification(config)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A searched network from its folder, its export and what was said of it."""
    folder = tmp_path_factory.mktemp("pictures")
    save(folder / "x", small_model())
    (folder / "out").mkdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = export_onnx(folder / "x", folder / "out" / "x.onnx", batch_size=5, **FAST)
    assert [str(warning.message) for warning in caught] == []
    return small_model().eval(), report


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A stock model, in training mode and in another precision, and its export."""
    model = text_model().double().train()
    report = export_onnx(model, tmp_path_factory.mktemp("text") / "x.onnx", sequence_length=12, **FAST)
    return model, report


def run(report, batch):
    session = onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {name: value.numpy() for name, value in batch.items()})
    return torch.from_numpy(logits)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_pictures_in_batches_of_any_size(pictures, batch_size):
    model, report = pictures
    batch = {"pixel_values": torch.randn(batch_size, 3, 8, 8, generator=torch.Generator().manual_seed(batch_size))}
    with torch.inference_mode():
        torch.testing.assert_close(run(report, batch), model(**batch).logits, atol=1e-6, rtol=1e-5)


def test_segmentation_of_pictures_of_any_size(tmp_path):
    """Exported and checked at sizes of its own, then run at odd and at tiny ones."""
    model = tiny_segmentation.model_of("mobile")
    report = export_onnx(model, tmp_path / "x.onnx", **FAST)
    assert report.inputs == {"pixel_values": ("batch", 3, "height", "width")}
    assert report.outputs["logits"][:2] == ("batch", 3)
    assert report.compared == ((1, 3, 32, 48), (2, 3, 17, 26), (3, 3, 18, 28), (1, 3, 19, 30))
    for size in ((1, 3, 45, 61), (3, 3, 64, 33), (1, 3, 5, 4)):
        batch = {"pixel_values": torch.randn(size, generator=torch.Generator().manual_seed(0))}
        with torch.inference_mode():
            torch.testing.assert_close(run(report, batch), model(**batch).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("batch_size", "length"), [(1, 1), (2, 6), (3, 12), (5, 40)])
def test_text_of_any_length_with_padding(text, batch_size, length):
    _, report = text
    generator = torch.Generator().manual_seed(length)
    batch = {
        "input_ids": torch.randint(0, 30, (batch_size, length), generator=generator),
        "attention_mask": torch.ones(batch_size, length, dtype=torch.int64),
        "token_type_ids": torch.randint(0, 2, (batch_size, length), generator=generator),
    }
    own = text_model().eval()
    with torch.inference_mode():
        torch.testing.assert_close(run(report, batch), own(**batch).logits, atol=1e-5, rtol=1e-4)
        if length > 1:
            full = own(**batch).logits
            batch["attention_mask"][-1, length // 2 :] = 0
            padded = own(**batch).logits
            torch.testing.assert_close(run(report, batch), padded, atol=1e-5, rtol=1e-4)
            assert (padded - full).abs().max() > 1e-2


def test_the_model_stays_as_it_was(text):
    model, _ = text
    assert model.training
    assert all(module.training for module in model.modules())
    expected = text_model().state_dict()
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float64, name
        assert torch.equal(tensor.float(), expected[name]), name


def test_one_valid_file_with_names_for_its_axes(pictures, text):
    _, report = pictures
    assert [path.name for path in report.path.parent.iterdir()] == ["x.onnx"]
    onnx.checker.check_model(onnx.load(report.path), full_check=True)
    assert report.inputs == {"pixel_values": ("batch", 3, 8, 8)}
    assert report.outputs == {"logits": ("batch", 3)}
    _, report = text
    assert report.inputs == dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ("batch", "sequence"))


def test_metadata_say_what_it_is(pictures, text):
    model, report = pictures
    metadata = onnxruntime.InferenceSession(report.path).get_modelmeta().custom_metadata_map
    assert metadata["searchhub_version"] == searchhub.__version__
    assert metadata["model_class"] == "SearchedMobileForImageClassification"
    assert json.loads(metadata["id2label"]) == {"0": "cat", "1": "dog", "2": "owl"}
    architecture = json.loads(metadata["architecture"])
    assert architecture["model_type"] == "searched_mobile"
    assert architecture["blocks"] == model.config.blocks
    assert architecture["stage_widths"] == [8, 16]
    other = onnxruntime.InferenceSession(text[1].path).get_modelmeta().custom_metadata_map
    assert json.loads(other["architecture"])["num_hidden_layers"] == 2


def test_no_path_of_this_machine_is_in_the_file(pictures):
    _, report = pictures
    content = report.path.read_bytes()
    assert b".py" not in content
    assert str(report.path.parent.parent).encode() not in content


def test_the_report_is_plain_and_complete(pictures):
    _, report = pictures
    data = report.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["path"] == str(report.path)
    assert data["batch_size"] == 5
    assert data["timed"] == [5, 3, 8, 8]
    assert data["compared"] == [[5, 3, 8, 8], [2, 3, 8, 8], [3, 3, 8, 8], [1, 3, 8, 8]]
    assert (data["threads"], data["bytes"]) == (1, report.path.stat().st_size)
    assert data["opset"] == onnx.load(report.path).opset_import[0].version
    assert 0 <= data["max_abs_difference"] < 1e-5
    assert data["torch_ms"] > 0
    assert data["onnxruntime_ms"] > 0
    assert data["versions"]["onnxruntime"] == onnxruntime.__version__
    assert set(data["versions"]) == {"searchhub", "torch", "transformers", "onnx", "onnxruntime", "onnxscript"}


def test_both_run_on_the_same_threads(pictures):
    options = open_session(pictures[1].path, 2).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)


# -- what fails -------------------------------------------------------------------------------------------------------


def test_an_export_that_computes_something_else_leaves_what_was_there(tmp_path, monkeypatch, capfd):
    """And while it exports, torch says nothing on the terminal."""
    earlier = tmp_path / "x.onnx"
    earlier.write_bytes(b"an earlier one")
    looked = []

    class Wrong(onnxruntime.InferenceSession):
        def run(self, *arguments):
            looked.append([path.name for path in tmp_path.iterdir()])
            return [value + np.float32(0.01) for value in super().run(*arguments)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    with pytest.raises(ExportError, match=r"`logits` is off by 0\.01, of values up to .* Nothing was written\."):
        export_onnx(small_model(), earlier, **FAST)
    assert len(looked[0]) == 2  # checked before it takes its place
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]
    assert earlier.read_bytes() == b"an earlier one"
    assert capfd.readouterr() == ("", "")


def test_a_full_disk(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(RunFolderError, match="must be writable with space left"):
            export_onnx(small_model(), tmp_path / "x.onnx", **FAST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_opset_that_cannot_be_written(tmp_path, capfd):
    with pytest.raises(InvalidInputError, match="`opset` must be one that this network can be written in, but got 99"):
        export_onnx(small_model(), tmp_path / "x.onnx", opset=99, **FAST)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_network_that_onnx_cannot_express(tmp_path):
    class Wayward(nn.Linear):
        def forward(self, values):
            return super().forward(values) * (2 if values.sum() > 0 else 1)

    model = small_model()
    model.classifier = Wayward(16, 3)
    with pytest.raises(ExportError, match=r"must be made of what torch.onnx can express, but: .*data-dependent"):
        export_onnx(model, tmp_path / "x.onnx", **FAST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["pictures", "text"])
def test_an_export_can_be_quantized(request, tmp_path, kind):
    """onnxruntime turns weights over; a shape that stood beside one would be wrong then."""
    _, report = request.getfixturevalue(kind)
    graph = onnx.load(report.path).graph
    assert not {weight.name for weight in graph.initializer} & {value.name for value in graph.value_info}
    quantize_dynamic(report.path, tmp_path / "small.onnx", op_types_to_quantize=["MatMul", "Gemm"])
    tokens = {"input_ids": np.arange(12).reshape(2, 6)}
    tokens |= {"attention_mask": np.ones((2, 6), np.int64), "token_type_ids": np.zeros((2, 6), np.int64)}
    pixels = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    batch = tokens if kind == "text" else {"pixel_values": pixels}
    both = [open_session(path, 1).run(["logits"], batch)[0] for path in (report.path, tmp_path / "small.onnx")]
    np.testing.assert_allclose(both[1], both[0], atol=0.2 * np.abs(both[0]).max())


@pytest.mark.parametrize("missing", PACKAGES)
def test_packages_that_are_not_there(tmp_path, monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    with pytest.raises(ExportError, match=rf'but {missing} cannot be found. Run `pip install "searchhub\[onnx\]"`'):
        export_onnx(small_model(), tmp_path / "x.onnx")


@pytest.mark.parametrize("name", ["batch_size", "sequence_length", "rounds", "threads"])
def test_arguments_out_of_bounds(tmp_path, name):
    with pytest.raises(InvalidInputError, match=f"`{name} >= 1` must hold, but got 0"):
        export_onnx(small_model(), tmp_path / "x.onnx", **{name: 0})


def test_places_and_sizes_that_do_not_do(tmp_path, monkeypatch):
    with pytest.raises(InvalidInputError, match=r'a file like "network.onnx", but got "x.pt"'):
        export_onnx(small_model(), "x.pt")
    with pytest.raises(InvalidInputError, match=r"`sequence_length <= 40`, the positions of the model, .* got 41"):
        export_onnx(text_model(), tmp_path / "x.onnx", sequence_length=41)
    monkeypatch.setattr(export, "LARGEST_FILE", 1000)
    with pytest.raises(InvalidInputError, match=r"must be at most 1,000 bytes to be one ONNX file"):
        export_onnx(small_model(), tmp_path / "x.onnx")
