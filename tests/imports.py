"""Which parts of searchhub import which: `python tests/imports.py [SOURCE]` prints the folders that form a circle.

A folder is a package or a module directly under `src/searchhub`. Late imports and those for types count.
"""

import ast
import functools
import sys
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "searchhub"
WHOLE = "searchhub"


def modules(source=SOURCE):
    """Every module under its name within the package, with its file; the package's own __init__ is above all."""
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            yield name, path


@functools.cache
def nodes(path):
    """What a file consists of; it is read once."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path, name, known):
    """Modules that a file of the package imports anywhere; "searchhub" where it imports the package itself."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                outer = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([WHOLE, *outer, *([base] if base else [])])
            # `from searchhub.costs import table` names a module; `from searchhub.space import Choice` a value.
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names = [n if n.removeprefix(WHOLE + ".") in known else base for n in inner]
        else:
            continue
        for imported in names:
            if imported.split(".")[0] == WHOLE:
                yield imported.removeprefix(WHOLE + ".")


@functools.cache
def arrows(source=SOURCE):
    """Of each module, the modules that it imports."""
    known = dict(modules(source))
    return {name: set(imports(path, name, known)) - {WHOLE} for name, path in known.items()}


def folder_of(module):
    """The folder, or the file beside the folders, that a module is in."""
    return module.split(".")[0]


def between_folders(source=SOURCE):
    """Of each folder the others that it imports, each with the modules that do so."""
    found = defaultdict(lambda: defaultdict(set))
    for module, imported in arrows(source).items():
        for other in imported:
            if folder_of(other) != folder_of(module):
                found[folder_of(module)][folder_of(other)].add(module)
    return found


def circles(graph):
    """The sets of two and more nodes each of which reaches all others: what has no order."""
    reached = {node: _reach(graph, node) for node in graph}
    found = {frozenset({node, *(o for o in reached[node] if node in reached.get(o, ()))}) for node in graph}
    return sorted((sorted(circle) for circle in found if len(circle) > 1), key=len)


def _reach(graph, start):
    seen, waiting = set(), list(graph.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += graph.get(node, ())
    return seen


def running_back(source=SOURCE):
    """Pairs (module, imported) of folders that import each other, from the folder that does so from fewer modules."""
    graph = between_folders(source)
    for here, others in graph.items():
        for there, importing in others.items():
            back = graph.get(there, {}).get(here)
            if back and (len(importing), here) < (len(back), there):
                yield from ((module, there) for module in sorted(importing))


if __name__ == "__main__":
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE
    found = circles(between_folders(source))
    print(f"circles of folders: {len(found)}", *(f"  {len(c)}: {', '.join(c)}" for c in found), sep="\n")
    back = list(running_back(source))
    print(f"imports that run back: {len(back)}", *(f"  {module} imports {there}" for module, there in back), sep="\n")
    whole = [n for n, p in modules(source) if WHOLE in set(imports(p, n, dict(modules(source))))]
    print(f"modules that import the package itself: {len(whole)} {whole}")
