"""HTML from values, harmless by construction: whatever is not markup already is redacted and escaped."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from searchhub.formatting import ABSENT, cell, columns_of, is_numeric
from searchhub.redact import redact

VOID = frozenset({"meta", "br"})


class Markup(str):
    """Text that is HTML already. Only this module and `inline_svg` make it."""

    __slots__ = ()


Child: TypeAlias = "str | Markup"


def text(value: str) -> Markup:
    """Plain text as markup: tokens and absolute paths redacted, then escaped.

    >>> text("<script> of /home/ann/secret")
    '&lt;script&gt; of secret'
    """
    return value if isinstance(value, Markup) else Markup(html.escape(redact(value)))


def tag(name: str, /, *children: Child, **attributes: str) -> Markup:
    """An element. Attributes are named as in HTML, with a trailing underscore where Python needs one.

    >>> tag("p", "1 < 2", class_="note", data_label="a")
    '<p class="note" data-label="a">1 &lt; 2</p>'
    """
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{joined(children)}</{name}>")


def joined(children: Iterable[Child]) -> Markup:
    """One piece of markup from many."""
    return Markup("".join(map(text, children)))


def table(
    rows: Sequence[Mapping[str, object]], *, columns: Sequence[str] | None = None, class_: str = "", marked: int = -1
) -> Markup:
    """A table that scrolls in its own box; numbers stand at the right. Of the class "cards", a row a card on a phone.

    Args:
        rows: One mapping from column name to value a row; a missing value, None, NaN and infinity show as a dash.
        columns: Which, in which order; None: all, in order of appearance.
        class_: Of the table.
        marked: Index of a row to set off.
    """
    names = list(columns) if columns is not None else columns_of(rows)
    sides = {name: "number" if _is_numeric(rows, name) else "text" for name in names}
    head = tag("tr", *(tag("th", name, scope="col", class_=sides[name]) for name in names))
    body = [
        tag(
            "tr",
            *(tag("td", shown(row.get(name)), class_=sides[name], data_label=name) for name in names),
            **({"class": "marked"} if i == marked else {}),
        )
        for i, row in enumerate(rows)
    ]
    inside = tag("table", tag("thead", head), tag("tbody", *body), class_=class_)
    return tag("div", inside, class_="scroll", tabindex="0")


def facts(rows: Iterable[tuple[str, object]]) -> Markup:
    """Names and what they are, as a list; what is None is left out."""
    return tag("dl", *(joined([tag("dt", k), tag("dd", shown(v))]) for k, v in rows if v is not None))


def details(summary: str, *children: Child) -> Markup:
    """What is folded until it is asked for."""
    return tag("details", tag("summary", summary), *children)


def shown(value: object) -> Child:
    """A value of a table as text; what is no finite number is absent."""
    if isinstance(value, Markup) or (isinstance(value, str) and value):
        return value
    if value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return ABSENT
    return cell(value)


def _is_numeric(rows: Sequence[Mapping[str, object]], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) not in (None, "")]
    written = all(isinstance(v, str) and re.fullmatch(r"[\d.,]+", v) for v in values)
    return is_numeric(rows, name) or (bool(values) and written)
