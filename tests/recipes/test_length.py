"""A recipe is read in one sitting: its `main` is the order of what happens."""

import ast

import pytest

from .harness import RECIPES

LONGEST = 45


@pytest.mark.parametrize("script", sorted(path.name for path in RECIPES.glob("*.py")))
def test_main_fits_on_a_screen(script):
    tree = ast.parse((RECIPES / script).read_text(encoding="utf-8"))
    (main,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    assert main.end_lineno - main.lineno + 1 <= LONGEST
