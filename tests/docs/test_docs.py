"""Pages for users say what is so: links resolve, their Python runs, the options they name exist, and the site has all.

All ```python blocks of a page run in order in one namespace, in a folder where what they speak of lies in small. Not so
a block whose first line is a comment that names a file: it is an excerpt of examples/my_space.py to the letter, or all
of tests/test_my_space.py, whose tests run here in test_my_space.py, or bands.py, which other blocks import.
"""

import dataclasses
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOORS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
CARDS = sorted((ROOT / "model_cards").rglob("*.md"))
PAGES = [*DOORS, *sorted((ROOT / "docs").rglob("*.md")), *CARDS]
NAMES = ("quickstart", "which_command", "my_data", "my_bert", "smaller", "my_device", "my_space", "reproducing")
GUIDES = [ROOT / "docs" / f"{name}.md" for name in NAMES]
EXAMPLE = ROOT / "examples" / "my_space.py"


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def named_file(block):
    found = re.match(r"# (\S+\.py)\n", block)
    return found[1] if found else None


# -- links ------------------------------------------------------------------------------------------------------------


def anchors(file):
    """The anchors that GitHub and the site both give the headings of a page."""
    text = without_code(file.read_text(encoding="utf-8"))
    return [re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def broken_links(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    assert not broken_links(page)


def test_links_that_lead_nowhere_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n[1](page.md#a-page) [2](#a-page) [3](no.md) [4](#no)\n```\n[5](no.md)\n# no\n```\n")
    assert broken_links(page) == ["no.md", "#no"]


def test_every_guide_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"](docs/{page.name})" in readme for page in GUIDES)


# -- Python -----------------------------------------------------------------------------------------------------------

SMALL = {
    "my_data.md": [
        ('"google-bert/bert-base-uncased"', '"tokenizer"'),
        ("    epochs=3,\n", "    epochs=3,\n    scored=4,\n"),
    ],
    "my_device.md": [("Limit(board, max=4.5)", "Limit(board, max=2.5)")],
    "my_space.md": [
        ('load_image_task("digits")', 'load_image_task("digits", max_train_samples=64, max_eval_samples=32)'),
        ("epochs=10", "epochs=1"),
    ],
}
"""What is shortened or local when a page runs."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The run that pages call runs/quickstart, in small, with one network in it."""
    from searchhub import Limit, generate, save_trainer
    from searchhub.networks.network import Network

    from ..networks.tiny_run import tiny_trainer

    trainer = tiny_trainer(tmp_path_factory.mktemp("runs") / "quickstart")
    save_trainer(trainer)
    limit = Limit("macs", max=430_000)
    trainer.train(Network("macs-430K", generate(trainer.result, limit), (limit,)))
    return trainer.folder


@pytest.fixture
def cli():
    """Runs a command in this process."""
    from typer.testing import CliRunner

    from searchhub.cli.main import app

    return lambda *words: CliRunner().invoke(app, words, prog_name="searchhub")


def run(page):
    code = [block for block in blocks(page, "python") if named_file(block) is None]
    assert code
    namespace = {"__name__": "__page__"}
    for block in code:
        for long, short in SMALL.get(page.name, ()):
            block = block.replace(long, short)
        exec(compile(block, page.name, "exec"), namespace)
    return namespace


def page_of(name):
    return ROOT / "docs" / f"{name}.md"


def test_quickstart(folder, finished_run, capsys):
    (folder / "runs").mkdir()
    (folder / "runs" / "quickstart").symlink_to(finished_run)
    namespace = run(page_of("quickstart"))
    assert namespace["logits"].shape == (1, 10)
    tree = next(block for block in blocks(page_of("quickstart"), "") if block.startswith("runs/"))
    # baselines/ and report/ are the recipe's; the rest a search and `searchhub train` leave.
    for name in re.findall(r"^  (\w[\w./-]*)", tree, re.MULTILINE):
        assert (finished_run / name).exists() or name in ("baselines/", "report/"), name
    for name in re.findall(
        r"[\w.]+\.(?:json|safetensors|py|md|png)", tree.partition("macs-430K/")[2].partition("base")[0]
    ):
        assert (finished_run / "models" / "macs-430K" / name).exists(), name


def test_my_data(folder, cli, capsys, monkeypatch):
    from PIL import Image

    from ..data.tiny_text import tiny_tokenizer

    for name in ("cat", "dog"):
        (folder / "pictures" / "train" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (12, 8), (20 * i, 50, 90)).save(folder / "pictures" / "train" / name / f"{i}.png")
    rows = [f'"w{i} good, w{i}",{i % 5 + 1}' for i in range(100)]
    (folder / "reviews.csv").write_text("\n".join(["review,stars", *rows]) + "\n")
    tiny_tokenizer(folder / "tokenizer")
    [module] = [block for block in blocks(page_of("my_data"), "python") if named_file(block) == "bands.py"]
    (folder / "bands.py").write_text(module)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "bands", raising=False)
    namespace = run(page_of("my_data"))
    assert "('1', '2', '3', '4', '5') " in capsys.readouterr().out
    history = namespace["sh"].SearchResult.load("runs/bands").history
    assert [r.trial.number for r in history] == list(range(len(history)))
    searcher = namespace["sh"].DDPSearcher(namespace["supernet"].search_space, estimation_epochs=1)
    assert len(history) == searcher.num_trials + 4
    splits = {split: tuple(t.clone() for t in part) for split, part in namespace["task"].splits.items()}
    splits["test"][1][0] = 1 - splits["test"][1][0]
    changed = type(namespace["task"])("bands", ["upper", "lower"], splits)
    assert changed.fingerprint() != namespace["task"].fingerprint()
    # The page's commands, first in processes of their own, as a user starts them.
    train, check, again, elsewhere = (
        words[1:] for words in commands(page_of("my_data")) if words[0].startswith("PYTHONPATH")
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", str(ROOT / "src")])}
    for words in (train, check):
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    shutil.copytree("runs/bands/models/macs-250K", "path/to/model")
    for words in (again, elsewhere):
        assert "bands, test, 32" in cli(*words[1:]).stdout
    assert f"`{' '.join(elsewhere[-2:])}`" in cli("evaluate", "path/to/model").stderr


def test_my_device(folder, finished_run, monkeypatch):
    import numpy as np

    from searchhub import MobileSupernetConfig, read_proxyless_table
    from searchhub.costs.timing import Stopwatch

    def by_weights(self, block, reference):
        """A machine on which a call takes a microsecond a weight, with no noise that could fail a test."""
        return np.tile(
            [sum(p.numel() for p in module.parameters()) / 1000 for module, *_ in (block, reference)], (3, 1)
        )

    monkeypatch.setattr(Stopwatch, "in_turn", by_weights)
    (folder / "runs").mkdir()
    (folder / "runs" / "quickstart").symlink_to(finished_run)
    # A phone's table with every key that the full-size space asks for.
    Path("mobile_trim.yaml").write_text("any: {mean: 1.0}")
    keys = read_proxyless_table("mobile_trim.yaml", MobileSupernetConfig(num_labels=1000), missing=1.0).assumed
    Path("mobile_trim.yaml").write_text(yaml.safe_dump({key: {"mean": 2.0} for key in keys}))
    namespace = run(page_of("my_device"))
    assert namespace["table"].accuracy.mape < 5
    assert namespace["found"].measured.ms <= namespace["limit"]
    assert namespace["pixel"].bounds()[0] > 0
    assert "energy_mj" in {yaml.safe_load(block)["name"] for block in blocks(page_of("my_device"), "yaml")}


def test_reproducing(folder, finished_run):
    (folder / "runs").mkdir()
    (folder / "runs" / "quickstart").symlink_to(finished_run)
    config = run(page_of("reproducing"))["config"]
    assert {"processes", "threads", "device"} <= set(config["environment"])
    assert "python" in config["versions"]


def test_my_space_shows_the_file():
    text = EXAMPLE.read_text(encoding="utf-8")
    shown = [block for block in blocks(page_of("my_space"), "python") if named_file(block) == "examples/my_space.py"]
    assert len(shown) >= 4
    for block in shown:
        assert block.partition("\n")[2] in text


# -- the command line -------------------------------------------------------------------------------------------------


def commands(page):
    """Each command in a page's bash blocks, as words; backslashes and open quotation marks join lines."""
    for block in blocks(page, "bash"):
        pending = ""
        for line in block.replace("\\\n", " ").splitlines():
            pending += line + "\n"
            try:
                words = shlex.split(pending, comments=True)
            except ValueError:  # a quotation mark is open
                continue
            pending = ""
            if words:
                yield words
        assert not pending, f"{page.name}: {pending}"


def module_of(script):
    name = f"docs_{script.stem}"
    spec = importlib.util.spec_from_file_location(name, script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def recipe_options(script):
    """The options of a recipe: the fields of what its `main` parses, or what its own parser names."""
    text = script.read_text(encoding="utf-8")
    if "from searchhub.workflows.arguments import" not in text:
        return set(re.findall(r'"--([a-z_]+)"', text))
    module = module_of(script)
    found = []

    def parse(kinds, *_):
        found.extend(kinds)
        raise KeyboardInterrupt

    module.parse = parse
    with pytest.raises(KeyboardInterrupt):
        module.main([])
    return {field.name for kind in found for field in dataclasses.fields(kind)}


def searchhub_options():
    import typer

    from searchhub.cli.main import app

    group = typer.main.get_command(app)
    return {
        name: {word for parameter in command.params for word in [*parameter.opts, *parameter.secondary_opts]}
        | {"--help"}
        for name, command in group.commands.items()
    }


def test_options_exist(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # some of them have parts in files of their own
    known, scripts, seen = searchhub_options(), {}, 0
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for page in PAGES:
        for words in commands(page):
            given = [word.partition("=")[0] for word in words if word.startswith("--")]
            program = next((Path(w).name for w in words if "=" not in w), "")
            if program == "searchhub":
                command = words[1 + [Path(w).name for w in words].index("searchhub")]
                options = {"--help", "--version"} if command.startswith("--") else known.get(command)
                assert options is not None, f"{page.name}: searchhub {command}"
            elif program == "make":
                assert next(w for w in words[1:] if "=" not in w) in targets, words
                continue
            elif script := next((w for w in words if re.match(r"(recipes|benchmarks|examples)/\w+\.py$", w)), None):
                assert (ROOT / script).is_file(), f"{page.name}: {script}"
                # Those before the script are the launcher's.
                given = [w.partition("=")[0] for w in words[words.index(script) :] if w.startswith("--")]
                if given and script not in scripts:
                    scripts[script] = {f"--{name}" for name in recipe_options(ROOT / script)}
                options = scripts.get(script, set())
                for file in re.findall(r"recipes/\w+\.yaml", " ".join(words)):
                    assert (ROOT / file).is_file(), f"{page.name}: {file}"
            else:
                continue
            assert set(given) <= options, f"{page.name}: {' '.join(words)}: {sorted(set(given) - options)}"
            seen += 1
    assert seen > 30


def test_no_guide_names_a_path_of_a_machine():
    for page in [*GUIDES, EXAMPLE]:
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|usr|mnt)/", page.read_text(encoding="utf-8")), page.name


# -- the site ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def make_pages():
    return module_of(ROOT / "docs" / "make_pages.py")


@pytest.fixture(scope="module")
def site_pages(make_pages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "pages"
    make_pages.write_pages(folder)
    return {file.relative_to(folder).as_posix(): file for file in folder.rglob("*.md")}


def test_the_site_documents_every_public_name(site_pages):
    import searchhub

    reference = "".join(file.read_text(encoding="utf-8") for page, file in site_pages.items() if page[:4] == "api/")
    documented = re.findall(r"^::: (\S+)$", reference, re.MULTILINE)
    assert sorted(name.rpartition(".")[2] for name in documented) == sorted(searchhub.__all__)


def test_a_public_name_of_a_part_without_a_page_stops_the_site(make_pages, monkeypatch):
    stages = {stage: facts for stage, facts in make_pages.STAGES.items() if stage != "costs"}
    monkeypatch.setattr(make_pages, "STAGES", stages)
    with pytest.raises(ValueError, match=r"`searchhub\.costs`, which no page covers"):
        make_pages.reference()


def test_the_navigation_of_the_site_lists_every_page(site_pages):
    def files(entry):
        if isinstance(entry, str):
            return [entry]
        return [file for part in (entry.values() if isinstance(entry, dict) else entry) for file in files(part)]

    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(files(config["nav"])) == sorted(site_pages)


def test_links_of_the_site_stay_on_it_or_lead_to_the_repository(make_pages, site_pages):
    assert not {page: found for page, file in site_pages.items() if (found := broken_site_links(file))}
    assert f"({make_pages.REPOSITORY}/blob/main/examples/my_space.py)" in site_pages["my_space.md"].read_text("utf-8")


def broken_site_links(file):
    """What `broken_links` finds but for anchors of the API reference, which the site's generator makes and checks."""
    return [target for target in broken_links(file) if "#searchhub." not in target]
