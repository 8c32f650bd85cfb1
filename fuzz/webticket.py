"""Requests for web tickets and certificates, with their security headers."""

from __future__ import annotations

from parley.webticket.certificates import CertificateRequest
from parley.webticket.security import SecurityHeader
from parley.webticket.soap import SoapError, envelope, parse_envelope
from parley.webticket.tickets import TicketError, Tickets
from parley.webticket.trust import TokenRequest, TokenResponse
from parley.xml import parse_xml, to_bytes

TICKETS = Tickets(b"k" * 32, lambda count: bytes(count))


def fuzz_one(data: bytes) -> None:
    """The same bytes as a request for a ticket, and as one for a certificate."""
    try:
        wanted = TokenRequest.parse(data)
    except SoapError:
        pass
    else:
        assert TokenRequest.parse(bytes(wanted)) == wanted
        parse_xml(bytes(TokenResponse(wanted.context, "https://x", "T-1", "AAAA", wanted.entropy, 0.0, 1.0)))
    try:
        request = CertificateRequest.from_bytes(data)
    except SoapError:
        return
    root, body = envelope({})
    request.add_to(body)
    assert CertificateRequest.from_bytes(to_bytes(root)) == request
    try:
        header = SecurityHeader.parse(parse_envelope(data, "GetAndPublishCert").header)
        TICKETS.open(header.ticket, "certificates", 0.0)
        header.verify(bytes(32), header.created_at)
    except (SoapError, TicketError):
        return
    raise AssertionError("a signature nobody made was taken")
