"""Which Secrets an installation needs, and what is to be done about one as it is: the rules, without a cluster.

Nothing that exists is changed, but for one thing: a certificate that Parley made itself is renewed when it nears its end,
lacks a name, or was signed by another authority. The key of an authority, a master key and a password are never replaced,
as data, clients or other processes hold on to them. Keys that are missing are added only to Secrets that Parley made. A
value that cannot be right is refused with the name of its Secret, and never shown.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_bytes, token_hex
from typing import Final, Literal, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from parley.kubernetes.api import Secret
from parley.platform.authority import Authority, Pair, days_left, is_signed_by, missing_names, reason_to_renew
from parley.platform.keys import parse_master_key

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
OURS: Final = "parley-init"
"""Value of that label on Secrets that Parley made."""
TLS_TYPE: Final = "kubernetes.io/tls"
CERTIFICATE, KEY, CA = "tls.crt", "tls.key", "ca.crt"

Outcome = Literal["made", "completed", "renewed", "kept"]


class SecretRefused(Exception):
    """A Secret holds what cannot be used; the text says which one and what to do."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one Secret."""

    outcome: Outcome
    data: Mapping[str, bytes] = field(default_factory=dict)
    """Keys to write."""
    remark: str = ""
    """Why, or what a person should know."""


class Recipe(Protocol):
    """One Secret that is needed."""

    @property
    def type(self) -> str:
        """Its type, when it is made."""

    def decide(self, found: Secret | None) -> Decision:
        """What to do. Raises SecretRefused."""


def is_ours(secret: Secret) -> bool:
    """Whether Parley made it."""
    return secret.labels.get(MANAGED_BY) == OURS


@dataclass(frozen=True, slots=True)
class Value:
    """A Secret with one key that holds text."""

    key: str
    make: Callable[[], str]
    problem: Callable[[str], str]
    """What is wrong with a value; "" when nothing is."""
    type: str = "Opaque"

    def decide(self, found: Secret | None) -> Decision:
        """See `Recipe`."""
        if found is None:
            return Decision("made", {self.key: self.make().encode()})
        if self.key not in found.data:
            _only_ours(found, [self.key])
            return Decision("completed", {self.key: self.make().encode()}, f"{self.key} was missing")
        try:
            problem = self.problem(found.data[self.key].decode())
        except UnicodeDecodeError:
            problem = "is no text"
        if problem:
            raise SecretRefused(f"{self.key} of the Secret {found.name} {problem}; {_CURE}")
        return Decision("kept")


_ANOTHER_AUTHORITY: Final = "delete it, and another authority is made"
_CURE: Final = "put the right value there, or delete the Secret if nothing was stored with it yet, and it is made anew"


def master_key() -> Value:
    """What all keys of an installation are derived from."""
    return Value("master-key", lambda: token_bytes(32).hex(), _master_key_problem)


def _master_key_problem(text: str) -> str:
    try:
        parse_master_key(text)
    except ValueError:
        return "must be 64 hex digits"
    return ""


def password() -> Value:
    """A password for a server, without characters that a URL or a configuration file would need quoted."""
    return Value("password", lambda: token_hex(24), _password_problem)


def _password_problem(text: str) -> str:
    if not text.strip():
        return "is empty"
    return "must be one line" if "\n" in text.strip() else ""


@dataclass(frozen=True, slots=True)
class AuthorityRecipe:
    """An authority of the installation's own."""

    title: str
    now: datetime.datetime | None = None
    type: str = TLS_TYPE

    def decide(self, found: Secret | None) -> Decision:
        """See `Recipe`."""
        if found is None:
            return Decision("made", _data(Authority.make(self.title, now=self.now).pair))
        authority, _ = _pair(found, _ANOTHER_AUTHORITY)
        left = days_left(authority, self.now)
        if left < 0:
            raise SecretRefused(
                f"the authority in the Secret {found.name} has ended on {authority.not_valid_after_utc:%Y-%m-%d}: delete "
                "the Secret, and another is made, which clients have to be told to trust"
            )
        return Decision("kept", remark=f"the authority ends in {left} days" if left <= 365 else "")


@dataclass(frozen=True, slots=True)
class LeafRecipe:
    """A certificate for names, signed by the installation's authority."""

    names: Sequence[str]
    authority: Authority | None
    """None while nothing of it is needed: then the Secret must be there, and not Parley's."""
    now: datetime.datetime | None = None
    type: str = TLS_TYPE

    def decide(self, found: Secret | None) -> Decision:
        """See `Recipe`."""
        if found is None:
            return Decision("made", self._issue())
        if not is_ours(found):
            return self._judge_foreign(found)
        missing = [key for key in (CERTIFICATE, KEY) if not found.data.get(key)]
        if missing:
            return Decision("completed", self._issue(), f"{' and '.join(missing)} was missing")
        certificate, _ = _pair(found, "delete it, and another certificate is made")
        authority = self._signer()
        reason = reason_to_renew(certificate, self.names, signed_by=authority.certificate, now=self.now)
        if reason:
            return Decision("renewed", self._issue(), reason)
        if CA not in found.data:
            return Decision("completed", {CA: authority.pair.certificate.encode()}, f"{CA} was missing")
        return Decision("kept")

    def _judge_foreign(self, found: Secret) -> Decision:
        """Somebody else's certificate is used as it is; what may be wrong with it is said."""
        _only_ours(found, [key for key in (CERTIFICATE, KEY) if not found.data.get(key)])
        certificate, _ = _pair(found, "it was not made by Parley: correct it")
        remarks = []
        missing, left = missing_names(certificate, self.names), days_left(certificate, self.now)
        if missing:
            remarks.append(f"it does not name {', '.join(missing)}")
        if left < 0:
            remarks.append("it has ended")
        return Decision("kept", remark="; ".join(["not made by Parley", *remarks]))

    def _issue(self) -> dict[str, bytes]:
        authority = self._signer()
        return _data(authority.issue(self.names, now=self.now)) | {CA: authority.pair.certificate.encode()}

    def _signer(self) -> Authority:
        if self.authority is None:
            raise SecretRefused("a Secret with a certificate was removed or given to Parley meanwhile; run this again")
        return self.authority


def authority_of(found: Secret) -> Authority:
    """The authority that a Secret holds. Raises SecretRefused when it cannot sign."""
    certificate, key = _pair(found, _ANOTHER_AUTHORITY)
    try:
        authority = Authority.read(found.data[CERTIFICATE], key)
    except ValueError as error:
        raise SecretRefused(f"the Secret {found.name}: {error}; {_ANOTHER_AUTHORITY}") from None
    if not is_signed_by(certificate, certificate):
        raise SecretRefused(f"the Secret {found.name} holds no authority of its own; delete it, and one is made")
    return authority


def _only_ours(found: Secret, missing: Sequence[str]) -> None:
    if missing and not is_ours(found):
        raise SecretRefused(
            f"the Secret {found.name} was not made by Parley and has no {' and no '.join(missing)}: add what is missing, or "
            "delete the Secret, and all of it is made"
        )


def _pair(found: Secret, cure: str) -> tuple[x509.Certificate, bytes]:
    """Certificate and key of a Secret. Raises SecretRefused unless they belong together."""
    for key in (CERTIFICATE, KEY):
        if not found.data.get(key):
            raise SecretRefused(f"the Secret {found.name} has no {key}; {cure}")
    try:
        certificate = x509.load_pem_x509_certificate(found.data[CERTIFICATE])
    except ValueError:
        raise SecretRefused(f"{CERTIFICATE} of the Secret {found.name} is no certificate (PEM); {cure}") from None
    try:
        secret = serialization.load_pem_private_key(found.data[KEY], None)
    except (ValueError, TypeError):
        raise SecretRefused(f"{KEY} of the Secret {found.name} is no key (PEM, without passphrase); {cure}") from None
    if secret.public_key() != certificate.public_key():
        raise SecretRefused(f"{KEY} of the Secret {found.name} is not the key of its {CERTIFICATE}; {cure}")
    return certificate, found.data[KEY]


def _data(pair: Pair) -> dict[str, bytes]:
    return {CERTIFICATE: pair.certificate.encode(), KEY: pair.key.encode()}
