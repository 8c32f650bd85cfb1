"""The handshake that makes an association (MS-SIPAE sections 3.2.5 and 3.3.5), without I/O.

`Handshakes` belongs to one connection. A REGISTER goes in; out comes what to answer, or what somebody else has to do and the
step to take with what came of it: a Kerberos token to be accepted, an account to be looked up. NTLM takes a challenge and an
answer, whose opaque names the handshake and then the association; Kerberos takes one token; TLS-DSK takes two flights of a
TLS handshake, and then a message that is signed by its keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from parley.ntlm.keys import exported_session_key
from parley.ntlm.messages import Authenticate, Challenge, NtlmError, TargetInfo
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response
from parley.sipae.acceptor import Established
from parley.sipae.association import Association, MessageCipher, NtlmCipher, Verdict
from parley.sipae.certificates import CertificateError, address_of, digest_of
from parley.sipae.dsk import SCHEME as DSK
from parley.sipae.dsk import Agreed, DskCipher, DskContext, DskError, DskHandshake
from parley.sipae.fields import (
    REALM,
    SignedCredentials,
    challenge,
    offer,
    parse_signed_credentials,
    scheme_of,
)
from parley.sipae.principal import KerberosError, login_of

_PENDING: Final = 4
"""Handshakes that one connection may have open."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What is known of an account."""

    address: str
    """Address of record, "sip:alice@example.test"."""
    display_name: str
    nt_hash: bytes
    """Empty when there is no password that NTLM could check."""
    lifetime_s: float = math.inf
    """How long the certificate still lasts that was shown."""


@dataclass(frozen=True, slots=True)
class Challenged:
    """Answer 401 with these values of WWW-Authenticate."""

    values: tuple[str, ...]
    failure: str = ""
    """Why the handshake ends here, when it does."""


@dataclass(frozen=True, slots=True)
class NeedsAccount:
    """Look up a login, then call ``finish`` with what was found."""

    login: str
    finish: Callable[[Secret | None], Association | None]
    """The association; None when the account is unknown, the password wrong, or the message not signed by its keys."""
    certificate: bytes = b""
    """SHA-256 of the certificate that was shown and proved in place of a password: the account must have it in force."""


@dataclass(frozen=True, slots=True)
class NeedsContext:
    """Have a Kerberos token accepted, then call ``finish`` with what came of it."""

    token: bytes
    finish: Callable[[Established], NeedsAccount]
    """The next step. Raises KerberosError when the principal is no user here."""


@dataclass(frozen=True, slots=True)
class Server:
    """What one server says of itself in handshakes, to the users of one SIP domain."""

    name: str
    """FQDN."""
    netbios_domain: str
    domain: str
    lifetime_s: float
    random_bytes: Callable[[int], bytes]
    schemes: tuple[str, ...] = ("NTLM",)
    """Offered in this order."""
    kerberos_service: str = ""
    """The principal that clients get a ticket for, without its realm: sip/ocs.example.test."""
    realms: Mapping[str, str] = field(default_factory=dict)
    """SIP domains by Kerberos realm."""
    dsk: DskContext | None = None
    """Needed when TLS-DSK is among the schemes."""
    certificate_url: str = ""
    """Where clients get certificates for TLS-DSK."""

    def target(self, scheme: str) -> str:
        """The targetname of a scheme."""
        return self.kerberos_service if scheme == "Kerberos" else self.name

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

    __slots__ = ("_dsk", "_pending", "_server", "domain")

    def __init__(self, server: Server) -> None:
        self.domain: str = server.domain
        """SIP domain whose users these handshakes are for."""
        self._server = server
        self._pending: dict[str, bytes] = {}
        self._dsk: tuple[str, DskHandshake | Agreed] | None = None

    def offer(self, failure: str = "") -> Challenged:
        """All schemes, without tokens. ``failure``: why a handshake ends with that."""
        server = self._server
        urls = {DSK: server.certificate_url}
        values = tuple(offer(scheme, server.target(scheme), urls.get(scheme, "")) for scheme in server.schemes)
        return Challenged(values, failure)

    def on_register(self, request: Request, now: float) -> Challenged | NeedsContext | NeedsAccount:
        """The next step of a handshake. ``now``: monotonic seconds."""
        try:
            found = signed_credentials(request, schemes=self._server.schemes)
        except SipParseError:
            return self.offer()
        if found is None or found.realm != REALM or found.targetname != self._server.target(found.scheme):
            return self.offer()
        if found.scheme == DSK:
            return self._tls_dsk(request, found, now)
        if found.gssapi_data is None:
            return self.offer()
        return self._kerberos(request, found, now) if found.scheme == "Kerberos" else self._ntlm(request, found, now)

    def _kerberos(self, request: Request, found: SignedCredentials, now: float) -> Challenged | NeedsContext:
        if not found.gssapi_data:
            return self.offer()

        def established(context: Established) -> NeedsAccount:
            if context.lifetime_s <= 0:  # accepted, as clocks differ, but no message after it would be
                raise KerberosError("the ticket has expired")
            opaque = self._server.random()
            expires_at = now + min(self._server.lifetime_s, context.lifetime_s)

            def finish(account: Secret | None) -> Association | None:
                if account is None:
                    return None
                return self._associate(request, found, context.cipher, account, expires_at, opaque, context.reply)

            return NeedsAccount(login_of(context.principal, self._server.realms), finish)

        return NeedsContext(found.gssapi_data, established)

    def _tls_dsk(self, request: Request, found: SignedCredentials, now: float) -> Challenged | NeedsAccount:
        """The steps of one handshake; a client that begins another gives up the one before."""
        opaque, state = self._dsk if self._dsk is not None and self._dsk[0] == found.opaque else ("", None)
        if found.gssapi_data is None:
            if not isinstance(state, Agreed):
                return self.offer()
            self._dsk = None
            return self._by_certificate(request, found, state, now)
        if not found.gssapi_data or self._server.dsk is None or isinstance(state, Agreed):
            return self.offer()
        if state is None:
            opaque, state = self._server.random(), self._server.dsk.handshake()
        self._dsk = None
        try:
            flight = state.receive(found.gssapi_data)
        except DskError as error:
            return self.offer(str(error))
        self._dsk = (opaque, state.agreed or state)
        return Challenged((challenge(DSK, self._server.target(DSK), opaque, flight),))

    def _by_certificate(
        self, request: Request, found: SignedCredentials, agreed: Agreed, now: float
    ) -> Challenged | NeedsAccount:
        try:
            address = address_of(agreed.certificate)
        except CertificateError as error:
            return self.offer(str(error))

        def finish(account: Secret | None) -> Association | None:
            if account is None or account.address != address:
                return None
            expires_at = now + min(self._server.lifetime_s, account.lifetime_s)
            return self._associate(request, found, DskCipher(agreed), account, expires_at, found.opaque)

        return NeedsAccount(address, finish, digest_of(agreed.certificate))

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
            nt_hash = secret.nt_hash if secret is not None else b""
            exported = exported_session_key(answer, nonce, nt_hash or nonce * 2)
            if exported is None or secret is None or not nt_hash:
                return None
            cipher, expires_at = NtlmCipher(exported, answer.flags), now + self._server.lifetime_s
            return self._associate(request, found, cipher, secret, expires_at, found.opaque)

        return NeedsAccount(answer.login, finish)

    def _associate(
        self, request: Request, found: SignedCredentials, cipher: MessageCipher, account: Secret, expires_at: float,
        opaque: str, reply: bytes = b"",
    ) -> Association | None:  # fmt: skip
        made = Association(
            scheme=found.scheme, targetname=self._server.target(found.scheme), opaque=opaque, version=found.version,
            cipher=cipher, address=account.address, display_name=account.display_name,
            expires_at=expires_at, random=self._server.random, reply=reply,
        )  # fmt: skip
        if (found.version >= 4 or found.signed) and made.verify(request, found) is not Verdict.GENUINE:
            return None
        return made
