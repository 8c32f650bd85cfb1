"""The first token of a client (RFC 1964 section 1.1.1): a Kerberos AP-REQ (RFC 4120 section 5.5.1) in the frame of GSS-API.

Only what tells one token from another is read. The encoding is taken to the letter (DER): bytes outside of the authenticator
that can be written in two ways would make two tokens of one.
"""

from __future__ import annotations

from typing import Final

from parley.sipae.principal import KerberosError

_OID: Final = bytes.fromhex("06092a864886f712010202")
_AP_REQ: Final = b"\x01\x00"
_GSS, _MESSAGE, _SEQUENCE, _OCTETS = 0x60, 0x6E, 0x30, 0x04
_FIELDS: Final = (0xA0, 0xA1, 0xA2, 0xA3, 0xA4)
"""pvno, msg-type, ap-options, ticket, authenticator."""


def authenticator_of(token: bytes) -> bytes:
    """The encrypted authenticator, which no two tokens share. Raises KerberosError."""
    inner = _only(token, _GSS)
    if not inner.startswith(_OID + _AP_REQ):
        raise KerberosError("the token is none of Kerberos")
    fields = _elements(_only(_only(inner[len(_OID) + len(_AP_REQ) :], _MESSAGE), _SEQUENCE))
    if tuple(tag for tag, _ in fields) != _FIELDS:
        raise KerberosError("the token is no AP-REQ")
    encrypted = _elements(_only(fields[-1][1], _SEQUENCE))
    if [tag for tag, _ in encrypted] not in ([0xA0, 0xA2], [0xA0, 0xA1, 0xA2]):
        raise KerberosError("the authenticator is not encrypted data")
    return _only(encrypted[-1][1], _OCTETS)


def _only(data: bytes, tag: int) -> bytes:
    """What is in an element that is all there is."""
    found = _elements(data)
    if len(found) != 1 or found[0][0] != tag:
        raise KerberosError("the token is damaged")
    return found[0][1]


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents, one after the other."""
    found, at = [], 0
    while at < len(data):
        tag, at = data[at], at + 1
        size = data[at] if at < len(data) else 0x80
        at += 1
        if size >= 0x80:
            count = size & 0x7F
            digits = data[at : at + count]
            size = int.from_bytes(digits, "big")
            if not 1 <= count <= 3 or len(digits) < count or digits[0] == 0 or size < 0x80:
                raise KerberosError("the token is damaged")
            at += count
        if at + size > len(data):
            raise KerberosError("the token is damaged")
        found.append((tag, data[at : at + size]))
        at += size
    return found
