"""Every recipe says what its options are: a percent sign alone in a help text would stop it."""

import runpy

import pytest
from transformers import HfArgumentParser

from .harness import RECIPES

WITH_KINDS = sorted(path.name for path in RECIPES.glob("*.py") if "KINDS = (" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", WITH_KINDS)
def test_help_can_be_printed(script):
    kinds = runpy.run_path(str(RECIPES / script))["KINDS"]
    said = HfArgumentParser(kinds).format_help()
    assert "--output_dir" in said
    assert "%(" not in said


def test_some_recipes_are_looked_at():
    assert {"ddp_bert_glue.py", "ddp_mobile.py", "ddp_segmentation.py"} <= set(WITH_KINDS)
