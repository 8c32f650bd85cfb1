"""Handshakes with Kerberos, with an acceptor that needs no tickets."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from hashlib import sha256

import pytest

from parley.ntlm.keys import response_key
from parley.sip.message import Request, Response
from parley.sipae.acceptor import Established
from parley.sipae.association import Association, Verdict
from parley.sipae.fields import REALM, offer
from parley.sipae.negotiation import Challenged, Handshakes, NeedsAccount, NeedsContext, Secret, Server, signed_credentials
from parley.sipae.principal import KerberosError, Principal
from parley.sipae.text import signed_text
from tests.unit.ntlm.test_session import BLOB, authenticate

SERVICE = "sip/ocs.example.test"
ALICE = Secret("sip:alice@example.test", "Alice", b"")
OPAQUE = "00010203"


class KeyedCipher:
    """Signatures with one key, both ways."""

    def sign(self, text: bytes) -> bytes:
        return hmac.digest(b"key", text, "sha256")

    def verify(self, text: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(text), signature)


class FakeAcceptor:
    """Accepts tokens that are the text of a principal, each once."""

    def __init__(self, *, lifetime_s: float = 1000, reply: bytes = b"") -> None:
        self._lifetime_s = lifetime_s
        self._reply = reply
        self._seen: set[bytes] = set()

    def accept(self, token: bytes) -> Established:
        if token in self._seen:
            raise KerberosError("Request is a replay")
        self._seen.add(token)
        digest = sha256(token).digest()
        return Established(Principal.parse(token.decode()), KeyedCipher(), digest, self._lifetime_s, self._reply)


def handshakes(*schemes: str) -> Handshakes:
    return Handshakes(
        Server(
            name="ocs.example.test", netbios_domain="EXAMPLE", domain="example.test", lifetime_s=60,
            random_bytes=lambda count: bytes(range(count)), schemes=schemes or ("Kerberos", "NTLM"),
            kerberos_service=SERVICE, realms={"EXAMPLE.TEST": "example.test"},
        )
    )  # fmt: skip


def request(method: str, authorization: str) -> Request:
    return Request.create(
        method, "sip:example.test",
        headers=[("From", "<sip:alice@example.test>;tag=1;epid=01"), ("To", "<sip:alice@example.test>"), ("Call-ID", "c"),
                 ("CSeq", f"2 {method}"), ("Authorization", authorization)],
    )  # fmt: skip


def signed(message: Request, number: int, version: int, extra: str) -> Request:
    """The message, signed as a client would."""
    signature = KeyedCipher().sign(signed_text(message, "Kerberos", "ab", number, REALM, SERVICE, version))
    message.set(
        "Authorization",
        f'Kerberos qop="auth", realm="{REALM}", targetname="{SERVICE}", crand="ab", cnum="{number}", '
        f'response="{signature.hex()}"{extra}',
    )
    return message


def ticket(token: str = "alice@EXAMPLE.TEST", *, version: int = 4, target: str = SERVICE) -> Request:
    """The REGISTER that brings a ticket."""
    data = b64encode(token.encode()).decode()
    register = request(
        "REGISTER",
        f'Kerberos qop="auth", realm="{REALM}", targetname="{target}", gssapi-data="{data}", version={version}',
    )
    return signed(register, 1, 4, f', gssapi-data="{data}", version=4') if version == 4 and target == SERVICE else register


def context_step(register: Request) -> NeedsContext:
    step = handshakes().on_register(register, 10.0)
    assert isinstance(step, NeedsContext)
    return step


def sign_in(register: Request, acceptor: FakeAcceptor | None = None) -> Association:
    step = context_step(register)
    account = step.finish((acceptor or FakeAcceptor()).accept(step.token))
    assert isinstance(account, NeedsAccount)
    assert account.login == "alice@example.test"
    association = account.finish(ALICE)
    assert association is not None
    return association


def test_all_schemes_are_offered_in_their_order_with_their_targets() -> None:
    offered = (offer("Kerberos", SERVICE), offer("NTLM", "ocs.example.test"))
    assert handshakes().offer() == Challenged(offered)
    assert handshakes("NTLM", "Kerberos").offer() == Challenged(offered[::-1])


@pytest.mark.parametrize("version", [2, 3, 4])
def test_one_token_makes_an_association(version: int) -> None:
    association = sign_in(ticket(version=version))
    assert (association.scheme, association.opaque, association.targetname) == ("Kerberos", OPAQUE, SERVICE)
    assert (association.address, association.version) == ("sip:alice@example.test", version)
    number = 2 if version == 4 else 1
    message = signed(request("SUBSCRIBE", ""), number, version, f', opaque="{OPAQUE}"')
    found = signed_credentials(message)
    assert found is not None
    assert association.verify(message, found) is Verdict.GENUINE
    assert association.verify(message, found) is Verdict.REPLAYED


def test_an_answer_is_signed_with_the_scheme_and_the_target_of_kerberos() -> None:
    association = sign_in(ticket())
    answer = Response.create(
        200, "OK",
        headers=[("From", "<sip:alice@example.test>;tag=1"), ("To", "<sip:alice@example.test>;tag=2"), ("Call-ID", "c"),
                 ("CSeq", "2 REGISTER"), ("Expires", "7200")],
    )  # fmt: skip
    text = signed_text(answer, "Kerberos", OPAQUE, 1, REALM, SERVICE, 4)
    assert text.startswith(f"<Kerberos><{OPAQUE}><1><{REALM}><{SERVICE}>".encode())
    value = association.sign(answer)
    assert f'rspauth="{KeyedCipher().sign(text).hex().upper()}"' in value
    assert value.startswith("Kerberos ")
    assert "gssapi-data" not in value


def test_the_token_of_the_server_goes_with_the_answer_to_the_register_alone() -> None:
    association = sign_in(ticket(), FakeAcceptor(reply=b"ap-rep"))
    common = [("From", "<sip:alice@example.test>;tag=1"), ("To", "<sip:alice@example.test>;tag=2"), ("Call-ID", "c")]
    notify = Request.create("BENOTIFY", "sip:x", headers=[*common, ("CSeq", "1 BENOTIFY")])
    answer = Response.create(200, "OK", headers=[*common, ("CSeq", "2 REGISTER")])
    assert "gssapi-data" not in association.sign(notify)
    token = association.sign(answer).partition('gssapi-data="')[2].partition('"')[0]
    assert b64decode(token) == b"ap-rep"
    assert "gssapi-data" not in association.sign(answer)


@pytest.mark.parametrize(("lifetime_s", "expires_at"), [(20.0, 30.0), (1000.0, 70.0), (float("inf"), 70.0)])
def test_an_association_lasts_no_longer_than_the_ticket(lifetime_s: float, expires_at: float) -> None:
    assert sign_in(ticket(), FakeAcceptor(lifetime_s=lifetime_s)).expires_at == expires_at


def test_a_ticket_that_ends_now_makes_none() -> None:
    step = context_step(ticket())
    with pytest.raises(KerberosError, match="has expired"):
        step.finish(FakeAcceptor(lifetime_s=0).accept(step.token))


@pytest.mark.parametrize(
    "register",
    [
        ticket("", version=3),
        ticket(target="sip/other.example.test"),
        ticket(target="ocs.example.test"),
        request("REGISTER", f'Kerberos qop="auth", realm="{REALM}", targetname="{SERVICE}", version=4'),
        request("REGISTER", f'Kerberos realm="{REALM}", targetname="{SERVICE}", gssapi-data="!!", version=4'),
        request("REGISTER", f'Kerberos realm="elsewhere", targetname="{SERVICE}", gssapi-data="AAAA", version=4'),
    ],
)
def test_what_brings_no_token_for_us_begins_anew(register: Request) -> None:
    assert handshakes().on_register(register, 0) == handshakes().offer()


def test_a_scheme_that_is_not_offered_is_not_taken() -> None:
    only_ntlm = handshakes("NTLM")
    assert only_ntlm.on_register(ticket(), 0) == Challenged((offer("NTLM", "ocs.example.test"),))


def test_version_4_must_be_signed_by_the_keys_of_the_ticket() -> None:
    unsigned = ticket()
    value = unsigned.get("Authorization") or ""
    unsigned.set("Authorization", value[: value.index(", crand")] + value[value.index(", gssapi") :])
    forged = ticket()
    forged.set("Expires", "0")
    for register in (unsigned, forged):
        step = context_step(register)
        assert step.finish(FakeAcceptor().accept(step.token)).finish(ALICE) is None


def test_nobody_signs_in_without_an_account() -> None:
    step = context_step(ticket())
    assert step.finish(FakeAcceptor().accept(step.token)).finish(None) is None


@pytest.mark.parametrize("principal", ["alice@OTHER.TEST", "alice/admin@EXAMPLE.TEST"])
def test_a_principal_that_is_no_user_here_ends_the_handshake(principal: str) -> None:
    step = context_step(ticket(principal))
    with pytest.raises(KerberosError):
        step.finish(FakeAcceptor().accept(step.token))


@pytest.mark.parametrize(("stored", "signs_in"), [(b"", False), (bytes(range(8)) * 2, True)])
def test_without_a_password_there_is_no_ntlm(stored: bytes, signs_in: bool) -> None:
    nonce = bytes(range(8))
    proof = hmac.digest(response_key(nonce * 2, "alice", "EXAMPLE"), nonce + BLOB, "md5")
    data = b64encode(authenticate(user="alice", domain="EXAMPLE", nt_response=proof + BLOB)).decode()
    one = handshakes("NTLM")
    ask = f'NTLM qop="auth", realm="{REALM}", targetname="ocs.example.test", version=3, gssapi-data='
    one.on_register(request("REGISTER", ask + '""'), 0)
    step = one.on_register(request("REGISTER", f'{ask}"{data}", opaque="{OPAQUE}"'), 0)
    assert isinstance(step, NeedsAccount)
    assert (step.finish(Secret("sip:alice@example.test", "Alice", stored)) is not None) is signs_in
