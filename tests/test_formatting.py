import io

import pytest
from rich.console import Console

from searchhub.formatting import cell, duration, human, markdown_table, rich_table

ROWS = [
    {"limit": "macs ≤ 1.2M", "macs": 1_198_000, "accuracy": 0.97123},
    {"limit": "a|b\nc", "macs": None},
]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.123456, "0.1235"),
        (999, "999"),
        (1_000, "1.00K"),
        (99_990, "99.99K"),
        (99_999, "100.0K"),
        (999_949, "999.9K"),
        (999_950, "1.00M"),
        (2.5e9, "2.50G"),
        (3e12, "3.00T"),
        (-4_510_000, "-4.51M"),
    ],
)
def test_human(value, text):
    assert human(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0:00"), (59.6, "1:00"), (3599.7, "1:00:00"), (90061, "25:01:01")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_cells_of_numpy_size():
    assert [cell(x) for x in (12_345, 0.00001234, False, "x", None)] == ["12,345", "1.234e-05", "no", "x", "–"]


def test_markdown_aligns_numbers_and_escapes():
    assert markdown_table(ROWS).splitlines() == [
        "| limit | macs | accuracy |",
        "| --- | ---: | ---: |",
        "| macs ≤ 1.2M | 1,198,000 | 0.9712 |",
        r"| a\|b c | – | – |",
    ]


def test_markdown_of_some_columns():
    assert markdown_table(ROWS, columns=["macs", "nothing"]).splitlines()[:2] == [
        "| macs | nothing |",
        "| ---: | --- |",
    ]


def test_a_narrow_terminal_cuts_no_number_off():
    row = {
        "a rather long limit": "macs <= 708,985,624 and more words",
        "MACs": "708,985,624",
        "parameters": "4,123,456",
    }
    console = Console(file=io.StringIO(), width=50)
    console.print(rich_table([row]))
    text = console.file.getvalue()
    assert "…" not in text
    assert text.count("708,985,624") == 2
    assert "4,123,456" in text


def test_rich_table_shows_text_as_it_is():
    console = Console(file=io.StringIO(), width=80)
    console.print(rich_table([{"name": "[red]x[/red]", "n": 3}], title="Networks"))
    text = console.file.getvalue()
    assert "[red]x[/red]" in text
    assert "Networks" in text
