"""The ticket service (MS-OCAUTHWS): a password is proved over HTTP, and a web ticket given for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from parley.platform.clock import Clock
from parley.sip.errors import SipParseError
from parley.sip.uri import aor, parse_uri
from parley.webticket.metadata import ticket_metadata
from parley.webticket.soap import SoapError
from parley.webticket.tickets import Ticket, Tickets
from parley.webticket.trust import TokenRequest, TokenResponse, computed_key
from services.web.errors import HttpError
from services.web.routes import ADDRESS_BOOK, CERTIFICATES, TICKET_ENTRY, XML, Urls
from services.web.signing_in import HttpSignIn

AUDIENCES: Final = {
    CERTIFICATES.lower(): "certificates",
    **dict.fromkeys(("/groupexpansion/service.svc", "/groupexpansion/int/service.asmx"), ADDRESS_BOOK),
    **dict.fromkeys(("/groupexpansion/ext/service.asmx", "/abs"), ADDRESS_BOOK),
}
"""Services that take tickets, by the beginning of their paths."""


class TicketService:
    """Gives tickets."""

    def __init__(
        self, sign_in: HttpSignIn, tickets: Tickets, urls: Urls, clock: Clock, random_bytes: Callable[[int], bytes],
        *, lifetime_s: float, domain: str,
    ) -> None:  # fmt: skip
        """``domain``: in which a login without one is meant when the client claims no address."""
        self._sign_in = sign_in
        self._tickets = tickets
        self._urls = urls
        self._clock = clock
        self._random_bytes = random_bytes
        self._lifetime_s = lifetime_s
        self._domain = domain

    async def metadata(self, request: web.Request) -> web.Response:
        """What clients get before anything else."""
        return web.Response(body=ticket_metadata(self._urls.of(TICKET_ENTRY)), content_type=XML)

    async def issue(self, request: web.Request) -> web.Response:
        """A ticket. Raises HttpError, SoapError."""
        body = await request.read()
        claimed = self._sign_in.claim(request)
        wanted = TokenRequest.parse(body)
        audience = _audience(wanted.applies_to)
        address = _address(wanted.claim) if wanted.claim else ""
        user = await self._sign_in.check(request, claimed, address.rpartition("@")[2] or self._domain)
        if address and address != user.address:
            raise HttpError(403, "the address that is claimed is not that of the login")
        entropy = self._random_bytes(len(wanted.entropy))
        now = self._clock.wall()
        ticket = Ticket(
            id=f"T-{self._random_bytes(16).hex()}", address=user.address, user_version=user.version, audience=audience,
            proof_key=computed_key(wanted.entropy, entropy), expires_at=now + self._lifetime_s,
        )  # fmt: skip
        answer = TokenResponse(
            context=wanted.context, issuer=self._urls.base, ticket_id=ticket.id, ticket=self._tickets.seal(ticket),
            entropy=entropy, created_at=now, expires_at=ticket.expires_at,
        )  # fmt: skip
        return web.Response(body=bytes(answer), content_type=XML)


def _audience(url: str) -> str:
    """The service that a URL means; clients reach it by names that need not be ours. Raises SoapError."""
    try:
        path = urlsplit(url).path.lower()
    except ValueError:
        path = ""
    for begin, audience in AUDIENCES.items():
        if path == begin or path.startswith(begin + "/"):
            return audience
    raise SoapError("AppliesTo names no service that takes tickets here")


def _address(claim: str) -> str:
    """The address of record that a client claims. Raises SoapError."""
    try:
        address = aor(parse_uri(claim))
    except SipParseError:
        address = ""
    if not address.startswith("sip:") or "@" not in address:
        raise SoapError("the claim is no SIP address")
    return address
