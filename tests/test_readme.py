"""The README's Python runs as it stands, with less training."""

import ast
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_readme_python(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    for long, short in (
        ('load_image_task("digits")', 'load_image_task("digits", max_train_samples=64, max_eval_samples=32)'),
        (
            "epochs=15",
            "epochs=1, scored=4, searcher_options={'estimation_epochs': 1}, "
            "training=sh.TrainingSettings(batch_size=32)",
        ),
    ):
        assert long in code
        code = code.replace(long, short)
    assert len(ast.parse(code).body) <= 8
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(tmp_path / names["network"].folder)
    assert type(model).__name__ == "SearchedMobileForImageClassification"
