"""Certificate provisioning (MS-OCAUTHWS): who shows a web ticket, and proves its key, gets a certificate to sign in with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from grpc import StatusCode

from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import addressbook_pb2 as pb
from parley.webticket.certificates import CertificateRequest, certificate_response
from parley.webticket.metadata import certificate_metadata
from parley.webticket.security import SecurityHeader
from parley.webticket.soap import SoapError, parse_envelope
from parley.webticket.tickets import Ticket, TicketError, Tickets
from services.web.errors import HttpError
from services.web.metrics import CERTIFICATES as OUTCOMES
from services.web.routes import CERTIFICATE_ENTRY, TICKETS, XML, Urls
from services.web.tickets import AUDIENCES

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookAsyncStub

_AUDIENCE = AUDIENCES[CERTIFICATE_ENTRY.lower().rpartition("/")[0]]


class CertificateService:
    """Gives certificates."""

    def __init__(
        self, addressbook: AddressBookAsyncStub, tickets: Tickets, urls: Urls, clock: Clock, *, timeout_s: float
    ) -> None:
        self._addressbook = addressbook
        self._tickets = tickets
        self._urls = urls
        self._clock = clock
        self._timeout_s = timeout_s

    async def metadata(self, request: web.Request) -> web.Response:
        """What clients get before anything else."""
        body = certificate_metadata(self._urls.of(CERTIFICATE_ENTRY), self._urls.of(TICKETS))
        return web.Response(body=body, content_type=XML)

    async def publish(self, request: web.Request) -> web.Response:
        """A certificate. Raises HttpError, SoapError."""
        try:
            answer = await self._publish(await request.read())
        except (HttpError, SoapError):
            OUTCOMES.labels("refused").inc()
            raise
        OUTCOMES.labels("issued").inc()
        return web.Response(body=answer, content_type=XML)

    async def _publish(self, data: bytes) -> bytes:
        envelope = parse_envelope(data, "GetAndPublishCert")
        ticket = self._ticket(SecurityHeader.parse(envelope.header))
        wanted = CertificateRequest.parse(envelope.request)
        if f"sip:{wanted.entity.lower().removeprefix('sip:')}" != ticket.address:
            raise HttpError(403, "the ticket is that of another user")
        request = pb.IssueCertificateRequest(
            address=ticket.address, request=wanted.request, device=wanted.device, user_version=ticket.user_version
        )
        try:
            issued = await self._addressbook.IssueCertificate(request, timeout=self._timeout_s)
        except RpcError as error:
            if error.code in (StatusCode.FAILED_PRECONDITION, StatusCode.NOT_FOUND):
                raise HttpError(403, "the ticket is not good any more; ask for another") from None
            raise HttpError.of(error) from None
        return certificate_response(issued.certificate, wanted.request_id)

    def _ticket(self, header: SecurityHeader) -> Ticket:
        """The ticket of a request, whose key was proved. Raises HttpError."""
        now = self._clock.wall()
        try:
            ticket = self._tickets.open(header.ticket, _AUDIENCE, now)
            if ticket.id != header.ticket_id:
                raise TicketError("the ticket has another AssertionID")
            header.verify(ticket.proof_key, now)
        except (TicketError, SoapError) as error:
            raise HttpError(403, str(error)) from None
        return ticket
