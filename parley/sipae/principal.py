"""Names in Kerberos (RFC 4120 section 6.2, RFC 1964 section 2.1.1): components, and the realm that vouches for them.

In text a component ends with "/", the last one with "@"; both, and the backslash, are written with a backslash before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_MAX_LENGTH: Final = 1024
_ESCAPES: Final = {"n": "\n", "t": "\t", "b": "\b", "0": "\0"}
_ESCAPED: Final = {character: "\\" + letter for letter, character in _ESCAPES.items()} | {
    character: "\\" + character for character in "\\/@"
}


class KerberosError(Exception):
    """Why a token or a name is not accepted, or why none can be: for logs, clients are not told."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A user ("alice"), or a service ("sip", "ocs.example.test")."""

    components: tuple[str, ...]
    realm: str

    @classmethod
    def parse(cls, text: str) -> Principal:
        """Reads a name with its realm. Raises KerberosError."""
        if len(text) > _MAX_LENGTH:
            raise KerberosError("the name of the principal is too long")
        parts, realm_at = [""], -1
        characters = iter(text)
        for character in characters:
            if character == "\\":
                following = next(characters, None)
                if following is None:
                    raise KerberosError("the name of the principal ends with a backslash")
                parts[-1] += _ESCAPES.get(following, following)
            elif character == "@" and realm_at < 0:
                realm_at = len(parts)
                parts.append("")
            elif character == "@" or (character == "/" and realm_at >= 0):
                raise KerberosError("the name of the principal has more than one realm")
            elif character == "/":
                parts.append("")
            else:
                parts[-1] += character
        if realm_at < 0 or not all(parts):
            raise KerberosError("the name of the principal lacks a realm or a component")
        return cls(tuple(parts[:realm_at]), parts[realm_at])

    @property
    def name(self) -> str:
        """The name without the realm."""
        return "/".join(_escaped(component) for component in self.components)

    def __str__(self) -> str:
        return f"{self.name}@{_escaped(self.realm)}"


def _escaped(text: str) -> str:
    return "".join([_ESCAPED.get(character, character) for character in text])


def login_of(principal: Principal, realms: Mapping[str, str]) -> str:
    """The login a principal signs in as: its name in the SIP domain that its realm stands for.

    ``realms``: SIP domains by realm, which is compared with its case. Only users have one: a name of a single component, in
    a realm that is listed. What else a realm vouches for (services, administrators as "alice/admin") is nobody here. Raises
    KerberosError.
    """
    domain = realms.get(principal.realm)
    if domain is None:
        raise KerberosError(f"the realm {principal.realm!r} stands for no SIP domain")
    name = principal.components[0]
    if len(principal.components) != 1 or any(ord(character) < 33 or character in '@\\/"' for character in name):
        raise KerberosError(f"{str(principal)!r} is the name of no user")
    return f"{name}@{domain}"
