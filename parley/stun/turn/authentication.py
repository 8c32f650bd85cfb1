"""Long-term credentials, the server's side (RFC 8489 section 9.2.4).

The nonce cookie tells that password algorithms and hashed user names are understood, and a client that sees it says which
algorithm it took of which list; a list shortened on the way is noticed (section 9.2.1). A name that is not known and a
password that is wrong get the same answer after the same work.
"""

from __future__ import annotations

import secrets
from typing import Final

from parley.stun.codes import Attribute, ErrorCode
from parley.stun.integrity import (
    Algorithm,
    integrity_is_right,
    integrity_sha256_is_right,
    long_term_key,
)
from parley.stun.message import Message
from parley.stun.turn.allocations import Allocation, Flow
from parley.stun.turn.config import TurnConfig
from parley.stun.turn.credentials import Account, Credentials
from parley.stun.turn.exchange import Caller, Refused
from parley.stun.turn.nonces import PASSWORD_ALGORITHMS, USERNAME_ANONYMITY, Nonces

MAX_USERNAME: Final = 508
_MAX_REALM: Final = 763
# SHA-256 first: the order is that of preference. Neither has parameters.
_OFFERED: Final = b"".join(algorithm.to_bytes(2, "big") + b"\0\0" for algorithm in (Algorithm.SHA256, Algorithm.MD5))
_KEY_SIZES: Final = {16: Algorithm.MD5, 32: Algorithm.SHA256}


class Authenticator:
    """Tells who made a request."""

    def __init__(self, config: TurnConfig, credentials: Credentials) -> None:
        self._realm = config.realm
        self._credentials = credentials
        features = PASSWORD_ALGORITHMS | USERNAME_ANONYMITY
        self._nonces = Nonces(config.nonce_key, config.realm, lifetime=config.nonce_lifetime, features=features)
        nobody = secrets.token_hex(16)
        self._nobody = {kind: long_term_key(nobody, config.realm, nobody, kind) for kind in Algorithm}

    def authenticate(self, request: Message, flow: Flow, allocation: Allocation | None, now_unix: float) -> Caller:
        """The caller. Raises Refused: 400, 401 and 438, the latter with what a new try needs; StunParseError."""
        if request.integrity_at < 0 and request.integrity_sha256_at < 0:
            raise self._challenge(ErrorCode.UNAUTHENTICATED, flow, now_unix)
        username = request.get_text(Attribute.USERNAME, MAX_USERNAME)
        hashed = request.get(Attribute.USERHASH)
        realm = request.get_text(Attribute.REALM, _MAX_REALM)
        nonce = request.get(Attribute.NONCE)
        if (username is None and hashed is None) or realm is None or nonce is None:
            raise Refused(ErrorCode.BAD_REQUEST)
        algorithm, told = self._algorithm(request)
        if not self._nonces.is_good(nonce, flow.client.host, now_unix):
            raise self._challenge(ErrorCode.STALE_NONCE, flow, now_unix)
        if username is None and hashed is not None:
            username = self._credentials.username_of(hashed, realm)
        caller = self._caller(request, username, realm, algorithm, told, allocation, now_unix)
        if caller is None:
            raise self._challenge(ErrorCode.UNAUTHENTICATED, flow, now_unix)
        return caller

    def _algorithm(self, request: Message) -> tuple[Algorithm, bool]:
        """How the key is made, and whether the client said so. Raises Refused when the client saw another list than ours."""
        chosen = request.get(Attribute.PASSWORD_ALGORITHM)
        offered = request.get(Attribute.PASSWORD_ALGORITHMS)
        if chosen is None and offered is None:
            return Algorithm.MD5, False
        if chosen is None or offered != _OFFERED or len(chosen) != 4:
            raise Refused(ErrorCode.BAD_REQUEST)
        try:
            return Algorithm(int.from_bytes(chosen[:2], "big")), True
        except ValueError:
            raise Refused(ErrorCode.BAD_REQUEST) from None

    def _caller(
        self, request: Message, username: str | None, realm: str, algorithm: Algorithm, told: bool,
        allocation: Allocation | None, now_unix: float,
    ) -> Caller | None:  # fmt: skip
        user = ""
        keys: tuple[bytes, ...] = (self._nobody[algorithm],)
        known = False
        if username is not None and realm == self._realm:
            if allocation is not None and allocation.username == username and _KEY_SIZES[len(allocation.key)] is algorithm:
                user, keys, known = allocation.user, (allocation.key,), True
            else:
                account = self._credentials.account_of(username, realm, now_unix, algorithm)
                if isinstance(account, Account):
                    (user, keys), known = account, True
        is_right = integrity_sha256_is_right if request.integrity_sha256_at >= 0 else integrity_is_right
        for key in keys:
            if is_right(request, key) and known and username is not None:
                return Caller(username, user, key, sha256=told or request.integrity_sha256_at >= 0)
        return None

    def _challenge(self, code: ErrorCode, flow: Flow, now_unix: float) -> Refused:
        """Without phrase and software: whoever asks is not known to be where it says, and gets no more bytes than needed."""
        attributes = (
            (Attribute.REALM, self._realm.encode()),
            (Attribute.NONCE, self._nonces.issue(flow.client.host, now_unix)),
            (Attribute.PASSWORD_ALGORITHMS, _OFFERED),
        )
        return Refused(code, "", attributes)
