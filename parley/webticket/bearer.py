"""The security header of a request whose ticket is brought and not proved (WS-Security 1.1): a timestamp and a ticket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from parley.webticket.names import WSSE, WSU
from parley.webticket.soap import SoapError, add, instant, parse_instant, required, text_at
from parley.webticket.trust import ticket_of
from parley.xml import children

_SKEW_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class BearerHeader:
    """What says who sends a request."""

    ticket_id: str
    ticket: str
    """Sealed, base64."""
    created_at: float
    expires_at: float
    """Of the timestamp, Unix time."""

    @classmethod
    def parse(cls, header: etree._Element | None) -> BearerHeader:
        """From the header of an envelope. Raises SoapError."""
        if header is None:
            raise SoapError("the envelope has no header")
        security = required(header, "Security")
        for name in ("Timestamp", "Assertion"):
            if len(children(security, name)) != 1:
                raise SoapError(f"the security header has to hold one {name}")
        ticket_id, ticket = ticket_of(required(security, "Assertion"))
        timestamp = required(security, "Timestamp")
        created_at, expires_at = (parse_instant(text_at(timestamp, name)) for name in ("Created", "Expires"))
        return cls(ticket_id, ticket, created_at, expires_at)

    def check_time(self, now: float) -> None:
        """``now``: Unix time. Raises SoapError."""
        if not self.created_at - _SKEW_S <= now < self.expires_at + _SKEW_S:
            raise SoapError("the timestamp is not of now")


def add_bearer(header: etree._Element, assertion: etree._Element, *, created_at: float, expires_at: float) -> etree._Element:
    """Writes a security header, as a client does; times: Unix. ``assertion``: as it came from the ticket service."""
    security = add(header, WSSE, "Security")
    timestamp = etree.SubElement(security, f"{{{WSU}}}Timestamp", {f"{{{WSU}}}Id": "timestamp"}, nsmap={"wsu": WSU})
    add(timestamp, WSU, "Created", instant(created_at))
    add(timestamp, WSU, "Expires", instant(expires_at))
    security.append(assertion)
    return security
