"""An address-book file as text, for people: one line for each thing in it."""

from __future__ import annotations

from collections.abc import Iterator

from parley.addressbook.files.contacts import number
from parley.addressbook.files.names import date_of_day
from parley.addressbook.files.reading import BookFile


def dump(book: BookFile) -> Iterator[str]:
    """The lines. Raises BookFileError where the file cannot be read on."""
    base = f" from day {_day(book.base)}" if book.base is not None else ""
    yield f"{book.kind.name.lower()} file of day {_day(book.day)}{base}"
    yield f"numbers normalised by rules: {'yes' if book.table.uses_rules else 'no'}"
    for line in book.table.rules.decode("utf-8", "replace").splitlines():
        yield f"rule {_shown(line)}"
    for attribute in book.table.attributes:
        yield f"attribute {attribute.id} {_shown(attribute.name)} flags 0x{attribute.flags:08X}"
    names = {attribute.id: attribute.name for attribute in book.table.attributes}
    for contact in book.contacts():
        yield f"contact {contact.id}"
        for identifier, text in contact.values:
            yield f"  {_shown(names.get(identifier, f'attribute {identifier}'))}: {_shown(text)}"
    for guid in book.deleted():
        yield f"deleted {guid}"
    yield f"trailer {' '.join(f'{name}={number(field)}' for name, field in book.trailer.items())}"


def _day(day: int) -> str:
    return f"{day:04X} ({date_of_day(day)})"


def _shown(text: str) -> str:
    """A text on one line, without what would change the terminal."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
