"""Writes the pages of the documentation site: `python docs/make_pages.py FOLDER`; `make docs` then builds the site.

The guides are written for GitHub and stay as they are. The script copies them and turns each link to a file that is no
page of the site into a link to the repository. It writes the API reference from `searchhub.__all__`, so a new public
name appears by itself, on the page of the stage that its module belongs to.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

import searchhub

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["repo_url"]

STAGES = {
    "search": (
        "Search",
        "One search, what it leaves, and what watches it.",
        ("search", "result", "trial", "workflows", "callbacks", "errors"),
    ),
    "spaces": (
        "Search spaces",
        "What is chosen, how probable each choice is, and what it is worth.",
        ("space", "spaces", "distribution", "effects"),
    ),
    "searchers": ("Searchers", "Which architecture is tried next.", ("searchers",)),
    "evaluators": ("Evaluators", "How good an architecture is.", ("evaluators",)),
    "costs": ("Costs", "What an architecture costs: counted, or measured on a device.", ("costs",)),
    "generation": ("Generation", "The best architectures within limits, exactly.", ("generation",)),
    "data": ("Tasks and data", "What networks are trained on, and by what they are judged.", ("data", "metrics")),
    "training": ("Training", "How one network, or the shared weights, are trained.", ("training",)),
    "models": ("Models and supernets", "The families of networks that are searched.", ("models",)),
    "networks": ("Networks", "The final networks of a run.", ("networks",)),
    "export": ("Export", "A network as a file for another runtime.", ("export",)),
    "reports": ("Reports and pictures", "A run, drawn and told.", ("reports", "visualization")),
    "hub": ("Hub", "Folders that load with `from_pretrained`, and how they are published.", ("hub",)),
}
"""Maps each page of the API reference to its title, its first sentence, and the parts of `searchhub` it covers."""

LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        raise SystemExit("One folder must be named: python docs/make_pages.py FOLDER")
    write_pages(Path(given[0]))


def write_pages(folder: Path) -> None:
    """Writes all pages and pictures into `folder`, after deleting what the folder held."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = {source: page_of(source) for source in sources()}
    for source, page in pages.items():
        target = folder / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(with_links(source, pages), encoding="utf-8")
    for picture in pictures(pages):
        target = folder / picture_of(picture)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / picture, target)
    for name, text in reference().items():
        target = folder / "api" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


# -- guides -----------------------------------------------------------------------------------------------------------


def sources() -> list[str]:
    """Lists the Markdown files of the repository that are pages of the site."""
    files = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    files += [*sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "model_cards").rglob("*.md"))]
    return [file.relative_to(ROOT).as_posix() for file in files]


def page_of(source: str) -> str:
    """Returns the page of a Markdown file: a README becomes the index of its folder, and `docs/` is the root."""
    path = source.removeprefix("docs/")
    return re.sub(r"README\.md$", "index.md", path) if path.endswith("README.md") else path.lower()


def picture_of(source: str) -> str:
    return source.removeprefix("docs/")


def pictures(pages: dict[str, str]) -> Iterator[str]:
    for source in pages:
        for target in LINK.findall((ROOT / source).read_text(encoding="utf-8")):
            if target.endswith((".png", ".svg")) and ":" not in target:
                yield posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def with_links(source: str, pages: dict[str, str]) -> str:
    """Returns the text of a Markdown file, with links that hold on the site."""

    def rewritten(match: re.Match[str]) -> str:
        path, hash_, anchor = match[0].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / target).exists():
            raise ValueError(
                f"Each link must lead to a file, but {source} links to `{path}`. Mend or remove that link."
            )
        here = posixpath.dirname(pages[source])
        if target in pages:
            return posixpath.relpath(pages[target], here or ".") + hash_ + anchor
        if target.endswith((".png", ".svg")):
            return posixpath.relpath(picture_of(target), here or ".")
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{REPOSITORY}/{kind}/main/{target}{hash_}{anchor}"

    parts = FENCED.split((ROOT / source).read_text(encoding="utf-8"))
    return "".join(part if part.startswith("```") else LINK.sub(rewritten, part) for part in parts)


# -- the API reference ------------------------------------------------------------------------------------------------


def reference() -> dict[str, str]:
    """Returns the pages of the API reference by their file names."""
    by_stage: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for name in searchhub.__all__:
        by_stage[stage_of(name)].append(name)
    overview = ["# API reference", "", "All of these are names of `searchhub` itself: `from searchhub import search`."]
    pages = {}
    for stage, names in by_stage.items():
        title, sentence, parts = STAGES[stage]
        if not names:
            continue
        names.sort(key=lambda name: (parts.index(home(name).split(".")[1]), home(name), name))
        body = [f"# {title}", "", sentence, ""]
        body += [f"::: {home(name)}.{name}\n" for name in names]
        pages[f"{stage}.md"] = "\n".join(body)
        links = [f"[`{name}`]({stage}.md#{home(name)}.{name})" for name in names]
        overview += ["", f"## [{title}]({stage}.md)", "", sentence, "", ",\n".join(links)]
    return {"index.md": "\n".join(overview) + "\n", **pages}


def home(name: str) -> str:
    """Returns the module that defines a public name."""
    return str(getattr(searchhub, name).__module__)


def stage_of(name: str) -> str:
    part = home(name).split(".")[1]
    for stage, (_, _, parts) in STAGES.items():
        if part in parts:
            return stage
    raise ValueError(
        f"Each public name must belong to a page of the API reference, but `{name}` is defined in `searchhub.{part}`, "
        "which no page covers. Add that part to `STAGES` in docs/make_pages.py."
    )


if __name__ == "__main__":
    main()
