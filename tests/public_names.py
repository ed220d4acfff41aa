"""What type checkers and editors see of `searchhub`: `python tests/public_names.py` writes it.

At run time public names are found when they are used (`src/searchhub/__init__.py`), which no type checker follows. The
stub names them one by one; tests/test_auto_classes.py holds it up to date.
"""

from pathlib import Path

import searchhub

STUB = Path(searchhub.__file__).with_suffix(".pyi")


def stub():
    """The text of the stub of the package as it stands."""
    homes = {"__version__": "searchhub._version", **searchhub._all_homes()}
    lines = sorted(f"from {home} import {name} as {name}" for name, home in homes.items())
    return "\n".join(["# Written by `python tests/public_names.py`; do not edit.", "", *lines]) + "\n"


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
    print(f"{STUB}: {len(searchhub.__all__)} names")
