"""Prints pip's constraints of one end of what pyproject.toml allows: python tests/releases.py newest|oldest.

Both take torch from constraints.txt. "oldest" pins each other dependency to its lower bound.
"""

import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
BOUND = re.compile(r"([\w-]+)>=([\d.]+)$")


def pins(which, project, constraints):
    r"""Returns the lines of a file of constraints.

    >>> pins("oldest", ["numpy>=2.0", "torch>=2.6", "filelock"], "torch==2.13.0\nnumpy==2.4.6\n")
    ['torch==2.13.0', 'numpy==2.0']
    >>> pins("newest", ["numpy>=2.0", "torch>=2.6", "filelock"], "torch==2.13.0\nnumpy==2.4.6\n")
    ['torch==2.13.0']
    """
    torch = [line for line in constraints.splitlines() if line.startswith("torch==")]
    bounds = [found for found in map(BOUND.match, project) if found and found[1] != "torch"]
    return torch + [f"{found[1]}=={found[2]}" for found in bounds if which == "oldest"]


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    print("\n".join(pins(sys.argv[1], project, (ROOT / "constraints.txt").read_text(encoding="utf-8"))))
