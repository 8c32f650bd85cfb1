"""SPNEGO (RFC 4178, MS-SPNG): which mechanism a client means, its first token, and our answer.

The token of the mechanism that the client prefers is taken, so that no mechListMIC is needed (RFC 4178 section 5); another
order is refused. The encoding is DER, taken with the lengths that a header of HTTP can have.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

_SPNEGO: Final = bytes.fromhex("06062b0601050502")
_GSS, _SEQUENCE, _OID_TAG, _OCTETS, _ENUMERATED = 0x60, 0x30, 0x06, 0x04, 0x0A
_INIT, _RESPONSE = 0xA0, 0xA1
_ACCEPT_COMPLETED, _ACCEPT_INCOMPLETE = 0, 1
_NTLM_SIGNATURE: Final = b"NTLMSSP\0"


class SpnegoError(ValueError):
    """A token that cannot be taken; the text says why."""


class Mechanism(Enum):
    """What is negotiated; the value is the object identifier as it is written."""

    KERBEROS = bytes.fromhex("2a864886f712010202")
    MS_KERBEROS = bytes.fromhex("2a864882f712010202")
    """As Windows 2000 wrote it (MS-KILE section 3.4.5.2): the same mechanism."""
    NTLM = bytes.fromhex("2b06010401823702020a")


@dataclass(frozen=True, slots=True)
class Token:
    """What a client sent."""

    mechanism: Mechanism | None
    """None in a further token of a negotiation that has begun."""
    data: bytes
    """The token of the mechanism."""
    is_wrapped: bool
    """Whether it came by SPNEGO; else the mechanism's token came bare."""

    @classmethod
    def parse(cls, raw: bytes) -> Token:
        """From the value of an Authorization header. Raises SpnegoError."""
        if raw.startswith(_NTLM_SIGNATURE):
            return cls(Mechanism.NTLM, raw, False)
        tag, inner, rest = _element(raw)
        if rest:
            raise SpnegoError("there is more than a token")
        if tag == _RESPONSE:
            return cls(None, _only_of(_fields(_only(inner, _SEQUENCE)), 2, _OCTETS), True)
        if tag != _GSS:
            raise SpnegoError("not a GSS-API token")
        if not inner.startswith(_SPNEGO):
            oid_tag, oid, _ = _element(inner)
            if oid_tag == _OID_TAG and oid == Mechanism.KERBEROS.value:
                return cls(Mechanism.KERBEROS, raw, False)
            raise SpnegoError("a mechanism that is not known")
        fields = _fields(_only(_only(inner[len(_SPNEGO) :], _INIT), _SEQUENCE))
        mechanisms = _only_of(fields, 0, _SEQUENCE)
        oid_tag, first, _ = _element(mechanisms)
        try:
            mechanism = Mechanism(first) if oid_tag == _OID_TAG else None
        except ValueError:
            mechanism = None
        if mechanism is None:
            raise SpnegoError("the preferred mechanism is not known")
        return cls(mechanism, _only_of(fields, 2, _OCTETS), True)


def answer(mechanism: Mechanism, data: bytes, *, complete: bool) -> bytes:
    """A NegTokenResp. ``data``: the mechanism's token; may be empty."""
    state = _ACCEPT_COMPLETED if complete else _ACCEPT_INCOMPLETE
    fields = _wrap(0xA0, _wrap(_ENUMERATED, bytes([state]))) + _wrap(0xA1, _wrap(_OID_TAG, mechanism.value))
    if data:
        fields += _wrap(0xA2, _wrap(_OCTETS, data))
    return _wrap(_RESPONSE, _wrap(_SEQUENCE, fields))


def initial(mechanism: Mechanism, data: bytes) -> bytes:
    """A NegTokenInit with one mechanism, as a client sends it."""
    fields = _wrap(0xA0, _wrap(_SEQUENCE, _wrap(_OID_TAG, mechanism.value))) + _wrap(0xA2, _wrap(_OCTETS, data))
    return _wrap(_GSS, _SPNEGO + _wrap(_INIT, _wrap(_SEQUENCE, fields)))


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content, and what follows."""
    if len(data) < 2:
        raise SpnegoError("the token is damaged")
    tag, size, at = data[0], data[1], 2
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= 3 or len(data) < 2 + count:
            raise SpnegoError("the token is damaged")
        size, at = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if at + size > len(data):
        raise SpnegoError("the token is damaged")
    return tag, data[at : at + size], data[at + size :]


def _only(data: bytes, tag: int) -> bytes:
    found, content, rest = _element(data)
    if found != tag or rest:
        raise SpnegoError("the token is damaged")
    return content


def _fields(data: bytes) -> dict[int, bytes]:
    """Contents of the fields of a sequence by their context tags."""
    fields: dict[int, bytes] = {}
    while data:
        tag, content, data = _element(data)
        if not 0xA0 <= tag <= 0xA3 or tag - 0xA0 in fields:
            raise SpnegoError("the token is damaged")
        fields[tag - 0xA0] = content
    return fields


def _only_of(fields: dict[int, bytes], number: int, tag: int) -> bytes:
    if number not in fields:
        raise SpnegoError("the token lacks a mechanism or its token")
    return _only(fields[number], tag)


def _wrap(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits)]) + digits + content
