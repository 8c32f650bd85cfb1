"""Relay servers for browsers: a signed-in user gets ``iceServers`` for RTCPeerConnection (W3C WebRTC 4.2.4) as JSON.

A page of another origin cannot read them, as no answer allows it to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from parley.platform.clock import Clock
from parley.platform.limits import RateLimiter
from parley.platform.rpc.errors import RpcError
from parley.proto.avedge.v1.credentials_pb2 import IssueIceServersRequest
from services.web.errors import HttpError
from services.web.metrics import refused
from services.web.signing_in import HttpSignIn

if TYPE_CHECKING:
    from parley.proto.avedge.v1.credentials_pb2_grpc import CredentialsAsyncStub

_PER_SECOND: Final = 0.5
_BURST: Final = 10


class RelayService:
    """Gives relay credentials."""

    def __init__(
        self, sign_in: HttpSignIn, credentials: CredentialsAsyncStub, clock: Clock, *, domain: str, timeout_s: float
    ) -> None:
        """``domain``: in which a bare login is meant."""
        self._sign_in = sign_in
        self._credentials = credentials
        self._clock = clock
        self._domain = domain
        self._timeout_s = timeout_s
        self._rate = RateLimiter(_PER_SECOND, _BURST)

    async def ice_servers(self, request: web.Request) -> web.Response:
        """``{"iceServers": [...], "expiresAt": Unix milliseconds}``. Raises HttpError."""
        user = (await self._sign_in.check(request, self._sign_in.claim(request), self._domain)).address
        if not self._rate.allow(user, self._clock.monotonic()):
            refused("relay_rate")
            raise HttpError(429, "too many requests for credentials", headers=[("Retry-After", "10")])
        try:
            issued = await self._credentials.IssueIceServers(IssueIceServersRequest(user=user), timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        servers: list[dict[str, Any]] = []
        for server in issued.ice_servers:
            access = {"username": server.username, "credential": server.credential} if server.username else {}
            servers.append({"urls": list(server.urls), **access})
        return web.json_response({"iceServers": servers, "expiresAt": issued.expires_at_ms})
