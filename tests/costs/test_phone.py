import pytest

from searchhub.costs.phone import keyed_table, read_keys, read_proxyless_table
from searchhub.errors import InvalidInputError
from searchhub.models.mobile.supernet_mobile import MobileSupernetConfig
from searchhub.space import Choice, SearchSpace

# 9 pixels: 5 after the stem, 3 after the first layer.
CONFIG = MobileSupernetConfig(
    num_labels=10,
    image_size=9,
    stem_width=8,
    first_width=4,
    stage_widths=[8],
    stage_depths=[2],
    stage_strides=[2],
    head_width=16,
    expansions=[3],
    kernel_sizes=[3, 5],
)
MS = {
    "Conv-input:9x9x3-output:5x5x8": 1.0,
    "expanded_conv-input:5x5x8-output:5x5x4-expand:1-kernel:3-stride:1-idskip:0": 2.0,
    "expanded_conv-input:5x5x4-output:3x3x8-expand:3-kernel:3-stride:2-idskip:0": 3.0,
    "expanded_conv-input:5x5x4-output:3x3x8-expand:3-kernel:5-stride:2-idskip:0": 4.0,
    "expanded_conv-input:3x3x8-output:3x3x8-expand:3-kernel:3-stride:1-idskip:1": 5.0,
    "expanded_conv-input:3x3x8-output:3x3x8-expand:3-kernel:5-stride:1-idskip:1": 6.0,
    "Conv_1-input:3x3x8-output:3x3x16": 0.5,
    "Logits-input:3x3x16-output:10": 0.25,
}


@pytest.fixture
def write(tmp_path):
    def file(latencies):
        lines = [f"{key}:\n  count: 9\n  mean: {ms}\n  var: 0.1\n" for key, ms in latencies.items()]
        (tmp_path / "phone.yaml").write_text("".join(lines), encoding="utf-8")
        return tmp_path / "phone.yaml"

    return file


def test_a_table_of_proxylessnas_by_hand(write):
    table = read_proxyless_table(write(MS), CONFIG)
    assert table.fixed == 3.75
    assert [entry.tolist() for entry in table.entries] == [[3.0, 4.0], [5.0, 6.0, 0.0]]
    assert table({"stage1.layer1": "mbconv_e3_k5", "stage1.layer2": "zero"}) == 7.75
    assert (table.name, table.unit, table.assumed) == ("latency_ms", "ms, Google Pixel 1, batch 1", {})


@pytest.mark.parametrize("changes", [{"image_size": [9, 9]}, {"output_stride": 2}])
def test_networks_whose_blocks_are_in_no_table(write, changes):
    with pytest.raises(InvalidInputError, match="`image_size` must be one number and `output_stride` None for this"):
        read_proxyless_table(write(MS), MobileSupernetConfig(**{**CONFIG.to_dict(), **changes}))


def test_a_missing_entry_names_itself(write):
    lacking = {key: ms for key, ms in MS.items() if ms not in (4.0, 0.25)}
    with pytest.raises(InvalidInputError) as caught:
        read_proxyless_table(write(lacking), CONFIG)
    message = str(caught.value)
    assert (
        "lacks `expanded_conv-input:5x5x4-output:3x3x8-expand:3-kernel:5-stride:2-idskip:0` "
        "(`mbconv_e3_k5` of `stage1.layer1`); `Logits-input:3x3x16-output:10` (what every network has). Choose"
        in message
    )


def test_a_missing_entry_may_be_assumed_and_is_then_listed(write):
    lacking = {key: ms for key, ms in MS.items() if ms != 0.25}
    table = read_proxyless_table(write(lacking), CONFIG, missing=0.5)
    assert table.fixed == 4.0
    assert table.assumed == {"Logits-input:3x3x16-output:10": 0.5}


def test_many_missing_entries_are_counted(write):
    with pytest.raises(InvalidInputError, match=r"and 3 more. Choose sizes"):
        read_proxyless_table(write({"Conv": 1.0}), CONFIG)


def test_keys_of_once_for_all_serve_a_space_of_your_own(write):
    """Its blocks have squeeze-and-excitation; no space here does, so who has one says the keys."""
    block = "expanded_conv-input:7x7x192-output:7x7x192-expand:576-kernel:{}-stride:1-idskip:1-se:1-hs:1"
    latencies = read_keys(write({block.format(3): 1.5, block.format(5): 2.5, "AvgPool2D": 0.125}))
    space = SearchSpace("v3", (Choice("layer", (3, 5, 0)),))
    table = keyed_table(
        space,
        latencies,
        lambda choice, kernel: block.format(kernel) if kernel else None,
        fixed=["AvgPool2D"],
        device="Samsung Note10",
    )
    assert (table.fixed, table.entries[0].tolist()) == (0.125, [1.5, 2.5, 0.0])


def test_an_entry_without_a_mean_is_named(tmp_path):
    (tmp_path / "phone.yaml").write_text("Conv:\n  count: 3\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"`Conv.mean` must be a number of milliseconds"):
        read_keys(tmp_path / "phone.yaml")
