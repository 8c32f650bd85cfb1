"""Which address-book files there are: one document in Redis, switched in one step. Every process reads it, one writes it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from parley.platform.clock import Clock
from parley.platform.store.client import Store
from parley.proto.addressbook.v1.book_files_pb2 import FilesManifest, KeptFile
from services.addressbook.leases import Held

PREFIX: Final = "parley:ab:{files}:"
MANIFEST: Final = PREFIX + "manifest"
LEASE: Final = PREFIX + "lease"
PROBLEM: Final = PREFIX + "problem"
"""Why the last run failed; there is no such key when it did not."""


class SwitchError(Exception):
    """The files were not switched; the text says why."""


@dataclass(frozen=True, slots=True)
class FileSet:
    """The files at some time."""

    version: int
    manifest: FilesManifest
    by_name: MappingProxyType[str, KeptFile]
    """By name in lower case."""

    @classmethod
    def of(cls, version: int, data: bytes) -> FileSet:
        """From what is kept."""
        manifest = FilesManifest.FromString(data)
        return cls(version, manifest, MappingProxyType({kept.file.name.lower(): kept for kept in manifest.files}))

    @property
    def blobs(self) -> set[str]:
        """What it refers to."""
        return {kept.blob for kept in self.manifest.files}


class Manifest:
    """The document."""

    def __init__(self, store: Store, clock: Clock, registry: str) -> None:
        """``registry``: key of the registry of blobs."""
        self._store = store
        self._clock = clock
        self._registry = registry
        self._switch = store.script("services.addressbook.files", "switch.lua")
        self._known = FileSet.of(0, b"")

    async def current(self) -> FileSet:
        """The files there are; what was read before is read again only when it changed. Raises StoreError."""
        raw = await self._store.execute("HGET", MANIFEST, "v")
        version = int(raw or 0)
        if version != self._known.version:
            found, data = await self._store.execute("HMGET", MANIFEST, "v", "d")
            self._known = FileSet.of(int(found or 0), data or b"")
        return self._known

    async def switch(self, before: FileSet, manifest: FilesManifest, held: Held) -> None:
        """Puts another set in place of the one that was read. Raises SwitchError, StoreError."""
        gone: Collection[str] = before.blobs - {kept.blob for kept in manifest.files}
        reply = await self._switch.durable(
            [MANIFEST, held.key, self._registry],
            [held.token, before.version, manifest.SerializeToString(), round(self._clock.wall() * 1000), *sorted(gone)],
        )
        if reply == -1:
            raise SwitchError("making the files took so long that another process may make them")
        if reply == 0:
            raise SwitchError("another process has made files meanwhile")
