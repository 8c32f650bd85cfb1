"""Address-book files, in a layout without checksums, which no fuzzer would guess; what is read is the same after writing."""

from __future__ import annotations

from dataclasses import replace

from parley.addressbook.errors import BookFileError
from parley.addressbook.files.contacts import Contact
from parley.addressbook.files.dump import dump
from parley.addressbook.files.layout import Layout, Part, layout
from parley.addressbook.files.names import BookKind, BookName
from parley.addressbook.files.reading import BookFile
from parley.addressbook.files.writing import write_delta, write_full

ASSUMED = layout(unconfirmed=True)
LAYOUT = replace(
    ASSUMED, source_stream=4, contact_header=(Part("length", 2), Part("guid", 16)), full_trailer=(Part("contacts", 4),),
    delta_trailer=(Part("contacts", 4), Part("deleted", 4)),
)  # fmt: skip


def fuzz_one(data: bytes) -> None:
    """The same bytes as a file of both layouts, and as the name of one."""
    for how in (ASSUMED, LAYOUT):
        _file(data, how)
    name = BookName.parse(data.decode("latin-1"))
    if name is not None:
        assert BookName.parse(str(name)) == name


def _file(data: bytes, how: Layout) -> None:
    try:
        book = BookFile(data, how)
        list(dump(book))
        book.verify()
        contacts = list(book.contacts())
        deleted = list(book.deleted())
        written = _write(book, contacts, how)
    except BookFileError:
        return
    again = BookFile(written, how)
    again.verify()
    assert list(again.contacts()) == contacts
    assert list(again.deleted()) == deleted
    assert again.table == book.table
    assert (again.day, again.base) == (book.day, book.base)


def _write(book: BookFile, contacts: list[Contact], how: Layout) -> bytes:
    if book.kind is BookKind.FULL:
        return b"".join(write_full(book.day, book.table, contacts, how))
    assert book.base is not None
    return b"".join(write_delta(book.base, book.day, book.table, contacts, book.deleted(), how))
