"""Credentials of users, as the address book has them, kept for a while.

An event tells at once when a user changes, so what is kept is never old for longer than that event takes; the time limit is
for the case that events do not arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from grpc import StatusCode

from parley.platform.clock import Clock
from parley.platform.events.api import Event, Subscription
from parley.platform.rpc.batch import BatchClient
from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.counters import FastCounter
from parley.proto.addressbook.v1.addressbook_pb2 import Credentials, CredentialsLookup, CredentialsResult

_LOOKUPS = FastCounter("parley_frontend_credential_lookups_total", "Credential look-ups, by who answered", ["from_"])

_LIMIT: Final = 100_000

Done = Callable[[Credentials | RpcError | None], None]
_Key = tuple[str, str, bytes]
"""Login, realm, and digest of the certificate that was shown; none: b""."""

CredentialsClient = BatchClient[CredentialsLookup, CredentialsResult]


class CredentialCache:
    """Answers at once when it can."""

    def __init__(self, client: CredentialsClient, clock: Clock, *, keep_s: float, timeout_s: float) -> None:
        self._client = client
        self._clock = clock
        self._keep_s = keep_s
        self._timeout_s = timeout_s
        self._known: dict[_Key, tuple[Credentials | None, float]] = {}
        self._logins: dict[str, set[_Key]] = {}
        self._generation = 0
        self._hits, self._misses = _LOOKUPS.labels("cache"), _LOOKUPS.labels("addressbook")

    def get(self, login: str, realm: str, traceparent: str, done: Done, certificate: bytes = b"") -> None:
        """Calls ``done`` with the credentials, None for an unknown user, or RpcError; at once when they are known.

        ``certificate``: SHA-256 of the one that the user shows in place of a password; None then also means that it is not
        in force.
        """
        key = (login, realm, certificate)
        known = self._known.get(key)
        if known is not None and known[1] > self._clock.monotonic():
            self._hits.inc()
            done(known[0])
            return
        self._misses.inc()
        generation = self._generation
        lookup = CredentialsLookup(login=login, realm=realm, traceparent=traceparent, certificate_sha256=certificate)
        future = self._client.submit(lookup, timeout=self._timeout_s)
        future.add_done_callback(lambda answer: done(self._take(key, answer, generation)))

    def _take(self, key: _Key, answer: asyncio.Future[CredentialsResult], generation: int) -> Credentials | RpcError | None:
        if answer.cancelled():
            return RpcError(StatusCode.CANCELLED, "stopped")
        error = answer.exception()
        if error is not None:
            return error if isinstance(error, RpcError) else RpcError(StatusCode.INTERNAL, str(error))
        result = answer.result()
        code = result.status.code
        if code and code != StatusCode.NOT_FOUND.value[0]:
            return RpcError.from_number(code, result.status.message)
        found = None if code else result.credentials
        # Nothing was invalidated while the answer was under way; and no event tells of a new certificate.
        if generation == self._generation and (found is not None or not key[2]):
            self._keep(key, found)
        return found

    def _keep(self, key: _Key, found: Credentials | None) -> None:
        if len(self._known) >= _LIMIT:
            self._known.clear()
            self._logins.clear()
        self._known[key] = (found, self._clock.monotonic() + self._keep_s)
        if found is not None:
            self._logins.setdefault(found.address, set()).add(key)

    async def on_user_changed(self, event: Event) -> None:
        """Forgets what is known of a user; handler of the topic ``parley.users``."""
        self._generation += 1
        changed = event.message
        for key in self._logins.pop(changed.address, set()):
            self._known.pop(key, None)
        domain = changed.address.partition("@")[2]
        for login in changed.login_names:  # those that were unknown until now
            self._known.pop((login, domain, b""), None)

    def forget_all(self) -> None:
        """Forgets all, and what is being asked."""
        self._generation += 1
        self._known.clear()
        self._logins.clear()

    async def forget_once(self, subscription: Subscription) -> None:
        """Forgets what was learnt before a subscription heard of changes: nobody told of those."""
        await subscription.ready()
        self.forget_all()
