"""TLS-DSK: handshakes between OpenSSL's client and ours, without a network; what does not get through."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.sipae.dsk import MAX_FLIGHT, Agreed, DskCipher, DskContext, DskError, DskHandshake
from tests.support.dsk import DskClient, rsa_key, self_signed, server_context


def client(suites: str = "AES128-SHA") -> DskClient:
    """One with a certificate."""
    return DskClient(self_signed(rsa_key(), "alice@example.test"), rsa_key(), suites)


def agreed_of(handshake: DskHandshake) -> Agreed | None:
    """What it ended with so far."""
    return handshake.agreed


@pytest.mark.parametrize("suites", ["AES128-SHA", "AES256-SHA", "AES256-SHA:AES128-SHA"])
def test_both_sides_end_with_the_same_keys(suites: str) -> None:
    one, server = client(suites), server_context().handshake()
    flight = one.step(server.receive(one.step()))
    assert agreed_of(server) is None
    assert one.step(server.receive(flight)) == b""
    assert one.done
    agreed = agreed_of(server)
    assert agreed is not None
    assert (agreed.client_key, agreed.server_key) == one.keys
    assert agreed.certificate in flight
    cipher = DskCipher(agreed)
    assert cipher.sign(b"text") == hmac.digest(one.keys[1], b"text", "sha1")
    assert cipher.verify(b"text", hmac.digest(one.keys[0], b"text", "sha1"))
    assert not cipher.verify(b"text", cipher.sign(b"text"))
    with pytest.raises(DskError, match="too many steps"):
        server.receive(b"\x16")


SIPE_HELLO = bytes.fromhex(
    "1603010035" "01000031" "0301" + "5b" * 32 + "00" "000a" "00040005002f00350003" "0100"
)  # fmt: skip
"""The first flight as clients without OpenSSL write it: TLS 1.0, five suites of RSA, no extensions."""


def test_hello_without_extensions_gets_a_suite_with_aes_and_a_request_for_a_certificate() -> None:
    answer = server_context().handshake().receive(SIPE_HELLO)
    assert answer[:3] == bytes.fromhex("160301")  # a handshake record of TLS 1.0
    assert int.from_bytes(answer[3:5], "big") == len(answer) - 5  # and no other
    types, suite, messages = [], b"", answer[5:]
    while messages:
        size = 4 + int.from_bytes(messages[1:4], "big")
        types.append(messages[0])
        if messages[0] == 2:
            after_id = 39 + messages[38]
            suite = messages[after_id : after_id + 2]
            assert size == after_id + 3  # no extensions either
        messages = messages[size:]
    assert types == [2, 11, 13, 14]  # ServerHello, Certificate, CertificateRequest, ServerHelloDone
    assert suite in (b"\x00\x2f", b"\x00\x35")


def test_a_long_chain_takes_several_records() -> None:
    chain = [self_signed(rsa_key(), "ocs.example.test" + "." * 40) for _ in range(30)]
    one, server = client(), DskContext(chain, rsa_key()).handshake()
    answer = server.receive(one.step())
    assert answer[3:5] == b"\x40\x00"
    assert answer[5 + 16_384 :][:3] == answer[:3]
    assert one.step(server.receive(one.step(answer))) == b""
    assert one.done


def test_a_client_without_a_certificate_is_refused() -> None:
    one, server = DskClient(None, None), server_context().handshake()
    flight = one.step(server.receive(one.step()))
    with pytest.raises(DskError, match="the handshake failed: peer did not return a certificate"):
        server.receive(flight)
    assert server.agreed is None


def test_somebody_elses_certificate_is_not_proved() -> None:
    one, server = client(), server_context().handshake()
    flight = bytearray(one.step(server.receive(one.step())))
    at = flight.index(b"\x0f\x00\x01\x02\x01\x00")  # CertificateVerify with a signature of 256 bytes
    flight[at + 100] ^= 1
    with pytest.raises(DskError, match="the handshake failed"):
        server.receive(bytes(flight))
    assert server.agreed is None


@pytest.mark.parametrize(
    ("flight", "reason"),
    [
        (b"", "too many or none"),
        (b"\x16" * (MAX_FLIGHT + 1), "too many or none"),
        (SIPE_HELLO[:-1], "incomplete"),
        (b"GET / HTTP/1.1\r\n\r\n", "handshake failed"),
        (SIPE_HELLO[:2] + b"\x00" + SIPE_HELLO[3:9] + b"\x03\x00" + SIPE_HELLO[11:], "handshake failed"),
        (SIPE_HELLO.replace(bytes.fromhex("002f0035"), bytes.fromhex("00040005")), "handshake failed"),
    ],
    ids=["nothing", "too much", "truncated", "no TLS", "SSL 3", "RC4 alone"],
)  # fmt: skip
def test_what_is_no_handshake_is_refused(flight: bytes, reason: str) -> None:
    with pytest.raises(DskError, match=reason):
        server_context().handshake().receive(flight)


@settings(max_examples=50)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_a_flight_with_other_bytes_proves_nothing(at: int, other: bytes) -> None:
    one, server = client(), server_context().handshake()
    flight = one.step(server.receive(one.step()))
    place = len(flight) * at // 201
    changed = (flight[:place] + other + flight[place + len(other) :])[: len(flight)]
    if changed == flight:
        return
    with pytest.raises(DskError):
        server.receive(changed)
    assert server.agreed is None
