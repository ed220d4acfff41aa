"""What the flat files of the Hub copy from each other stays the same.

A modeling or configuration file travels alone, so families cannot share its code. As in transformers, a comment
`# Copied from module.Name with A->B, C->D` stands above each class, function or method that must be another one in
which these words were replaced, in this order. The comment may take several lines; docstrings are free.
"""

import ast
import re
import textwrap
from pathlib import Path

import pytest

import searchhub

SOURCE = Path(searchhub.__file__).parent
MARK = re.compile(r"Copied from searchhub\.(?P<module>models\.\w+\.\w+)\.(?P<name>\S+)( with (?P<changes>.+))?")
FILES = sorted(path for kind in ("modeling", "configuration") for path in SOURCE.glob(f"models/*/{kind}_*.py"))


def definitions(source):
    """The text of every class, function and method of a module by its dotted name, with the comment above it."""
    lines = source.splitlines()

    def within(parent, prefix):
        for node in parent.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                first = min(d.lineno for d in [node, *node.decorator_list])
                above = first - 1
                while lines[above - 1].lstrip().startswith("#"):
                    above -= 1
                comment = " ".join(line.strip().lstrip("# ") for line in lines[above : first - 1])
                yield prefix + node.name, (textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno])), comment)
                if isinstance(node, ast.ClassDef):
                    yield from within(node, f"{prefix}{node.name}.")

    return dict(within(ast.parse(source), ""))


def code(text):
    """What a definition does: without its docstrings, its comments and where its lines break."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.unparse(tree)


def replaced(text, changes):
    """A text with words replaced: "A->B, C->D"; a comma within B is one that no further arrow follows."""
    for change in re.split(r", (?=[^,]+->)", changes or ""):
        old, arrow, new = change.partition("->")
        text = text.replace(old, new) if arrow else text
    return text


def marked(source):
    """The copies that a module says it holds: a name, its text, and the mark above it."""
    for name, (text, comment) in definitions(source).items():
        if comment.startswith("Copied from"):
            mark = MARK.fullmatch(comment)
            assert mark, f"`{comment}` must be like `Copied from searchhub.models.x.modeling_x.Name with A->B`"
            yield name, text, mark


def is_same(text, copied, changes):
    return code(text) == code(replaced(copied, changes))


def copied_by(mark):
    path = SOURCE.joinpath(*mark["module"].split(".")).with_suffix(".py")
    return definitions(path.read_text(encoding="utf-8"))[mark["name"]][0]


def edited(text):
    """A definition with one more statement at its end."""
    last = text.splitlines()[-1]
    return f"{text}\n{last[: len(last) - len(last.lstrip())]}edited = True"


MARKED = [(f"{path.stem}.{n}", t, m) for path in FILES for n, t, m in marked(path.read_text(encoding="utf-8"))]
each_copy = pytest.mark.parametrize(("name", "text", "mark"), MARKED, ids=[name for name, _, _ in MARKED])


@each_copy
def test_a_copy_is_what_its_mark_says(name, text, mark):
    assert is_same(text, copied_by(mark), mark["changes"]), f"{name} must be {mark[0]!r} again, or lose its mark"


@each_copy
def test_an_edit_of_either_side_is_found(name, text, mark):
    copied = copied_by(mark)
    assert not is_same(edited(text), copied, mark["changes"])
    assert not is_same(text, edited(copied), mark["changes"])


def test_every_mark_is_read():
    names = {name for name, _, _ in MARKED}
    assert {"modeling_fbnet.SearchedFBNetModel", "modeling_nasbench201.edge_key"} <= names  # a class, a function
    assert "configuration_fbnet.SearchedFBNetConfig.layer_shapes" in names  # a method below a decorator
    assert len(MARKED) == sum(path.read_text(encoding="utf-8").count("# Copied from") for path in FILES)


DOCTORED = '''
# Copied from searchhub.models.mobile.modeling_mobile.SearchedMobileConvLayer.forward with
# self->this, activation->relu
def forward(this, hidden_states):
    """Documentation is free."""
    return this.relu(
        this.normalization(this.convolution(hidden_states))  # and so is where lines break
    )
'''


def test_a_mark_is_read_and_held():
    for source, same in ((DOCTORED, True), (DOCTORED.replace("this.relu", "this.gelu"), False)):
        ((name, text, mark),) = marked(source)
        assert (name, mark["changes"]) == ("forward", "self->this, activation->relu")
        assert is_same(text, copied_by(mark), mark["changes"]) == same
    with pytest.raises(AssertionError, match="must be like"):
        list(marked(DOCTORED.replace("searchhub.models", "elsewhere")))
