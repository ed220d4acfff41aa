"""Makes tables from rows, for a terminal and for Markdown, and formats numbers as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from rich.table import Table

ABSENT = "–"
"""What a cell shows if it has no value."""

_LONGEST_NUMBER = 20
"""Most characters of a word that is kept on one line."""

_AMOUNT = re.compile(r"([-+]?)((?:\d{1,3}(?:,\d{3})+|\d[\d_]*)?(?:\.\d+)?(?:e[-+]?\d+)?)([kmgbt]?)", re.IGNORECASE)
_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}


def human(value: float) -> str:
    """Formats a count with three or four significant digits and its magnitude.

    >>> human(414_204_032), human(812_004), human(950), human(0.25)
    ('414.2M', '812.0K', '950', '0.25')
    """
    letter, factor = magnitude(value)
    if not letter:
        return f"{value:.4g}"
    return f"{value / factor:.1f}{letter}" if abs(value) >= 99.995 * factor else f"{value / factor:.2f}{letter}"


def magnitude(value: float) -> tuple[str, float]:
    """Returns the letter for a number's magnitude and its factor; ("", 1.0) below a thousand.

    >>> magnitude(414_204_032)
    ('M', 1000000.0)
    """
    for letter, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("K", 1e3)):
        # 999,950 and more would be rounded to 1000.0K.
        if abs(value) >= factor * 0.99995:
            return letter, factor
    return "", 1.0


def duration(seconds: float) -> str:
    """Formats wall time as m:ss or h:mm:ss.

    >>> duration(7.4), duration(3725)
    ('0:07', '1:02:05')
    """
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def cell(value: object) -> str:
    """Formats a value: integers with thousands separators, floats with four significant digits, None as a dash.

    >>> cell(1234567), cell(0.98765), cell(None), cell(True)
    ('1,234,567', '0.9877', '–', 'yes')
    """
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def columns_of(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Returns the names that appear in any row, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def markdown_table(rows: Sequence[Mapping[str, object]], *, columns: Sequence[str] | None = None) -> str:
    """Returns a Markdown table whose columns of numbers are aligned to the right.

    Args:
        rows: One mapping from column name to value for each row; a value that is missing or None shows as a dash.
        columns: Columns to show, in this order. None: all, in order of appearance.

    >>> print(markdown_table([{"limit": "macs ≤ 1M", "accuracy": 0.97}]))
    | limit | accuracy |
    | --- | ---: |
    | macs ≤ 1M | 0.97 |
    """
    names = list(columns) if columns is not None else columns_of(rows)
    lines = [
        _markdown_row(names),
        _markdown_row(["---:" if is_numeric(rows, name) else "---" for name in names]),
        *(_markdown_row([_escape(cell(row.get(name))) for name in names]) for row in rows),
    ]
    return "\n".join(lines)


def rich_table(
    rows: Sequence[Mapping[str, object]], *, columns: Sequence[str] | None = None, title: str | None = None
) -> Table:
    """Returns the same table for a terminal, for a `rich.console.Console` to print. No number is cut off."""
    names = list(columns) if columns is not None else columns_of(rows)
    table = Table(title=title, title_justify="left")
    for name in names:
        words = [word for row in rows for word in cell(row.get(name)).split() if any(c.isdigit() for c in word)]
        table.add_column(
            name,
            justify="right" if is_numeric(rows, name) else "left",
            overflow="fold",
            min_width=max((len(word) for word in words if len(word) <= _LONGEST_NUMBER), default=None),
        )
    for row in rows:
        table.add_row(*(cell(row.get(name)).replace("[", r"\[") for name in names))
    return table


def is_numeric(rows: Sequence[Mapping[str, object]], name: str) -> bool:
    """Whether a column holds numbers and nothing else."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def read_amount(text: str) -> float | None:
    """Reads a number with a magnitude, exactly: 0.3M is 300,000. Returns None if the text is no such number.

    >>> read_amount("300M"), read_amount("1.5g"), read_amount("812,004"), read_amount("30"), read_amount("30ms")
    (300000000, 1500000000, 812004, 30, None)
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or not any(c.isdigit() for c in found[2].partition("e")[0]):
        return None
    value = Decimal(found[1] + found[2].replace(",", "").replace("_", "")) * _FACTORS[found[3].upper()]
    return int(value) if value == value.to_integral_value() else float(value)
