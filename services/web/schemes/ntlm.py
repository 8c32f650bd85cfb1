"""NTLM (MS-NTHT), which authenticates a connection: three requests on one.

What the server challenged with is kept by the address and port of the client until it answers, once. Each request is
authenticated anew, so no connection carries an identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from parley.ntlm.keys import exported_session_key
from parley.ntlm.messages import OFFERED_ON_CONNECTIONS, Authenticate, Challenge, NtlmError, TargetInfo, is_negotiate
from parley.platform.clock import Clock
from services.web.schemes.claims import Claimed

_PENDING: Final = 10_000
_PENDING_S: Final = 60.0

Remote = tuple[str, int]


class NtlmChallenges:
    """Challenges that wait for their answer."""

    def __init__(self, clock: Clock, random_bytes: Callable[[int], bytes], target: TargetInfo) -> None:
        """``target``: what clients are told of this server."""
        self._clock = clock
        self._random_bytes = random_bytes
        self._target = target
        self._pending: dict[Remote, tuple[bytes, float]] = {}

    def take(self, data: bytes, remote: Remote) -> Claimed | bytes | None:
        """What a message of a client comes to: a claim, the challenge to answer it with, or nothing."""
        now = self._clock.monotonic()
        if is_negotiate(data):
            while len(self._pending) >= _PENDING or (self._pending and next(iter(self._pending.values()))[1] < now):
                del self._pending[next(iter(self._pending))]
            nonce = self._random_bytes(8)
            self._pending.pop(remote, None)
            self._pending[remote] = (nonce, now + _PENDING_S)
            return bytes(Challenge(nonce, self._target, OFFERED_ON_CONNECTIONS))
        nonce, until = self._pending.pop(remote, (b"", 0.0))
        if now >= until:
            return None
        try:
            answer = Authenticate.parse(data)
        except NtlmError:
            return None
        return Claimed("ntlm", answer.login, lambda known: exported_session_key(answer, nonce, known) is not None)
