"""Presets of the mobile space by the size of pictures, and what reaches a limit."""

import pytest

from searchhub.costs.macs import macs_table
from searchhub.costs.params import params_table
from searchhub.generation import Limit
from searchhub.workflows.arguments import RecipeTrainingArguments, RunArguments, parse
from searchhub.workflows.mobile_arguments import PRESETS, MobileArguments, preset_for


def costs(sizes, image_size, num_labels=3):
    supernet = sizes.supernet(num_labels, image_size, 0)
    return macs_table(supernet), params_table(supernet)


def test_a_preset_is_chosen_by_the_size_of_pictures():
    nearest = {1: 8, 8: 8, 16: 8, 17: 32, 28: 32, 32: 32, 48: 64, 64: 64, 96: 64, 128: 224, 224: 224, 512: 224}
    assert {size: preset_for(size) for size in nearest} == nearest
    assert MobileArguments().sizes(28) == PRESETS[32]
    assert MobileArguments(preset=64).sizes(28) == PRESETS[64]


def test_digits_have_the_sizes_that_they_had():
    config = MobileArguments().supernet(10, 8, 0).config
    assert (config.stem_width, config.stem_stride, config.first_width, config.head_width) == (8, 1, 8, 64)
    assert (config.stage_widths, config.stage_depths, config.stage_strides) == ([16, 24, 32], [2, 2, 2], [1, 2, 2])
    assert RecipeTrainingArguments().fitting(1_000).search_settings() == RecipeTrainingArguments().search_settings()


def test_every_size_can_be_given(tmp_path):
    words = ["--preset=32", "--head_width=24", "--stage_widths", "8", "8", "8", "--stem_stride=1"]
    sizes, _ = parse((MobileArguments, RunArguments), words, None)
    given = {"head_width": 24, "stage_widths": [8, 8, 8], "stem_stride": 1}
    assert sizes.sizes(8) == {**PRESETS[32], **given}
    assert sizes.words(8) == "preset 32, for pictures of 8 x 8"
    (tmp_path / "sizes.yaml").write_text("preset: 224\nwidth_multiplier: 0.5\n")
    assert parse((MobileArguments, RunArguments), [f"--config={tmp_path / 'sizes.yaml'}"], None)[0].preset == 224


def test_small_pictures_have_networks_below_two_million_macs():
    """Those of 8 x 8 start above 2M on pictures of 32 x 32."""
    assert costs(MobileArguments(preset=8), 32)[0].bounds()[0] > 2e6
    assert costs(MobileArguments(), 32)[0].bounds()[0] < 1.1e6


def test_what_a_space_does_not_reach_names_the_options_that_do():
    sizes = MobileArguments(preset=8)
    tables = costs(sizes, 32)
    low, high = tables[0].bounds()
    reached, below, above = Limit("macs", max=high), Limit("macs", max=low / 2), Limit("params", min=1e6)
    assert sizes.ways_to([reached], tables, 3, 32) == []
    said = sizes.ways_to([reached, (below, reached), above, Limit("macs", max=1)], tables, 3, 32)
    assert [line.split(" is reached with ")[0] for line in said] == [str(below), str(above), "macs <= 1"]
    assert "`--width_multiplier" in said[0]
    assert "`--preset 32` (" in said[0]
    assert "none of the presets" in said[2]
    multiplier = float(said[0].split("--width_multiplier ")[1].split("`")[0])
    narrow = MobileArguments(preset=8, width_multiplier=multiplier)
    spans = narrow._spans(3, 32)
    assert {table.name: table.bounds() for table in costs(narrow, 32)} == spans
    assert spans["macs"][0] <= below.max


@pytest.mark.parametrize(("examples", "batch"), [(1, 2), (9, 2), (60, 8), (134, 32), (5_000, 32)])
def test_a_batch_that_nobody_chose_fits_the_examples(examples, batch):
    assert RecipeTrainingArguments().fitting(examples).search_settings().batch_size == batch
    assert RecipeTrainingArguments(batch_size=64).fitting(examples).final_settings().batch_size == 64
