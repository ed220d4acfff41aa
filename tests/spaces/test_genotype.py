import pytest

from searchhub.errors import InvalidInputError
from searchhub.spaces.darts import darts_space
from searchhub.spaces.genotype import Genotype

# As the authors of DARTS publish it.
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
CELL = "[('skip_connect', 0), ('sep_conv_3x3', 1)]"


def text(normal=CELL, concat="range(2, 3)", reduce=CELL):
    return f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduce}, reduce_concat=range(2, 3))"


def test_the_published_text_is_read():
    genotype = Genotype.parse(DARTS_V2)
    assert genotype.normal[5:] == (("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2))
    assert genotype.reduction[:2] == (("max_pool_3x3", 0), ("max_pool_3x3", 1))
    assert Genotype.parse("DARTS_V2 = " + DARTS_V2) == genotype
    assert Genotype.parse(DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)")) == genotype
    assert Genotype.parse(str(genotype)) == genotype


def test_one_of_several_is_read_by_its_name():
    several = f"derived = {text()}\nnon_parameter_equal_4 = {text(normal=CELL.replace('skip_connect', 'max_pool_3x3'))}"
    assert Genotype.parse(several, "derived") == Genotype.parse(text())
    for name in ("non_parameter_equal_4", "non_parameter-equal-4"):
        assert Genotype.parse(several, name).normal[0] == ("max_pool_3x3", 0)
    for name in (None, "other"):
        with pytest.raises(InvalidInputError, match=r"\['derived', 'non_parameter_equal_4'\]"):
            Genotype.parse(several, name)
    with pytest.raises(InvalidInputError, match="2 of the name"):
        Genotype.parse(several.replace("non_parameter_equal_4", "derived"), "derived")


def test_fields_may_stand_without_their_names():
    assert Genotype.parse(f"Genotype({CELL}, [2], {CELL}, [2])") == Genotype.parse(text())


def test_a_genotype_is_an_architecture_of_the_space_and_back():
    genotype = Genotype.parse(DARTS_V2)
    architecture = genotype.architecture()
    darts_space().encode(architecture)
    assert architecture["normal.node4.from1"] == "sep_conv_3x3"
    assert architecture["normal.node4.from2"] == "none"
    assert sum(operation != "none" for operation in architecture.values()) == 16
    again = Genotype.of(architecture)
    assert again.architecture() == architecture
    # The order of a node's two inputs says nothing; it comes back by source.
    assert again.normal[4:6] == (("skip_connect", 0), ("sep_conv_3x3", 1))


def test_an_architecture_that_is_not_derived_has_no_genotype():
    architecture = darts_space().decode([4] * 28)
    with pytest.raises(InvalidInputError, match="node 3 of the normal cell has 3"):
        Genotype.of(architecture)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "must look like"),
        ("Genotype(", "must look like"),
        ("__import__('os').system('false')", "must look like"),
        ("Genotype()", "must have the fields"),
        ("Genotype(**{})", "must have the fields"),
        (f"Genotype({CELL}, [2], {CELL}, [2], [2])", "must have the fields"),
        (f"Genotype({CELL}, [2], {CELL}, [2], reduce={CELL})", "must have the fields"),
        (f"{text()}; __import__('os').system('false')", "must look like"),
        (text(normal="__import__('os')"), "`normal` must be a list"),
        (text(normal="[('skip_connect', 0), ('sep_conv_3x3', True)]"), "`normal` must be a list"),
        (text(normal="[('skip_connect', 0)]"), "must have 2 edges a node"),
        (text(normal="[('skip_connect', 0), ('conv', 1)]"), "must be one of"),
        (text(normal="[('skip_connect', 0), ('none', 1)]"), "must be one of"),
        (text(normal="[('skip_connect', 0), ('sep_conv_3x3', 2)]"), "0 to 1, but is 2"),
        (text(normal="[('skip_connect', 0), ('sep_conv_3x3', -1)]"), "0 to 1, but is -1"),
        (text(normal="[('skip_connect', 0), ('sep_conv_3x3', 0)]"), "different inputs"),
        (text(concat="range(2, 4)"), "every intermediate node"),
        (text(concat="range(0, 10**12)"), "normal_concat"),
        (text(concat="range(2, 10000000000)"), "nodes of a cell"),
        (text(concat="open('x')"), "range\\(2, 6\\)"),
        (
            text(
                normal="[('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 1)]",
                concat="[2, 3]",
            ),
            "same number of edges",
        ),
    ],
)
def test_other_text_is_refused_unrun(written, message):
    with pytest.raises(InvalidInputError, match=message):
        Genotype.parse(written)


def test_operations_of_all_edges_are_a_genotype():
    genotype = Genotype.parse(DARTS_V2)
    operations = list(genotype.architecture().values())
    again = Genotype.from_operations(operations[:14], operations[14:])
    assert again.architecture() == genotype.architecture()
    with pytest.raises(InvalidInputError, match="an operation an edge"):
        Genotype.from_operations(["none"] * 3, ["none"] * 3)
