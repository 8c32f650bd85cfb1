"""What the fuzzer found once, each as small as it can be."""

from __future__ import annotations

import tracemalloc

import pytest

from parley.sip.errors import FramingError, SipParseError
from parley.sip.framing import StreamFramer
from parley.sip.headers import canonical_name
from parley.sip.limits import Limits
from parley.sip.message import Request, make_response, parse_message
from parley.sip.nameaddr import parse_name_addr
from parley.sip.nonce import Nonces
from parley.sip.uri import parse_uri
from parley.sip.via import parse_via


def test_a_line_that_begins_with_a_colon_in_a_refused_head() -> None:
    with pytest.raises(SipParseError) as refused:
        parse_message(b"OPTIONS sip:x SIP/2.0\r\n: no name\r\nVia: a\nb\r\n\r\n")
    assert refused.value.reason == "Bare Line End in Head"
    assert canonical_name("") == ""


def test_a_tag_after_a_semicolon_too_many() -> None:
    request = parse_message(b"OPTIONS sip:x SIP/2.0\r\nTo: <sip:b@b> ; \r\n\r\n")
    assert isinstance(request, Request)
    response = make_response(request, 200, to_tag="t")
    assert parse_message(bytes(response)).to_tag == "t"


def test_a_password_without_user() -> None:
    with pytest.raises(SipParseError, match="Empty User in URI"):
        parse_uri("sip::secret@example.test")


def test_a_telephone_number_of_separators_alone() -> None:
    with pytest.raises(SipParseError, match="Empty tel URI"):
        parse_uri("tel:-.()")


@pytest.mark.parametrize("text", ["sip:a@b>", 'sip:a@b">', 'sip:"a@b', "sip:a\t@b"])
def test_a_bare_address_with_what_none_may_hold(text: str) -> None:
    with pytest.raises(SipParseError, match=r"Bad Address|Bad Display Name"):
        parse_name_addr(text)


def test_the_first_value_after_an_empty_line_is_removed() -> None:
    message = parse_message(b"OPTIONS sip:x SIP/2.0\r\nRoute:\r\nRoute: ,\r\nRoute: <sip:a>, <sip:b>\r\n\r\n")
    message.remove_first_value("Route")
    assert message.get_all("Route") == ["<sip:b>"]
    message.remove_first_value("Route")
    assert "Route" not in message
    message.remove_first_value("Route")


@pytest.mark.parametrize("text", ['E", S/2.0/UDP h', 'SIP/2.0/U"P h', "SIP/2,0/UDP h", "S IP/2.0/UDP h"])
def test_a_via_whose_protocol_is_no_token(text: str) -> None:
    with pytest.raises(SipParseError, match="Bad Via"):
        parse_via(text)


def test_a_low_count_after_a_high_one_costs_no_memory() -> None:
    nonces = Nonces(bytes(32), "edge")
    nonce = nonces.issue("r", 1000.0)
    assert nonces.use(nonce, 0xFFFFFFFF, 1000.0)
    tracemalloc.start()
    try:
        assert not nonces.use(nonce, 1, 1000.0)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_head_of_just_the_limit_is_taken_however_it_is_cut() -> None:
    start = b"OPTIONS sip:x SIP/2.0\r\nl: 0\r\nX: "
    limits = Limits(head=100)
    for size, fits in ((100, True), (101, False)):
        stream = start + b"x" * (size - 2 - len(start)) + b"\r\n\r\n"
        for step in (1, 7, len(stream)):
            framer = StreamFramer(limits)
            try:
                got = [item for at in range(0, len(stream), step) for item in framer.feed(stream[at : at + step])]
            except FramingError as error:
                assert (error.status, fits) == (513, False)  # noqa: PT017
            else:
                assert (got, fits) == ([stream], True)
