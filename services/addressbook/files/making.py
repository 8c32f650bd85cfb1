"""Makes the address-book files of a day (web-services sheet, section 1.2).

For clients and for phones: the full file of today, and from each full file of the days before a file of changes, unless too
much has changed. Everything is written beside what there is, and then put in its place in one step; whatever goes wrong
before leaves the files that there were. Contacts are ordered by their UUID, so the same entries give the same file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from parley.addressbook.entries import Entry
from parley.addressbook.errors import BookFileError
from parley.addressbook.files.contacts import Contact, decode_values, encode_values, id_size
from parley.addressbook.files.deltas import BookIndex, DeltaPlan, plan_delta
from parley.addressbook.files.layout import Layout
from parley.addressbook.files.names import BookName, day_of, full_name
from parley.addressbook.files.reading import BookFile
from parley.addressbook.files.retention import plan
from parley.addressbook.files.schema import R2_ATTRIBUTES, for_devices
from parley.addressbook.files.selection import Selection
from parley.addressbook.files.writing import Table, write_full
from parley.platform.clock import Clock
from parley.proto.addressbook.v1.book_files_pb2 import BookFile as FileInfo
from parley.proto.addressbook.v1.book_files_pb2 import FilesManifest, KeptFile
from services.addressbook.blobs import BlobError, BlobStore
from services.addressbook.files.config import FilesConfig
from services.addressbook.files.manifest import FileSet, Manifest
from services.addressbook.leases import Held

logger = logging.getLogger(__name__)

_PAGE: Final = 200
"""Entries that are worked through between two waits."""


class Entries(Protocol):
    """Where entries come from."""

    def export(self) -> AsyncIterator[Entry]:
        """All entries of the directory, in any order. Raises StoreError."""


@dataclass(slots=True)
class _Book:
    """One of both kinds of files, while it is made."""

    selection: Selection
    table: Table
    devices: bool
    held: dict[bytes, bytes] = field(default_factory=dict)
    """Values of contacts as they are in the file, by UUID: far smaller than the contacts themselves."""

    def take(self, entries: Iterable[Entry], width: int) -> None:
        """Keeps those that are chosen. Raises BookFileError."""
        for contact in self.selection.contacts(entries):
            self.held[contact.id.bytes] = encode_values(contact.values, width)

    def contacts(self, width: int) -> Iterator[Contact]:
        """What is kept, in order."""
        for id in sorted(self.held):
            yield Contact(UUID(bytes=id), tuple(decode_values(self.held[id], width)))


class FileMaker:
    """Makes files and switches to them."""

    def __init__(
        self, entries: Entries, blobs: BlobStore, manifest: Manifest, clock: Clock, config: FilesConfig, layout: Layout,
        *, rules: bytes = b"",
    ) -> None:  # fmt: skip
        """``rules``: for numbers, as `bytes(CompanyRules)` gives them; clients find them in the files."""
        self._entries = entries
        self._blobs = blobs
        self._manifest = manifest
        self._clock = clock
        self._config = config
        self._layout = layout
        self._rules = rules

    async def make(self, held: Held) -> FilesManifest:
        """Makes the files of today, for who holds the lease. Raises BookFileError, BlobError, SwitchError, StoreError."""
        before = await self._manifest.current()
        today = day_of(self._clock.wall())
        made = FilesManifest(day=today, made_at_ms=round(self._clock.wall() * 1000))
        books = [self._book(devices=devices) for devices in (False, True)]
        made.entries = await self._gather(books)
        for book in books:
            made.files.extend(await self._files(book, today, before))
        await self._manifest.switch(before, made, held)
        return made

    def _book(self, *, devices: bool) -> _Book:
        selection = Selection(R2_ATTRIBUTES, use_rules=True, devices=devices)
        attributes = for_devices(R2_ATTRIBUTES) if devices else R2_ATTRIBUTES
        return _Book(selection, Table(attributes, self._rules, uses_rules=True), devices)

    async def _gather(self, books: list[_Book]) -> int:
        """Reads all entries; how many."""
        count = 0
        page: list[Entry] = []
        async for entry in self._entries.export():
            page.append(entry)
            count += 1
            if len(page) >= _PAGE:
                await asyncio.to_thread(self._take, books, page)
                page = []
        await asyncio.to_thread(self._take, books, page)
        return count

    def _take(self, books: list[_Book], page: list[Entry]) -> None:
        for book in books:
            book.take(page, self._width(book))

    def _width(self, book: _Book) -> int:
        return id_size(book.table.largest_id, self._layout)

    async def _files(self, book: _Book, today: int, before: FileSet) -> list[KeptFile]:
        """The files of one kind that there are from now on."""
        wanted = plan(
            [kept.file.name for kept in before.manifest.files], today, devices=book.devices, keep=self._config.keep_days
        )
        name = full_name(today, devices=book.devices)
        contacts = book.contacts(self._width(book))
        data = await asyncio.to_thread(self._joined, write_full(today, book.table, contacts, self._layout))
        files = [await self._keep(name, data, len(book.held))]
        index = await asyncio.to_thread(lambda: BookIndex.of(BookFile(data, self._layout)))
        for delta in wanted.deltas:
            made = await self._delta(delta, index, before, data)
            if made is not None:
                files.append(made)
        new = {kept.file.name for kept in files} | {str(delta) for delta in wanted.deltas} | set(wanted.remove)
        for kept in before.manifest.files:
            parsed = BookName.parse(kept.file.name)
            if parsed is not None and parsed.devices == book.devices and kept.file.name not in new:
                files.append(kept)
        return files

    async def _delta(self, name: BookName, index: BookIndex, before: FileSet, full: bytes) -> KeptFile | None:
        """The file of changes from an older full file; None when too much changed, or that file cannot be read."""
        base = before.by_name[str(full_name(name.base or 0, devices=name.devices)).lower()]
        try:
            old = await self._blobs.load(base.blob, base.file.size)
            change = await asyncio.to_thread(lambda: plan_delta(BookFile(old, self._layout), index))
        except (BlobError, BookFileError) as error:
            logger.warning("no file of changes leads from %s: %s", base.file.name, error)
            return None
        if not change.worth_writing(self._config.share):
            return None
        data = await asyncio.to_thread(self._changes, change)
        if len(data) >= len(full):
            return None
        return await self._keep(name, data, len(change.changed) + len(change.deleted))

    def _changes(self, change: DeltaPlan) -> bytes:
        return self._joined(change.pieces(self._layout))

    def _joined(self, pieces: Iterable[bytes]) -> bytes:
        out = bytearray()
        for piece in pieces:
            out += piece
            if len(out) > self._config.max_bytes:
                raise BookFileError(f"a file has more than {self._config.max_bytes} bytes; see addressbook.files.max_bytes")
        return bytes(out)

    async def _keep(self, name: BookName, data: bytes, contacts: int) -> KeptFile:
        blob = await self._blobs.write([data])
        info = FileInfo(
            name=str(name),
            size=blob.size,
            sha256=blob.sha256,
            made_at_ms=round(self._clock.wall() * 1000),
            contacts=contacts,
        )
        return KeptFile(file=info, blob=blob.id)
