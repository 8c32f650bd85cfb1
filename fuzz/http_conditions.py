"""Headers that ask for a part of a file, or for none when it did not change."""

from __future__ import annotations

from services.web.downloads.conditions import FileInfo, part_of

FILE = FileInfo(1_000, "ab" * 32, 1_750_032_000.5)
NAMES = ("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")


def fuzz_one(data: bytes) -> None:
    """A line for each header."""
    headers = dict(zip(NAMES, data.decode("utf-8", "surrogateescape").split("\n"), strict=False))
    part = part_of(FILE, headers)
    assert part.status in (200, 206, 304, 412, 416)
    assert 0 <= part.first <= part.first + part.count <= FILE.size
    assert (part.count > 0) == (part.status in (200, 206))
    assert bool(part.content_range(FILE.size)) == (part.status in (206, 416))
