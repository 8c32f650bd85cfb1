"""What of a file a request gets: all, a part, or nothing (RFC 9110 sections 13 and 14).

One range is served; of several, and of what is no range of bytes, nothing is made, and the whole file is sent, as the RFC
allows. Headers that are no such thing count as absent. Nothing here waits or reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

MAX_HEADER: Final = 1_024
"""Characters of a header that is minded; a longer one counts as absent."""
_RANGE: Final = re.compile(r"bytes\s*=\s*(?:(\d{1,19})-(\d{1,19})?|-(\d{1,19}))\s*", re.IGNORECASE | re.ASCII)
_TAG: Final = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What is known of a file before it is read."""

    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""
    made_at: float
    """Unix time."""

    @property
    def etag(self) -> str:
        """Strong: other bytes have another."""
        return f'"{self.sha256}"'

    @property
    def last_modified(self) -> str:
        """As HTTP writes times; to the second."""
        return format_datetime(datetime.fromtimestamp(int(self.made_at), UTC), usegmt=True)


@dataclass(frozen=True, slots=True)
class Part:
    """What is answered."""

    status: int
    """200, 206, 304, 412 or 416."""
    first: int = 0
    count: int = 0
    """Bytes; 0 where there is no body."""

    def content_range(self, size: int) -> str:
        """The Content-Range of a 206 or a 416; "" for others. ``size``: of the file."""
        match self.status:
            case 206:
                return f"bytes {self.first}-{self.first + self.count - 1}/{size}"
            case 416:
                return f"bytes */{size}"
        return ""


def part_of(file: FileInfo, headers: Mapping[str, str], method: str = "GET") -> Part:
    """What a GET or HEAD gets. ``headers``: those of the request, whatever the case of their names.

    Ranges are only for GET (RFC 9110 section 14.2).
    """
    if not _may(file, headers):
        return Part(412)
    if _has(file, headers):
        return Part(304)
    wanted = _header(headers, "Range") if method == "GET" else ""
    if not wanted or not _is_same(file, headers.get("If-Range", "").strip()):
        return Part(200, 0, file.size)
    return _range(wanted, file.size)


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "").strip()
    return value if len(value) <= MAX_HEADER else ""


def _may(file: FileInfo, headers: Mapping[str, str]) -> bool:
    """If-Match and If-Unmodified-Since."""
    match = _header(headers, "If-Match")
    if match:
        return match == "*" or file.etag in (found[0] for found in _TAG.finditer(match) if not found[1])
    since = _time(_header(headers, "If-Unmodified-Since"))
    return since is None or int(file.made_at) <= since


def _has(file: FileInfo, headers: Mapping[str, str]) -> bool:
    """If-None-Match and If-Modified-Since: whether the client has it."""
    none = _header(headers, "If-None-Match")
    if none:
        return none == "*" or file.etag in (found[0].removeprefix("W/") for found in _TAG.finditer(none))
    since = _time(_header(headers, "If-Modified-Since"))
    return since is not None and int(file.made_at) <= since


def _is_same(file: FileInfo, condition: str) -> bool:
    """If-Range: whether a part goes with what the client has; compared strongly, and whatever its length."""
    return condition in ("", file.etag, file.last_modified)


def _time(text: str) -> int | None:
    """Unix time of an HTTP date; None for what is none."""
    if not text.endswith(" GMT"):
        return None
    try:
        return int(parsedate_to_datetime(text).replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def _range(text: str, size: int) -> Part:
    found = _RANGE.fullmatch(text)
    if found is None:
        return Part(200, 0, size)
    begin, end, last = found.groups()
    if last is not None:
        count = min(int(last), size)
        return Part(206, size - count, count) if count else Part(416)
    first = int(begin)
    if end is not None and int(end) < first:
        return Part(200, 0, size)
    if first >= size:
        return Part(416)
    return Part(206, first, (size if end is None else min(int(end) + 1, size)) - first)
