"""What one kind of client says, as another kind takes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.messaging.content import PLAIN_UTF8, Content, for_communicator, for_phone
from parley.messaging.cpim import CpimMessage, Header, build_cpim
from parley.messaging.errors import MessagingError, UnsupportedContent
from parley.messaging.html import text_of_html
from parley.presence.standard.multipart import Part, build_multipart

MSGR = "text/plain; charset=UTF-8;msgr=WAAtAE0ATQBTAC0ASQBNAC0ARgBvAHIAbQBhAHQA"


def alternative(*parts: tuple[str, bytes]) -> Content:
    body = build_multipart([Part((("Content-Type", kind),), text) for kind, text in parts], "b1")
    return Content('multipart/alternative; boundary="b1"', body)


def envelope(kind: str, body: bytes) -> Content:
    headers = (Header("From", "<sip:bob@example.test>"), Header("To", "<sip:alice@example.test>"))
    return Content("message/cpim", build_cpim(CpimMessage(headers, (("Content-Type", kind),), body)))


def test_formatting_of_communicator_stays_with_communicator() -> None:
    assert for_phone(Content(MSGR, "žluť".encode())) == Content(PLAIN_UTF8, "žluť".encode())
    assert for_phone(Content("TEXT/HTML", b"<b>a</b> &lt; <i>b</i><br>c")) == Content(PLAIN_UTF8, b"a < b\nc")


def test_a_body_without_a_type_is_text() -> None:
    assert for_phone(Content("", b"hello")) == Content(PLAIN_UTF8, b"hello")


def test_each_side_is_given_the_alternative_it_shows_best() -> None:
    both = alternative(("text/plain", b"plain"), ("text/html", b"<b>rich</b>"))
    assert for_phone(both).body == b"plain"
    assert for_communicator(both) == Content("text/html; charset=UTF-8", b"<b>rich</b>")
    assert for_communicator(both, ["text/plain"]) == Content(PLAIN_UTF8, b"plain")
    html_alone = alternative(("text/html", b"<b>rich</b>"), ("text/rtf", b"{}"))
    assert for_phone(html_alone).body == b"rich"
    assert for_communicator(html_alone, ["text/plain"]) == Content(PLAIN_UTF8, b"rich")


def test_an_envelope_is_taken_off_for_communicator() -> None:
    assert for_communicator(envelope("text/plain; charset=utf-8", b"hi")) == Content(PLAIN_UTF8, b"hi")
    nested = envelope("message/cpim", envelope("text/plain", b"deep").body)
    assert for_communicator(nested).body == b"deep"


def test_text_of_another_charset_becomes_utf_8() -> None:
    assert for_communicator(Content("text/plain; charset=ISO-8859-1", b"caf\xe9")).body == "café".encode()
    assert for_phone(Content('text/plain; charset="utf-16"', "ü".encode("utf-16"))).body == "ü".encode()
    assert for_phone(Content("text/plain", b"\xff")).body == "\ufffd".encode()


@pytest.mark.parametrize(
    "content",
    [
        Content("text/rtf", b"{}"),
        Content("application/octet-stream", b"\0"),
        Content("text/x-msmsgsinvite; charset=UTF-8", b"Invitation-Command: INVITE"),
        Content("text/plain; charset=idna", b"x"),
        Content("text/plain; charset=unicode_escape", b"x"),
        alternative(("text/rtf", b"{}")),
    ],
)
def test_what_cannot_be_said_is_refused(content: Content) -> None:
    for convert in (for_phone, for_communicator):
        with pytest.raises(UnsupportedContent) as caught:
            convert(content)
        assert caught.value.status == 415
        assert dict(caught.value.headers)["Accept"].startswith("text/plain")


def test_envelopes_in_envelopes_end_somewhere() -> None:
    content = Content("text/plain", b"x")
    for _ in range(6):
        content = envelope(content.content_type, content.body)
    with pytest.raises(UnsupportedContent):
        for_phone(content)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("message/cpim", b"x"), ("multipart/alternative; boundary=b", b"--b\r\n"), ("multipart/alternative", b"")],
)
def test_broken_wrapping_is_a_bad_message(content_type: str, body: bytes) -> None:
    with pytest.raises(MessagingError) as caught:
        for_phone(Content(content_type, body))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("   ", ""),
        ("plain", "plain"),
        ("a&nbsp;b &amp; c", "a b & c"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("one<br/>two", "one\ntwo"),
        ("<div>a</div>b", "a\nb"),
        ("<ul><li>x<li>y</ul>", "x\n\ny"),
        ("<head><title>t</title></head><body>b<script>alert(1)</script><style>c</style></body>", "b"),
        ("a  \n  b", "a b"),
        ("<!-- hidden -->shown<!--", "shown"),
        ("a < b", "a < b"),
        ("<unknown>text</unknown>", "text"),
        ("\x00\x01x", "x"),
        ("<b>unclosed", "unclosed"),
        ("&#1;&#x110000;y", "\ufffdy"),
    ],
)
def test_text_of_html(html: str, text: str) -> None:
    assert text_of_html(html) == text


@given(st.text(max_size=300))
def test_any_text_is_some_html(text: str) -> None:
    shown = text_of_html(text)
    shown.encode()
    assert "\x00" not in shown
    assert shown == shown.strip()


@given(
    st.binary(max_size=200),
    st.sampled_from(["text/plain", "text/html", MSGR, "message/cpim", "multipart/alternative;boundary=x"]),
)
def test_a_phone_gets_utf_8_or_a_refusal(body: bytes, content_type: str) -> None:
    refused = []
    for convert in (for_phone, for_communicator):
        try:
            converted = convert(Content(content_type, body))
        except MessagingError as error:
            refused.append(error.status)
        else:
            converted.body.decode()
    assert set(refused) <= {400, 415}


def test_deep_html_is_read_in_time() -> None:
    text_of_html("<div>" * 20_000 + "x")
    text_of_html("<a " * 20_000)
