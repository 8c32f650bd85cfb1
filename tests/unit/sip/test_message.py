"""SIP messages: what is read, what is refused with which words, and that bytes survive."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.sip.errors import FramingError, SipParseError
from parley.sip.framing import KeepAlive, StreamFramer
from parley.sip.limits import Limits
from parley.sip.message import Request, Response, make_response, parse_message

INVITE = (
    b"INVITE sip:bob@example.test SIP/2.0\r\n"
    b"v: SIP/2.0/TLS a.example.test ; branch=z9hG4bK1, SIP/2.0/UDP [2001:db8::9]:5060;branch=z9hG4bK2\r\n"
    b"X-Unknown:  kept   as it is \r\n"
    b'f: "Alice \\"A\\"" <sip:alice@example.test>;tag=77\r\n'
    b"To: Bob <sip:bob@example.test>\r\n"
    b"Subject: first\r\n"
    b"  second line\r\n"
    b"i: abc@x\r\n"
    b"CSeq:  007   INVITE\r\n"
    b"m: <sip:alice@a.example.test;transport=tls>;q=0.5, sip:alice@10.0.0.1\r\n"
    b"X-Unknown: again\r\n"
    b"l: 4\r\n\r\n\x00\xff\r\n"
)


def test_every_byte_survives_and_compact_forms_are_understood() -> None:
    message = parse_message(INVITE)
    assert isinstance(message, Request)
    assert bytes(message) == INVITE
    assert message.body == b"\x00\xff\r\n"
    assert [via.host for via in message.vias] == ["a.example.test", "[2001:db8::9]"]
    assert (message.from_.display_name, message.from_tag, message.to_tag) == ('Alice "A"', "77", None)
    assert (message.cseq.number, message.cseq.method, message.call_id) == (7, "INVITE", "abc@x")
    assert message.get("subject") == "first second line"
    assert message.get_all("x-unknown") == ["kept   as it is", "again"]
    contacts = message.contacts
    assert isinstance(contacts, list)
    assert [contact.uri.host for contact in contacts] == ["a.example.test", "10.0.0.1"]


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"INVITE sip:x SIP/2.0\r\nVia: a\r\nno colon here\r\n\r\n", 400, "Header Without Colon"),
        (b"INVITE sip:x SIP/3.0\r\n\r\n", 505, "Version Not Supported"),
        (b"INVITE sip:x HTTP/1.1\r\n\r\n", 400, "Bad Request Line"),
        (b"INVITE  sip:x  SIP/2.0\r\n\r\n", 400, "Bad Request-URI"),
        (b"INVITE <sip:x> SIP/2.0\r\n\r\n", 400, "Bad Request-URI"),
        (b"SIP/2.0 99 No\r\n\r\n", 400, "Bad Status Line"),
        (b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 9\r\n\r\nshort", 400, "Body Shorter Than Content-Length"),
        (b"OPTIONS sip:x SIP/2.0\r\nContent-Length: -1\r\n\r\n", 400, "Bad Content-Length"),
        (
            b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            400,
            "Several Content-Length Headers",
        ),
        (b"OPTIONS sip:" + b"x" * 3000 + b" SIP/2.0\r\n\r\n", 414, "Request-URI Too Long"),
        (b"OPTIONS sip:x SIP/2.0\r\n" + b"A: b\r\n" * 300 + b"\r\n", 513, "Too Many Headers"),
        (b"OPTIONS sip:x SIP/2.0\r\nBad Name: 1\r\n\r\n", 400, "Bad Header Name"),
        (b"OPTIONS sip:x SIP/2.0\r\nVia: x", 400, "Head Without End"),
        (b"\r\n\r\n", 400, "Bad Request Line"),
    ],
)
def test_refused(data: bytes, status: int, reason: str) -> None:
    with pytest.raises(SipParseError) as refused:
        parse_message(data)
    assert (refused.value.status, refused.value.reason) == (status, reason)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ("From: <sip:a@b>\r\nFrom: <sip:a@b>", "Several From Headers"),
        ("From: <sip:a@b", "Unterminated Address in From"),
        ('From: "a <sip:a@b>', "Unterminated Display Name in From"),
        ("From: ", "Empty Address in From"),
        ("CSeq: 1 INVITE", "Missing From"),
    ],
)
def test_headers_are_judged_when_they_are_asked_for(headers: str, reason: str) -> None:
    message = parse_message(f"OPTIONS sip:x SIP/2.0\r\n{headers}\r\n\r\n".encode())
    with pytest.raises(SipParseError) as refused:
        _ = message.from_
    assert refused.value.reason == reason


@pytest.mark.parametrize("value", ["x INVITE", "1", "4294967296 INVITE", "1 IN VITE", "-1 INVITE", "1 (INVITE)"])
def test_bad_cseq(value: str) -> None:
    message = parse_message(f"OPTIONS sip:x SIP/2.0\r\nCSeq: {value}\r\n\r\n".encode())
    with pytest.raises(SipParseError, match="CSeq"):
        _ = message.cseq


def test_what_is_refused_can_still_be_answered() -> None:
    data = b"INVITE sip:x SIP/7.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>\r\nTo: <sip:c@d>\r\n"
    with pytest.raises(SipParseError) as refused:
        parse_message(data + b"Call-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n")
    request = refused.value.message
    assert request is not None
    assert make_response(request, 505).get("Via") == "SIP/2.0/UDP h;branch=z9hG4bK1"


def test_edits_touch_only_their_lines() -> None:
    message = parse_message(INVITE)
    message.prepend("Via", "SIP/2.0/UDP us;branch=z9hG4bK0")
    assert message.via.host == "us"
    message.remove_first_value("Via")
    assert message.via.host == "a.example.test"
    message.remove_first_value("Via")
    assert message.via.host == "[2001:db8::9]"
    message.set("Max-Forwards", "69")
    message.add("X-Unknown", "third")
    assert message.get_all("X-Unknown") == ["kept   as it is", "again", "third"]
    message.remove("X-Unknown")
    assert "X-Unknown" not in message
    message.set_body(b"hello", "text/plain")
    again = parse_message(bytes(message))
    assert (again.body, again.content_length, again.max_forwards) == (b"hello", 5, 69)
    copy = message.copy()
    copy.set("Subject", "other")
    assert message.get("Subject") == "first second line"


def test_response_copies_what_it_must() -> None:
    request = parse_message(INVITE)
    assert isinstance(request, Request)
    response = make_response(request, 180, to_tag="t", headers=[("Contact", "<sip:us>")])
    parsed = parse_message(bytes(response))
    assert isinstance(parsed, Response)
    assert (parsed.status, parsed.reason, parsed.to_tag, len(parsed.vias)) == (180, "Ringing", "t", 2)
    assert make_response(request, 100, to_tag="t").to_tag is None
    with pytest.raises(SipParseError):
        make_response(request, 200, headers=[("X", "a\r\nVia: forged")])


token = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
value = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=40)


@given(token, st.lists(st.tuples(token, value), max_size=8), st.binary(max_size=200))
def test_round_trip_of_any_request(user: str, headers: list[tuple[str, str]], body: bytes) -> None:
    fields = [(f"X-{name}", text) for name, text in headers]
    request = Request.create("MESSAGE", f"sip:{user}@h", headers=[("Call-ID", "1"), *fields], body=body)
    parsed = parse_message(bytes(request))
    assert bytes(parsed) == bytes(request)
    assert parsed.body == body
    assert [(name, text.strip(" \t")) for name, text in parsed.headers()][1:-1] == [
        (name, text.strip(" \t")) for name, text in fields
    ]


@given(st.binary(max_size=400))
def test_garbage_is_refused_with_a_sip_error(data: bytes) -> None:
    with contextlib.suppress(SipParseError):
        message = parse_message(data)
        _ = message.vias, message.from_.uri, message.to.uri, message.cseq, message.contacts, message.max_forwards


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5), st.integers(1, 40))
def test_a_stream_gives_the_same_messages_however_it_is_cut(bodies: list[bytes], size: int) -> None:
    messages = [bytes(Request.create("MESSAGE", "sip:a@b", headers=[("Call-ID", "1")], body=body)) for body in bodies]
    stream = b"\r\n\r\n".join(messages)
    framer = StreamFramer()
    got: list[bytes | KeepAlive] = []
    for at in range(0, len(stream), size):
        got += framer.feed(stream[at : at + size])
    assert [item for item in got if isinstance(item, bytes)] == messages
    assert got.count(KeepAlive.PING) == len(messages) - 1
    assert framer.buffered == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"INVITE sip:x SIP/2.0\r\nVia: x\r\n\r\n", 400),
        (b"INVITE sip:x SIP/2.0\r\nContent-Length: 99999\r\n\r\n", 413),
        (b"INVITE sip:x SIP/2.0\r\nContent-Length: 1\r\nl: 2\r\n\r\n", 400),
        (b"INVITE sip:x SIP/2.0\r\n" + b"A: " + b"b" * 40_000, 513),
    ],
)
def test_a_stream_that_cannot_be_cut(data: bytes, status: int) -> None:
    with pytest.raises(FramingError) as refused:
        StreamFramer(Limits()).feed(data)
    assert refused.value.status == status
