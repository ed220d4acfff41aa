"""Imports follow the line of docs/design.md and never run back; the core knows no torch."""

import ast
import subprocess
import sys

import pytest

from .imports import WHOLE, arrows, between_folders, circles, folder_of, imports, modules, nodes

# A module may import its own folder and what stands in lines above its own; folders of one line do not know each other.
# A new module must be given its place.
LAYERS = (
    ("errors",),
    ("files", "formatting", "redact", "distributed", "_version", "_public"),
    ("hub_client",),
    ("space",),
    ("spaces", "distribution", "trial"),
    ("costs.table", "costs.structure", "effects"),
    ("result", "journal"),
    ("searchers", "callbacks.base", "evaluators.base", "generation", "checkpoints"),
    ("run_folder", "callbacks"),
    ("search", "scoring", "library", "evaluators.tabular"),
    ("testing", "metrics"),
    ("data",),
    ("models",),
    ("costs",),
    ("training", "generation.measured"),
    ("hub", "visualization"),
    ("networks",),
    ("export", "evaluators", "reports", "testing.supernet"),
    ("workflows",),
    ("cli", "_auto_classes"),
    ("__main__",),
)

# Whatever decides needs no torch: a new module of these folders is held to it without being named.
DECIDING = ("spaces", "searchers", "generation")
NEEDS_TORCH = ("generation.measured",)  # it times networks

TORCH_FREE_BESIDE = (
    "space",
    "distribution",
    "trial",
    "effects",
    "result",
    "search",
    "costs.structure",
    "costs.table",
    "costs.latency_table",
    "costs.phone",
    "hub.publish",
    "evaluators.base",
    "evaluators.tabular",
    "networks.network",
    "reports.html",
    "testing.space",
    "testing.searcher",
    "testing.evaluator",
)

# Who may reach a module without an import that the tests above see, and what for.
BY_NAME = {
    "_auto_classes": "families are found by their folders",
    "data.sources": "a task names its loader",
    "networks.saved_trainer": "a run names the class of its supernet",
    "searchers.named": "`--searcher` names a class",
    "_public": "the door",
    "models.publishing": "`model.push_to_hub` is short for `publish`",
    "result": "`SearchResult`'s methods are short for `generate`, `pareto`, `publish` and `save_result_folder`",
}
FLAT = "searchhub.models.publishing"  # all that the files which travel without searchhub may ask for


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


MODULES = dict(modules())
DECIDES = [name for name in MODULES if folder_of(name) in DECIDING and name not in NEEDS_TORCH]
TORCH_FREE = [f"searchhub.{name}" for name in (*TORCH_FREE_BESIDE, *DECIDES)]


@pytest.mark.parametrize("name", MODULES)
def test_imports_follow_the_line(name):
    for imported in arrows()[name]:
        if folder_of(imported) == folder_of(name):
            assert layer_of(imported) <= layer_of(name), f"searchhub.{name} must not import searchhub.{imported}"
        else:
            assert layer_of(imported) < layer_of(name), (
                f"searchhub.{name} must not import searchhub.{imported}, which comes after it, or beside it"
            )


def test_no_folders_form_a_circle():
    assert circles(between_folders()) == []


def test_a_circle_of_folders_is_found(tmp_path):
    for name, text in {
        "a/x.py": "from searchhub.b.y import Y",
        "b/y.py": "def late():\n    import searchhub.c.z",
        "c/z.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from searchhub.a import x",
        "d.py": "from searchhub.a.x import X",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert circles(between_folders(tmp_path)) == [["a", "b", "c"]]


def test_modules_name_what_they_import_of_the_package():
    """`import searchhub` inside the package would hide which folder is meant; one door leads to public names."""
    assert [name for name, path in MODULES.items() if WHOLE in set(imports(path, name, MODULES))] == ["_public"]


def by_name(nodes):
    """What a module looks up at run time, by `import_module` and the door: the text of each first argument."""
    for node in nodes:
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", None))
            if called in ("import_module", "__import__", "public"):
                yield ast.unparse(node.args[0] if node.args else node)


def test_few_modules_look_others_up_by_name():
    """Such a look-up is an arrow that no test of imports sees, so it is kept to those that must."""
    found = {name: set(by_name(nodes(path))) for name, path in MODULES.items()}
    flat = {name for name in MODULES if name.startswith("models.") and ".modeling_" in name}
    assert {name for name in found if found[name]} - flat == set(BY_NAME), "import it, or say in BY_NAME what it is for"
    assert {name: found[name] for name in flat if not found[name] <= {repr(FLAT)}} == {}
    short_for = {repr(n) for n in ("generate", "pareto", "publish", "save_result_folder")}
    assert found["models.publishing"] | found["result"] == short_for


def test_look_ups_by_name_are_seen():
    source = "import importlib as i\ndef f(x):\n    i.import_module('a.b')\n    import_module(x)\n    public('c')(x)"
    assert list(by_name(ast.walk(ast.parse(source)))) == ["'a.b'", "x", "'c'"]


def test_the_core_is_free_of_torch():
    script = (
        f"import importlib, sys\nfor name in {TORCH_FREE!r}: importlib.import_module(name)\n"
        "print([m for m in ('torch', 'transformers', 'accelerate', 'datasets', 'evaluate') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_exceptions_are_none_for_nothing():
    for name in NEEDS_TORCH:
        assert "import torch" in MODULES[name].read_text(encoding="utf-8"), f"searchhub.{name} needs no torch"


def test_importing_searchhub_is_cheap():
    script = "import searchhub, sys; print([m for m in ('torch', 'datasets', 'scipy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
