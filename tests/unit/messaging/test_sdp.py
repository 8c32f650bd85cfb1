"""Offers of sessions of messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.messaging.sdp import ACCEPTED, accepted_types, offers_messages, session_description

HEAD = b"v=0\r\no=- 0 0 IN IP4 192.0.2.5\r\ns=session\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\n"


@pytest.mark.parametrize(
    ("media", "offered"),
    [
        (b"m=message 5061 sip null\r\n", True),
        (b"m=x-ms-message 5061 sip sip:bob@example.test\r\n", True),
        (b"m=message 5061 SIP null\r\nm=audio 0 RTP/AVP 0\r\n", True),
        (b"m=message 7394 TCP/MSRP *\r\n", False),
        (b"m=audio 49170 RTP/AVP 0\r\n", False),
        (b"m=message 5061 sip null\r\nm=audio 49170 RTP/AVP 0\r\n", False),
        (b"a=message\r\n", False),
        (b"m=message\r\n", False),
        (b"m=message 0\r\n", False),
        (b"", False),
    ],
)
def test_offers(media: bytes, offered: bool) -> None:
    assert offers_messages(HEAD + media) is offered


def test_ours_is_one() -> None:
    body = session_description("example.test")
    assert offers_messages(body)
    assert accepted_types(body) == ACCEPTED


def test_accepted_types() -> None:
    body = HEAD + b"m=message 5061 sip null\r\na=accept-types:text/plain Text/HTML text/plain\r\n"
    assert accepted_types(body) == ("text/plain", "text/html")
    assert accepted_types(HEAD) == ()


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer(body: bytes) -> None:
    assert offers_messages(body) in (True, False)
    assert len(accepted_types(body)) <= 32
