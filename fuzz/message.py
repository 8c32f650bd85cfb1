"""Whole messages: every header that the server reads, edits, answers, and that bytes survive."""

from __future__ import annotations

from fuzz.common import read
from parley.sip.dialog import dialog_id_of_request
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, make_response, parse_message
from parley.sip.outbound import option_tags
from parley.sip.via import Via

SINGLE = ("Call-ID", "User-Agent", "Event", "Privacy", "Reason", "Traceparent", "Content-Type", "Subscription-State")
LISTS = (
    "Via", "Route", "Record-Route", "Path", "Contact", "Supported", "Require", "Proxy-Require", "Allow", "Accept",
    "Max-Breadth", "Authorization", "Proxy-Authorization", "History-Info",
)  # fmt: skip


def fuzz_one(data: bytes) -> None:
    """Reads a message, all of it, and writes it."""
    try:
        message = parse_message(data)
    except SipParseError as error:
        assert 400 <= error.status <= 699, error
        if error.message is not None:
            _answer(error.message, error.status, error.reason)
        return
    _round_trip(message)
    _read_all(message)
    _edit(message)
    if isinstance(message, Request):
        _answer(message, 200, "OK")


def _round_trip(message: Request | Response) -> None:
    written = bytes(message)
    again = parse_message(written)
    assert bytes(again) == written
    assert type(again) is type(message)
    assert again.start_line == message.start_line
    assert list(again.headers()) == list(message.headers())
    assert again.body == message.body
    assert bytes(message.copy()) == written


def _read_all(message: Request | Response) -> None:
    """No header makes the reader fail in any other way than it may; asked twice it says the same."""
    for name in SINGLE:
        value = message.get(name)
        assert value is None or "\n" not in value, value
        assert (value is None) == (name not in message), name
    for name in LISTS:
        assert read(lambda: message.values(name)) == read(lambda: message.values(name))
        message.get_all(name)
    for attribute in (
        "via", "vias", "from_", "to", "from_tag", "to_tag", "call_id", "cseq", "contacts", "routes", "record_routes",
        "paths", "max_forwards", "expires", "content_length",
    ):  # fmt: skip
        first = read(lambda: getattr(message, attribute))
        assert read(lambda: getattr(message, attribute)) == first, attribute
    if isinstance(message, Request):
        read(lambda: message.uri)
        read(lambda: dialog_id_of_request(message))
        read(lambda: option_tags(message, "Supported"))


def _edit(original: Request | Response) -> None:
    """Edits as a proxy makes them leave the rest alone."""
    message = original.copy()
    before = bytes(message)
    message.prepend("Via", "SIP/2.0/UDP fuzz.example;branch=z9hG4bKfuzz")
    assert message.via.branch == "z9hG4bKfuzz"
    message.remove_first_value("Via")
    assert bytes(message) == before
    via = read(lambda: message.via)
    if via is not None:
        count = len(message.get_all("Via"))
        message.replace_via(Via(via.transport, "fuzz.example", 5060, via.params.copy()))
        assert parse_message(bytes(message)).via.host == "fuzz.example"
        assert len(message.get_all("Via")) == count
    values = read(lambda: message.values("Route"))
    if values:
        message.remove_first_value("Route")
        assert message.values("Route") == values[1:]
    message.set("Contact", "<sip:fuzz@example.test>")
    contacts = message.contacts
    assert isinstance(contacts, list) and [contact.uri_text for contact in contacts] == ["sip:fuzz@example.test"]
    message.set_body(b"fuzz", "text/plain")
    again = parse_message(bytes(message))
    assert (again.body, again.get("Content-Type")) == (b"fuzz", "text/plain")


def _answer(request: Request, status: int, reason: str) -> None:
    """The answer can be read by whoever sent the request."""
    response = make_response(request, status, reason, to_tag="fuzz", record_route=True)
    again = parse_message(bytes(response))
    assert isinstance(again, Response)
    assert again.status == status
    assert list(again.headers()) == list(response.headers())
    if read(lambda: request.to) is not None:
        assert again.to_tag == (request.to_tag if "tag" in request.to.params else "fuzz"), again.get("To")
