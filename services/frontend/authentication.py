"""Who sends a request: digest authentication of clients (RFC 3261 section 22), certificates of trusted servers.

An unknown user and a wrong password are answered alike, after the same work; see `services.frontend.guessing` too.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError, sip_status
from parley.platform.telemetry.counters import FastCounter
from parley.proto.addressbook.v1.addressbook_pb2 import Credentials
from parley.sip.digest import (
    MD5,
    SHA256,
    DigestCredentials,
    authentication_info,
    challenges,
    parse_credentials,
    verify,
)
from parley.sip.errors import SipParseError
from parley.sip.message import Request
from parley.sip.nonce import Nonces, NonceState
from parley.sip.uri import aor
from services.frontend.config import DigestConfig
from services.frontend.credentials import CredentialCache
from services.frontend.flows import Flow
from services.frontend.guessing import GuessGuard
from services.frontend.proxying.wiring import Identity, Refusal

logger = logging.getLogger(__name__)

_RESULTS = FastCounter("parley_frontend_authentications_total", "Requests judged, by outcome", ["outcome"])


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request whose sender is known."""

    identity: Identity
    authentication_info: str = ""
    """Value of Authentication-Info for the answer."""


Done = Callable[[Accepted | Refusal], None]
CheckForeign = Callable[[str, int], Awaitable[bool]]
"""Asks the front end that issued a nonce whether this count is new; False when it is gone."""


class DigestAuthenticator:
    """Judges requests of clients."""

    def __init__(
        self,
        *,
        domains: frozenset[str],
        config: DigestConfig,
        guard: GuessGuard,
        nonces: Nonces,
        cache: CredentialCache,
        check_foreign: CheckForeign,
        fake_key: bytes,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``fake_key``: what the secrets of users that do not exist are made of."""
        self._domains = domains
        self._default_realm = sorted(domains)[0]
        self._algorithms = tuple(config.algorithms)
        self._md5_agents = tuple(config.md5_only_agents)
        self._nonces = nonces
        self._cache = cache
        self._check_foreign = check_foreign
        self._fake_key = fake_key
        self._clock = clock
        self._loop = loop
        self._guard = guard
        self._tasks: set[asyncio.Task[None]] = set()
        self._challenged, self._ok, self._bad = (_RESULTS.labels(name) for name in ("challenged", "ok", "failed"))

    def authenticate(self, request: Request, flow: Flow, done: Callable[[Identity | Refusal], None]) -> None:
        """For requests that are proxied; see `services.frontend.proxying.wiring.Authenticator`."""
        if flow.trusted:
            done(Identity("", trusted=True))
            return
        self.judge(
            request,
            flow,
            proxy=True,
            done=lambda who: done(who.identity if isinstance(who, Accepted) else who),
        )

    def judge(self, request: Request, flow: Flow, *, proxy: bool, done: Done, traceparent: str = "") -> None:
        """Calls ``done`` once; at once when credentials are known here. ``proxy``: 407 and its headers, else 401."""
        try:
            sender = request.from_.uri
            realm = sender.host.lower()
        except SipParseError as error:
            done(Refusal(error.status, error.reason))
            return
        if realm not in self._domains:
            if proxy:
                done(Refusal(403, "From Is Not of This Domain"))
                return
            realm = self._default_realm
        refusal = self._guard.source_refusal(flow.remote[0])
        if refusal is not None:
            done(refusal)
            return
        credentials = self._credentials(request, realm, proxy=proxy)
        if credentials is None:
            self._challenged.inc()
            done(self._challenge(request, realm, proxy=proxy))
            return
        now = self._clock.wall()
        state = self._nonces.judge(credentials.nonce, realm, now)
        if state is NonceState.OWN and self._nonces.use(credentials.nonce, credentials.nonce_count, now):
            self._look_up(request, flow, credentials, realm, proxy, done, traceparent)
        elif state is NonceState.FOREIGN:
            self._ask_issuer(request, flow, credentials, realm, proxy, done, traceparent)
        else:
            self._challenged.inc()
            stale = state is not NonceState.FORGED
            done(self._challenge(request, realm, proxy=proxy, stale=stale))

    def _credentials(self, request: Request, realm: str, *, proxy: bool) -> DigestCredentials | None:
        """The credentials for our realm; None when there are none that can be used."""
        for name in ("Proxy-Authorization", "Authorization") if proxy else ("Authorization", "Proxy-Authorization"):
            for value in request.get_all(name):
                try:
                    found = parse_credentials(value)
                except SipParseError:
                    continue
                if found.realm == realm and found.qop == "auth" and found.hash_name in self._algorithms:
                    return found
        return None

    def _challenge(self, request: Request, realm: str, *, proxy: bool, stale: bool = False) -> Refusal:
        name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        nonce = self._nonces.issue(realm, self._clock.wall())
        algorithms: tuple[str, ...] = self._algorithms
        if len(algorithms) > 1 and (request.get("User-Agent") or "").startswith(self._md5_agents):
            algorithms = (MD5,)
        headers = tuple((name, value) for value in challenges(realm, nonce, algorithms, stale=stale))
        return Refusal(407 if proxy else 401, None, headers)

    def _ask_issuer(
        self, request: Request, flow: Flow, credentials: DigestCredentials, realm: str, proxy: bool, done: Done,
        traceparent: str,
    ) -> None:  # fmt: skip
        async def ask() -> None:
            try:
                fresh = await self._check_foreign(credentials.nonce, credentials.nonce_count)
            except RpcError:
                fresh = False
            if fresh:
                self._look_up(request, flow, credentials, realm, proxy, done, traceparent)
            else:
                self._challenged.inc()
                done(self._challenge(request, realm, proxy=proxy, stale=True))

        task = self._loop.create_task(ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look_up(
        self, request: Request, flow: Flow, credentials: DigestCredentials, realm: str, proxy: bool, done: Done,
        traceparent: str,
    ) -> None:  # fmt: skip
        def found(answer: Credentials | RpcError | None) -> None:
            if isinstance(answer, RpcError):
                status, retry_after = sip_status(answer.code)
                done(Refusal(status, None, (("Retry-After", str(retry_after or 5)),)))
            else:
                self._compare(request, flow, credentials, answer, realm, proxy, done)

        self._cache.get(credentials.username, realm, traceparent, found)

    def _compare(
        self, request: Request, flow: Flow, credentials: DigestCredentials, user: Credentials | None, realm: str,
        proxy: bool, done: Done,
    ) -> None:  # fmt: skip
        secret = b""
        if user is not None:
            secret = user.ha1_sha256 if credentials.hash_name == SHA256 else user.ha1_md5
        known = bool(secret)
        if not known:
            secret = hmac.digest(self._fake_key, credentials.username.encode("utf-8", "replace"), "sha256")
        right = verify(credentials, request.method, secret) and credentials.uri != ""
        if not (right and known) or user is None:
            self._failed(request, flow, credentials.username, realm, proxy, done)
            return
        if not user.enabled:
            self._failed(request, flow, credentials.username, realm, proxy, done)
            return
        self._guard.succeeded(credentials.username, realm)
        if aor(request.from_.uri) != user.address:
            self._bad.inc()
            done(Refusal(403, "From Is Not You"))
            return
        refusal = self._guard.rate_refusal(user.address)
        if refusal is not None:
            done(refusal)
            return
        self._ok.inc()
        info = "" if proxy else authentication_info(credentials, secret)
        done(Accepted(Identity(user.address, user.display_name), info))

    def _failed(self, request: Request, flow: Flow, username: str, realm: str, proxy: bool, done: Done) -> None:
        """The same for a wrong password, an unknown and a disabled user."""
        self._bad.inc()
        answer = self._challenge(request, realm, proxy=proxy)
        self._guard.failed(flow.remote[0], username, realm, lambda: done(answer))

    def check_own(self, nonce: str, count: int) -> bool:
        """For another front end that was shown one of our nonces: whether this use of it is new.

        The signature and the realm were checked there; here it is whether this process issued the nonce.
        """
        now = self._clock.wall()
        mine = any(self._nonces.judge(nonce, realm, now) is NonceState.OWN for realm in self._domains)
        return mine and self._nonces.use(nonce, count, now)
