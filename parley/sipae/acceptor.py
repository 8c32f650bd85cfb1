"""What accepts a client's Kerberos token, and what comes of it (GSS-API, RFC 2743 section 2.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from parley.sipae.association import MessageCipher
from parley.sipae.principal import Principal


@dataclass(frozen=True, slots=True)
class Established:
    """A context that one token of the client made."""

    principal: Principal
    """Who the ticket is for."""
    cipher: MessageCipher
    digest: bytes
    """What tells its token from any other: the SHA-256 of the authenticator."""
    lifetime_s: float
    """How long the ticket is still good."""
    reply: bytes = b""
    """A token for the client; empty unless it asked for mutual authentication."""


class TokenAcceptor(Protocol):
    """Knows the key of our service."""

    def accept(self, token: bytes) -> Established:
        """Takes the first and only token of a client. It may wait for a file. Raises KerberosError."""
