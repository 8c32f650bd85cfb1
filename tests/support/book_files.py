"""Making address-book files in tests: entries from a list, a maker without its tasks, and one as a process to be killed.

As a program (``python -m tests.support.book_files URL COUNT``) it makes files of so many entries on a Valkey, says "reading"
when it is in the middle of them, and waits there for ever.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from parley.addressbook.entries import Entry, Kind, NumberKind, PhoneNumber
from parley.addressbook.files.layout import layout
from parley.addressbook.files.reading import BookFile
from parley.platform.clock import Clock, SystemClock
from parley.platform.config import RedisConfig
from parley.platform.store.client import Store
from parley.platform.telemetry.tracing import NO_TRACER
from services.addressbook.blobs import BlobStore
from services.addressbook.files.config import FilesConfig
from services.addressbook.files.making import FileMaker
from services.addressbook.files.manifest import Manifest
from services.addressbook.files.runs import FileRuns
from tests.support.programs import start

ROOT = Path(__file__).parents[2]
LAYOUT = layout(unconfirmed=True)


def person(number: int, name: str = "", **values: object) -> Entry:
    """Somebody with a number."""
    numbers = (PhoneNumber(NumberKind.WORK, f"030 {number:06d}", f"tel:+4930{number:06d}"),)
    made: dict[str, object] = {
        "kind": Kind.USER, "address": f"sip:p{number}@example.test", "display_name": name or f"Person {number}",
        "mail": f"p{number}@example.test", "numbers": numbers, **values,
    }  # fmt: skip
    return Entry(UUID(int=number), **made)  # type: ignore[arg-type]


def start_and_kill_later(url: str, count: int, out: Path) -> subprocess.Popen[bytes]:
    """This module as a program."""
    with out.open("wb") as log:
        return start([sys.executable, "-m", "tests.support.book_files", url, str(count)], log, cwd=ROOT)


class Listed:
    """Entries from a list."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = list(entries)
        self.failure: Exception | None = None
        self.hold: asyncio.Event | None = None
        """Waited for behind the last entry."""
        self.reading = asyncio.Event()

    async def export(self) -> AsyncIterator[Entry]:
        """The entries, then the failure if there is one."""
        for entry in self.entries:
            yield entry
        self.reading.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure


class Files:
    """Everything that makes files in one process."""

    def __init__(
        self, store: Store, clock: Clock, entries: Sequence[Entry] = (), *, lease_s: float = 30.0, rules: bytes = b"",
        **config: Any,
    ) -> None:  # fmt: skip
        self.entries = Listed(entries)
        self.config = FilesConfig(layout="unconfirmed", **config)
        self.blobs = BlobStore(store, clock, "files")
        self.manifest = Manifest(store, clock, self.blobs.registry)
        self.maker = FileMaker(self.entries, self.blobs, self.manifest, clock, self.config, LAYOUT, rules=rules)
        self.runs = FileRuns(
            self.maker, self.manifest, self.blobs, store, clock, self.config, NO_TRACER, lease_s=lease_s
        )  # fmt: skip

    async def names(self) -> list[str]:
        """The files there are, sorted."""
        return sorted(kept.file.name for kept in (await self.manifest.current()).manifest.files)

    async def data(self, name: str) -> bytes:
        """The bytes of a file."""
        kept = (await self.manifest.current()).by_name[name.lower()]
        return await self.blobs.load(kept.blob, kept.file.size)

    async def book(self, name: str) -> BookFile:
        """A file, checked as a whole."""
        book = BookFile(await self.data(name), LAYOUT)
        book.verify()
        return book


async def _main(url: str, count: int) -> None:
    store = Store(RedisConfig(url=url))
    files = Files(store, SystemClock(), [person(number) for number in range(1, count + 1)], lease_s=1.0)
    # The full file is written, and nothing refers to it yet.
    write = files.blobs.write

    async def write_and_wait(parts: Iterable[bytes]) -> object:
        made = await write(parts)
        print("reading", flush=True)
        await asyncio.Event().wait()
        return made

    files.blobs.write = write_and_wait  # type: ignore[method-assign, assignment]
    await files.runs.make()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
