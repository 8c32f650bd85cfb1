"""Flow tokens: which connection of which front end, in the user part of a Record-Route URI (RFC 5626 section 5.2).

A token is signed, so nobody can point us at another's connection; keys that were replaced stay valid for reading.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass

_MAC = 10
_MAX_LENGTH = 200


@dataclass(frozen=True)
class FlowToken:
    """A connection, by the front end that holds it and its number there."""

    edge_uid: str
    connection_id: int


class FlowTokens:
    """Writes and reads tokens."""

    __slots__ = ("_cache", "_keys")

    def __init__(self, key: bytes, previous_keys: Sequence[bytes] = ()) -> None:
        self._keys: tuple[bytes, ...] = (key, *previous_keys)
        self._cache: dict[str, FlowToken] = {}

    def encode(self, token: FlowToken) -> str:
        """The token as text that a URI's user part may hold as it is."""
        payload = token.connection_id.to_bytes(8, "big").lstrip(b"\0")
        payload = bytes([len(payload)]) + payload + token.edge_uid.encode()
        return urlsafe_b64encode(payload + self._mac(self._keys[0], payload)).decode().rstrip("=")

    def decode(self, text: str) -> FlowToken | None:
        """The token, None for anything that was not signed by us."""
        if not 16 <= len(text) <= _MAX_LENGTH or not text.isascii():
            return None
        known = self._cache.get(text)
        if known is not None:
            return known
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (Base64Error, ValueError):
            return None
        if len(raw) <= _MAC:
            return None
        payload, mac = raw[:-_MAC], raw[-_MAC:]
        if not any(hmac.compare_digest(self._mac(key, payload), mac) for key in self._keys):
            return None
        size = payload[0]
        try:
            token = FlowToken(payload[1 + size :].decode(), int.from_bytes(payload[1 : 1 + size], "big"))
        except UnicodeDecodeError:
            return None
        if len(self._cache) > 4096:
            self._cache.clear()
        self._cache[text] = token
        return token

    @staticmethod
    def _mac(key: bytes, payload: bytes) -> bytes:
        return hmac.digest(key, b"flow" + payload, "sha256")[:_MAC]
