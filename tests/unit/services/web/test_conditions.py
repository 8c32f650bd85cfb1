"""What of a file a request gets (RFC 9110): ranges, and what the client has already."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.web.downloads.conditions import FileInfo, Part, part_of

FILE = FileInfo(1_000, "ab" * 32, 1_750_032_000.5)
ETAG = f'"{"ab" * 32}"'
MADE = "Mon, 16 Jun 2025 00:00:00 GMT"
WHOLE = Part(200, 0, 1_000)


def test_how_a_file_is_known() -> None:
    assert (FILE.etag, FILE.last_modified) == (ETAG, MADE)


@pytest.mark.parametrize(
    ("wanted", "part", "content_range"),
    [
        ("bytes=0-0", Part(206, 0, 1), "bytes 0-0/1000"),
        ("bytes=0-", Part(206, 0, 1_000), "bytes 0-999/1000"),
        ("bytes=999-", Part(206, 999, 1), "bytes 999-999/1000"),
        ("bytes=100-199", Part(206, 100, 100), "bytes 100-199/1000"),
        ("BYTES = 990-5000", Part(206, 990, 10), "bytes 990-999/1000"),
        ("bytes=-1", Part(206, 999, 1), "bytes 999-999/1000"),
        ("bytes=-5000", Part(206, 0, 1_000), "bytes 0-999/1000"),
        ("bytes=1000-", Part(416), "bytes */1000"),
        ("bytes=-0", Part(416), "bytes */1000"),
        ("bytes=9999999999999999999-", Part(416), "bytes */1000"),
        # What is no range of bytes, and several of them, count as absent.
        ("bytes=5-4", WHOLE, ""),
        ("bytes=0-1,5-6", WHOLE, ""),
        ("bytes=", WHOLE, ""),
        ("bytes=-", WHOLE, ""),
        ("bytes=a-b", WHOLE, ""),
        ("bytes=\u0661-\u0662", WHOLE, ""),
        ("lines=0-1", WHOLE, ""),
        ("bytes=0-1" + " " * 2_000 + "x", WHOLE, ""),
        ("bytes=12345678901234567890-", WHOLE, ""),
    ],
)
def test_ranges(wanted: str, part: Part, content_range: str) -> None:
    assert part_of(FILE, {"Range": wanted}) == part
    assert part.content_range(FILE.size) == content_range


def test_a_file_without_bytes_has_no_ranges() -> None:
    empty = FileInfo(0, "00", 0.0)
    assert part_of(empty, {}) == Part(200, 0, 0)
    assert part_of(empty, {"Range": "bytes=0-"}) == part_of(empty, {"Range": "bytes=-5"}) == Part(416)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": ETAG}, 304),
        ({"If-None-Match": f'"other", W/{ETAG}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": MADE}, 200),  # the tag alone counts
        ({"If-None-Match": "ab" * 32}, 200),
        ({"If-Modified-Since": MADE}, 304),
        ({"If-Modified-Since": "Sun, 15 Jun 2025 23:59:59 GMT"}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Modified-Since": "Mon, 99 Jun 2025 00:00:00 GMT"}, 200),
        ({"If-Match": ETAG}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": f"W/{ETAG}"}, 412),  # compared strongly
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": '"other"', "If-None-Match": ETAG}, 412),
        ({"If-Unmodified-Since": MADE}, 200),
        ({"If-Unmodified-Since": "Sun, 15 Jun 2025 23:59:59 GMT"}, 412),
        ({"Range": "bytes=1-2", "If-Range": ETAG}, 206),
        ({"Range": "bytes=1-2", "If-Range": MADE}, 206),
        ({"Range": "bytes=1-2", "If-Range": f"W/{ETAG}"}, 200),
        ({"Range": "bytes=1-2", "If-Range": '"other"'}, 200),
        ({"Range": "bytes=1-2", "If-Range": "Sun, 15 Jun 2025 23:59:59 GMT"}, 200),
        ({"Range": "bytes=1-2", "If-Range": '"' + "x" * 2_000 + '"'}, 200),
        ({"Range": "bytes=1-2", "If-None-Match": ETAG}, 304),
    ],
)
def test_conditions(headers: Mapping[str, str], status: int) -> None:
    assert part_of(FILE, headers).status == status


def test_of_a_head_no_part_is_told() -> None:
    assert part_of(FILE, {"Range": "bytes=1-2"}, "HEAD") == part_of(FILE, {"Range": "bytes=5000-"}, "HEAD") == WHOLE
    assert part_of(FILE, {"Range": "bytes=1-2", "If-None-Match": ETAG}, "HEAD").status == 304


@given(size=st.integers(0, 50), first=st.integers(0, 60), end=st.one_of(st.none(), st.integers(0, 60)))
def test_a_part_is_what_a_slice_would_be(size: int, first: int, end: int | None) -> None:
    data = bytes(range(size))
    part = part_of(FileInfo(size, "00", 0.0), {"Range": f"bytes={first}-{'' if end is None else end}"})
    got = data[part.first : part.first + part.count]
    assert len(got) == part.count
    if end is not None and end < first:
        assert part.status == 200
    elif first >= size:
        assert part.status == 416
    else:
        assert (part.status, got) == (206, data[first:] if end is None else data[first : end + 1])


NAMES = ("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")


@given(st.dictionaries(st.sampled_from(NAMES), st.one_of(st.text(max_size=60), st.from_regex(r"bytes=[0-9,-]*"))))
def test_whatever_comes_a_part_lies_within_the_file(headers: dict[str, str]) -> None:
    part = part_of(FILE, headers)
    assert part.status in (200, 206, 304, 412, 416)
    assert 0 <= part.first <= part.first + part.count <= FILE.size
    assert (part.count > 0) == (part.status in (200, 206))
