"""Names of Kerberos, whose login they are, and the keytabs that hold them."""

from __future__ import annotations

from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.sipae.keytab import principals_of, service_in
from parley.sipae.principal import KerberosError, Principal, login_of

ALICE = Principal(("alice",), "EXAMPLE.TEST")
SERVICE = Principal(("sip", "ocs.example.test"), "EXAMPLE.TEST")
REALMS = {"EXAMPLE.TEST": "example.test", "CORP.LOCAL": "example.test"}

names = st.text(st.one_of(st.sampled_from("\\/@\0\n\t\bn0"), st.characters(codec="utf-8")), min_size=1, max_size=20)
principals = st.builds(Principal, st.lists(names, min_size=1, max_size=4).map(tuple), names)


@given(principals)
def test_a_name_survives_its_text(principal: Principal) -> None:
    assert Principal.parse(str(principal)) == principal


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        principal = Principal.parse(text)
    except KerberosError:
        return
    assert principal.realm
    assert all(principal.components)


def test_parts_of_a_name() -> None:
    assert Principal.parse("sip/ocs.example.test@EXAMPLE.TEST") == SERVICE
    assert SERVICE.name == "sip/ocs.example.test"
    assert Principal.parse("alice\\@example.test@CORP.LOCAL").components == ("alice@example.test",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alice", "lacks a realm"),
        ("@REALM", "lacks a realm or a component"),
        ("sip/@REALM", "lacks a realm or a component"),
        ("alice@", "lacks a realm"),
        ("alice@A@B", "more than one realm"),
        ("alice@A/B", "more than one realm"),
        ("alice@A\\", "ends with a backslash"),
        ("a" * 1100 + "@A", "too long"),
    ],
)
def test_what_is_no_name(text: str, why: str) -> None:
    with pytest.raises(KerberosError, match=why):
        Principal.parse(text)


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ("alice@EXAMPLE.TEST", "alice@example.test"),
        ("Alice@CORP.LOCAL", "Alice@example.test"),
    ],
)
def test_a_user_signs_in_as_the_name_in_the_domain_of_the_realm(text: str, login: str) -> None:
    assert login_of(Principal.parse(text), REALMS) == login


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alice@ELSEWHERE.TEST", "stands for no SIP domain"),
        ("alice@example.test", "stands for no SIP domain"),
        ("alice/admin@EXAMPLE.TEST", "name of no user"),
        ("sip/ocs.example.test@EXAMPLE.TEST", "name of no user"),
        ("WELLKNOWN/ANONYMOUS@EXAMPLE.TEST", "name of no user"),
        ("bob\\@example.test@CORP.LOCAL", "name of no user"),
        ("EXAMPLE\\\\bob@CORP.LOCAL", "name of no user"),
        ("a\\tb@CORP.LOCAL", "name of no user"),
    ],
)
def test_who_is_nobody_here(text: str, why: str) -> None:
    with pytest.raises(KerberosError, match=why):
        login_of(Principal.parse(text), REALMS)


# Keytabs


def entry(principal: Principal) -> bytes:
    """A key of a principal."""
    texts = [text.encode() for text in (principal.realm, *principal.components)]
    named = pack(">H", len(principal.components)) + b"".join(pack(">H", len(text)) + text for text in texts)
    body = named + pack(">IIBHH", 1, 1_700_000_000, 2, 18, 32) + bytes(32) + pack(">I", 2)
    return pack(">i", len(body)) + body


def keytab(*keys: Principal) -> bytes:
    """A keytab with a key of each."""
    return b"\x05\x02" + b"".join(entry(key) for key in keys)


@given(st.lists(principals, max_size=5))
def test_owners_of_keys_are_read(owners: list[Principal]) -> None:
    assert principals_of(keytab(*owners, *owners)) == list(dict.fromkeys(owners))


def test_holes_and_the_end_of_a_keytab() -> None:
    hole = pack(">i", -20) + bytes(20)
    assert principals_of(b"\x05\x02" + hole + entry(ALICE) + bytes(8) + entry(SERVICE)) == [ALICE]


@given(st.binary(max_size=80))
def test_any_bytes_are_a_keytab_or_refused(data: bytes) -> None:
    for content in (data, b"\x05\x02" + data):
        try:
            principals_of(content)
        except KerberosError:
            continue


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "it is no keytab"), (b"\x05\x01", "it is no keytab"), (keytab(ALICE)[:20], "is damaged"),
     (b"\x05\x02\0\0\0\x01\0", "is damaged"), (keytab(ALICE).replace(b"alice", b"\xffalic"), "is damaged")],
)  # fmt: skip
def test_what_is_no_keytab(data: bytes, why: str) -> None:
    with pytest.raises(KerberosError, match=why):
        principals_of(data)


@pytest.mark.parametrize("service", ["sip/ocs.example.test", "sip/ocs.example.test@EXAMPLE.TEST"])
def test_the_service_is_found_with_or_without_its_realm(tmp_path: Path, service: str) -> None:
    path = tmp_path / "a.keytab"
    path.write_bytes(keytab(ALICE, SERVICE))
    assert service_in(path, service) == SERVICE


def test_a_keytab_without_the_service_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.keytab"
    with pytest.raises(KerberosError, match=r"cannot be read: No such file"):
        service_in(path, "sip/a")
    path.write_bytes(b"nothing")
    with pytest.raises(KerberosError, match=r"a\.keytab: it is no keytab"):
        service_in(path, "sip/a")
    path.write_bytes(keytab())
    with pytest.raises(KerberosError, match=r"no key of sip/a but of no key at all"):
        service_in(path, "sip/a")
    path.write_bytes(keytab(SERVICE))
    with pytest.raises(KerberosError, match=r"but of sip/ocs\.example\.test@EXAMPLE\.TEST: make one for it"):
        service_in(path, "sip/a")
    path.write_bytes(keytab(SERVICE, Principal(SERVICE.components, "OTHER.TEST")))
    with pytest.raises(KerberosError, match=r"several realms \(EXAMPLE\.TEST, OTHER\.TEST\): set"):
        service_in(path, "sip/ocs.example.test")
