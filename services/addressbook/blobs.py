"""Files in Redis: address-book files, and what devices are updated with.

A file is kept in pieces, all of them fields of one hash, and different files lie in different slots of a cluster. A piece is
packed (zlib) when that makes it smaller, and has a checksum. A file is never changed: what is new is another file, and
whoever refers to files switches from one to the other. So each file is registered before its first piece is written; what is
registered, has been referred to by nobody for a while, is removed by `BlobStore.sweep`. A crash in the middle of writing
leaves nothing but a file that is swept.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import struct
import zlib
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from parley.platform.clock import Clock
from parley.platform.store.client import Store

PIECE: Final = 262_144
"""Bytes of each piece but the last, before it is packed."""
_HEAD: Final = struct.Struct("<BI")
_PLAIN, _PACKED = 0, 1
_LEVEL: Final = 6
_SWEPT_AT_ONCE: Final = 500
_ID: Final = re.compile(r"[0-9a-f]{32,64}")


class BlobError(Exception):
    """A file that cannot be read."""


class BlobGone(BlobError):
    """It, or a piece of it, is not there; it may have been replaced."""


class BlobDamaged(BlobError):
    """A piece is not what was written."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file that was written."""

    id: str
    """32 to 64 hexadecimal digits."""
    size: int
    """Bytes."""
    sha256: bytes


def pack(data: bytes) -> bytes:
    """A piece as it is kept."""
    packed = zlib.compress(data, _LEVEL)
    kind, body = (_PACKED, packed) if len(packed) < len(data) else (_PLAIN, data)
    return _HEAD.pack(kind, zlib.crc32(data)) + body


def unpack(raw: bytes) -> bytes:
    """The piece. Raises BlobDamaged."""
    try:
        kind, crc = _HEAD.unpack_from(raw)
        body = raw[_HEAD.size :]
        data = zlib.decompressobj().decompress(body, PIECE) if kind == _PACKED else body
    except (struct.error, zlib.error):
        raise BlobDamaged("a piece of the file cannot be unpacked") from None
    if zlib.crc32(data) != crc:
        raise BlobDamaged("a piece of the file has another checksum than it was written with")
    return data


def pieces_of(size: int) -> int:
    """How many pieces a file of so many bytes has."""
    return -(-size // PIECE)


def length_of(size: int, index: int) -> int:
    """Bytes of a piece of a file."""
    return min(PIECE, size - index * PIECE)


class BlobStore:
    """The files of one area, as "files"."""

    def __init__(self, store: Store, clock: Clock, area: str) -> None:
        self._store = store
        self._clock = clock
        self._area = area
        self.registry = f"parley:ab:{{{area}}}:blobs"
        """Sorted set of all files by the time (ms) at which they were registered, or referred to for the last time."""

    def key(self, id: str) -> str:
        """Where the pieces of a file are. Raises ValueError for what is no id."""
        if _ID.fullmatch(id) is None:
            raise ValueError("this is no id of a file")
        return f"parley:ab:{{{self._area}-{id}}}"

    async def register(self, id: str) -> None:
        """Makes a file known that is about to be written, or prolongs its time. Raises StoreError."""
        await self._store.durable("ZADD", self.registry, round(self._clock.wall() * 1000), id)

    async def put(self, id: str, index: int, data: bytes) -> None:
        """Writes one piece; it is on disk when this returns. Raises StoreError."""
        packed = await asyncio.to_thread(pack, data)
        await self._store.durable("HSET", self.key(id), index, packed)

    async def writer(self) -> BlobWriter:
        """Begins a file. Raises StoreError."""
        id = token_hex(16)
        await self.register(id)
        return BlobWriter(self, id)

    async def write(self, parts: Iterable[bytes]) -> Blob:
        """Writes a file. Raises StoreError."""
        writer = await self.writer()
        for part in parts:
            await writer.add(part)
        return await writer.finish()

    async def drop(self, id: str) -> None:
        """Removes a file that nobody refers to. Raises StoreError."""
        await self._store.execute("UNLINK", self.key(id))
        await self._store.execute("ZREM", self.registry, id)

    async def present(self, id: str) -> set[int]:
        """The pieces that are there. Raises StoreError."""
        return {int(field) for field in await self._store.execute("HKEYS", self.key(id))}

    async def piece(self, id: str, index: int) -> bytes:
        """One piece. Raises BlobGone, BlobDamaged, StoreError."""
        raw = await self._store.execute("HGET", self.key(id), index)
        if raw is None:
            raise BlobGone("the file is not there any more")
        return unpack(raw)

    async def read(self, id: str, size: int, first: int = 0, count: int | None = None) -> AsyncIterator[bytes]:
        """``count`` bytes from ``first``, piece by piece; ``size``: of the file. Raises BlobError, StoreError."""
        end = size if count is None else min(size, first + count)
        for index in range(first // PIECE, pieces_of(end)):
            data = await self.piece(id, index)
            if len(data) != length_of(size, index):
                raise BlobDamaged("a piece of the file has another length than it was written with")
            begin = max(0, first - index * PIECE)
            yield data[begin : end - index * PIECE]

    async def load(self, id: str, size: int) -> bytes:
        """The whole. Raises BlobGone, BlobDamaged, StoreError."""
        return b"".join([piece async for piece in self.read(id, size)])

    async def sweep(self, used: Collection[str], *, grace_s: float) -> int:
        """Removes files that nobody refers to; how many.

        ``used``: the ids that are referred to; ``grace_s``: how long others are kept, for who is writing or reading them.
        Raises StoreError.
        """
        before = round((self._clock.wall() - grace_s) * 1000)
        found = await self._store.execute("ZRANGE", self.registry, "-inf", before, "BYSCORE", "LIMIT", 0, 100_000)
        gone = [id for raw in found if (id := raw.decode()) not in used]
        for begin in range(0, len(gone), _SWEPT_AT_ONCE):
            some = gone[begin : begin + _SWEPT_AT_ONCE]
            for reply in await self._store.pipeline([["UNLINK", self.key(id)] for id in some]):
                if isinstance(reply, BaseException):
                    raise reply
            await self._store.execute("ZREM", self.registry, *some)
        return len(gone)


class BlobWriter:
    """A file that is being written; it is there once `finish` returned."""

    def __init__(self, blobs: BlobStore, id: str) -> None:
        self._blobs = blobs
        self._held = bytearray()
        self._digest = hashlib.sha256()
        self._index = 0
        self.id = id
        self.size = 0
        """Bytes so far."""

    async def add(self, data: bytes) -> None:
        """Some more, as much as there is: others get their turn after each piece. Raises StoreError."""
        rest = memoryview(data)
        while rest:
            part = rest[: PIECE - len(self._held)]
            rest = rest[len(part) :]
            self._digest.update(part)
            self._held += part
            self.size += len(part)
            if len(self._held) == PIECE:
                piece = bytes(self._held)
                self._held.clear()
                await self._put(piece)

    async def finish(self) -> Blob:
        """What was written. Raises StoreError."""
        if self._held:
            await self._put(bytes(self._held))
            self._held.clear()
        return Blob(self.id, self.size, self._digest.digest())

    async def _put(self, piece: bytes) -> None:
        await self._blobs.put(self.id, self._index, piece)
        self._index += 1
