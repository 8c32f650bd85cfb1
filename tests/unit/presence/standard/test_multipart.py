import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.multipart import MAX_BYTES, MAX_PARTS, Part, build_multipart, parameter, parse_multipart
from tests.unit.presence.standard.made import tuples_of

TYPE = 'multipart/related; type="a/b"; boundary="x=1"'
FULL = (
    b"preamble\r\n--x=1  \r\nContent-Type: a/b\r\nX-A: 1\r\n 2\r\n\r\nbody\r\n"
    b"\r\n--x=1\r\n\r\n\r\n--x=1\r\n--x=1--\r\nepilogue"
)


def test_it_is_read() -> None:
    first = Part((("Content-Type", "a/b"), ("X-A", "1 2")), b"body\r\n")
    assert parse_multipart(FULL, TYPE) == (first, Part((), b""), Part((), b""))
    assert parse_multipart(FULL.replace(b"\r\n", b"\n"), TYPE)[0].body == b"body\n"
    assert (first.content_type, first.content_id, first.get("x-a")) == ("a/b", "", "1 2")


def test_line_ends_are_exact() -> None:
    parts = (Part((("A", "1"),), b"<a/>"), Part((("Content-ID", "<i@b>"),), b"b\r"))
    assert build_multipart(parts, "b") == b"--b\r\nA: 1\r\n\r\n<a/>\r\n--b\r\nContent-ID: <i@b>\r\n\r\nb\r\r\n--b--\r\n"
    assert build_multipart(parts, "b", blank_line=True) == (
        b"--b\r\nA: 1\r\n\r\n<a/>\r\n\r\n--b\r\nContent-ID: <i@b>\r\n\r\nb\r\r\n\r\n--b--\r\n"
    )
    assert build_multipart((), "b") == b"--b--\r\n"
    assert parts[1].content_id == "i@b"


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"", TYPE, "the last boundary is missing"),
        (FULL[:60], TYPE, "the last boundary is missing"),
        (FULL[:-13], TYPE, "the last boundary is missing"),
        (FULL, "multipart/related", "no boundary"),
        (FULL, "multipart/related;boundary", "no boundary"),
        (FULL, 'multipart/related;boundary="', "no boundary"),
        (FULL, f"multipart/related;boundary={'x' * 71}", "no boundary"),
        (b"--b\r\nno header\r\n\r\n--b--", "m/r;boundary=b", "a line that is no header"),
        (b"--b\r\n folded: 1\r\n\r\n--b--", "m/r;boundary=b", "a line that is no header"),
        (b"--b\r\nA: \xff\r\n\r\n--b--", "m/r;boundary=b", "a header is not UTF-8"),
        (b"--b\r\nA: \0\r\n\r\n--b--", "m/r;boundary=b", "a control character in a header"),
        (b"--b\r\nA: " + b"x" * 5000 + b"\r\n\r\n--b--", "m/r;boundary=b", "a header is too long"),
        (b"--b\r\n" + b"A: 1\r\n" * 65 + b"\r\n--b--", "m/r;boundary=b", "too many headers"),
        (b"--b\r\n" * (MAX_PARTS + 2) + b"--b--", "m/r;boundary=b", "too many parts"),
        (b"x" * (MAX_BYTES + 1), TYPE, "the document is too large"),
    ],
)
def test_what_is_refused(body: bytes, content_type: str, text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_multipart(body, content_type)
    assert str(caught.value) == f"multipart body: {text}"


@pytest.mark.parametrize(
    ("part", "boundary", "text"),
    [
        (Part((), b"x --b"), "b", "the boundary occurs in a part"),
        (Part((("A", "x\r\nB: y"),), b""), "b", "a header that cannot be written"),
        (Part((("A b", "x"),), b""), "b", "a header that cannot be written"),
        (Part((), b""), "b ", "no boundary"),
        (Part((), b""), "", "no boundary"),
        (Part((), b""), "b\r\n", "no boundary"),
    ],
)
def test_what_is_not_written(part: Part, boundary: str, text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        build_multipart((part,), boundary)
    assert str(caught.value) == f"multipart body: {text}"


def test_parameters() -> None:
    assert parameter('a/b; start="<x;y>" ; Boundary=z', "START") == "<x;y>"
    assert parameter("a/b", "start") == parameter("a/b;start", "start") == parameter("a/b;;;", "start") == ""


values = st.text('abcXYZ09 ;="<>ü', max_size=10).map(str.strip)
headers = tuples_of(st.tuples(st.sampled_from(("Content-Type", "Content-ID", "X-A")), values))
bodies = st.binary(max_size=30) | st.lists(st.sampled_from((b"\r", b"\n", b"-", b"x"))).map(b"".join)


@given(tuples_of(st.builds(Part, headers, bodies)), st.booleans())
def test_what_is_written_is_read_again(parts: tuple[Part, ...], blank_line: bool) -> None:
    written = build_multipart(parts, "=_b:1", blank_line=blank_line)
    read = parse_multipart(written, 'multipart/related;boundary="=_b:1"')
    more = b"\r\n" if blank_line else b""
    assert read == tuple(Part(part.headers, part.body + more) for part in parts)
