"""Signed texts against the published vectors; handshakes, replay and forgery without a network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.ntlm.messages import Flags
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response
from parley.sipae.association import Association, NtlmCipher, Verdict
from parley.sipae.fields import REALM, challenge, offer, parse_signed_credentials, scheme_of
from parley.sipae.negotiation import Challenged, Handshakes, NeedsAccount, Secret, Server, signed_credentials
from parley.sipae.text import signed_text
from parley.sipae.window import ReplayWindow
from tests.unit.ntlm.test_session import CLIENT_TEXT, EXPORTED, FLAGS, SERVER_TEXT

TARGET = "cosmo-ocs-r2.cosmo.local"
CALL = "4037df9284354df39065195bd57a4b14"


def register(*headers: tuple[str, str]) -> Request:
    """The REGISTER of the published exchange."""
    return Request.create(
        "REGISTER", "sip:cosmo.local",
        headers=[("From", "<sip:user@cosmo.local>;tag=3e49177a52;epid=01"), ("To", "<sip:user@cosmo.local>"),
                 ("Call-ID", CALL), ("CSeq", "3 REGISTER"), *headers],
    )  # fmt: skip


def ok() -> Response:
    """Its answer."""
    return Response.create(
        200, "OK",
        headers=[("From", '"User"<sip:user@cosmo.local>;tag=3e49177a52'), ("CSeq", "3 REGISTER"), ("Call-ID", CALL),
                 ("To", "<sip:user@cosmo.local>;tag=5E61CCD925D17E043D9A74835A88F664"), ("Expires", "7200")],
    )  # fmt: skip


def association(version: int = 4) -> Association:
    """The published session."""
    return Association(
        scheme="NTLM", targetname=TARGET, opaque="2BDBAC9D", version=version, cipher=NtlmCipher(EXPORTED, FLAGS),
        address="sip:user@cosmo.local", display_name="User", expires_at=100.0, random=lambda: "9616454F",
    )  # fmt: skip


def authorization(response: str, number: int = 1) -> tuple[str, str]:
    return (
        "Authorization",
        f'NTLM qop="auth", opaque="2BDBAC9D", realm="{REALM}", targetname="{TARGET}", crand="13317733", cnum="{number}", '
        f'response="{response}"',
    )


def test_texts_are_the_published_ones() -> None:
    assert signed_text(register(), "NTLM", "13317733", 1, REALM, TARGET, 4) == CLIENT_TEXT
    assert signed_text(ok(), "NTLM", "9616454F", 1, REALM, TARGET, 4) == SERVER_TEXT


def test_text_of_version_2_leaves_out_to_and_identities() -> None:
    text = signed_text(register(("P-Asserted-Identity", "<sip:x@y>")), "NTLM", "1", 1, REALM, TARGET, 2)
    assert text.endswith(b"<sip:user@cosmo.local><3e49177a52><><>")


@pytest.mark.parametrize(
    ("value", "end"),
    [
        ('"recipient"<SIP:recipient@company.com>', b"<SIP:recipient@company.com><><>"),
        ("<tel:+1>, <sip:a@b>", b"<sip:a@b><tel:+1><>"),
        ("tel:+1", b"<><tel:+1><>"),
        ("sip:bare@b", b"<><><>"),
    ],
)
def test_identities_are_read_as_clients_read_them(value: str, end: bytes) -> None:
    text = signed_text(register(("P-Asserted-Identity", value)), "NTLM", "1", 1, REALM, TARGET, 4)
    assert text.endswith(b"<sip:user@cosmo.local><>" + end)


def test_it_signs_as_the_published_server() -> None:
    value = association().sign(ok())
    assert 'rspauth="01000000E615438A917661BE64000000"' in value
    assert value.startswith("NTLM ")
    assert 'snum="1"' in value


def test_a_genuine_message_counts_once() -> None:
    one = association()
    message = register(authorization("0100000029618e9651b65a7764000000"))
    found = signed_credentials(message)
    assert found is not None
    assert one.verify(message, found) is Verdict.GENUINE
    assert one.verify(message, found) is Verdict.REPLAYED


@pytest.mark.parametrize("change", ["response", "header", "number"])
def test_what_was_changed_is_forged(change: str) -> None:
    right = "0100000029618e9651b65a7764000000"
    message = register(
        authorization("01" + right[2:-2] + "65" if change == "response" else right, 2 if change == "number" else 1)
    )
    if change == "header":
        message.set("Expires", "0")
    found = signed_credentials(message)
    assert found is not None
    assert association().verify(message, found) is Verdict.FORGED


def test_credentials_without_a_signature_are_none() -> None:
    message = register(("Authorization", f'NTLM realm="{REALM}", targetname="{TARGET}", opaque="1"'))
    found = signed_credentials(message)
    assert found is not None
    assert association().verify(message, found) is Verdict.UNSIGNED


@given(st.lists(st.integers(1, 700), max_size=80))
def test_window_takes_each_number_once(numbers: list[int]) -> None:
    window, taken, highest = ReplayWindow(), set[int](), 0
    for number in numbers:
        new = window.is_new(number)
        assert new == (number not in taken and number > highest - 256)
        if new:
            window.take(number)
            taken.add(number)
            highest = max(highest, number)
    assert not window.is_new(0)


# Handshakes

SERVER = Server(
    name="ocs.example.test", netbios_domain="EXAMPLE", domain="example.test", lifetime_s=60,
    random_bytes=lambda count: bytes(range(count)),
)  # fmt: skip


def ask(data: str, *, opaque: str = "", target: str = "ocs.example.test") -> Request:
    value = f'NTLM qop="auth", realm="{REALM}", targetname="{target}", gssapi-data="{data}", version=4'
    return register(("Authorization", value + (f', opaque="{opaque}"' if opaque else "")))


def test_offer_then_challenge() -> None:
    handshakes = Handshakes(SERVER)
    assert handshakes.on_register(register(), 0) == Challenged((offer("NTLM", "ocs.example.test"),))
    step = handshakes.on_register(ask(""), 0)
    assert isinstance(step, Challenged)
    assert step.values[0].startswith('NTLM opaque="00010203", gssapi-data="TlRMTVNTUAAC')


@pytest.mark.parametrize(
    "request_",
    [
        ask("", target="elsewhere"),
        ask("AAAA", opaque="00010203"),
        ask("!!"),
        ask("TlRMTVNTUAAD", opaque="FFFFFFFF"),
        register(("Authorization", "NTLM realm=")),
        register(("Authorization", 'Digest username="x"')),
    ],
)
def test_what_makes_no_sense_begins_anew(request_: Request) -> None:
    handshakes = Handshakes(SERVER)
    handshakes.on_register(ask(""), 0)
    assert handshakes.on_register(request_, 0) == Challenged((offer("NTLM", "ocs.example.test"),))


def test_an_unknown_account_and_a_wrong_password_end_alike() -> None:
    from base64 import b64encode

    from tests.unit.ntlm.test_session import authenticate

    for secret in (None, Secret("sip:user@cosmo.local", "User", bytes(16))):
        handshakes = Handshakes(SERVER)
        handshakes.on_register(ask(""), 0)
        step = handshakes.on_register(ask(b64encode(authenticate()).decode(), opaque="00010203"), 0)
        assert isinstance(step, NeedsAccount)
        assert step.login == "COSMO\\User"
        assert step.finish(secret) is None


def test_only_a_few_handshakes_are_open() -> None:
    numbers = iter(range(100))
    server = Server(
        name="a", netbios_domain="A", domain="a", lifetime_s=1, random_bytes=lambda n: next(numbers).to_bytes(n, "big")
    )
    handshakes = Handshakes(server)
    for _ in range(20):
        handshakes.on_register(ask("", target="a"), 0)
    assert len(handshakes._pending) == 4


def test_fields() -> None:
    assert scheme_of("ntlm x=1") == "NTLM"
    assert scheme_of("Digest x=1") is None
    found = parse_signed_credentials(challenge("NTLM", "t", "AB", b"data"))
    assert (found.gssapi_data, found.opaque, found.version) == (b"data", "AB", 4)
    for value in ("Digest a=b", 'NTLM cnum="x"', 'NTLM response="zz"', 'NTLM version="99999999999"', "NTLM a=1, a=2"):
        with pytest.raises(SipParseError):
            parse_signed_credentials(value)


@given(st.text(max_size=100))
def test_any_text_is_credentials_or_refused(text: str) -> None:
    try:
        parse_signed_credentials(f"NTLM {text}")
    except SipParseError:
        return


def test_flags_without_extended_security_make_other_signatures() -> None:
    cipher = NtlmCipher(EXPORTED, Flags(0))
    assert cipher.verify(b"x", cipher.sign(b"x"))  # both ways share one key there
