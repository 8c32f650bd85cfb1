"""Sign-in over HTTP, over TLS alone: NTLM, Negotiate, Basic, bearer tokens, web tickets, and sessions of the admin page.

Each request is authenticated anew, so no connection carries an identity. Whoever is let in is looked up each time: a user
who is disabled or removed is out at once, whatever was shown. Wrong passwords and unknown users are told the same.
"""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web
from grpc import StatusCode
from lxml import etree

from parley.ntlm.messages import TargetInfo
from parley.platform.clock import Clock
from parley.platform.rpc.batch import BatchClient
from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import current_span
from parley.proto.addressbook.v1.addressbook_pb2 import Credentials, CredentialsLookup, CredentialsResult
from parley.proto.addressbook.v1.directory_pb2 import CheckPasswordRequest
from parley.sipae import spnego
from parley.webticket.soap import SoapError
from parley.webticket.tickets import TicketError, Tickets
from parley.webticket.trust import ticket_of
from parley.xml import XmlError, parse_xml
from services.web.errors import HttpError
from services.web.guarding import FailureGuard
from services.web.metrics import SIGN_INS
from services.web.routes import Caller, add_header
from services.web.schemes.basic import basic_claim, password_claim
from services.web.schemes.bearer import BearerTokens, TokenError
from services.web.schemes.claims import Claimed, proves_nothing
from services.web.schemes.negotiate import KerberosSignIn
from services.web.schemes.ntlm import NtlmChallenges, Remote
from services.web.schemes.sessions import COOKIE, CSRF_HEADER, Endings, Sessions

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryAsyncStub

logger = logging.getLogger(__name__)

_MAX_HEADER: Final = 24_576
"""Characters of what follows the scheme: a Kerberos ticket has the groups of the user in it."""
_MAX_BASIC: Final = 8_192
_NOT_FOUND: Final = StatusCode.NOT_FOUND.value[0]
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_TICKET_HEADER: Final = "X-MS-WebTicket"
_MAX_TICKET: Final = 16_384

CredentialsClient = BatchClient[CredentialsLookup, CredentialsResult]

__all__ = ["Claimed", "CredentialsClient", "HttpSignIn", "Ways"]


@dataclass(frozen=True, slots=True)
class Ways:
    """What there is besides NTLM, and Basic by NT hash."""

    domain: str = ""
    """In which a bare login is meant."""
    directory: DirectoryAsyncStub | None = None
    """Checks passwords that are known in plain; None: by NT hash alone."""
    kerberos: KerberosSignIn | None = None
    bearer: BearerTokens | None = None
    sessions: Sessions | None = None
    endings: Endings | None = None
    tickets: Tickets | None = None
    administrators: frozenset[str] = frozenset()
    """Addresses of record."""


class HttpSignIn:
    """Judges who sends requests."""

    def __init__(
        self, client: CredentialsClient, guard: FailureGuard, clock: Clock, random_bytes: Callable[[int], bytes],
        target: TargetInfo, *, timeout_s: float, ways: Ways | None = None,
    ) -> None:  # fmt: skip
        """``target``: what NTLM tells clients of this server."""
        self._client = client
        self._guard = guard
        self._clock = clock
        self._random_bytes = random_bytes
        self._timeout_s = timeout_s
        self.ways = ways or Ways()
        self._ntlm = NtlmChallenges(clock, random_bytes, target)
        basic = f'Basic realm="{target.dns_domain}", charset="UTF-8"'
        self._offered = (*(("Negotiate",) if self.ways.kerberos is not None else ()), "NTLM", basic)
        self._bearer = f'Bearer realm="{target.dns_domain}"'

    # Passwords and Kerberos

    def claim(self, request: web.Request) -> Claimed:
        """Raises HttpError: 401 with what to do next, 503 for a source that failed too often."""
        remote = self.admitted(request)
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        try:
            data = b64decode(value.strip(), validate=True) if len(value) <= _MAX_HEADER else b""
        except ValueError:
            data = b""
        claimed = None
        match scheme.lower():
            case "ntlm" if data:
                claimed = self._by_ntlm(data, remote, "NTLM")
            case "negotiate" if data:
                claimed = self._by_negotiate(data, remote)
            case "basic" if data and len(value) <= _MAX_BASIC:
                claimed = basic_claim(data)
        if claimed is None:
            raise self.unauthorized(request)
        return claimed

    def admitted(self, request: web.Request) -> Remote:
        """Where a request comes from. Raises HttpError 503 for a source that failed too often."""
        remote = _remote(request)
        if self._guard.refuses(remote[0]):
            raise HttpError(503, "too many failures", headers=[("Retry-After", "60")])
        return remote

    def _by_ntlm(self, data: bytes, remote: Remote, name: str, *, is_wrapped: bool = False) -> Claimed | None:
        taken = self._ntlm.take(data, remote)
        if isinstance(taken, bytes):
            message = spnego.answer(spnego.Mechanism.NTLM, taken, complete=False) if is_wrapped else taken
            raise HttpError(401, "sign in", headers=[("WWW-Authenticate", f"{name} {b64encode(message).decode()}")])
        return taken

    def _by_negotiate(self, data: bytes, remote: Remote) -> Claimed | None:
        try:
            token = spnego.Token.parse(data)
        except spnego.SpnegoError:
            return None
        if token.mechanism in (None, spnego.Mechanism.NTLM):
            return self._by_ntlm(token.data, remote, "Negotiate", is_wrapped=token.is_wrapped)
        return Claimed("negotiate", "", proves_nothing, token=token.data) if self.ways.kerberos is not None else None

    def unauthorized(self, request: web.Request | None = None) -> HttpError:
        """With all schemes; for scripts of pages only those for which a browser asks nobody."""
        if request is not None and request.headers.get("Sec-Fetch-Dest") == "empty":
            offered: tuple[str, ...] = (self._bearer,)
        else:
            offered = self._offered + ((self._bearer,) if self.ways.bearer else ())
        return HttpError(401, "sign in", headers=[("WWW-Authenticate", challenge) for challenge in offered])

    async def check(self, request: web.Request, claimed: Claimed, realm: str) -> Credentials:
        """The user whose password was proved. ``realm``: domain in which a bare login is meant. Raises HttpError."""
        if claimed.token:
            known = await self._by_kerberos(request, claimed)
        elif claimed.password and self.ways.directory is not None:
            known = await self._by_password(self.ways.directory, claimed, realm)
        else:
            known = await self._by_hash(claimed, realm)
        if known is None:
            raise await self.failed(request, claimed.scheme, claimed.login)
        SIGN_INS.labels(claimed.scheme, "ok").inc()
        if claimed.login:
            self._guard.succeeded(claimed.login)
        return known

    async def failed(self, request: web.Request, scheme: str, login: str) -> HttpError:
        """Notes a failure, and is the answer."""
        SIGN_INS.labels(scheme, "failed").inc()
        await self._guard.failed(_remote(request)[0], login or f"({scheme})" + _remote(request)[0])
        return self.unauthorized(request)

    async def _by_hash(self, claimed: Claimed, realm: str) -> Credentials | None:
        known = await self.lookup(claimed.login, realm)
        # For nobody the same work is done as for a wrong password.
        proved = claimed.proves(known.nt_hash if known is not None and known.nt_hash else self._random_bytes(16))
        return known if known is not None and proved and known.nt_hash and known.enabled else None

    async def _by_password(self, directory: DirectoryAsyncStub, claimed: Claimed, realm: str) -> Credentials | None:
        asked = CheckPasswordRequest(login=claimed.login, realm=realm, password=claimed.password)
        try:
            said = await directory.CheckPassword(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise _unchecked(error) from None
        if not said.address:
            return None
        return Credentials(address=said.address, display_name=said.display_name, enabled=True, version=said.version)

    async def _by_kerberos(self, request: web.Request, claimed: Claimed) -> Credentials | None:
        assert self.ways.kerberos is not None
        ticketed = await self.ways.kerberos.accept(claimed.token)
        known = await self.lookup(ticketed.login, ticketed.login.partition("@")[2]) if ticketed is not None else None
        if ticketed is None or known is None or not known.enabled:
            return None
        if ticketed.established.reply:
            reply = spnego.answer(spnego.Mechanism.KERBEROS, ticketed.established.reply, complete=True)
            add_header(request, "WWW-Authenticate", f"Negotiate {b64encode(reply).decode()}")
        return known

    async def lookup(self, login: str, realm: str) -> Credentials | None:
        """A user by login or address, whoever asks; None when there is none. Raises HttpError."""
        item = CredentialsLookup(login=login.removeprefix("sip:"), realm=realm, traceparent=current_span().traceparent)
        try:
            result = await self._client.submit(item, timeout=self._timeout_s)
        except RpcError as error:
            raise _unchecked(error) from None
        if result.status.code not in (0, _NOT_FOUND):
            raise _unchecked(RpcError.from_number(result.status.code, result.status.message))
        return None if result.status.code else result.credentials

    # All schemes

    async def user(self, request: web.Request, *, audience: str = "") -> Caller:
        """Who sends a request, by any scheme. ``audience``: of web tickets that are taken. Raises HttpError."""
        authorization = request.headers.get("Authorization", "")
        if authorization:
            if authorization[:7].lower() == "bearer ":
                return await self._by_bearer(request, authorization[7:].strip())
            claimed = self.claim(request)
            return self._caller(await self.check(request, claimed, self.ways.domain), claimed.scheme)
        if audience and _TICKET_HEADER in request.headers:
            return await self._by_ticket(request, audience)
        if COOKIE in request.cookies:
            return await self._by_session(request)
        self.admitted(request)
        raise self.unauthorized(request)

    async def password(self, request: web.Request, login: str, password: str) -> Caller:
        """Whose login and password came in a body. Raises HttpError."""
        self.admitted(request)
        claimed = password_claim("form", login, password)
        return self._caller(await self.check(request, claimed, self.ways.domain), claimed.scheme)

    def _caller(self, known: Credentials, scheme: str) -> Caller:
        is_admin = known.address in self.ways.administrators
        return Caller(known.address, known.display_name, known.version, scheme, is_admin)

    async def _by_bearer(self, request: web.Request, token: str) -> Caller:
        self.admitted(request)
        known = None
        if self.ways.bearer:
            try:
                login = (await self.ways.bearer.verify(token)).login
            except TokenError:
                login = ""
            known = await self.lookup(login, self.ways.domain) if login else None
        return await self._known(request, known, "bearer")

    async def _known(self, request: web.Request, known: Credentials | None, scheme: str) -> Caller:
        """The caller, when there is such a user who may sign in."""
        if known is None or not known.enabled:
            raise await self.failed(request, scheme, "")
        SIGN_INS.labels(scheme, "ok").inc()
        return self._caller(known, scheme)

    async def _by_ticket(self, request: web.Request, audience: str) -> Caller:
        """By a ticket for a service, as ``opaque=`` and the base64 of its Assertion (MS-OCAUTHWS)."""
        self.admitted(request)
        known = None
        try:
            assert self.ways.tickets is not None
            text = request.headers[_TICKET_HEADER].removeprefix("opaque=").strip()
            data = b64decode(text, validate=True) if len(text) <= _MAX_TICKET else b""
            _, sealed = ticket_of(parse_xml(data, max_bytes=_MAX_TICKET))
            ticket = self.ways.tickets.open(sealed, audience, self._clock.wall())
            known = await self.lookup(ticket.address, ticket.address.partition("@")[2])
            if known is not None and known.version != ticket.user_version:
                known = None
        except (ValueError, XmlError, SoapError, TicketError, etree.LxmlError):
            known = None
        return await self._known(request, known, "ticket")

    async def _by_session(self, request: web.Request) -> Caller:
        session = None
        if self.ways.sessions is not None:
            session = self.ways.sessions.open(request.cookies[COOKIE], self._clock.wall())
        if session is None:
            raise self.unauthorized(request)
        known = await self.lookup(session.address, session.address.partition("@")[2])
        if known is None or not known.enabled or known.version != session.user_version:
            raise self.unauthorized(request)
        if self.ways.endings is not None and await self.ways.endings.has_ended(session):
            raise self.unauthorized(request)
        if request.method not in _SAFE and not session.allows(request.headers.get(CSRF_HEADER, "")):
            raise HttpError(403, f"{CSRF_HEADER} is not that of the session")
        return self._caller(known, "session")


def _remote(request: web.Request) -> Remote:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return (peer[0], peer[1]) if peer else ("", 0)


def _unchecked(error: RpcError) -> HttpError:
    """Who asks has not signed in, and is told no more than that it cannot be checked now."""
    told = HttpError.of(error)
    if told.status in (429, 503):
        return told
    logger.info("a sign-in cannot be checked: %s", error.message)
    return HttpError(503, "who signs in cannot be checked now", headers=[("Retry-After", "5")])
