"""TLS-DSK as a scheme of sign-in: REGISTERs in, challenges, look-ups and an association out."""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from parley.sip.message import Request
from parley.sipae.association import Association
from parley.sipae.certificates import digest_of
from parley.sipae.fields import REALM, offer
from parley.sipae.negotiation import Challenged, Handshakes, NeedsAccount, Secret, Server
from parley.sipae.text import signed_text
from tests.support.dsk import DskClient, rsa_key, self_signed, server_context
from tests.unit.sipae.test_association import register

TARGET, URL = "ocs.example.test", "https://web.example.test/CertProv"
ALICE = "sip:alice@example.test"


def handshakes() -> Handshakes:
    """Those of a new connection."""
    numbers = iter(range(1, 100))
    return Handshakes(
        Server(
            name=TARGET, netbios_domain="EXAMPLE", domain="example.test", lifetime_s=60, schemes=("TLS-DSK",),
            random_bytes=lambda count: next(numbers).to_bytes(count, "big"), dsk=server_context(), certificate_url=URL,
        )
    )  # fmt: skip


@cache
def held() -> x509.Certificate:
    """Alice's."""
    return self_signed(
        rsa_key(), "alice", x509.SubjectAlternativeName([x509.UniformResourceIdentifier("sip:alice@example.test")])
    )


def ask(data: bytes | None, opaque: str = "", *, version: int = 4, cipher: DskClient | None = None) -> Request:
    """A REGISTER of the handshake, or the one after it, signed."""
    value = f'TLS-DSK qop="auth", realm="{REALM}", targetname="{TARGET}", version={version}'
    if opaque:
        value += f', opaque="{opaque}"'
    if data is not None:
        value += f', gssapi-data="{b64encode(data).decode()}"'
    if cipher is not None:
        text = signed_text(register(), "TLS-DSK", "deadbeef", 1, REALM, TARGET, version)
        value += f', crand="deadbeef", cnum="1", response="{cipher.sign(text).hex()}"'
    return register(("Authorization", value))


def token_of(step: object) -> tuple[bytes, str]:
    """Flight and opaque of a challenge."""
    assert isinstance(step, Challenged)
    (value,) = step.values
    assert value.startswith("TLS-DSK opaque=")
    return b64decode(value.partition('gssapi-data="')[2].partition('"')[0]), value.partition('opaque="')[2][:8]


def shake(one: Handshakes, client: DskClient) -> str:
    """A whole handshake; its opaque."""
    flight, opaque = token_of(one.on_register(ask(client.step()), 0))
    flight, again = token_of(one.on_register(ask(client.step(flight), opaque), 0))
    assert again == opaque
    client.step(flight)
    assert client.done
    return opaque


def account_step(one: Handshakes, request: Request, now: float = 0.0) -> NeedsAccount:
    """The step that looks an account up."""
    step = one.on_register(request, now)
    assert isinstance(step, NeedsAccount)
    return step


def test_the_offer_names_where_certificates_come_from() -> None:
    expected = f'TLS-DSK realm="{REALM}", targetname="{TARGET}", sts-uri="{URL}", version=4'
    assert handshakes().offer() == Challenged((expected,))
    assert "sts-uri" not in offer("NTLM", TARGET)


@pytest.mark.parametrize(("lifetime_s", "ends"), [(1e9, 110.0), (20.0, 70.0)])
def test_a_certificate_that_is_in_force_makes_an_association(lifetime_s: float, ends: float) -> None:
    one, client = handshakes(), DskClient(held(), rsa_key())
    opaque = shake(one, client)
    step = account_step(one, ask(None, opaque, cipher=client), 50.0)
    assert (step.login, step.certificate) == (ALICE, digest_of(held().public_bytes(Encoding.DER)))
    made = step.finish(Secret(ALICE, "Alice", b"", lifetime_s))
    assert isinstance(made, Association)
    assert (made.scheme, made.opaque, made.targetname, made.address) == ("TLS-DSK", opaque, TARGET, ALICE)
    assert made.expires_at == ends
    # what a handshake agreed on is used once
    assert one.on_register(ask(None, opaque, cipher=client), 50.0) == one.offer()


def test_who_gets_no_association() -> None:
    for account in (None, Secret("sip:bob@example.test", "Bob", b"")):
        one, client = handshakes(), DskClient(held(), rsa_key())
        opaque = shake(one, client)
        assert account_step(one, ask(None, opaque, cipher=client)).finish(account) is None


def test_with_version_4_the_last_message_is_signed_by_the_keys_of_the_handshake() -> None:
    one, client, other = handshakes(), DskClient(held(), rsa_key()), DskClient(held(), rsa_key())
    opaque = shake(one, client)
    assert account_step(one, ask(None, opaque)).finish(Secret(ALICE, "Alice", b"")) is None
    shake(handshakes(), other)
    opaque = shake(one, again := DskClient(held(), rsa_key()))
    assert account_step(one, ask(None, opaque, cipher=other)).finish(Secret(ALICE, "Alice", b"")) is None
    assert again.done
    opaque = shake(one, DskClient(held(), rsa_key()))
    assert account_step(one, ask(None, opaque, version=3)).finish(Secret(ALICE, "Alice", b"")) is not None


def test_a_certificate_that_names_nobody_fails() -> None:
    one, client = handshakes(), DskClient(self_signed(rsa_key(), "alice"), rsa_key())
    opaque = shake(one, client)
    assert one.on_register(ask(None, opaque, cipher=client), 0) == one.offer("the certificate names no user")


def test_a_second_handshake_gives_up_the_first() -> None:
    one, first, second = handshakes(), DskClient(held(), rsa_key()), DskClient(held(), rsa_key())
    flight, opaque = token_of(one.on_register(ask(first.step()), 0))
    shake(one, second)
    step = one.on_register(ask(first.step(flight), opaque), 0)
    assert isinstance(step, Challenged)
    assert step.failure.startswith("the handshake failed")


@pytest.mark.parametrize("request_", [ask(b""), ask(None), ask(None, "FFFFFFFF")])
def test_what_begins_nothing_is_offered_all(request_: Request) -> None:
    one = handshakes()
    assert one.on_register(request_, 0) == one.offer()


def test_a_broken_handshake_is_a_failure_and_begins_anew() -> None:
    one = handshakes()
    broken = one.on_register(ask(b"\x16\x03\x01"), 0)
    assert isinstance(broken, Challenged)
    assert broken == one.offer("the records are incomplete")
    shake(one, DskClient(held(), rsa_key()))
