"""Tokens of MRAS as credentials of the MS-TURN server."""

from __future__ import annotations

from parley.mras.tokens import Tokens
from parley.stun.ms.credentials import MsAccount


class MrasCredentials:
    """See `parley.stun.ms.credentials.MsCredentials`.

    Whether a token has expired counts for a new allocation alone, and with grace: there are clients that ask for
    credentials once, when they sign in, and use them as long as they are signed in.
    """

    def __init__(self, tokens: Tokens, *, grace_s: float) -> None:
        self._tokens = tokens
        self._grace_s = grace_s

    def account_of(self, username: bytes, now_unix: float) -> MsAccount | None:
        """The account of a token. It names nobody: the user is an id, the same in all tokens of one."""
        verified = self._tokens.verify(username)
        if verified is None:
            return None
        return MsAccount(verified.client_id.hex(), verified.password, verified.expires_at + self._grace_s <= now_unix)
