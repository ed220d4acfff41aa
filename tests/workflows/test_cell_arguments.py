import json

import pytest

from searchhub.errors import InvalidInputError
from searchhub.generation import Limit
from searchhub.spaces.darts import darts_space
from searchhub.spaces.genotype import Genotype
from searchhub.workflows.cell_arguments import (
    CellArguments,
    CellNetworkArguments,
    CellSearcherArguments,
    CellTrainingArguments,
    describe_cells,
    read_cells,
)

TEXT = (
    "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1)], normal_concat=range(2, 3), "
    "reduce=[('max_pool_3x3', 0), ('dil_conv_5x5', 1)], reduce_concat=range(2, 3))"
)


def test_limits_of_table_4():
    wanted = CellNetworkArguments(equal=["non_parameter=4,height=2", "non_parameter=4"])
    assert wanted.limits() == [
        (Limit("non_parameter", equal=4), Limit("height", equal=2)),
        Limit("non_parameter", equal=4),
    ]
    assert CellNetworkArguments(min=["normal.height=2"]).limits() == [Limit("normal.height", min=2)]


def test_cells_are_read_from_text_file_and_network(tmp_path):
    genotype = Genotype.parse(TEXT)
    (tmp_path / "cells.txt").write_text(f"derived = {TEXT}\n")
    config = {"model_type": "searched_darts", "normal": ["skip_connect", "sep_conv_3x3"]}
    config["reduction"] = ["max_pool_3x3", "dil_conv_5x5"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_cells(TEXT) == read_cells(str(tmp_path / "cells.txt")) == read_cells(str(tmp_path)) == genotype


def test_what_a_run_with_limits_writes_is_read_back(tmp_path):
    derived = Genotype.parse(TEXT)
    limited = Genotype.parse(TEXT.replace("sep_conv_3x3", "avg_pool_3x3"))
    names = ["derived", "non_parameter-equal-4-height-equal-2", "params-1.5M", "params-15M"]
    cells = [derived, limited, limited, derived]
    file = tmp_path / "genotypes.txt"
    file.write_text(describe_cells([(n, c.architecture()) for n, c in zip(names, cells, strict=True)]))
    assert [read_cells(f"{file}:{name}") for name in names] == cells
    with pytest.raises(InvalidInputError, match=r"'derived', 'non_parameter_equal_4_height_equal_2', .*FILE:NAME"):
        read_cells(str(file))
    # One alone needs no name.
    file.write_text(describe_cells([("non_parameter-equal-4", limited.architecture())]))
    assert read_cells(str(file)) == limited


@pytest.mark.parametrize("normal", [None, 3, "none", ["none", 1], [["none"]], {"none": "none"}])
def test_a_damaged_configuration_is_refused(tmp_path, normal):
    config = {"model_type": "searched_darts", "normal": normal, "reduction": ["skip_connect", "skip_connect"]}
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(InvalidInputError, match=r"config\.json"):
        read_cells(str(tmp_path))


def test_what_holds_no_cells_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    for name in ("", str(tmp_path), str(tmp_path / "missing"), "x" * 300, f"{tmp_path}:derived", "a\0b"):
        with pytest.raises(InvalidInputError, match="--cells"):
            read_cells(name)


def test_cells_are_searched_by_what_gives_a_theta():
    with pytest.raises(InvalidInputError, match="--searcher"):
        CellSearcherArguments(searcher="random").build(darts_space(), 0)
    # "Less than 100" epochs (DDPNAS Sec. 4).
    assert CellSearcherArguments().build(darts_space(), 0).num_trials == 99


def test_final_networks_have_their_sizes_and_training():
    supernet = CellArguments(num_nodes=1, final_width=6, final_num_cells=5, stem="imagenet").supernet(10, 32, 0)
    final = supernet.final.config
    assert (supernet.config.width, supernet.config.num_cells, supernet.config.stem) == (4, 3, "imagenet")
    assert (final.width, final.num_cells, final.reduction_layers, final.stem) == (6, 5, [1, 3], "imagenet")
    training = CellTrainingArguments(auxiliary_weight=0.4, drop_path=0.2)
    assert (training.final_settings().auxiliary_weight, training.final_settings().drop_path) == (0.4, 0.2)
    assert training.search_settings().auxiliary_weight == 0.0
    with pytest.raises(InvalidInputError, match="inherit_weights"):
        CellTrainingArguments(inherit_weights=True).final_settings()
