"""Makes HTML from values, harmless by construction: whatever is not markup already is redacted and escaped."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from searchhub.formatting import ABSENT, cell, columns_of, is_numeric
from searchhub.redact import redact

VOID = frozenset({"meta", "br", "img"})


class Markup(str):
    """Text that is HTML already. Only this module and `inline_svg` make it."""

    __slots__ = ()


Child: TypeAlias = "str | Markup"


def text(value: str) -> Markup:
    """Returns plain text as markup: tokens and absolute paths are redacted, then the rest is escaped.

    >>> text("<script> of /home/ann/secret")
    '&lt;script&gt; of secret'
    """
    return value if isinstance(value, Markup) else Markup(html.escape(redact(value)))


def tag(name: str, /, *children: Child, **attributes: str) -> Markup:
    """Returns an element. Attributes are named as in HTML, with a trailing underscore where Python needs one.

    >>> tag("p", "1 < 2", class_="note", data_label="a")
    '<p class="note" data-label="a">1 &lt; 2</p>'
    """
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{joined(children)}</{name}>")


def image(file: bytes, kind: str, alt: str, **attributes: str) -> Markup:
    """Returns a picture that the page itself holds.

    Args:
        file: The encoded picture.
        kind: Its format, "png" or "jpeg".
        alt: Words for those who do not see it.
        **attributes: Further attributes, see `tag`.
    """
    source = Markup(f"data:image/{kind};base64,{base64.b64encode(file).decode('ascii')}")  # nothing to redact or escape
    return tag("img", src=source, alt=alt, **attributes)


def joined(children: Iterable[Child]) -> Markup:
    """Joins many pieces of markup into one."""
    return Markup("".join(map(text, children)))


def table(
    rows: Sequence[Mapping[str, object]], *, columns: Sequence[str] | None = None, class_: str = "", marked: int = -1
) -> Markup:
    """Returns a table that scrolls in its own box, numbers at the right. A phone shows class "cards" one card per row.

    Args:
        rows: One mapping from column name to value for each row. A missing value, None, NaN and infinity show as a
            dash.
        columns: Columns to show, in this order. None: all, in order of appearance.
        class_: Class of the table.
        marked: Index of a row to highlight.
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
    """Returns a list of names and their values, without those that are None."""
    return tag("dl", *(joined([tag("dt", k), tag("dd", shown(v))]) for k, v in rows if v is not None))


def details(summary: str, *children: Child) -> Markup:
    """Returns content that is folded until a reader opens it."""
    return tag("details", tag("summary", summary), *children)


def shown(value: object) -> Child:
    """Returns a value of a table as text; a number that is not finite is absent."""
    if isinstance(value, Markup) or (isinstance(value, str) and value):
        return value
    if value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return ABSENT
    return cell(value)


def _is_numeric(rows: Sequence[Mapping[str, object]], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) not in (None, "")]
    written = all(isinstance(v, str) and re.fullmatch(r"[\d.,]+", v) for v in values)
    return is_numeric(rows, name) or (bool(values) and written)
