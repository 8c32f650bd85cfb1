"""A security association: what client and server agreed on, and the signatures of all messages after it.

One belongs to one connection. The client's numbers come once each; ours rise by one a message.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from parley.ntlm.messages import Flags
from parley.ntlm.signing import Signer
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response
from parley.sipae.fields import REALM, SignedCredentials, authentication_info
from parley.sipae.text import signed_text
from parley.sipae.window import ReplayWindow


class Verdict(Enum):
    """What a signature says of a message."""

    GENUINE = "genuine"
    FORGED = "forged"
    REPLAYED = "replayed"
    UNSIGNED = "unsigned"


class MessageCipher(Protocol):
    """Signatures of one scheme."""

    def sign(self, text: bytes) -> bytes:
        """Our signature."""

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether the client signed that."""


class NtlmCipher:
    """Signatures with the keys of an NTLM session."""

    __slots__ = ("_client", "_server")

    def __init__(self, exported: bytes, flags: Flags) -> None:
        self._client = Signer(exported, flags, server=False)
        self._server = Signer(exported, flags, server=True)

    def sign(self, text: bytes) -> bytes:
        """Our signature, 16 bytes."""
        return self._server.sign(text)

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether the client signed that."""
        return self._client.verify(text, signature)


class Association:
    """What one client proved, until it expires."""

    __slots__ = (
        "_cipher", "_number", "_random", "_reply", "_window", "address", "display_name", "expires_at", "opaque", "scheme",
        "targetname", "version",
    )  # fmt: skip

    def __init__(
        self, *, scheme: str, targetname: str, opaque: str, version: int, cipher: MessageCipher, address: str,
        display_name: str, expires_at: float, random: Callable[[], str], reply: bytes = b"",
    ) -> None:  # fmt: skip
        """``address``: address of record that is theirs; ``expires_at``: monotonic seconds; ``random``: 8 hex digits;
        ``reply``: a last token for the client, which goes with the answer to its REGISTER.
        """
        self.scheme: str = scheme
        self.targetname: str = targetname
        self.opaque: str = opaque
        self.version: int = version
        self.address: str = address
        self.display_name: str = display_name
        self.expires_at: float = expires_at
        self._cipher = cipher
        self._random = random
        self._reply = reply
        self._window = ReplayWindow()
        self._number: int = 0

    def verify(self, message: Request | Response, credentials: SignedCredentials) -> Verdict:
        """Judges a message of the client; a genuine one uses its number up."""
        if not credentials.signed:
            return Verdict.UNSIGNED
        if credentials.realm != REALM or credentials.targetname != self.targetname or credentials.scheme != self.scheme:
            return Verdict.FORGED
        try:
            text = signed_text(
                message, self.scheme, credentials.crand, credentials.cnum, REALM, self.targetname, self.version
            )
        except SipParseError:
            return Verdict.FORGED
        if not self._cipher.verify(text, credentials.response):
            return Verdict.FORGED
        if not self._window.is_new(credentials.cnum):
            return Verdict.REPLAYED
        self._window.take(credentials.cnum)
        return Verdict.GENUINE

    def sign(self, message: Request | Response) -> str:
        """The value of Authentication-Info for a message of ours. Raises SipParseError for one that lacks headers."""
        self._number += 1
        srand = self._random()
        text = signed_text(message, self.scheme, srand, self._number, REALM, self.targetname, self.version)
        reply = b""
        if self._reply and isinstance(message, Response) and message.cseq.method == "REGISTER":
            reply, self._reply = self._reply, b""
        signature = self._cipher.sign(text)
        return authentication_info(self.scheme, self.targetname, self.opaque, srand, self._number, signature, reply)
