"""Which path is whose, readable at a glance. Paths are matched without case, as clients of these services expect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

TICKETS: Final = "/WebTicket/WebTicketService.svc"
TICKET_ENTRY: Final = TICKETS + "/Auth"
CERTIFICATES: Final = "/CertProv/CertProvisioningService.svc"
CERTIFICATE_ENTRY: Final = CERTIFICATES + "/WebTicket_Proof_SHA1"
ICE_SERVERS: Final = "/relay/ice-servers"

XML: Final = "text/xml"

Handler = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table."""

    method: str
    path: str
    handler: Handler


@dataclass(slots=True)
class Urls:
    """How clients reach these services."""

    base: str
    """As https://web.example.com:8443."""

    @property
    def host(self) -> str:
        """The name in it."""
        return urlsplit(self.base).hostname or ""

    def of(self, path: str) -> str:
        """The URL of a path."""
        return self.base + path
