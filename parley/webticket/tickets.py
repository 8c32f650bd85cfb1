"""Web tickets: who signed in to what until when, sealed, so that any server with the key can open one and nobody else.

A ticket is sealed with AES-GCM: whoever has one can neither read nor change it. It holds the key that its owner has to
prove, and the version of the user at the time: a change of the user, as another password, ends all tickets of that user.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12
_PURPOSE: Final = b"parley web ticket 1"
_MAX_TEXT: Final = 4_096


class TicketError(ValueError):
    """A ticket that is not taken; the text says why."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says."""

    id: str
    address: str
    """Address of record, "sip:alice@example.test"."""
    user_version: int
    audience: str
    """The service that takes it."""
    proof_key: bytes
    """What its owner signs with."""
    expires_at: float
    """Unix time."""


class Tickets:
    """Seals and opens."""

    def __init__(self, key: bytes, random_bytes: Callable[[int], bytes]) -> None:
        """``key``: 32 bytes."""
        self._cipher = AESGCM(key)
        self._random_bytes = random_bytes

    def seal(self, ticket: Ticket) -> str:
        """A ticket as its owner gets it: base64."""
        content = [
            ticket.id, ticket.address, ticket.user_version, ticket.audience, ticket.proof_key.hex(), ticket.expires_at
        ]  # fmt: skip
        nonce = self._random_bytes(_NONCE)
        return b64encode(nonce + self._cipher.encrypt(nonce, json.dumps(content).encode(), _PURPOSE)).decode()

    def open(self, text: str, audience: str, now: float) -> Ticket:
        """Raises TicketError for one not sealed here, for another service, or expired. ``now``: Unix time."""
        try:
            raw = b64decode(text, validate=True) if len(text) <= _MAX_TEXT else b""
            plain = self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _PURPOSE)
        except (ValueError, InvalidTag):
            raise TicketError("the ticket is none of ours") from None
        name, address, version, meant, key, expires_at = json.loads(plain)
        if meant != audience:
            raise TicketError("the ticket is for another service")
        if now >= expires_at:
            raise TicketError("the ticket has expired")
        return Ticket(name, address, version, meant, bytes.fromhex(key), expires_at)
