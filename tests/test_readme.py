"""The README's Python runs as it stands, with less training."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_readme_python(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    for long, short in (
        ('load_image_task("digits")', 'load_image_task("digits", max_train_samples=64, max_eval_samples=32)'),
        ("estimation_epochs=3", "estimation_epochs=1"),
        ("epochs=15", "epochs=1"),
    ):
        assert long in code
        code = code.replace(long, short)
    assert len(code.splitlines()) < 20
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(tmp_path / "runs" / "mine" / "model")
    assert type(model).__name__ == "SearchedMobileForImageClassification"
