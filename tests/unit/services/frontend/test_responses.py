"""What is answered to requests that cannot be read, and to requests to the server itself."""

from __future__ import annotations

import pytest

from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, parse_message
from services.frontend.flows import Flow
from services.frontend.responses import answer_here, answer_unreadable

FLOW = Flow(1, "UDP", ("192.0.2.1", 5060), ("192.0.2.9", 5060))
HEAD = {
    "Via": "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
    "From": "<sip:a@x>;tag=1",
    "To": "<sip:b@x>",
    "Call-ID": "c1",
    "CSeq": "1 OPTIONS",
}


def request(changes: dict[str, str | None] | None = None, method: str = "OPTIONS") -> Request:
    """A request with headers changed, or left out where they are None."""
    fields: dict[str, str | None] = {**HEAD, **(changes or {})}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    message = parse_message("\r\n".join([f"{method} sip:x SIP/2.0", *lines, "", ""]).encode())
    assert isinstance(message, Request)
    return message


def refused(message: Request) -> Response | None:
    return answer_unreadable(SipParseError(400, "Bad", message), FLOW)


@pytest.mark.parametrize("missing", ["From", "To", "Call-ID", "CSeq"])
def test_a_request_without_a_header_is_answered_without_it(missing: str) -> None:
    answer = refused(request({missing: None}))
    assert answer is not None
    assert (answer.status, answer.reason) == (400, "Bad")
    for name, value in HEAD.items():
        given = answer.get(name)
        if name == missing:
            assert given is None
        elif name == "To":
            assert given is not None
            assert given.startswith(f"{value};tag=")
        else:
            assert given == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Via", "SIP/2.0/UDP 192.0.2.15;;,;,,"),
        ("From", '"open <sip:a@x>'),
        ("To", "<sip:b@x"),
        ("CSeq", "x"),
        ("Call-ID", ""),
    ],
)
def test_what_cannot_be_read_goes_back_as_it_came(name: str, value: str) -> None:
    answer = refused(request({name: value}))
    assert answer is not None
    assert answer.get(name) == value
    assert [key for key, _ in answer.headers()] == [*HEAD, "Content-Length"]


def test_several_headers_all_go_back() -> None:
    message = request()
    message.add("Call-ID", "c2")
    message.add("To", "<sip:d@x>")
    answer = refused(message)
    assert answer is not None
    assert answer.get_all("Call-ID") == ["c1", "c2"]
    assert answer.get_all("To") == ["<sip:b@x>", "<sip:d@x>"]


def test_no_answer_where_there_is_nobody_to_take_it() -> None:
    assert answer_unreadable(SipParseError(400, "Bad"), FLOW) is None
    assert refused(request({"Via": None})) is None
    assert refused(request({"Call-ID": None}, "ACK")) is None


@pytest.mark.parametrize("missing", ["From", "To", "Call-ID", "CSeq"])
def test_the_server_itself_wants_every_header_too(missing: str) -> None:
    assert answer_here(request(), FLOW).status == 200
    with pytest.raises(SipParseError, match=missing) as caught:
        answer_here(request({missing: None}), FLOW)
    assert caught.value.status == 400


def test_the_server_itself_compares_the_methods() -> None:
    assert answer_here(request({"CSeq": "1 INVITE"}), FLOW).status == 400
    assert answer_here(request({"CSeq": "1 INVITE"}, "NEWMETHOD"), FLOW).status == 501
