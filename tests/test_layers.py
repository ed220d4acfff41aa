"""Imports follow the line of docs/design.md and never run back; the core knows no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "searchhub"

# What stands in one line may import each other and everything above. A new module must be given its place.
LAYERS = (
    ("errors",),
    ("files", "hub_client"),
    ("space", "spaces"),
    ("distribution", "trial"),
    ("costs.table", "costs.structure"),
    ("result",),
    ("searchers", "callbacks", "evaluators.base", "generation", "journal", "checkpoints"),
    ("run_folder",),
    ("search", "evaluators.tabular"),
    ("testing",),
    ("metrics", "data"),
    ("models",),
    ("costs", "training"),
    ("evaluators", "reports", "hub", "testing.supernet"),
    ("cli", "_auto_classes", "__main__"),
)

TORCH_FREE = (
    "searchhub.space",
    "searchhub.spaces.bert",
    "searchhub.spaces.channels",
    "searchhub.spaces.darts",
    "searchhub.spaces.genotype",
    "searchhub.spaces.fbnet",
    "searchhub.spaces.mobile",
    "searchhub.spaces.nasbench201",
    "searchhub.distribution",
    "searchhub.trial",
    "searchhub.result",
    "searchhub.search",
    "searchhub.searchers.base",
    "searchhub.searchers.clustering",
    "searchhub.searchers.dc",
    "searchhub.searchers.ddp",
    "searchhub.searchers.division",
    "searchhub.searchers.evolution",
    "searchhub.searchers.random",
    "searchhub.searchers.warmup",
    "searchhub.generation",
    "searchhub.costs.structure",
    "searchhub.costs.table",
    "searchhub.costs.latency_table",
    "searchhub.costs.phone",
    "searchhub.hub.publish",
    "searchhub.evaluators.base",
    "searchhub.evaluators.tabular",
    "searchhub.networks.network",
    "searchhub.reports.html",
    "searchhub.testing.space",
    "searchhub.testing.searcher",
    "searchhub.testing.evaluator",
)


def layer_of(module):
    """The line of the longest name that fits: `costs.table` before `costs`."""
    fitting = [
        (len(name), line)
        for line, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(name + ".")
    ]
    assert fitting, f"give searchhub.{module} its place in LAYERS"
    return max(fitting)[1]


def modules():
    """Every module under its name within the package, with its file; the package's own __init__ is above all."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            yield name, path


MODULES = dict(modules())
# By the name of a package stand those that only say `import searchhub`, to register or to read the version.
WHOLE = "searchhub"


def imports(path, name):
    """Modules of the package that a file imports anywhere, also late and for types only."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == WHOLE)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                outer = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([WHOLE, *outer, *([base] if base else [])])
            if base.split(".")[0] == WHOLE:
                # `from searchhub.costs import table` names a module; `from searchhub.space import Choice` a value.
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    yield inner if inner.removeprefix(WHOLE + ".") in MODULES else base


@pytest.mark.parametrize("name", MODULES)
def test_imports_follow_the_line(name):
    for imported in imports(MODULES[name], name):
        if imported == WHOLE:
            continue
        inner = imported.removeprefix(WHOLE + ".")
        assert layer_of(inner) <= layer_of(name), f"searchhub.{name} must not import {imported}, which comes after it"


def test_the_core_is_free_of_torch():
    script = (
        f"import importlib, sys\nfor name in {TORCH_FREE!r}: importlib.import_module(name)\n"
        "print([m for m in ('torch', 'transformers', 'accelerate', 'datasets', 'evaluate') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_searchhub_is_cheap():
    script = "import searchhub, sys; print([m for m in ('torch', 'datasets', 'scipy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
