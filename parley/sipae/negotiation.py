"""The handshake that makes an association (MS-SIPAE sections 3.2.5 and 3.3.5), without I/O.

`Handshakes` belongs to one connection. A REGISTER goes in; out comes what to answer, or the account that has to be looked up
and the step to take with its secret. Opaque names the handshake, and then the association.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from parley.ntlm.keys import exported_session_key
from parley.ntlm.messages import Authenticate, Challenge, NtlmError, TargetInfo
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response
from parley.sipae.association import Association, MessageCipher, NtlmCipher, Verdict
from parley.sipae.fields import (
    REALM,
    SignedCredentials,
    challenge,
    offer,
    parse_signed_credentials,
    scheme_of,
)

_PENDING: Final = 4
"""Handshakes that one connection may have open."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What is known of an account."""

    address: str
    """Address of record, "sip:alice@example.test"."""
    display_name: str
    nt_hash: bytes


@dataclass(frozen=True, slots=True)
class Challenged:
    """Answer 401 with these values of WWW-Authenticate."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NeedsAccount:
    """Look up a login, then call ``finish`` with what was found."""

    login: str
    finish: Callable[[Secret | None], Association | None]
    """The association; None when the account is unknown, the password wrong, or the message not signed by its keys."""


@dataclass(frozen=True, slots=True)
class Server:
    """What one server says of itself in handshakes."""

    name: str
    """FQDN."""
    netbios_domain: str
    domain: str
    lifetime_s: float
    random_bytes: Callable[[int], bytes]

    def random(self) -> str:
        """Eight random hex digits."""
        return self.random_bytes(4).hex().upper()

    @property
    def target_info(self) -> TargetInfo:
        """What NTLM tells clients."""
        computer = self.name.partition(".")[0].upper()[:15]
        return TargetInfo(self.netbios_domain, computer, self.domain, self.name)


def signed_credentials(message: Request | Response, *, schemes: Sequence[str] | None = None) -> SignedCredentials | None:
    """The first credentials of these schemes, from Authorization or Proxy-Authorization; None when there are none.

    Raises SipParseError 400 for credentials that cannot be read.
    """
    for name in ("authorization", "proxy-authorization"):
        for value in message.get_all(name):
            scheme = scheme_of(value)
            if scheme is not None and (schemes is None or scheme in schemes):
                return parse_signed_credentials(value)
    return None


class Handshakes:
    """The handshakes of one connection."""

    __slots__ = ("_pending", "_schemes", "_server")

    def __init__(self, server: Server, schemes: Sequence[str]) -> None:
        """``schemes``: offered in this order."""
        self._server = server
        self._schemes: tuple[str, ...] = tuple(schemes)
        self._pending: dict[str, bytes] = {}

    def offer(self) -> Challenged:
        """All schemes, without tokens."""
        return Challenged(tuple(offer(scheme, self._server.name) for scheme in self._schemes))

    def on_register(self, request: Request, now: float) -> Challenged | NeedsAccount:
        """The next step of a handshake. ``now``: monotonic seconds."""
        try:
            found = signed_credentials(request, schemes=self._schemes)
        except SipParseError:
            return self.offer()
        if found is None or found.realm != REALM or found.targetname != self._server.name:
            return self.offer()
        if found.gssapi_data is None:
            return self.offer()
        return self._ntlm(request, found, now)

    def _ntlm(self, request: Request, found: SignedCredentials, now: float) -> Challenged | NeedsAccount:
        if not found.gssapi_data:
            nonce = self._server.random_bytes(8)
            opaque = self._server.random()
            if len(self._pending) >= _PENDING:
                del self._pending[next(iter(self._pending))]
            self._pending[opaque] = nonce
            message = bytes(Challenge(nonce, self._server.target_info))
            return Challenged((challenge("NTLM", self._server.name, opaque, message),))
        nonce = self._pending.pop(found.opaque, b"")
        if not nonce:
            return self.offer()
        try:
            answer = Authenticate.parse(found.gssapi_data)
        except NtlmError:
            return self.offer()

        def finish(secret: Secret | None) -> Association | None:
            # For nobody the same work is done as for a wrong password.
            exported = exported_session_key(answer, nonce, secret.nt_hash if secret is not None else nonce * 2)
            if exported is None or secret is None:
                return None
            return self._associate(request, found, NtlmCipher(exported, answer.flags), secret, now, found.opaque)

        return NeedsAccount(answer.login, finish)

    def _associate(
        self, request: Request, found: SignedCredentials, cipher: MessageCipher, secret: Secret, now: float, opaque: str
    ) -> Association | None:
        made = Association(
            scheme=found.scheme, targetname=self._server.name, opaque=opaque, version=found.version,
            cipher=cipher, address=secret.address, display_name=secret.display_name,
            expires_at=now + self._server.lifetime_s, random=self._server.random,
        )  # fmt: skip
        if (found.version >= 4 or found.signed) and made.verify(request, found) is not Verdict.GENUINE:
            return None
        return made
