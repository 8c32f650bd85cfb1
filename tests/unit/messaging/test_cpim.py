import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.messaging.cpim import CORE_NS, MAX_BYTES, CpimMessage, Header, build_cpim, parse_cpim
from parley.presence.standard.errors import DocumentError
from tests.unit.presence.standard.made import refused, tuples_of

IMDN = "urn:ietf:params:imdn"
FULL = (
    b"From: Anna M <im:anna@example.test>\r\nTo: <im:ben@example.test>\r\nDateTime: 2024-05-06T07:08:09+02:00\r\n"
    b"Subject:;lang=de Gr\xc3\xbc\xc3\x9fe \\u263a\\\\\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: m1\r\n"
    b'NS: my <urn:x:y>\r\nmy.Odd:;a="b c";d v\r\n\r\n'
    b"Content-Type: text/plain; charset=utf-8\r\nContent-ID: <1@x>\r\n\r\nHello\r\n\r\nBen"
)
MESSAGE = CpimMessage(
    (
        Header("From", "Anna M <im:anna@example.test>"),
        Header("To", "<im:ben@example.test>"),
        Header("DateTime", "2024-05-06T07:08:09+02:00"),
        Header("Subject", "Grüße ☺\\", params=";lang=de"),
        Header("Message-ID", "m1", IMDN),
        Header("Odd", "v", "urn:x:y", ';a="b c";d'),
    ),
    (("Content-Type", "text/plain; charset=utf-8"), ("Content-ID", "<1@x>")),
    b"Hello\r\n\r\nBen",
)
PART = b"\r\n\r\nContent-Type: text/plain\r\n\r\n"
TEXT = (("Content-Type", "text/plain"),)


def test_it_is_read() -> None:
    assert parse_cpim(FULL) == MESSAGE
    assert parse_cpim(FULL.replace(b"\r\n", b"\n")).headers == MESSAGE.headers
    assert MESSAGE.get("Message-ID", IMDN) == "m1"
    assert MESSAGE.get("Message-ID") == MESSAGE.get("from") == ""
    assert MESSAGE.content_type == "text/plain; charset=utf-8"
    sender = MESSAGE.address("From")
    assert sender is not None
    assert (sender.display_name, sender.uri_text) == ("Anna M", "im:anna@example.test")
    assert MESSAGE.address("cc") is MESSAGE.address("Subject") is None


def test_it_is_written() -> None:
    assert build_cpim(MESSAGE) == (
        FULL.replace(b"\\u263a", "☺".encode()).replace(b"NS: my", b"NS: n3").replace(b"my.Odd", b"n3.Odd")
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"\\\\ \\\" \\' \\b \\t \\n \\r \\x", "\\ \" ' \b \t \n \r x"),
        (b"\\u0041\\u00e9\\uD83D\\uDE00", "Aé😀"),
        (b"\\ud800 \\u12", "\ufffd u12"),
        (b"\\u0020x\\", " x\\"),
        (b"  x  ", "x"),
        (b"", ""),
    ],
)
def test_escapes(written: bytes, value: str) -> None:
    assert parse_cpim(b"Subject: " + written + PART).headers == (Header("Subject", value),)
    again = CpimMessage((Header("Subject", value),), TEXT)
    assert parse_cpim(build_cpim(again)) == again


def test_namespaces() -> None:
    data = f"NS: c <{CORE_NS}>\r\nc.To: a\r\nc.NS: d <urn:d>\r\nd.X: 1\r\nNS: <urn:e>\r\nY: 2\r\nNS: d <urn:f>\r\nd.X: 3"
    assert parse_cpim(data.encode() + PART).headers == (
        Header("To", "a"), Header("X", "1", "urn:d"), Header("Y", "2", "urn:e"), Header("X", "3", "urn:f"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no headers"),
        (b"\r\nContent-Type: a/b\r\n\r\n", "no headers"),
        (b"NS: a <urn:a>" + PART, "no headers"),
        (FULL[:90], "no MIME part"),
        (FULL.partition(b"Content-Type")[0], "no MIME part"),
        (b"From" + PART, "a line that is no header"),
        (b"Fr om: x" + PART, "a line that is no header"),
        (b" From: x" + PART, "a line that is no header"),
        (b"x.y.From: x" + PART, "a line that is no header"),
        (b"From: a\0" + PART, "a control character in a header"),
        (b"From: \xff" + PART, "a header is not UTF-8"),
        (b"From: " + b"x" * 5000 + PART, "a header is too long"),
        (b"A: 1\r\n" * 65 + PART, "too many headers"),
        (b"NS: imdn" + PART, "an NS header without a namespace"),
        (b"imdn.Message-ID: 1" + PART, "a prefix without an NS header"),
        (b"From: a\r\n\r\nContent-Type\r\n\r\n", "a line that is no header"),
        (b"x" * (MAX_BYTES + 1), "the document is too large"),
    ],
)
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_cpim, data) == f"CPIM message: {text}"


def test_the_limit_is_an_argument() -> None:
    with pytest.raises(DocumentError, match=r"^CPIM message: the document is too large$"):
        parse_cpim(FULL, len(FULL) - 1)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (CpimMessage((), TEXT), "no headers"),
        (CpimMessage((Header("To", "a"),)), "no MIME part"),
        (CpimMessage((Header("To", "a"),), (("A", "b\r\nC: d"),)), "a header that cannot be written"),
        (CpimMessage((Header("T o", "a"),), TEXT), "a header that cannot be written"),
        (CpimMessage((Header("NS", "a"),), TEXT), "a header that cannot be written"),
        (CpimMessage((Header("To", "a", "urn:x>"),), TEXT), "a header that cannot be written"),
        (CpimMessage((Header("To", "a", "", ";a=\r\n"),), TEXT), "a header that cannot be written"),
        (CpimMessage((Header("To", "a", "", "a"),), TEXT), "a header that cannot be written"),
    ],
)
def test_what_is_not_written(message: CpimMessage, text: str) -> None:
    with pytest.raises(DocumentError) as caught:
        build_cpim(message)
    assert str(caught.value) == f"CPIM message: {text}"


values = st.text(st.characters(codec="utf-8"), max_size=15) | st.text(" \t\\\"'urn;:\r\n", max_size=8)
headers = st.builds(
    Header,
    st.sampled_from(("From", "Subject", "X-1")),
    values,
    st.sampled_from(("", IMDN, "urn:x", "urn:y")),
    st.sampled_from(("", ";lang=en", ';a="b c"')),
)
contents = tuples_of(st.tuples(st.sampled_from(("Content-Type", "X-A")), st.sampled_from(("", "a/b", "ü ;"))))


@given(st.lists(headers, min_size=1, max_size=5).map(tuple), contents.filter(bool), st.binary(max_size=30))
def test_what_is_written_is_read_again(
    headers: tuple[Header, ...], contents: tuple[tuple[str, str], ...], body: bytes
) -> None:
    message = CpimMessage(headers, contents, body)
    assert parse_cpim(build_cpim(message)) == message
