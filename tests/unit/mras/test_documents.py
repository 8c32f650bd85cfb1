"""Documents of requests for relay credentials."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.mras.documents import (
    CredentialsRequest,
    CredentialsResponse,
    Envelope,
    Location,
    MediaRelay,
    MrasError,
    MrasRequest,
    Phrase,
    parse_request,
    parse_response,
    write_request,
    write_response,
)

# as a client of 2007 R2 lays it out
ASKED = b"""<request requestID="4711" from="sip:alice@example.org" version="1.0"
 to="sip:MRAS@example.org;gruu;opaque=srvr:MRAS"
 xmlns="http://schemas.microsoft.com/2006/09/sip/mrasp"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><credentialsRequest credentialsRequestID="4711">
<identity>sip:alice@example.org</identity><location>intranet</location><duration>480</duration>
</credentialsRequest></request>"""
ENVELOPE = Envelope("4711", "sip:alice@example.org", "sip:MRAS@example.org;gruu;opaque=srvr:MRAS", "1.0")


def test_a_request() -> None:
    assert parse_request(ASKED) == MrasRequest(
        ENVELOPE, (CredentialsRequest("4711", "sip:alice@example.org", Location.INTRANET, 480),)
    )


def test_a_request_may_leave_out_location_and_duration() -> None:
    bare = ASKED.replace(b"<location>intranet</location><duration>480</duration>", b"")
    (wish,) = parse_request(bare).credentials
    assert (wish.location, wish.minutes) == (None, 0)


def test_an_answer() -> None:
    relay = MediaRelay(Location.INTRANET, "av.example.org", 3478, 443)
    data = write_response(ENVELOPE, Phrase.OK, [CredentialsResponse("4711", b"user", b"pass", 480, (relay,), "example.org")])
    assert data.startswith(b"<?xml version=")
    assert (
        b'requestID="4711" version="1.0" to="sip:MRAS@example.org;gruu;opaque=srvr:MRAS" from="sip:alice@example.org"'
        in data
    )
    assert b'serverVersion="1.0" reasonPhrase="OK"' in data
    assert b"<username>dXNlcg==</username><password>cGFzcw==</password><duration>480</duration>" in data
    assert b"<hostName>av.example.org</hostName><udpPort>3478</udpPort><tcpPort>443</tcpPort>" in data


@pytest.mark.parametrize("phrase", Phrase)
def test_a_refusal_says_why(phrase: Phrase) -> None:
    found = parse_response(write_response(ENVELOPE, phrase))
    assert (found.envelope, found.phrase, found.credentials) == (ENVELOPE, phrase.text, ())
    assert (phrase is Phrase.OK) is (phrase.status < 300)


WISH = ASKED[ASKED.index(b"<credentialsRequest") : ASKED.index(b"</request>")]


@pytest.mark.parametrize(
    ("body", "phrase", "text"),
    [
        (b"", Phrase.REQUEST_MALFORMED, "not well-formed"),
        (b"<other/>", Phrase.REQUEST_MALFORMED, "is other, not request"),
        (b"<request>" + b" " * 65_536 + b"</request>", Phrase.REQUEST_TOO_LARGE, "65555 bytes"),
        (ASKED.replace(b'version="1.0"', b'version="3.0"'), Phrase.VERSION_MISMATCH, "'3.0'"),
        (
            ASKED.replace(b'requestID="4711"', b'requestID="' + b"x" * 65 + b'"', 1),
            Phrase.REQUEST_MALFORMED,
            "requestID has",
        ),
        (ASKED.replace(WISH, b""), Phrase.REQUEST_MALFORMED, "asks for no credentials"),
        (ASKED.replace(WISH, WISH * 101), Phrase.REQUEST_TOO_LARGE, "more than 100"),
        (ASKED.replace(b"intranet", b"moon"), Phrase.REQUEST_MALFORMED, "'moon'"),
        (ASKED.replace(b"480", b"0"), Phrase.REQUEST_MALFORMED, "duration"),
        (ASKED.replace(b"480", b"4.5"), Phrase.REQUEST_MALFORMED, "duration"),
        (ASKED.replace(b"480", "٤".encode()), Phrase.REQUEST_MALFORMED, "duration"),
        (ASKED.replace(b"<identity>sip:alice@example.org</identity>", b""), Phrase.REQUEST_MALFORMED, "lacks its id"),
        (ASKED.replace(b"<request ", b'<request route="pigeon" '), Phrase.NOT_SUPPORTED, "'pigeon'"),
    ],
)
def test_what_is_refused(body: bytes, phrase: Phrase, text: str) -> None:
    with pytest.raises(MrasError, match=text) as refused:
        parse_request(body)
    assert refused.value.phrase is phrase


def test_a_refusal_keeps_what_was_read_of_the_envelope() -> None:
    with pytest.raises(MrasError) as refused:
        parse_request(ASKED.replace(b"480", b"x"))
    assert refused.value.envelope == ENVELOPE
    with pytest.raises(MrasError) as refused:
        parse_request(ASKED.replace(b'version="1.0"', b'version="9"'))
    assert refused.value.envelope == ENVELOPE


words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp", "Cn")), min_size=1, max_size=20
)
envelopes = st.builds(Envelope, words, words, words, st.sampled_from(["1.0", "2.0"]))
wishes = st.builds(CredentialsRequest, words, words, st.none() | st.sampled_from(Location), st.integers(0, 525_600))
relays = st.builds(MediaRelay, st.sampled_from(Location), words, st.integers(0, 65535), st.integers(0, 65535))
answers = st.builds(
    CredentialsResponse, words, st.binary(max_size=60), st.binary(max_size=60), st.integers(1, 525_600),
    st.lists(relays, max_size=3).map(tuple), words | st.just(""),
)  # fmt: skip


@given(envelopes, st.lists(wishes, min_size=1, max_size=4).map(tuple), st.sampled_from(["", "loadbalanced", "directip"]))
def test_requests_round_trip(envelope: Envelope, asked: tuple[CredentialsRequest, ...], route: str) -> None:
    request = MrasRequest(envelope, asked, route)
    assert parse_request(write_request(request)) == request


@given(envelopes, st.lists(answers, max_size=3))
def test_answers_round_trip(envelope: Envelope, given_: list[CredentialsResponse]) -> None:
    found = parse_response(write_response(envelope, Phrase.OK, given_))
    assert (found.envelope, found.phrase, list(found.credentials)) == (envelope, "OK", given_)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parsers(data: bytes) -> None:
    for body in (data, ASKED[:200] + data, ASKED + data):
        with contextlib.suppress(MrasError):
            parse_request(body)
        with contextlib.suppress(MrasError):
            parse_response(body)
