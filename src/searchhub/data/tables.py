"""Reads tables from csv, tsv, JSON and parquet files: values as they are written, and types decided over all files."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import logging
import lzma
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Value, concatenate_datasets
from datasets.packaged_modules.parquet.parquet import Parquet

from searchhub.data.files_of import as_data_files
from searchhub.errors import InvalidInputError

logger = logging.getLogger(__name__)

FORMATS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}
"""For each ending of a file's name, in any case, what the file is read as."""

COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""For each ending that may stand behind those of `FORMATS`, but parquet's, what opens the file."""

_CSV: dict[str, dict[str, Any]] = {
    "csv": {"sep": ",", "quoting": csv.QUOTE_MINIMAL},
    "tsv": {"sep": "\t", "quoting": csv.QUOTE_NONE},  # A quotation mark is a character, as in GLUE.
}

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""First bytes of files that say their encoding; of marks that begin alike, the longer first."""

_WHOLE = r"^-?(0|[1-9][0-9]{0,17})(\.0*)?$"
"""Whole numbers as programs write them. "007", "+1" and "1E5" are names of classes."""

_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"

_NO_TEXT = rf"{_NUMBER}|^(?i:true|false|nan|inf)$|^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ][0-9:.,+Z-]*)?$"
"""Numbers, booleans, and dates."""


_HALF = re.compile("[\ud800-\udfff]")


def format_of(file: Path) -> str | None:
    """Returns "csv", "tsv", "json" or "parquet", as the end of a file's name says; None for any other end."""
    endings = [ending.lower() for ending in file.suffixes]
    compressed = bool(endings) and endings[-1] in COMPRESSED
    kind = FORMATS.get(endings[-1 - compressed]) if len(endings) > compressed else None
    return None if compressed and kind == "parquet" else kind


def read_tables(files: Mapping[str, Sequence[Path]], texts: Collection[str | None] = ()) -> DatasetDict:
    """Reads the tables of a data set. The splits may have different columns.

    1. Values of csv and tsv files are read as text. Then the type of each column is decided over the files of all
       splits together, so that "01" of one file is "01" in every file. A column is of numbers if programs write each
       of its values so; of booleans, different spellings ("true" and "True") become one; else values stay text.
    2. Strings of JSON stay text, even where they look like dates. Booleans are "true" and "false".
    3. Files of one split may be of different formats. A column that has different types in them becomes text.

    Args:
        files: Maps each split to its files, whose formats `format_of` knows.
        texts: Names of columns that are texts in csv, tsv and JSON, even if all of them look like numbers.

    Raises:
        InvalidInputError: A file cannot be read. The message says where: file, line and column.
    """
    read = {split: [(file, _read(file, texts)) for file in paths] for split, paths in files.items()}
    written = [table for tables in read.values() for _, table in tables if isinstance(table, pa.Table)]
    types = {
        name: pa.string() if name in texts else _decided([t[name] for t in written if name in t.column_names])
        for name in _names(written)
    }
    typed = {
        split: [(file, Dataset(_typed(t, types)) if isinstance(t, pa.Table) else t) for file, t in tables]
        for split, tables in read.items()
    }
    return DatasetDict({split: _joined(parts) for split, parts in typed.items()})


def read_parquet(files: Mapping[str, Sequence[Path]]) -> DatasetDict:
    """Reads the parquet files of each split through the cache of `datasets`, whatever letters their paths have."""
    builder = Parquet(data_files=as_data_files(files))
    builder.download_and_prepare()
    return DatasetDict(builder.as_dataset())


def holds_texts(column: pa.ChunkedArray) -> bool:
    """Whether a column of strings holds anything else than numbers, booleans and dates."""
    return any(not pc.all(pc.match_substring_regex(chunk, _NO_TEXT)).as_py() for chunk in column.chunks if len(chunk))


def place(files: Sequence[Path], row: int) -> str:
    """Returns where a row of a split stands, for errors, from the files of the split and the row's number from 0."""
    for file in files:
        if format_of(file) == "parquet":
            rows = pq.read_metadata(file).num_rows
            if row < rows:
                return f"row {row} of `{file}`"
        else:
            lines = list(_lines(file))
            if row < len(lines):
                return f"line {lines[row]} of `{file}`"
            rows = len(lines)
        row -= rows
    raise AssertionError("there is no such row")


def _lines(file: Path) -> Iterator[int]:
    """Yields the line in which each row begins."""
    kind = format_of(file)
    if kind == "json":
        yield from (line for line, _ in _json_rows(file, read_text(file)))
        return
    assert kind is not None
    rows = _csv_rows(read_text(file), **_CSV[kind])
    next(rows)  # the names of the columns
    yield from (line for line, row in rows if any(map(str.strip, row)) or len(row) > 1)


# -- types ------------------------------------------------------------------------------------------------------------


def _names(tables: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table.column_names))


def _decided(columns: Sequence[pa.ChunkedArray]) -> pa.DataType | Mapping[str, str]:
    """Returns the type of a column, of all files, that was read as text; or how its booleans are spelled."""
    chunks = [pc.utf8_trim_whitespace(chunk) for column in columns for chunk in column.drop_null().chunks]
    values = pa.chunked_array(chunks, pa.string())
    if not len(values):
        return pa.string()
    if _all(values, _WHOLE):
        return pa.int64()
    if _all(values, _NUMBER):
        amounts = pa.array(map(float, values.to_pylist()), pa.float64())
        whole = pc.all(pc.equal(amounts, pc.floor(amounts))).as_py()
        return pa.string() if whole else pa.float64()
    if _all(values, "^(?i:true|false)$"):
        spellings = pc.unique(values).to_pylist()
        if len({word.lower() for word in spellings}) < len(spellings):
            return {word: word.capitalize() for word in spellings}
    return pa.string()


def _all(values: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(values, pattern)).as_py())


def _typed(table: pa.Table, types: Mapping[str, pa.DataType | Mapping[str, str]]) -> pa.Table:
    for i, name in enumerate(table.column_names):
        kind = types[name]
        if kind == pa.string():
            continue
        column = pc.utf8_trim_whitespace(table[name])
        if kind == pa.int64():
            column = pc.replace_substring_regex(column, r"\.0*$", "").cast(kind)
        else:
            read: Callable[[str], Any] = float if kind == pa.float64() else kind.__getitem__
            values = [None if value is None else read(value) for value in column.to_pylist()]
            column = pa.array(values, pa.float64() if kind == pa.float64() else pa.string())
        table = table.set_column(i, name, column)
    return table


def _joined(parts: Sequence[tuple[Path, Dataset]]) -> Dataset:
    """Returns the rows of the files of one split. A column of which files say different types becomes text."""
    tables = [table for _, table in parts]
    for name in _names(tables):
        kinds = [table.features[name] for table in tables if name in table.column_names]
        kinds = [kind for kind in kinds if kind != Value("null")]
        if all(kind == kinds[0] for kind in kinds):
            continue
        if all(isinstance(kind, (Value, ClassLabel)) for kind in kinds):
            tables = [as_text(table, name) if name in table.column_names else table for table in tables]
        else:
            logger.warning(
                "Left out the column `%s`, whose type differs between %s.", name, ", ".join(str(f) for f, _ in parts)
            )
            tables = [table.remove_columns([n for n in table.column_names if n == name]) for table in tables]
    return concatenate_datasets(tables) if len(tables) > 1 else tables[0]


def as_text(table: Dataset, name: str) -> Dataset:
    """Returns a table in which a column is text: class names, and numbers that are whole without their point."""
    kind = table.features[name]

    def text(value: Any) -> str | None:
        if value is None or (value == -1 and isinstance(kind, ClassLabel)):
            return None
        if isinstance(kind, ClassLabel):
            return str(kind.int2str(value))
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    values = [text(value) for value in table[name][:]]
    order = table.column_names
    return table.remove_columns(name).add_column(name, values, feature=Value("string")).select_columns(order)


# -- files ------------------------------------------------------------------------------------------------------------


def _read(file: Path, texts: Collection[str | None]) -> pa.Table | Dataset:
    """Returns the table of a csv or tsv file, whose values are texts, or the data set of another file."""
    kind = format_of(file)
    assert kind is not None, f"{file} is of no format that is known"
    if kind == "parquet":
        return read_parquet({"train": [file]})["train"]
    if kind == "json":
        return _read_json(file, texts)
    return _read_csv(file, **_CSV[kind])


def read_text(file: Path, sep: str | None = None) -> str:
    """Returns the text of a file in UTF-8, or in UTF-16 or UTF-32 if its first bytes say so; it may be compressed.

    Args:
        file: The file.
        sep: What separates its columns, to name one in an error. None: it has no columns.

    Raises:
        InvalidInputError: The file cannot be opened, or its text is in another encoding.
    """
    try:
        with COMPRESSED.get(file.suffix.lower(), open)(file, "rb") as stream:
            data: bytes = stream.read()
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InvalidInputError(f"`{file}` must be a file that can be read, but: {error}.") from error
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data[:2]:  # no text begins with it
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidInputError(_not_decoded(file, data, error, sep)) from error


def _not_decoded(file: Path, data: bytes, error: UnicodeDecodeError, sep: str | None) -> str:
    before = data[: error.start].decode(error.encoding, "ignore")
    line, start = before.count("\n") + 1, before.rfind("\n") + 1
    where = f"line {line}, character {len(before) - start + 1}"
    header = before.partition("\n")[0]
    if sep is not None and line > 1:
        names, fields = (next(csv.reader([text], delimiter=sep), [""]) for text in (header, before[start:]))
        where += f", column `{names[min(len(fields), len(names)) - 1]}`"
    if error.encoding != "utf-8":
        return (
            f"`{file}` must be {error.encoding.upper()}, as its first bytes say, but {where}, is not: {error.reason}."
        )
    return (
        f"`{file}` must be text in UTF-8, but {where}, is the byte 0x{data[error.start]:02x}. Save it as UTF-8; if it "
        f"comes from Windows, e.g. by `iconv -f cp1252 -t utf-8 {file.name} > utf8_{file.name}`."
    )


def _read_csv(file: Path, sep: str, quoting: int) -> pa.Table:
    text = read_text(file, sep)
    options: dict[str, Any] = {"sep": sep, "quoting": quoting, "dtype": str}
    options |= {"keep_default_na": False, "na_values": [""]}  # "NA" and "None" are words.
    try:
        frame = pd.read_csv(io.StringIO(text), **options)
        if not isinstance(frame.index, pd.RangeIndex) and frame.iloc[:, -1].isna().all():
            # Lines that end with a separator are no lines that begin with a column of names.
            frame = pd.read_csv(io.StringIO(text), index_col=False, **options)
    except pd.errors.EmptyDataError:
        raise InvalidInputError(f"`{file}` must begin with a line of column names, but is empty.") from None
    except pd.errors.ParserError as error:
        raise InvalidInputError(_not_parsed(file, text, sep, quoting, error)) from error
    return pa.table({str(name): pa.array(frame[name], pa.string(), from_pandas=True) for name in frame.columns})


def _csv_rows(text: str, sep: str, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """Yields rows as Python's reader finds them, which is slower than pandas' but knows the line of each."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=sep, quoting=quoting)
    start = 1
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:  # a field that is as long as what an open quotation mark takes in
            yield start, []
            return
        if row:
            yield start, row
        start = rows.line_num + 1


def _not_parsed(file: Path, text: str, sep: str, quoting: int, error: Exception) -> str:
    last, width = 1, 0
    for last, row in _csv_rows(text, sep, quoting):
        width = width or len(row)
        if len(row) > width:
            quote = f" Put quotation marks around texts that hold `{sep}`." if sep == "," else ""
            return (
                f"Every line of `{file}` must have the {width} fields of its first, but line {last} has {len(row)}."
                f"{quote}"
            )
    if "EOF inside string" in str(error):
        return f"Every quotation mark of `{file}` must be closed, but one in line {last} is not. Close or drop it."
    return f"`{file}` must be a table that can be read, but: {error}."


def _read_json(file: Path, texts: Collection[str | None]) -> Dataset:
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    for line, row in _json_rows(file, read_text(file)):
        if not isinstance(row, dict):
            raise InvalidInputError(
                f'`{file}` must hold rows like {{"text": …, "label": …}}, but in line {line} stands a '
                f"{type(row).__name__}."
            )
        for name in row:
            columns.setdefault(name, [None] * len(lines))
        for name, values in columns.items():
            values.append(row.get(name))
        lines.append(line)
    if not lines:
        raise InvalidInputError(f"`{file}` must hold rows, but is empty.")
    _check_unicode(file, columns, lines)
    return Dataset(pa.table({name: _json_column(values, name in texts) for name, values in columns.items()}))


def _check_unicode(file: Path, columns: Mapping[str, list[Any]], lines: Sequence[int]) -> None:
    """Refuses halves of characters, which JSON can write and no tokenizer reads."""
    for name, values in columns.items():
        for line, value in zip(lines, values, strict=True):
            if isinstance(value, str) and not value.isascii() and _HALF.search(value):
                raise InvalidInputError(
                    f"`{file}` must hold whole characters, but in line {line}, column `{name}`, stands half of one: "
                    f"{_HALF.findall(value)[0]!a}. Drop it."
                )


def _json_rows(file: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Yields rows with their lines: of an array, of an object of columns, or of an object in each line."""
    lines = text.split("\n")  # not `splitlines`, which takes more than this for an end
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise InvalidInputError(f"`{file}` must hold rows, but is empty.")
    if not lines[first].lstrip().startswith("["):
        try:
            row = json.loads(lines[first])
        except json.JSONDecodeError:
            row = None  # an object over several lines, or nothing that can be read
        only = not any(line.strip() for line in lines[first + 1 :])
        if row is not None and not (only and _are_columns(row)):
            for i, line in enumerate(lines[first:], first):
                if line.strip():
                    yield i + 1, _parsed(file, line, i)
            return
    whole = _parsed(file, text, 0)
    if _are_columns(whole):
        cells = [list(column.values() if isinstance(column, dict) else column) for column in whole.values()]
        whole = [dict(zip(whole, row, strict=True)) for row in zip(*cells, strict=True)]
    for row in whole if isinstance(whole, list) else [whole]:
        yield first + 1, row


def _parsed(file: Path, text: str, above: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"`{file}` must be JSON, one object a line or one array of objects, but in line {above + error.lineno}, "
            f"character {error.colno}: {error.msg}."
        ) from error


def _are_columns(value: Any) -> bool:
    """Whether an object holds columns, lists or objects by number, as pandas writes tables."""
    columns = list(value.values()) if isinstance(value, dict) else []
    return bool(columns) and all(isinstance(c, (list, dict)) for c in columns) and len({len(c) for c in columns}) == 1


def _json_column(values: list[Any], text: bool) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        values = [None if value is None else str(value).lower() for value in values]
    elif kinds and not kinds <= {str}:
        try:
            if not text and kinds in ({int}, {float}, {int, float}, {dict}, {list}):
                return pa.array(values)
        except (pa.ArrowInvalid, OverflowError):
            pass  # a number that is too large, or types that differ inside
        values = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    return pa.array(values, pa.string())
