"""The SIP application that gives relay credentials (MS-AVEDGEA): SERVICE to ``sip:...;gruu;opaque=srvr:MRAS``.

A user gets credentials for itself alone; a trusted server, which has no address of record, for anybody.
"""

from __future__ import annotations

from typing import Any, Final

from grpc import StatusCode
from prometheus_client import Counter

from parley.mras.documents import (
    CONTENT_TYPE,
    CredentialsRequest,
    CredentialsResponse,
    Location,
    MediaRelay,
    MrasError,
    Phrase,
    parse_request,
    write_response,
)
from parley.platform.applications.host import Incoming
from parley.platform.clock import Clock
from parley.platform.lifecycle import ServiceContext
from parley.platform.limits import RateLimiter
from parley.platform.rpc.errors import RpcError
from parley.proto.avedge.v1 import credentials_pb2 as pb
from parley.proto.avedge.v1.credentials_pb2_grpc import CredentialsServicer, add_CredentialsServicer_to_server
from parley.sip.errors import SipParseError
from parley.sip.uri import aor, parse_uri
from services.avedge.issuing import Issuer

APPLICATION: Final = "avedge"
SERVICE: Final = "parley.avedge.v1.Credentials"
_USUAL_MINUTES: Final = 480
_PER_SECOND: Final = 1.0
_BURST: Final = 20

_ANSWERS = Counter("parley_edge_mras_requests_total", "Requests for relay credentials over SIP, by answer", ["answer"])


class MrasApplication:
    """See `parley.platform.applications.host.Handler`."""

    def __init__(self, issuer: Issuer, realm: str, clock: Clock) -> None:
        """``realm``: in which the relay takes the credentials."""
        self._issuer = issuer
        self._realm = realm
        self._clock = clock
        self._limiter = RateLimiter(_PER_SECOND, _BURST)

    async def handle(self, incoming: Incoming) -> None:
        """Answers one request."""
        request = incoming.request
        if request.method != "SERVICE":
            incoming.reply(405, None, (("Allow", "SERVICE"),))
            return
        content_type = (request.get("Content-Type") or "").partition(";")[0].strip().lower()
        if content_type != CONTENT_TYPE:
            incoming.reply(415, None, (("Accept", CONTENT_TYPE),))
            return
        try:
            asked = parse_request(request.body)
            self._check_rate(incoming)
            answers = [self._answer(wish, incoming.user_aor) for wish in asked.credentials]
            body = write_response(asked.envelope, Phrase.OK, answers)
            status, phrase, headers = 200, Phrase.OK, []
        except MrasError as error:
            status, phrase = error.phrase.status, error.phrase
            body = write_response(error.envelope, phrase)
            headers = [("Retry-After", "10")] if phrase is Phrase.SERVER_BUSY else []
        _ANSWERS.labels(phrase.text).inc()
        incoming.reply(status, None, (*headers, ("Content-Type", CONTENT_TYPE)), body)

    def _check_rate(self, incoming: Incoming) -> None:
        user = incoming.user_aor
        if user and not self._limiter.allow(user, self._clock.monotonic()):
            raise MrasError(Phrase.SERVER_BUSY, "the user asks too often")

    def _answer(self, wish: CredentialsRequest, user: str) -> CredentialsResponse:
        """Raises MrasError."""
        try:
            identity = aor(parse_uri(wish.identity))
        except SipParseError:
            raise MrasError(Phrase.REQUEST_MALFORMED, "the identity is no SIP URI") from None
        if user and identity.lower() != user.lower():
            raise MrasError(Phrase.FORBIDDEN, "the identity is that of another user")
        issued, minutes = self._issuer.mras(identity, wish.minutes or _USUAL_MINUTES)
        reach = self._issuer.reach
        # One address serves both sides; who does not say where it is gets it for either.
        places = (wish.location,) if wish.location is not None else tuple(Location)
        relays = tuple(MediaRelay(place, reach.host_name, reach.udp, reach.ms_tcp) for place in places)
        return CredentialsResponse(wish.id, issued.username, issued.password, minutes, relays, self._realm)


class CredentialsSurface(CredentialsServicer):
    """Credentials for other services (proto parley.avedge.v1.Credentials)."""

    def __init__(self, issuer: Issuer, realm: str) -> None:
        self._issuer = issuer
        self._realm = realm

    async def IssueIceServers(self, request: pb.IssueIceServersRequest, context: Any) -> pb.IssueIceServersResponse:
        """See the proto."""
        _require_user(request.user)
        access = self._issuer.turn(request.user, request.seconds)
        stun, turn = self._issuer.reach.urls()
        servers = [pb.IceServer(urls=stun)] if stun else []
        if turn:
            servers.append(pb.IceServer(urls=turn, username=access.username, credential=access.password))
        return pb.IssueIceServersResponse(ice_servers=servers, expires_at_ms=round(access.expires_at * 1000))

    async def IssueMras(self, request: pb.IssueMrasRequest, context: Any) -> pb.IssueMrasResponse:
        """See the proto."""
        _require_user(request.user)
        issued, minutes = self._issuer.mras(request.user, request.minutes)
        reach = self._issuer.reach
        return pb.IssueMrasResponse(
            username=issued.username, password=issued.password, realm=self._realm, minutes=minutes,
            expires_at_ms=round(issued.expires_at * 1000), host_name=reach.host_name, udp_port=reach.udp,
            tcp_port=reach.ms_tcp,
        )  # fmt: skip


def register(context: ServiceContext, issuer: Issuer, realm: str) -> None:
    """Puts the application and the gRPC surface up; called while the service registers."""
    context.applications.add(APPLICATION, MrasApplication(issuer, realm, context.clock), context.tracer)
    context.rpc.add_service(add_CredentialsServicer_to_server, CredentialsSurface(issuer, realm), SERVICE)


def _require_user(user: str) -> None:
    if not user:
        raise RpcError(StatusCode.INVALID_ARGUMENT, "no user is named")
