"""NTLM with the published exchange of Communicator 2007 R2 with Office Communications Server 2007 R2."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.ntlm.keys import exported_session_key, response_key, seal_key, sign_key
from parley.ntlm.md4 import nt_hash
from parley.ntlm.messages import OFFERED, Authenticate, Challenge, Flags, NtlmError, TargetInfo
from parley.ntlm.rc4 import rc4
from parley.ntlm.signing import Signer

CHALLENGE = bytes.fromhex("DD1BAAF4E7E218D1")
EXPORTED = bytes.fromhex("6742FBE37BB1946B49D86A525BD29A9B")
FLAGS = Flags(0x62988255)
INFO = TargetInfo("COSMO", "COSMO-OCS-R2", "cosmo.local", "cosmo-ocs-r2.cosmo.local")
PROOF = bytes.fromhex("8DC0C800AE76ECA606D2B9FBEBD04731")
BLOB = bytes.fromhex("010100000000000059519A1727B9CA01D6AE875CB0FDAA4100000000") + bytes(INFO) + bytes(4)
SESSION_KEY = bytes.fromhex("31CB739E1CA80A498591E8AE797115E4")

CLIENT_TEXT = (
    b"<NTLM><13317733><1><SIP Communications Service><cosmo-ocs-r2.cosmo.local><4037df9284354df39065195bd57a4b14>"
    b"<3><REGISTER><sip:user@cosmo.local><3e49177a52><sip:user@cosmo.local><><><><>"
)
SERVER_TEXT = (
    b"<NTLM><9616454F><1><SIP Communications Service><cosmo-ocs-r2.cosmo.local><4037df9284354df39065195bd57a4b14>"
    b"<3><REGISTER><sip:user@cosmo.local><3e49177a52><sip:user@cosmo.local><5E61CCD925D17E043D9A74835A88F664>"
    b"<><><7200><200>"
)
OLD_TEXT = (
    b"<NTLM><0878F41B><1><SIP Communications Service><ocs1.ocs.provo.novell.com><8592g5DCBa1694i5887m0D0Bt2247b3F38xAE9Fx>"
    b"<3><REGISTER><sip:gabriel@ocs.provo.novell.com><2947328781><B816D65C2300A32CFA6D371F2AF537FD><900><200>"
)


def authenticate(
    *, user: str = "User", domain: str = "COSMO", nt_response: bytes = PROOF + BLOB, session_key: bytes = SESSION_KEY,
    flags: Flags = FLAGS,
) -> bytes:  # fmt: skip
    """An AUTHENTICATE message as clients lay it out."""
    fields = [b"\0" * 24, nt_response, domain.encode("utf-16-le"), user.encode("utf-16-le"), b"P\0C\0", session_key]
    head, at, payload = b"NTLMSSP\0" + struct.pack("<I", 3), 72, b""
    for field in fields:
        head += struct.pack("<HHI", len(field), len(field), at + len(payload))
        payload += field
    return head + struct.pack("<I", flags) + bytes(8) + payload


def test_challenge_has_the_published_layout() -> None:
    data = bytes(Challenge(CHALLENGE, INFO))
    assert data[:12] == b"NTLMSSP\0\x02\0\0\0"
    assert struct.unpack_from("<HHI", data, 12) == (0, 0, 56)
    assert struct.unpack_from("<I", data, 20)[0] == 0xE29882F3 == OFFERED
    assert data[24:32] == CHALLENGE
    assert data[32:40] == bytes(8)
    assert struct.unpack_from("<HHI", data, 40) == (150, 150, 56)
    assert data[48:56] == bytes.fromhex("0502CE0E0000000F")
    assert data[56:] == bytes(INFO)


def test_keys_of_the_published_exchange() -> None:
    secret = nt_hash("Pa$$word")
    assert response_key(secret, "User", "COSMO") == bytes.fromhex("164B086E00D2F393529FA3A98209F99E")
    message = Authenticate.parse(authenticate())
    assert (message.login, message.workstation, message.flags) == ("COSMO\\User", "PC", FLAGS)
    assert exported_session_key(message, CHALLENGE, secret) == EXPORTED
    assert exported_session_key(message, CHALLENGE, nt_hash("Pa$$word2")) is None
    assert exported_session_key(message, b"12345678", secret) is None
    assert sign_key(EXPORTED, server=False) == bytes.fromhex("EA5E87C195AE65338F7C023E7600690D")
    assert sign_key(EXPORTED, server=True) == bytes.fromhex("0151FE94DBA8C83F3C6A6E5444AE54B4")
    assert seal_key(EXPORTED, FLAGS, server=False) == bytes.fromhex("83013A189002D3ABAD49C4C8F605ECC8")
    assert seal_key(EXPORTED, FLAGS, server=True) == bytes.fromhex("2A2E34E8D420C039E8F31CB9E8E0CD88")


def test_signatures_of_the_published_exchange() -> None:
    client, server = (Signer(EXPORTED, FLAGS, server=side) for side in (False, True))
    assert client.sign(CLIENT_TEXT).hex() == "0100000029618e9651b65a7764000000"
    assert server.sign(SERVER_TEXT).hex().upper() == "01000000E615438A917661BE64000000"
    assert client.verify(CLIENT_TEXT, bytes.fromhex("0100000029618e9651b65a7764000000"))
    assert not client.verify(CLIENT_TEXT + b".", bytes.fromhex("0100000029618e9651b65a7764000000"))
    assert not client.verify(CLIENT_TEXT, b"")


def test_signature_without_extended_session_security() -> None:
    signer = Signer(bytes.fromhex("5F029153BC025058969548615E7099BA"), Flags(0), server=True)
    signature = bytes.fromhex("0100000000000000BF2E52667DDF6DED")
    assert signer.sign(OLD_TEXT) == signature
    assert signer.verify(OLD_TEXT, signature[:4] + b"pad!" + signature[8:])
    assert not signer.verify(OLD_TEXT + b"x", signature)
    assert not signer.verify(OLD_TEXT, signature[:15])


def test_published_response_key_and_shorter_seal_keys() -> None:
    assert response_key(nt_hash("Password"), "User", "Domain") == bytes.fromhex("0C868A403BFD7A93A3001EF22EF02E3F")
    assert len({seal_key(EXPORTED, flags, server=True) for flags in (Flags.KEY_128, Flags.KEY_56, Flags(0))}) == 3


@pytest.mark.parametrize("user", ["User", "äöü", "Straße"])
def test_letters_beyond_ascii_may_keep_their_case(user: str) -> None:
    import hmac

    secret = nt_hash("x")
    for upper in (user.upper(), "".join(c.upper() if c.isascii() else c for c in user)):
        key = hmac.digest(secret, (upper + "COSMO").encode("utf-16-le"), "md5")
        proof = hmac.digest(key, CHALLENGE + BLOB, "md5")
        base = hmac.digest(key, proof, "md5")
        message = Authenticate.parse(authenticate(user=user, nt_response=proof + BLOB, session_key=rc4(base, EXPORTED)))
        assert exported_session_key(message, CHALLENGE, secret) == EXPORTED


def test_login_without_a_domain_is_taken_as_it_is() -> None:
    assert Authenticate.parse(authenticate(user="alice@example.test", domain="")).login == "alice@example.test"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an NTLM message"),
        (b"NTLMSSQ\0" + bytes(80), "not an NTLM message"),
        (authenticate()[:63], "not an NTLM message"),
        (bytes(Challenge(CHALLENGE, INFO)) + bytes(20), "not an AUTHENTICATE message"),
        (authenticate()[:-1], "a field lies outside of the message"),
        (authenticate(nt_response=PROOF), "not an NTLMv2 response"),
        (authenticate(session_key=b"short"), "a session key of the wrong length"),
        (authenticate().replace("User".encode("utf-16-le"), b"\0\xd8" * 4), "a name that is no text"),
        (authenticate() + bytes(20_000), "the message is too long"),
    ],
)
def test_what_is_no_such_message(data: bytes, reason: str) -> None:
    with pytest.raises(NtlmError) as refused:
        Authenticate.parse(data)
    assert str(refused.value) == reason


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for candidate in (data, authenticate()[:12] + data):
        try:
            Authenticate.parse(candidate)
        except NtlmError:
            continue


@given(st.text(max_size=20), st.text(max_size=20), st.binary(min_size=16, max_size=16))
def test_round_trip_of_names(user: str, domain: str, key: bytes) -> None:
    try:
        data = authenticate(user=user, domain=domain, session_key=key)
    except UnicodeEncodeError:
        return
    message = Authenticate.parse(data)
    assert (message.user, message.domain, message.session_key) == (user, domain, key)
