"""Requests made to break a server: each gets silence or the error it deserves, and the server goes on."""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Callable

import pytest

from parley.stun.codes import Attribute, MessageClass, Method
from parley.stun.integrity import long_term_key, protect
from parley.stun.message import Message
from tests.support.turn import PASSWORD, PEER, REALM, USER, Rig

Make = Callable[[bytes], bytes]
KEY = long_term_key(USER, REALM, PASSWORD)
COOKIE = b"\x21\x12\xa4\x42"


def raw(kind: int, body: bytes, *, size: int | None = None, cookie: bytes = COOKIE) -> bytes:
    """A message of any making. ``size``: what its head says."""
    return kind.to_bytes(2, "big") + (len(body) if size is None else size).to_bytes(2, "big") + cookie + bytes(12) + body


def attribute(kind: int, value: bytes, *, size: int | None = None) -> bytes:
    return (
        kind.to_bytes(2, "big") + (len(value) if size is None else size).to_bytes(2, "big") + value + bytes(-len(value) % 4)
    )


def signed(nonce: bytes, body: bytes, *, kind: int = 0x003, after: bytes = b"", mac: int = 20, told: int = 20) -> bytes:
    """A request with MESSAGE-INTEGRITY of the true key but of any length, and something after it."""
    names = {Attribute.USERNAME: USER.encode(), Attribute.REALM: REALM.encode(), Attribute.NONCE: nonce}
    body = b"".join(attribute(name, value) for name, value in names.items()) + body
    value = hmac.digest(KEY, raw(kind, body, size=len(body) + 24), "sha1")[:mac].ljust(mac, b"\0")
    return raw(kind, body + attribute(Attribute.MESSAGE_INTEGRITY, value, size=told) + after)


WANTED = attribute(Attribute.REQUESTED_TRANSPORT, b"\x11\0\0\0")
SILENT: dict[str, bytes] = {
    "a head that promises more": raw(0x001, b"", size=4),
    "a head that promises less": raw(0x001, bytes(8), size=4),
    "the longest promise": raw(0x001, b"", size=0xFFFC),
    "a length that is no multiple of four": raw(0x001, bytes(3)),
    "another cookie": raw(0x001, b"", cookie=b"\x21\x12\xa4\x43"),
    "no cookie": raw(0x001, b"", cookie=bytes(4)),
    "the bits of channel data": raw(0x4001, b""),
    "the highest bit": raw(0x8001, b""),
    "every method bit": raw(0x3EEF, b""),
    "an attribute without a value": raw(0x001, b"\x80\x22\x00\x04"),
    "an attribute that reaches beyond": raw(0x001, attribute(0x8022, b"abcd", size=5)),
    "an attribute of the greatest size": raw(0x001, attribute(0x8022, b"", size=0xFFFF)),
    "half an attribute": raw(0x001, attribute(0x8022, b"abcd") + b"\x80\x22\x00\x01"),
    "too many attributes": raw(0x001, attribute(0x8022, b"") * 65),
    "a fingerprint of other bytes": raw(0x001, attribute(Attribute.FINGERPRINT, bytes(4))),
    "a fingerprint that is short": raw(0x001, attribute(Attribute.FINGERPRINT, b"\0")),
    "something after the fingerprint": protect(Message(1, MessageClass.REQUEST), fingerprint=True)[:3]
    + b"\x0c" + protect(Message(1, MessageClass.REQUEST, bytes(12)), fingerprint=True)[4:] + attribute(0x8022, b""),
    "two fingerprints": raw(0x001, attribute(Attribute.FINGERPRINT, bytes(4)) * 2),
    "a success that nobody asked for": raw(0x103, WANTED),
    "an error that nobody asked for": raw(0x113, attribute(Attribute.ERROR_CODE, b"\0\0\4\1")),
    "an indication to allocate": raw(0x013, WANTED),
    "a request to send": raw(0x006, attribute(Attribute.DATA, b"x")),
    "an indication from nowhere": raw(0x016, attribute(Attribute.DATA, b"x")),
    "nothing but zeros": bytes(1500),
    "nothing but ones": b"\xff" * 1500,
}  # fmt: skip
ANSWERED: dict[str, tuple[int, Make]] = {
    "nothing asked for": (401, lambda nonce: raw(0x003, b"")),
    "no name": (400, lambda nonce: raw(0x003, WANTED + attribute(Attribute.MESSAGE_INTEGRITY, bytes(20)))),
    "integrity of no length": (401, lambda nonce: signed(nonce, WANTED, mac=0, told=0)),
    "integrity that is short": (401, lambda nonce: signed(nonce, WANTED, mac=16, told=16)),
    "integrity that is long": (401, lambda nonce: signed(nonce, WANTED, mac=24, told=24)),
    "a wrong length of integrity": (401, lambda nonce: signed(nonce, WANTED, mac=20, told=17)),
    "a good one with something after it": (0, lambda nonce: signed(nonce, WANTED, after=attribute(0x7ABC, b"x"))),
    "a family after the integrity": (
        0,
        lambda nonce: signed(nonce, WANTED, after=attribute(Attribute.REQUESTED_ADDRESS_FAMILY, b"\x09\0\0\0")),
    ),
    "integrity twice": (0, lambda nonce: signed(nonce, WANTED, after=attribute(Attribute.MESSAGE_INTEGRITY, bytes(20)))),
    "the transport after the integrity": (400, lambda nonce: signed(nonce, b"", after=WANTED)),
    "a name twice, the first counts": (0, lambda nonce: signed(nonce, WANTED + attribute(Attribute.USERNAME, b"\xff"))),
    "transports that contradict": (0, lambda nonce: signed(nonce, WANTED + attribute(0x19, b"\x06\0\0\0"))),
    "a transport of five bytes": (400, lambda nonce: signed(nonce, attribute(0x19, b"\x11\0\0\0\0"))),
    "a lifetime of three bytes": (400, lambda nonce: signed(nonce, WANTED + attribute(Attribute.LIFETIME, b"\0\0\1"))),
    "a token of any length": (400, lambda nonce: signed(nonce, WANTED + attribute(0x22, bytes(500)))),
    "64 things that must be understood": (
        420,
        lambda nonce: signed(nonce, b"".join(attribute(0x7000 + number, b"") for number in range(50))),
    ),
    "a permission without a peer": (437, lambda nonce: signed(nonce, b"", kind=0x008)),
}  # fmt: skip


@pytest.mark.parametrize("case", SILENT)
def test_silence(case: str) -> None:
    rig = Rig()
    assert rig.server.receive(rig.client().flow, SILENT[case], rig.now) is None
    assert_it_goes_on(rig)


@pytest.mark.parametrize("case", ANSWERED)
def test_answers(case: str) -> None:
    rig = Rig()
    client = rig.client()
    challenge = rig.server.receive(client.flow, raw(0x003, WANTED), rig.now)
    assert challenge is not None
    nonce = Message.parse(challenge).get(Attribute.NONCE)
    assert nonce is not None
    expected, make = ANSWERED[case]
    reply = rig.server.receive(client.flow, make(nonce), rig.now)
    assert reply is not None
    error = Message.parse(reply).error_code
    assert (error[0] if error else 0) == expected
    rig.server.closed(client.flow, rig.now)
    assert_it_goes_on(rig)


def assert_it_goes_on(rig: Rig) -> None:
    """Nothing is left open, and the next client is served."""
    assert not rig.ports.open_relays
    client = rig.client()
    client.allocate()
    client.permit(PEER.host)
    assert client.send(PEER, b"x") == (PEER, b"x")


def test_the_sum_of_the_fingerprint_is_that_of_the_rfc() -> None:
    data = protect(Message(Method.BINDING, MessageClass.REQUEST, bytes(12)), fingerprint=True)
    assert int.from_bytes(data[-4:], "big") == zlib.crc32(data[:-8]) ^ 0x5354554E
