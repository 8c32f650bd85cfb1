"""What tells one Kerberos token from another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.sipae.apreq import authenticator_of
from parley.sipae.principal import KerberosError


def tlv(tag: int, *contents: bytes) -> bytes:
    """An element of DER."""
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def encrypted(cipher: bytes, *, version: bool = True) -> bytes:
    """EncryptedData."""
    kvno = tlv(0xA1, tlv(0x02, b"\x02")) if version else b""
    return tlv(0x30, tlv(0xA0, tlv(0x02, b"\x12")), kvno, tlv(0xA2, tlv(0x04, cipher)))


def fields(authenticator: bytes) -> list[bytes]:
    """Those of an AP-REQ."""
    options = tlv(0xA2, tlv(0x03, bytes(5)))
    ticket = tlv(0xA3, tlv(0x61, tlv(0x30, b"ticket" * 100)))
    return [tlv(0xA0, b"\x02\x01\x05"), tlv(0xA1, b"\x02\x01\x0e"), options, ticket, tlv(0xA4, authenticator)]


def framed(*parts: bytes, oid: str = "06092a864886f712010202", kind: bytes = b"\x01\x00") -> bytes:
    """The token of GSS-API."""
    return tlv(0x60, bytes.fromhex(oid), kind, tlv(0x6E, tlv(0x30, *parts)))


@given(st.binary(max_size=70_000), st.booleans())
def test_the_authenticator_is_found(cipher: bytes, version: bool) -> None:
    assert authenticator_of(framed(*fields(encrypted(cipher, version=version)))) == cipher


TOKEN = framed(*fields(encrypted(b"authenticator")))


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (b"", "is damaged"),
        (TOKEN[:-1], "is damaged"),
        (TOKEN + b"\0", "is damaged"),
        (TOKEN + TOKEN, "is damaged"),
        (b"\x61" + TOKEN[1:], "is damaged"),
        (b"\x60\x80" + TOKEN[4:] + b"\0\0", "is damaged"),
        (b"\x60\x83\x00" + TOKEN[2:], "is damaged"),
        (b"\x60\x81\x05" + bytes(5), "is damaged"),
        (b"\x60\x88" + bytes(8), "is damaged"),
        (framed(oid="06062b0601050502"), "none of Kerberos"),
        (framed(*fields(encrypted(b"a")), kind=b"\x02\x00"), "none of Kerberos"),
        (framed(*fields(encrypted(b"a"))[:4]), "no AP-REQ"),
        (framed(*fields(encrypted(b"a")), tlv(0xA4, encrypted(b"b"))), "no AP-REQ"),
        (framed(*fields(encrypted(b"a"))[::-1]), "no AP-REQ"),
        (framed(*fields(tlv(0x30, tlv(0xA2, tlv(0x04, b"a"))))), "not encrypted data"),
        (framed(*fields(tlv(0x30, tlv(0xA0, b""), tlv(0xA2, tlv(0x24, tlv(0x04, b"a")))))), "is damaged"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(token: bytes, why: str) -> None:
    with pytest.raises(KerberosError, match=why):
        authenticator_of(token)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_token_or_refused(data: bytes) -> None:
    for token in (data, framed(data), framed(*fields(data))):
        try:
            authenticator_of(token)
        except KerberosError:
            continue
