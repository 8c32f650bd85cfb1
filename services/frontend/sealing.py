"""The signatures of one connection (MS-SIPAE): checks what comes, signs what goes.

Office Communicator drops unsigned requests and final responses without a word, and leaves when a signature is wrong. So
what is written is signed at the last moment, when nothing changes any more.
"""

from __future__ import annotations

from parley.sip.errors import SipError
from parley.sip.message import Request, Response, parse_message
from parley.sipae.association import Association, Verdict
from parley.sipae.negotiation import Handshakes, signed_credentials

_UNSIGNED = frozenset({100, 401, 407})


class Seal:
    """The associations of a connection: the present one, and the one before while its last messages arrive."""

    __slots__ = ("_before", "handshakes", "present")

    def __init__(self, handshakes: Handshakes) -> None:
        self.handshakes = handshakes
        self.present: Association | None = None
        self._before: Association | None = None

    def establish(self, association: Association) -> None:
        """A handshake ended well."""
        self._before, self.present = self.present, association

    def address(self) -> str:
        """Address of record of the client; "" before it has one."""
        return self.present.address if self.present is not None else ""

    def judge(self, message: Request | Response, now: float) -> Verdict:
        """What the signature of a message says. ``now``: monotonic seconds."""
        try:
            credentials = signed_credentials(message)
        except SipError:
            return Verdict.FORGED
        if credentials is None:
            return Verdict.UNSIGNED
        for association in (self.present, self._before):
            if association is not None and association.opaque == credentials.opaque and now < association.expires_at:
                return association.verify(message, credentials)
        return Verdict.FORGED if credentials.signed else Verdict.UNSIGNED

    def sealed(self, data: bytes) -> bytes:
        """A message with our signature, where it takes one."""
        association = self.present
        if association is None or data[:2] == b"\r\n":
            return data
        message = parse_message(data)
        if isinstance(message, Response) and message.status in _UNSIGNED:
            return data
        at = data.index(b"\r\n") + 2
        return b"%b%b\r\n%b" % (data[:at], f"Authentication-Info: {association.sign(message)}".encode(), data[at:])
