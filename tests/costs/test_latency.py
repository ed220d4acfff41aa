import json

import numpy as np
import pytest
import torch

from searchhub import SearchResult
from searchhub.costs.device import cpu_name, device_name
from searchhub.costs.latency import fit_line, measure_latency, prediction_error
from searchhub.costs.latency_table import LatencyTable
from searchhub.costs.timing import Pairs, Stopwatch, covering
from searchhub.distribution import ArchitectureDistribution
from searchhub.errors import InvalidInputError
from searchhub.generation import Limit, generate, pareto
from searchhub.models.mobile.modeling_mobile import SearchedMobileForImageClassification
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig, MobileSupernetForImageClassification
from searchhub.space import INACTIVE, Choice, Condition, SearchSpace

SMALL = {
    "num_labels": 3,
    "image_size": 8,
    "stem_width": 8,
    "stem_stride": 1,
    "first_width": 8,
    "stage_widths": [8, 16],
    "stage_depths": [1, 3],
    "stage_strides": [1, 2],
    "head_width": 16,
}


def small_supernet(**changes):
    torch.manual_seed(0)
    return MobileSupernetForImageClassification(MobileSupernetConfig(**{**SMALL, **changes}))


def weights(module):
    return sum(p.numel() for p in module.parameters())


class Machine:
    """A block takes a microsecond a weight, within a network two, a network 5 ms besides: where the machine is fast.

    At each pair it has become up to five times slower.
    """

    def __init__(self, slope=2.0):
        self.slope, self.blocks, self.batches = slope, [], set()
        self.rng = np.random.default_rng(0)

    def __call__(self, block, reference):
        module, args, kwargs = block
        assert not module.training
        assert not module._forward_pre_hooks
        with torch.inference_mode():
            module(*args, **kwargs)
        if not isinstance(module, SearchedMobileForImageClassification):
            self.blocks.append(module)
            self.batches.add(args[0].shape[0])
        return self.rng.uniform(1, 5, (3, 1)) * [[self.ms(module), self.ms(reference[0])]]

    def ms(self, module):
        if isinstance(module, SearchedMobileForImageClassification):
            return 5.0 + self.slope * sum(map(weights, module.mobile.features.layers)) / 1000
        return weights(module) / 1000


@pytest.fixture(scope="module")
def measured():
    machine, told = Machine(), []
    supernet = small_supernet()
    table = measure_latency(
        supernet, batch_size=2, rounds=2, time=machine, on_progress=lambda *state: told.append(state)
    )
    return supernet, machine, table, told


def test_finds_what_a_network_takes_on_a_machine_that_slows_down(measured):
    supernet, machine, table, _ = measured
    space = supernet.search_space
    reference = table.reference
    slowness = reference.ms / machine.ms(supernet.subnet(reference.architecture))
    assert slowness == pytest.approx(3.0, rel=0.1)
    assert 3.0 < reference.drift < 5.0
    for row in space.sample(5, np.random.default_rng(1)):
        assert table.of_row(row) == pytest.approx(slowness * machine.ms(supernet.subnet(space.decode(row))))
    assert table.fixed == pytest.approx(slowness * 5.0)
    assert table.calibration["slope"] == pytest.approx(2.0)
    assert table.accuracy.networks == 12
    assert table.accuracy.mape == pytest.approx(0.0, abs=1e-9)
    assert table.accuracy.kendall_tau > 0.98  # networks that take as long are ranked by rounding
    assert table.accuracy.macs_mape > 0.1
    assert table.accuracy.macs_kendall_tau <= 1.0


def test_says_where_it_was_measured(measured):
    _, _, table, _ = measured
    threads = torch.get_num_threads()
    assert (table.name, table.device, table.threads, table.batch_size) == ("latency_ms", cpu_name(), threads, 2)
    assert table.runtime == "torch"
    assert table.unit == f"ms, {cpu_name()}, torch, batch 2, {threads} thread{'s' * (threads != 1)}"
    assert table.versions["torch"] == torch.__version__


def test_blocks_that_are_alike_are_timed_once(measured):
    """Stage 2's second and third layer are of the same blocks; zero is the same identity on two shapes."""
    _, machine, _, told = measured
    first, strided, kept = 7, 6, 7
    blocks = first + strided + kept
    assert [state for state in told if state[2] == "blocks"][-1] == (2 * blocks, 2 * blocks, "blocks")
    assert told[-1] == (2 * 20, 2 * 20, "networks")
    assert machine.batches == {2}


def test_leaves_the_supernet_as_it_was():
    supernet = small_supernet().train()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    measure_latency(supernet, calibration_networks=2, held_out_networks=1, rounds=1, time=Machine())
    assert supernet.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


def test_a_limit_on_latency_is_met_by_what_is_generated(measured, tmp_path):
    supernet, _, table, _ = measured
    space = supernet.search_space
    result = SearchResult(space, (), ArchitectureDistribution.uniform(space)).with_costs(table)
    low, high = table.bounds()
    middle = (low + high) / 2
    assert generate(result, Limit("latency_ms", min=middle, max=high)).certificate.costs["latency_ms"] >= middle
    assert generate(result, Limit("latency_ms", max=middle)).certificate.costs["latency_ms"] <= middle
    assert pareto(result, table)
    result.save(tmp_path / "result.json")
    assert SearchResult.load(tmp_path / "result.json").costs["latency_ms"].unit == table.unit


def test_a_machine_on_which_nothing_can_be_told_is_an_error():
    with pytest.raises(InvalidInputError, match="must come out slower, but over 8 networks the slope is -1"):
        measure_latency(small_supernet(), rounds=1, time=Machine(slope=-1.0))


def test_a_space_with_fewer_networks_than_asked_for():
    changes = {"stage_depths": [1], "stage_widths": [16], "stage_strides": [2], "expansions": [3]}
    supernet = small_supernet(**changes, kernel_sizes=[3, 5])
    table = measure_latency(supernet, calibration_networks=9, rounds=1, time=Machine())
    assert table.calibration["networks"] == 2
    assert table.accuracy is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size >= 1`"),
        ({"calibration_networks": 1}, "`calibration_networks >= 2`"),
        ({"rounds": 0}, "`rounds >= 1`"),
        ({"runtime": "tflite"}, "`runtime` must be one of torch, onnxruntime, but is 'tflite'"),
        ({"runtime": "onnxruntime", "device": "cuda"}, 'Onnxruntime must be timed on "cpu", but got "cuda"'),
        ({"device": "meta"}, 'must be measured on "cpu" or "cuda", but got "meta"'),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        measure_latency(small_supernet(), **arguments)


def test_onnxruntime_runs_what_torch_computes(tmp_path):
    supernet = small_supernet(
        stage_depths=[1], stage_widths=[16], stage_strides=[2], expansions=[3], kernel_sizes=[3, 5]
    )
    space = supernet.search_space
    seen = []

    def time(block, reference):
        """Every session is as quick as the reference, so that the line has slope 1."""
        for run, args, kwargs in (block, reference):
            seen.append((run, args[1], run(*args, **kwargs)))
        return np.array([[1.0, 1.0]])

    table = measure_latency(
        supernet, runtime="onnxruntime", threads=3, rounds=2, calibration_networks=2, held_out_networks=0, time=time
    )
    assert {type(run.__self__).__name__ for run, _, _ in seen} == {"InferenceSession"}
    assert {run.__self__.get_session_options().intra_op_num_threads for run, _, _ in seen} == {3}
    network = supernet.extract(table.reference.architecture).eval()
    _, feed, outputs = seen[-1]
    expected = network(pixel_values=torch.from_numpy(feed["x0"])).logits
    assert any(np.allclose(output, expected.detach(), atol=1e-5) for output in outputs)
    assert table.calibration["slope"] == 1.0
    assert "onnxruntime" in table.versions
    assert table.unit == f"ms, {cpu_name()}, onnxruntime, batch 1, 3 threads"
    table.save(tmp_path / "table.yaml")
    again = LatencyTable.load(tmp_path / "table.yaml", space)  # a session has as many threads, whatever torch uses
    assert (again, again.runtime) == (table, "onnxruntime")


def test_every_candidate_is_seen_also_where_choices_depend_on_others():
    space = SearchSpace(
        "s",
        (
            Choice("depth", (1, 2)),
            Choice("a", ("x", "y", "z")),
            Choice("b", ("x", "y"), condition=Condition("depth", (2,))),
        ),
    )
    rows = covering(space)
    seen = {(i, int(code)) for row in rows for i, code in enumerate(row) if code != INACTIVE}
    assert seen == {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)}
    assert all(np.array_equal(space.encode(space.decode(row)), row) for row in rows)


# -- time and numbers --------------------------------------------------------------------------------------------------


def test_stopwatch_reads_its_clock():
    """A clock that only a call of the module moves, by a second."""
    calls = []
    module = torch.nn.Identity()
    module.register_forward_hook(lambda *_: calls.append(torch.is_inference_mode_enabled()))
    watch = Stopwatch(threads=1, min_run_time=3.0, clock=lambda: float(len(calls)))
    assert watch(module, (torch.zeros(1),), {}) == pytest.approx(1000.0)
    assert len(calls) >= 6
    assert all(calls)


def test_calls_in_turn():
    """A clock that counts calls of the block as 1 s and of the reference as 10 s: three of the block make a pair."""
    now, order = [0.0], []

    def called(name, seconds):
        def hook(*_):
            assert torch.is_inference_mode_enabled()
            assert torch.get_num_threads() == 1
            order.append(name)
            now[0] += seconds

        module = torch.nn.Identity()
        module.register_forward_hook(hook)
        return module, (torch.zeros(1),), {}

    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    watch = Stopwatch(threads=1, min_run_time=80.0, clock=lambda: now[0])
    pairs = watch.in_turn(called("block", 1.0), called("reference", 10.0))
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    assert pairs.tolist() == [[1000.0, 10000.0]] * 7
    assert order == 3 * ["block", "reference"] + 7 * ["block", "block", "block", "reference"]


def test_pairs_by_hand():
    pairs = Pairs([np.array([[1.0, 2.0], [6.0, 6.0], [2.0, 1.0]]), np.array([[5.0, 1.0]])])
    assert pairs.ratio == 1.5
    assert pairs.error == pytest.approx(np.sqrt(np.pi / 4) * 1.4826 * 2.0)  # rounds of 1 and 5
    assert pairs.milliseconds == 3.5
    assert Pairs(pairs.rounds[:1]).error == 0.0


def test_a_line_by_hand():
    assert fit_line(np.array([1.0, 2.0, 4.0]), np.array([5.0, 8.0, 14.0])) == pytest.approx((3.0, 2.0))
    # Residuals count in percent: of (2, 4) at the same x, 2.4 is off by 20 % and by 40 %.
    slope, intercept = fit_line(np.array([1.0, 1.0]), np.array([2.0, 4.0]))
    assert (slope, 1.0 + intercept) == pytest.approx((1.0, 2.4))


def test_error_by_hand():
    mape, tau = prediction_error(np.array([1.0, 3.0, 2.0]), np.array([2.0, 4.0, 5.0]))
    assert mape == pytest.approx(100 * (0.5 + 0.25 + 0.6) / 3)
    assert tau == pytest.approx(1 / 3)
    assert prediction_error(np.array([1.0]), np.array([2.0])) == (50.0, None)


def test_devices_have_names():
    assert device_name(torch.device("cpu")) == cpu_name() != ""


# -- files -------------------------------------------------------------------------------------------------------------

SPACE = SearchSpace("s", (Choice("layer", ("conv", "skip")), Choice("width", (8, 16))))
BY_HAND = f"""
format_version: 1
device: {json.dumps(cpu_name())}
fixed: 2
entries:
  layer: {{conv: 1.5, skip: 1e-3, pool: 3}}
  width: {{8: 0.25, 16: 0.5}}
"""


@pytest.fixture
def by_hand(tmp_path):
    def write(text=BY_HAND, name="table.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_a_table_by_hand(by_hand):
    table = LatencyTable.load(by_hand(), SPACE)
    assert table({"layer": "conv", "width": 16}) == 4.0
    assert table({"layer": "skip", "width": 8}) == 2.251
    assert (table.threads, table.batch_size, table.accuracy) == (None, 1, None)


@pytest.mark.parametrize("name", ["table.yaml", "table.json"])
def test_a_table_comes_back_as_it_was(measured, tmp_path, name):
    supernet, _, table, _ = measured
    table.save(tmp_path / name)
    again = LatencyTable.load(tmp_path / name, supernet.search_space)
    assert again == table
    for field in (
        "device",
        "threads",
        "batch_size",
        "versions",
        "calibration",
        "accuracy",
        "reference",
        "assumed",
        "runtime",
    ):
        assert getattr(again, field) == getattr(table, field), field


def test_a_table_of_another_device_is_refused_unless_told_so(by_hand):
    file = by_hand(BY_HAND.replace(json.dumps(cpu_name()), "Pixel 1"))
    with pytest.raises(InvalidInputError, match=r"was on Pixel 1. Measure one here with `measure_latency`, or pass"):
        LatencyTable.load(file, SPACE)
    assert LatencyTable.load(file, SPACE, allow_other_device=True).unit == "ms, Pixel 1, batch 1"


def test_a_table_of_before_there_were_runtimes_is_of_torch(by_hand):
    assert LatencyTable.load(by_hand(), SPACE).runtime is None  # nobody knows what ran a phone's
    measured = by_hand(BY_HAND + 'threads: null\nversions: {torch: "2.6.0"}\n')
    assert LatencyTable.load(measured, SPACE).unit == f"ms, {cpu_name()}, torch, batch 1"


def test_a_table_of_texts_says_how_long_they_are(by_hand, tmp_path):
    table = LatencyTable.load(by_hand(BY_HAND + "tokens: 128\n"), SPACE)
    assert table.unit == f"ms, {cpu_name()}, batch 1 of 128 tokens"
    table.save(tmp_path / "again.json")
    assert LatencyTable.load(tmp_path / "again.json", SPACE).unit == table.unit


def test_a_table_of_other_threads_is_refused_unless_told_so(by_hand):
    file = by_hand(BY_HAND + "threads: 1000\n")
    with pytest.raises(InvalidInputError, match=r"with as many threads as torch uses .* was with 1000"):
        LatencyTable.load(file, SPACE)
    assert LatencyTable.load(file, SPACE, allow_other_device=True).threads == 1000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("skip: 1e-3, ", "", r"a number for `skip` of `layer`, but `.*` has no `entries.layer.skip`. Measure it"),
        ("16: 0.5", "32: 0.5", r"a number for `16` of `width`, but `.*` has no `entries.width.16`"),
        ("  width:", "  depth:", "a number for `8` of `width`"),
        ("1.5", "fast", r"`entries.layer.conv` must be a number of milliseconds, but `.*` says 'fast'"),
        ("1.5", ".nan", "must hold 2 finite numbers for `layer`"),
        ("fixed: 2", "", "must give `fixed`"),
        ("format_version: 1", "format_version: 2", "must say `format_version: 1`, but .* says 2"),
        ("{conv", "{{conv", "cannot be parsed"),
        ("fixed: 2", "fixed: 2\nruntime: tflite", "`runtime` of a latency table must be one of .* says 'tflite'"),
        ("{8: 0.25, 16: 0.5}", "7", "is not a latency table of searchhub"),
        (
            BY_HAND,
            BY_HAND + "reference: {architecture: {layer: conv, width: 9}, ms: 1, drift: 1}",
            "`width` must be one",
        ),
        (BY_HAND, BY_HAND + "reference: {ms: 1, drift: 1}", "is not a latency table of searchhub"),
        (BY_HAND, "- 1", "must hold a mapping of keys to values, but holds a list"),
    ],
)
def test_a_file_that_is_wrong_says_where(by_hand, old, new, message):
    with pytest.raises(InvalidInputError, match=message):
        LatencyTable.load(by_hand(BY_HAND.replace(old, new)), SPACE)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidInputError, match=r"must be readable, but the system said: No such file"):
        LatencyTable.load(tmp_path / "none.yaml", SPACE)
