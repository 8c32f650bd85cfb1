"""Requests of a client: repeated until answered, and made anew with credentials when the server asks for them.

Timers are those of RFC 8489 section 6.2, credentials those of section 9.2. A response that should be protected and is not,
or wrongly, is as if it had never come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from parley.stun.codes import Attribute, ErrorCode, MessageClass
from parley.stun.errors import StunParseError
from parley.stun.integrity import (
    Algorithm,
    integrity_is_right,
    integrity_sha256_is_right,
    long_term_key,
    protect,
    user_hash,
)
from parley.stun.message import Message
from parley.stun.turn.nonces import PASSWORD_ALGORITHMS, USERNAME_ANONYMITY, features_of

RTO_S: Final = 0.5
_TRIES: Final = 7
_LAST_WAIT: Final = 16
STREAM_TIMEOUT_S: Final = 39.5
_MAX_CHALLENGES: Final = 3
_MAX_REALM: Final = 763
# What a server says before it knows whom it talks to.
_UNPROTECTED: Final = frozenset({ErrorCode.BAD_REQUEST, ErrorCode.UNAUTHENTICATED, ErrorCode.STALE_NONCE})


class Session:
    """Credentials, and what the server told to use them with."""

    def __init__(self, username: str = "", password: str = "", *, anonymous: bool = False) -> None:
        """``anonymous``: the name is sent as a hash to servers that understand it."""
        self.username = username
        self._password = password
        self._anonymous = anonymous
        self.realm = ""
        self._nonce = b""
        self._offered: bytes | None = None
        self._algorithm = Algorithm.MD5
        self.key = b""

    def learn(self, challenge: Message) -> bool:
        """Takes over what a 401 or 438 says. False when it cannot be followed: incomplete, or weakened on the way."""
        realm, nonce = challenge.get_text(Attribute.REALM, _MAX_REALM), challenge.get(Attribute.NONCE)
        offered = challenge.get(Attribute.PASSWORD_ALGORITHMS)
        if not self.username or realm is None or not nonce:
            return False
        algorithm = Algorithm.MD5
        if features_of(nonce) & PASSWORD_ALGORITHMS:
            if offered is None:
                return False
            found = _supported(offered)
            if found is None:
                return False
            algorithm = found
        else:
            offered = None
        self.realm, self._nonce, self._offered, self._algorithm = realm, nonce, offered, algorithm
        self.key = long_term_key(self.username, realm, self._password, algorithm)
        return True

    def sign(self, message: Message) -> bytes:
        """The bytes of a request, with credentials as far as the server has asked for them."""
        if not self.key:
            return protect(message, fingerprint=True)
        if self._anonymous and features_of(self._nonce) & USERNAME_ANONYMITY:
            message.add(Attribute.USERHASH, user_hash(self.username, self.realm))
        else:
            message.add(Attribute.USERNAME, self.username.encode())
        message.add(Attribute.REALM, self.realm.encode()).add(Attribute.NONCE, self._nonce)
        if self._offered is not None:
            message.add(Attribute.PASSWORD_ALGORITHMS, self._offered)
            message.add(Attribute.PASSWORD_ALGORITHM, self._algorithm.to_bytes(2, "big") + b"\0\0")
        return protect(message, self.key, sha256=self._offered is not None, fingerprint=True)

    def accepts(self, response: Message, key: bytes) -> bool:
        """Whether a response comes from a server that knows the key its request was made with."""
        if not key:
            return True
        if response.integrity_at < 0 and response.integrity_sha256_at < 0:
            code = response.error_code if response.message_class is MessageClass.ERROR else None
            return code is not None and code[0] in _UNPROTECTED
        return integrity_sha256_is_right(response, key) or integrity_is_right(response, key)


def _supported(offered: bytes) -> Algorithm | None:
    """The first algorithm of a PASSWORD-ALGORITHMS that is known."""
    at = 0
    while at + 4 <= len(offered):
        number = int.from_bytes(offered[at : at + 2], "big")
        size = int.from_bytes(offered[at + 2 : at + 4], "big")
        if number in Algorithm.__members__.values():
            return Algorithm(number)
        at += 4 + size + (-size & 3)
    return None


@dataclass(slots=True, eq=False)
class Transaction:
    """A request under way. ``fill`` writes its attributes, for they are masked with the transaction id."""

    method: int
    fill: Callable[[Message], object]
    authenticated: bool
    message: Message
    data: bytes
    key: bytes
    deadline: float
    wait: float
    tries: int = 1
    challenges: int = 0
    refreshing: bool = False


class ClientTransactions:
    """The requests that a client waits for answers to."""

    def __init__(self, session: Session, *, reliable: bool) -> None:
        """``reliable``: over a stream, where nothing is repeated."""
        self.session = session
        self.outgoing: list[bytes] = []
        self._reliable = reliable
        self._open: dict[bytes, Transaction] = {}

    @property
    def deadline(self) -> float:
        """When `expire` is to be called."""
        return min((transaction.deadline for transaction in self._open.values()), default=inf)

    def start(
        self,
        method: int,
        fill: Callable[[Message], object],
        now: float,
        *,
        authenticated: bool = True,
        refreshing: bool = False,
    ) -> Transaction:
        """Sends a request."""
        transaction = Transaction(method, fill, authenticated, Message(method, MessageClass.REQUEST), b"", b"", 0.0, 0.0)
        transaction.refreshing = refreshing
        self._send(transaction, now)
        return transaction

    def receive(self, response: Message, now: float) -> tuple[Transaction, Message] | None:
        """The request that a response answers for good; None while it goes on, or when the response is nobody's."""
        transaction = self._open.get(response.transaction_id)
        if transaction is None or response.method != transaction.method:
            return None
        if not self.session.accepts(response, transaction.key):
            return None
        del self._open[response.transaction_id]
        if response.message_class is MessageClass.ERROR and self._challenged(transaction, response):
            self._send(transaction, now)
            return None
        return transaction, response

    def expire(self, now: float) -> list[Transaction]:
        """Repeats what is due; the requests given up."""
        lost = []
        for transaction in [each for each in self._open.values() if each.deadline <= now]:
            if self._reliable or transaction.tries >= _TRIES:
                del self._open[transaction.message.transaction_id]
                lost.append(transaction)
                continue
            transaction.tries += 1
            transaction.wait *= 2
            transaction.deadline = now + (_LAST_WAIT * RTO_S if transaction.tries == _TRIES else transaction.wait)
            self.outgoing.append(transaction.data)
        return lost

    def _challenged(self, transaction: Transaction, response: Message) -> bool:
        """Whether a request is to be made anew with what this response tells. Wrong credentials are not tried twice."""
        code = response.error_code
        number = code[0] if code else 0
        if number == ErrorCode.STALE_NONCE:
            worth = transaction.challenges < _MAX_CHALLENGES
        elif number == ErrorCode.UNAUTHENTICATED:
            worth = not transaction.key
        else:
            worth = False
        transaction.challenges += 1
        return worth and transaction.authenticated and self.session.learn(response)

    def _send(self, transaction: Transaction, now: float) -> None:
        message = Message(transaction.method, MessageClass.REQUEST)
        transaction.fill(message)
        transaction.message = message
        if transaction.authenticated:
            transaction.data, transaction.key = self.session.sign(message), self.session.key
        else:
            transaction.data = protect(message, fingerprint=True)
        transaction.tries = 1
        transaction.wait = RTO_S
        transaction.deadline = now + (STREAM_TIMEOUT_S if self._reliable else RTO_S)
        self._open[message.transaction_id] = transaction
        self.outgoing.append(transaction.data)


def phrase_of(response: Message) -> tuple[int, str]:
    """Code and phrase of an error response; 500 when it says none that can be read."""
    try:
        return response.error_code or (ErrorCode.SERVER_ERROR, "")
    except StunParseError:
        return ErrorCode.SERVER_ERROR, ""
