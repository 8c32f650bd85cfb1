"""The service of group expansion and of the web query (web-services sheet, sections 2.2, 2.3 and 3).

One URL serves both worlds: clients of Office Communications Server post QueryDLMembers to it, with a password; later ones
look below it, at ``/mex``, for where SearchAbEntry is posted with a web ticket. Either operation is taken at either place.
QueryAbContacts is not there: what its requests look like is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from parley.addressbook.dlx import NAMES, ExpansionResult, Member, MembersRequest, MembersResponse, wsdl
from parley.addressbook.entry_proto import from_proto, result_from_proto
from parley.addressbook.queries import OPERATION, FoundEntry, SearchRequest, SearchResponse
from parley.platform.clock import Clock
from parley.platform.limits import RateLimiter
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import directory_pb2 as pb
from parley.webticket.bearer import BearerHeader
from parley.webticket.metadata import address_book_metadata
from parley.webticket.soap import Envelope, SoapError, parse_envelope
from parley.webticket.tickets import TicketError, Tickets
from parley.xml import local_name
from services.web.errors import HttpError
from services.web.expansion.config import ExpansionConfig
from services.web.metrics import refused
from services.web.routes import ADDRESS_BOOK, TICKETS, XML, Access, Route, Urls
from services.web.signing_in import HttpSignIn

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryAsyncStub

SERVICES: Final = (
    "/GroupExpansion/int/service.asmx", "/GroupExpansion/ext/service.asmx", "/GroupExpansion/service.svc",
)  # fmt: skip
BEARER: Final = "/WebTicket_Bearer"
_SOAP_TYPES: Final = (XML, "application/soap+xml", "application/xml")


class ExpansionService:
    """Handlers."""

    def __init__(
        self, directory: DirectoryAsyncStub, sign_in: HttpSignIn, tickets: Tickets, urls: Urls, clock: Clock,
        config: ExpansionConfig, rate: RateLimiter, *, timeout_s: float,
    ) -> None:  # fmt: skip
        """``rate``: of users who show tickets."""
        self._directory = directory
        self._sign_in = sign_in
        self._tickets = tickets
        self._urls = urls
        self._clock = clock
        self._config = config
        self._rate = rate
        self._timeout_s = timeout_s

    def routes(self) -> list[Route]:
        """Their rows."""
        rows = []
        for base in SERVICES:
            rows += [
                Route("GET", base, self.describe),
                Route("GET", f"{base}/mex", self.metadata),
                Route("POST", base, self.with_password, Access.USER, content_types=_SOAP_TYPES),
                Route("POST", base + BEARER, self.with_ticket, content_types=_SOAP_TYPES),
            ]
        return rows

    async def describe(self, request: web.Request) -> web.Response:
        """The WSDL, to who asks for it with ``?wsdl``. Raises HttpError."""
        if "wsdl" not in {name.lower() for name in request.query}:
            raise HttpError(404, "post requests here, or ask for ?wsdl")
        return web.Response(body=wsdl(self._urls.of(_service(request))), content_type=XML)

    async def metadata(self, request: web.Request) -> web.Response:
        """Where searches are posted, and where their tickets come from."""
        body = address_book_metadata(self._urls.of(_service(request) + BEARER), self._urls.of(TICKETS))
        return web.Response(body=body, content_type=XML)

    async def with_password(self, request: web.Request) -> web.Response:
        """For who has signed in. Raises HttpError, SoapError."""
        return await self._answer(_parsed(await request.read()))

    async def with_ticket(self, request: web.Request) -> web.Response:
        """For who shows a ticket in the envelope. Raises HttpError, SoapError."""
        self._sign_in.admitted(request)
        call = _parsed(await request.read())
        await self._check(call)
        return await self._answer(call)

    async def _check(self, call: Envelope) -> None:
        """Whether the ticket is good. Raises HttpError."""
        now = self._clock.wall()
        try:
            header = BearerHeader.parse(call.header)
            header.check_time(now)
            ticket = self._tickets.open(header.ticket, ADDRESS_BOOK, now)
            if ticket.id != header.ticket_id:
                raise TicketError("the ticket has another AssertionID")
        except (TicketError, SoapError) as error:
            raise HttpError(403, str(error)) from None
        known = await self._sign_in.lookup(ticket.address, ticket.address.partition("@")[2])
        if known is None or not known.enabled or known.version != ticket.user_version:
            raise HttpError(403, "the ticket is not good any more; ask for another")
        if not self._rate.allow(ticket.address, self._clock.monotonic()):
            refused("user_requests")
            raise HttpError(429, "too many requests", headers=[("Retry-After", "5")])

    async def _answer(self, call: Envelope) -> web.Response:
        try:
            if local_name(call.request) == OPERATION:
                body = bytes(await self._search(SearchRequest.parse(call.request)))
            else:
                body = (await self._members(MembersRequest.parse(call.request))).to_bytes()
        except RpcError as error:
            raise HttpError.of(error) from None
        return web.Response(body=body, content_type=XML, charset="utf-8")

    async def _search(self, wanted: SearchRequest) -> SearchResponse:
        asked = pb.SearchRequest(limit=min(wanted.most, self._config.most_found))
        asked.criteria.any = not wanted.all_of
        for attribute, value in wanted.all_of or [(name, wanted.value) for name in wanted.any_of]:
            asked.criteria.criteria.add(attribute=attribute, value=value)
        found = await self._directory.Search(asked, timeout=self._timeout_s)
        return SearchResponse(tuple(FoundEntry.of(from_proto(entry), wanted.returned) for entry in found.entries))

    async def _members(self, wanted: MembersRequest) -> MembersResponse:
        if not self._config.enabled:
            return MembersResponse(ExpansionResult.DISABLED)
        asked = pb.ExpandRequest(name=wanted.mail, limit=self._config.largest_group)
        found = await self._directory.Expand(asked, timeout=self._timeout_s)
        return MembersResponse(
            result_from_proto(found.result), tuple(Member.of(from_proto(entry)) for entry in found.members)
        )


def _parsed(data: bytes) -> Envelope:
    return parse_envelope(data, NAMES.operation, OPERATION)


def _service(request: web.Request) -> str:
    """The service that a request is for, as its clients write it."""
    path = request.path.lower()
    return next(base for base in SERVICES if path.startswith(base.lower()))
