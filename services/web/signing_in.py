"""Sign-in over HTTP: NTLM, which authenticates a connection, and Basic; both over TLS alone.

NTLM takes three requests on one connection (MS-NTHT): what the server challenged with is kept by the address and port of the
client until it answers. Each request for a ticket is authenticated anew, so no connection carries an identity.
"""

from __future__ import annotations

import hmac
import unicodedata
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from grpc import StatusCode

from parley.ntlm.keys import exported_session_key
from parley.ntlm.md4 import nt_hash
from parley.ntlm.messages import OFFERED_ON_CONNECTIONS, Authenticate, Challenge, NtlmError, TargetInfo, is_negotiate
from parley.platform.clock import Clock
from parley.platform.rpc.batch import BatchClient
from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import current_span
from parley.proto.addressbook.v1.addressbook_pb2 import Credentials, CredentialsLookup, CredentialsResult
from services.web.errors import HttpError
from services.web.guarding import FailureGuard
from services.web.metrics import SIGN_INS

_PENDING: Final = 10_000
_PENDING_S: Final = 60.0
_MAX_HEADER: Final = 8_192
_MAX_PASSWORD: Final = 256
_NOT_FOUND: Final = StatusCode.NOT_FOUND.value[0]

CredentialsClient = BatchClient[CredentialsLookup, CredentialsResult]


@dataclass(frozen=True, slots=True)
class Claimed:
    """Who somebody says to be, and the proof, not checked yet."""

    scheme: str
    login: str
    proves: Callable[[bytes], bool]
    """Whether it proves the password with a given NT hash."""


class HttpSignIn:
    """Judges the Authorization headers of requests."""

    def __init__(
        self, client: CredentialsClient, guard: FailureGuard, clock: Clock, random_bytes: Callable[[int], bytes],
        target: TargetInfo, *, timeout_s: float,
    ) -> None:  # fmt: skip
        """``target``: what NTLM tells clients of this server."""
        self._client = client
        self._guard = guard
        self._clock = clock
        self._random_bytes = random_bytes
        self._target = target
        self._timeout_s = timeout_s
        self._offered = ("NTLM", f'Basic realm="{target.dns_domain}", charset="UTF-8"')
        self._pending: dict[tuple[str, int], tuple[bytes, float]] = {}

    def claim(self, request: web.Request) -> Claimed:
        """Raises HttpError: 401 with what to do next, 503 for a source that failed too often."""
        remote = _remote(request)
        if self._guard.refuses(remote[0]):
            raise HttpError(503, "too many failures", headers=[("Retry-After", "60")])
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        try:
            data = b64decode(value.strip(), validate=True) if len(value) <= _MAX_HEADER else b""
        except Base64Error:
            data = b""
        claimed = None
        if data and scheme.lower() == "ntlm":
            claimed = self._ntlm(data, remote)
        elif data and scheme.lower() == "basic":
            claimed = _basic(data)
        if claimed is None:
            raise self._unauthorized(*self._offered)
        return claimed

    def _ntlm(self, data: bytes, remote: tuple[str, int]) -> Claimed | None:
        now = self._clock.monotonic()
        if is_negotiate(data):
            while len(self._pending) >= _PENDING or (self._pending and next(iter(self._pending.values()))[1] < now):
                del self._pending[next(iter(self._pending))]
            nonce = self._random_bytes(8)
            self._pending.pop(remote, None)
            self._pending[remote] = (nonce, now + _PENDING_S)
            message = bytes(Challenge(nonce, self._target, OFFERED_ON_CONNECTIONS))
            raise self._unauthorized(f"NTLM {b64encode(message).decode()}")
        nonce, until = self._pending.pop(remote, (b"", 0.0))
        if now >= until:
            return None
        try:
            answer = Authenticate.parse(data)
        except NtlmError:
            return None
        return Claimed("ntlm", answer.login, lambda known: exported_session_key(answer, nonce, known) is not None)

    @staticmethod
    def _unauthorized(*challenges: str) -> HttpError:
        return HttpError(401, "sign in", headers=[("WWW-Authenticate", challenge) for challenge in challenges])

    async def check(self, request: web.Request, claimed: Claimed, realm: str) -> Credentials:
        """The user whose password was proved. ``realm``: domain in which a bare login is meant. Raises HttpError."""
        item = CredentialsLookup(login=claimed.login, realm=realm, traceparent=current_span().traceparent)
        try:
            result = await self._client.submit(item, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        if result.status.code not in (0, _NOT_FOUND):
            raise HttpError.of(RpcError.from_number(result.status.code, result.status.message))
        known = result.credentials
        # For nobody the same work is done as for a wrong password.
        proved = claimed.proves(known.nt_hash or self._random_bytes(16))
        if result.status.code or not (proved and known.nt_hash and known.enabled):
            SIGN_INS.labels(claimed.scheme, "failed").inc()
            await self._guard.failed(_remote(request)[0], claimed.login)
            raise self._unauthorized(*self._offered)
        SIGN_INS.labels(claimed.scheme, "ok").inc()
        self._guard.succeeded(claimed.login)
        return known


def _basic(data: bytes) -> Claimed | None:
    """RFC 7617, with UTF-8."""
    try:
        login, separator, password = data.decode().partition(":")
    except UnicodeDecodeError:
        return None
    if not separator or not login or len(password) > _MAX_PASSWORD:
        return None
    text = unicodedata.normalize("NFC", password)
    return Claimed("basic", login, lambda known: hmac.compare_digest(nt_hash(text), known))


def _remote(request: web.Request) -> tuple[str, int]:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return (peer[0], peer[1]) if peer else ("", 0)
