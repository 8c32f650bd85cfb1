"""The torture messages of RFC 4475 and RFC 5118 through the parser: which are taken, and which are refused with what."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest

from parley.sip.errors import FramingError, SipParseError
from parley.sip.framing import StreamFramer
from parley.sip.message import Request, Response, make_response, parse_message
from parley.sip.nameaddr import NameAddr
from parley.sip.proxy.validation import validate_request
from tests.support.torture import ALL, BY_NAME, RFC4475, RFC5118, Case, Verdict

Reading = Callable[[Request | Response], object]

READ: dict[str, Reading] = {
    "via": lambda m: (m.via, m.via.branch, m.via.received, m.via.rport),
    "vias": lambda m: m.vias,
    "from": lambda m: (m.from_tag, m.from_.uri),
    "to": lambda m: (m.to_tag, m.to.uri),
    "call_id": lambda m: m.call_id,
    "cseq": lambda m: m.cseq,
    "contacts": lambda m: [c.uri for c in m.contacts if isinstance(c, NameAddr)],
    "routes": lambda m: [route.uri for route in m.routes],
    "record_routes": lambda m: [route.uri for route in m.record_routes],
    "paths": lambda m: m.paths,
    "max_forwards": lambda m: m.max_forwards,
    "expires": lambda m: m.expires,
    "content_length": lambda m: m.content_length,
    "uri": lambda m: m.uri if isinstance(m, Request) else None,
    "require": lambda m: (m.values("Require"), m.values("Proxy-Require"), m.values("Supported")),
}
"""All that the server reads of a message."""

UNCLEAN = {
    "badinv01": {"via", "vias", "contacts"},
    "scalar02": {"cseq", "max_forwards"},
    "scalarlg": {"cseq"},
    "quotbal": {"to"},
    "escruri": {"uri"},
    "regbadct": {"contacts"},
    "badaspec": {"to"},
    "baddn": {"from", "to"},
    "insuf": {"from", "to", "call_id"},
    "multi01": {"from", "to", "call_id", "cseq", "max_forwards"},
    "ipv6-bad": {"uri"},
}
"""What cannot be read of messages whose lines can be told apart."""

UNREADABLE = {
    "clerr": (400, "Body Shorter Than Content-Length"),
    "ncl": (400, "Bad Content-Length"),
    "mcl01": (400, "Several Content-Length Headers"),
    "ltgtruri": (400, "Bad Request-URI"),
    "lwsruri": (400, "Bad Request-URI"),
    "lwsstart": (400, "Bad Request-URI"),
    "trws": (400, "Bad Request Line"),
    "badvers": (505, "Version Not Supported"),
    "bigcode": (400, "Bad Status Line"),
}
"""Messages that are refused as a whole."""

PARSED = [case for case in ALL if case.name not in UNREADABLE]


def request(name: str) -> Request:
    message = parse_message(BY_NAME[name].data)
    assert isinstance(message, Request)
    return message


def named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def test_no_message_is_missing_and_none_was_changed() -> None:
    assert (len(RFC4475), len(RFC5118), len(BY_NAME)) == (49, 12, 61)
    # Of the files in the archive of RFC 4475, by name; git or an editor could change line ends or blanks.
    archive = b"".join(case.data for case in sorted(RFC4475, key=lambda case: case.name))
    assert sha256(archive).hexdigest() == "c130abdedde20f53b7f1c70181dc8fc115afd568a12977d7db3d597f39a21378"
    assert all(b"\n" not in case.data.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"") for case in ALL)


@named(list(ALL))
def test_what_parley_answers_is_what_the_rfc_says(case: Case) -> None:
    if case.verdict is Verdict.RESPONSE:
        assert case.parley is None
    elif case.named:
        assert case.parley in case.named
    else:
        assert case.parley not in (None, 400), "a message that may be taken is not called malformed"


@named(PARSED)
def test_every_header_is_read_or_refused_with_400(case: Case) -> None:
    message = parse_message(case.data)
    assert isinstance(message, Response) is (case.verdict is Verdict.RESPONSE)
    refused = set()
    for what, read in READ.items():
        try:
            read(message)
        except SipParseError as error:
            # A request is answered by what it holds; a response is not answered.
            answerable = message if isinstance(message, Request) else None
            refused.add((what, error.status, error.message is answerable))
    assert refused == {(what, 400, True) for what in UNCLEAN.get(case.name, ())}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_cut_into_headers_is_refused_with_the_right_status(name: str) -> None:
    case = BY_NAME[name]
    with pytest.raises(SipParseError) as caught:
        parse_message(case.data)
    assert (caught.value.status, caught.value.reason) == UNREADABLE[name]
    salvaged = caught.value.message
    if case.verdict is Verdict.RESPONSE:
        assert salvaged is None
        return
    assert salvaged is not None
    answer = make_response(salvaged, caught.value.status, to_tag="t")
    again = parse_message(bytes(answer))
    # The answer finds its way and its transaction.
    assert [again.get(key) for key in ("Via", "From", "Call-ID", "CSeq")] == [
        salvaged.get(key) for key in ("Via", "From", "Call-ID", "CSeq")
    ]
    assert again.to_tag in ("t", salvaged.to_tag)


@pytest.mark.parametrize("case", [case for case in ALL if case.is_request], ids=lambda case: case.name)
def test_invalid_requests_fail_somewhere_and_valid_ones_nowhere(case: Case) -> None:
    """The proxy's own validation sees what the RFC calls invalid; Contact is no business of a proxy."""
    try:
        message = parse_message(case.data)
        assert isinstance(message, Request)
        refusal = validate_request(message)
        status = refusal.status if refusal is not None else None
    except SipParseError as error:
        status = error.status
    if case.verdict is Verdict.INVALID or case.name in ("unkscm", "novelsc", "bext01", "zeromf"):
        assert status in case.named
    elif case.verdict is Verdict.VALID or case.name in ("baddate", "badbranch", "regbadct"):
        assert status is None
    else:
        assert status == 400


@named([case for case in PARSED if case.name not in ("dblreq", "baddn")])
def test_every_byte_survives(case: Case) -> None:
    assert bytes(parse_message(case.data)) == case.data


def test_what_follows_the_body_of_a_datagram_is_dropped() -> None:
    message = request("dblreq")
    assert message.method == "REGISTER"
    assert message.body == b""
    assert bytes(message) == BY_NAME["dblreq"].data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def test_a_head_without_its_empty_line_gets_one() -> None:
    assert bytes(request("baddn")) == BY_NAME["baddn"].data + b"\r\n"


@named([case for case in ALL if case.verdict is Verdict.VALID and case.name not in ("dblreq", "inv2543")])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_stream_is_cut_where_the_message_ends(case: Case, size: int) -> None:
    framer = StreamFramer()
    data = case.data * 2
    found = [item for at in range(0, len(data), size) for item in framer.feed(data[at : at + size])]
    assert found == [case.data, case.data]
    assert framer.buffered == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ncl", "Bad Content-Length"),
        ("mcl01", "Several Content-Length Headers"),
        ("inv2543", "Missing Content-Length"),
    ],
)
def test_a_stream_with_a_doubtful_length_ends(name: str, reason: str) -> None:
    with pytest.raises(FramingError, match=reason) as caught:
        StreamFramer().feed(BY_NAME[name].data)
    assert caught.value.status == 400
    assert caught.value.message is not None
    assert caught.value.message.call_id.startswith(name)


@pytest.mark.parametrize("name", ["clerr", "baddn"])
def test_a_stream_waits_for_the_rest_of_a_message(name: str) -> None:
    framer = StreamFramer()
    assert framer.feed(BY_NAME[name].data, now=1.0) == []
    assert (framer.buffered, framer.since) == (len(BY_NAME[name].data), 1.0)
