"""Requests to the service of group expansion, with the tickets that they bring."""

from __future__ import annotations

from lxml import etree

from parley.addressbook.dlx import NAMES, MembersRequest
from parley.addressbook.queries import OPERATION, SearchRequest
from parley.webticket.bearer import BearerHeader, add_bearer
from parley.webticket.names import SOAP
from parley.webticket.soap import SoapError, envelope, parse_envelope
from parley.webticket.tickets import TicketError, Tickets
from parley.xml import child, local_name, to_bytes

TICKETS = Tickets(b"k" * 32, lambda count: bytes(count))


def fuzz_one(data: bytes) -> None:
    """The bytes as a request; what its header says is the same after writing."""
    try:
        call = parse_envelope(data, NAMES.operation, OPERATION)
    except SoapError:
        return
    try:
        read = MembersRequest if local_name(call.request) == NAMES.operation else SearchRequest
        read.parse(call.request)
    except SoapError:
        pass
    try:
        header = BearerHeader.parse(call.header)
    except SoapError:
        return
    assert call.header is not None
    again = _written(call.header, header)
    assert (again.ticket_id, again.ticket) == (header.ticket_id, header.ticket)
    try:
        header.check_time(header.created_at)
        TICKETS.open(header.ticket, "addressbook", 0.0)
    except (SoapError, TicketError):
        return
    raise AssertionError("a ticket nobody gave was taken")


def _written(given: etree._Element, header: BearerHeader) -> BearerHeader:
    security = child(given, "Security")
    assert security is not None
    assertion = child(security, "Assertion")
    assert assertion is not None
    root, _ = envelope({})
    element = etree.SubElement(root, f"{{{SOAP}}}Header")
    add_bearer(element, assertion, created_at=0.0, expires_at=1.0)
    parsed = etree.fromstring(to_bytes(root))
    return BearerHeader.parse(child(parsed, "Header"))
