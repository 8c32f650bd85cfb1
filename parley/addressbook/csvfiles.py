"""Directories as CSV files: read row by row with a report of each bad one, and written.

Files are of any of the usual kinds: parted by comma, semicolon, tab or ``|``, in UTF-8, UTF-16 or Windows-1252. The first
row names the columns, in any order; see `parley.addressbook.csvcolumns`. A row that is bad leaves the others.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from parley.addressbook.csvcolumns import (
    COLUMNS,
    EXPORTED,
    SEVERAL,
    Problem,
    RowError,
    cells_of,
    column_of,
    entry_of,
    guarded,
    unguarded,
)
from parley.addressbook.entries import Entry
from parley.addressbook.errors import CsvError
from parley.addressbook.textfiles import TextFileError, decode

MAX_FILE: Final = 256 * 1024 * 1024
MAX_ROWS: Final = 500_000
MAX_COLUMNS: Final = 256
MAX_HEADER: Final = 65_536
"""Characters of the first row, which is looked at once for each delimiter."""
_DELIMITERS: Final = ",;\t|"
_WHO: Final = ("address", "mail", "display_name", "given_name", "surname")
_LONG_HEADER: Final = "the first row is too long; it has to name the columns"


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is an entry."""

    line: int
    """Where it begins in its file, from 1."""
    entry: Entry
    member_of: tuple[str, ...] = ()
    """Groups that it is to be in, by name, address or mail."""
    password: str = field(default="", repr=False)
    """Of a new user; "" for none."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is none."""

    line: int
    problems: tuple[Problem, ...]
    """Their columns are called as in the header of the file."""

    def __str__(self) -> str:
        texts = [f"{problem.column}: {problem.text}" if problem.column else problem.text for problem in self.problems]
        return f"line {self.line}: {'; '.join(texts)}"


class CsvFile:
    """A file that is read."""

    def __init__(self, data: bytes) -> None:
        """Raises CsvError for what cannot be read at all."""
        if len(data) > MAX_FILE:
            raise CsvError(f"the file is larger than {MAX_FILE // 1024 // 1024} MB; split it")
        try:
            text = decode(data)
        except TextFileError as error:
            raise CsvError(str(error)) from None
        if "\n" not in text:
            text = text.replace("\r", "\n")
        self._file = io.StringIO(text, newline="")
        self._skipped = 0
        self.delimiter = self._delimiter()
        self._reader = csv.reader(self._file, delimiter=self.delimiter, strict=True)
        self._header = self._read_header()
        self._columns = [column_of(header) for header in self._header]
        self.ignored = [
            header for header, column in zip(self._header, self._columns, strict=True) if column is None and header
        ]
        """Headers that mean nothing here."""
        self._check_columns()
        self._lines: dict[str, int] = {}

    @property
    def columns(self) -> list[str]:
        """The columns that are there, by our names."""
        return [column for column in COLUMNS if column in self._columns]

    def _delimiter(self) -> str:
        """What parts the columns: what gives the header the most columns that are known."""
        first = self._first_line()
        while first and not first.strip():
            self._skipped += 1
            first = self._first_line()
        if first[:4].lower() == "sep=" and first[4:5] in tuple(_DELIMITERS):  # as Excel writes it
            self._skipped += 1
            return first[4]
        self._file.seek(self._file.tell() - len(first))

        def known(delimiter: str) -> int:
            return sum(column_of(header.strip('" ')) is not None for header in first.split(delimiter)[:MAX_COLUMNS])

        return max(_DELIMITERS, key=known)

    def _first_line(self) -> str:
        line = self._file.readline(MAX_HEADER + 1)
        if len(line) > MAX_HEADER:
            raise CsvError(_LONG_HEADER)
        return line

    def _read_header(self) -> list[str]:
        try:
            cells = next(self._reader)
        except StopIteration:
            raise CsvError("the file is empty; the first row names the columns") from None
        except csv.Error as error:
            raise CsvError(f"the first row cannot be read: {error}") from None
        if len(cells) > MAX_COLUMNS:
            raise CsvError(f"more than {MAX_COLUMNS} columns are too many")
        if sum(map(len, cells)) > MAX_HEADER:  # values in quotes go on behind the end of a line
            raise CsvError(_LONG_HEADER)
        return [cell.strip().lstrip("#").strip() for cell in cells]

    def _check_columns(self) -> None:
        if not any(column in _WHO for column in self._columns):
            raise CsvError(f"no column says who it is; the first row has to name the columns, as in {', '.join(_WHO)}")
        seen: dict[str, str] = {}
        for header, column in zip(self._header, self._columns, strict=True):
            if column is not None and column not in SEVERAL:
                if column in seen:
                    raise CsvError(f"the columns {seen[column]!r} and {header!r} both mean {column}; rename one of them")
                seen[column] = header

    def rows(self) -> Iterator[Row | BadRow]:
        """The rows in their order, those that are bad as well. Raises CsvError when there are too many."""
        count = 0
        while True:
            line = self._line() + 1
            problem = ""
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells, problem = [], _what_to_do(str(error), line, self._line())
            if not problem and not any(cell.strip() for cell in cells):
                continue
            count += 1
            if count > MAX_ROWS:
                raise CsvError(f"more than {MAX_ROWS} rows are too many; split the file")
            yield BadRow(line, (Problem("", problem),)) if problem else self._row(line, cells)

    def _line(self) -> int:
        return self._reader.line_num + self._skipped

    def _row(self, line: int, cells: list[str]) -> Row | BadRow:
        if len(cells) > len(self._header) and any(cell.strip() for cell in cells[len(self._header) :]):
            text = (
                f"it has {len(cells)} values for {len(self._header)} columns; put values that hold the delimiter in quotes"
            )
            return BadRow(line, (Problem("", text),))
        found: dict[str, list[str]] = {}
        for column, cell in zip(self._columns, cells, strict=False):
            if column is not None:
                found.setdefault(column, []).append(cell if column == "password" else unguarded(cell.strip()))
        try:
            entry, member_of, password = entry_of(found)
        except RowError as error:
            return BadRow(line, tuple(Problem(self._header_of(item.column), item.text) for item in error.problems))
        for key, column in ((entry.address, "address"), (str(entry.id), "id")):
            before = self._lines.setdefault(key, line) if key else line
            if before != line:
                return BadRow(line, (Problem(self._header_of(column), f"it is the same as in line {before}; remove one"),))
        return Row(line, entry, tuple(member_of), password)

    def _header_of(self, column: str) -> str:
        """What the file calls a column, or a field of an entry."""
        column = {"membership": "members", "numbers": "telephone"}.get(column, column)
        return next((header for header, known in zip(self._header, self._columns, strict=True) if known == column), column)


def _what_to_do(problem: str, first: int, last: int) -> str:
    if "field limit" in problem:
        return f"a value is longer than {csv.field_size_limit()} characters; a quotation mark may not be closed"
    if "unexpected end" in problem:
        return f"a quotation mark is not closed; nothing was read from line {first} to line {last}"
    return f"it cannot be read ({problem}); write a quotation mark within quotes twice"


def to_csv(entries: Iterable[Entry], name_of: Callable[[UUID], str] = str, delimiter: str = ",") -> Iterator[str]:
    """The entries as the rows of a file, the header first. ``name_of``: what to call a member.

    `CsvFile` reads it back. Passwords and pictures are not in it, nor what numbers are normalised to.
    """
    output = io.StringIO(newline="")
    writer = csv.writer(output, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(EXPORTED)
    yield output.getvalue()
    for entry in entries:
        output.seek(0)
        output.truncate()
        cells = cells_of(entry, name_of)
        writer.writerow([guarded(cells[column]) for column in EXPORTED])
        yield output.getvalue()
