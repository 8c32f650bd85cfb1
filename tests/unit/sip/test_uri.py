"""URIs: structure, escapes, and the comparison rules with the RFC's own examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.sip.errors import SipParseError
from parley.sip.nameaddr import parse_name_addr
from parley.sip.uri import aor, escape_user, parse_uri, unescape, uri_equal
from parley.sip.via import parse_via

SAME = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0:0:0:0:0:1]"),
    ("tel:+1-201-555-0123", "tel:+12015550123"),
]
DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:a@b", "sips:a@b"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_equal(a: str, b: str) -> None:
    assert uri_equal(parse_uri(a), parse_uri(b))
    assert str(parse_uri(a)).lower().startswith(a[:4].lower())


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_not_equal(a: str, b: str) -> None:
    assert not uri_equal(parse_uri(a), parse_uri(b))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("alice", "URI Without Scheme"),
        ("sip:", "Bad Host"),
        ("sip:@x", "Empty User in URI"),
        ("sip:a@x:99999", "Bad Port"),
        ("sip:a@x:", "Bad Port"),
        ("sip:a@[::1", "Unterminated IPv6 Address"),
        ("sip:a@[gg::1]", "Bad IPv6 Address"),
        ("sip:a%4@x", "Bad Escape in URI"),
        ("sip:a@b c", "Bad Character in URI"),
        ("sip:a@b;=1", "Empty URI Parameter Name"),
        ("tel:", "Empty tel URI"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(SipParseError) as refused:
        parse_uri(text)
    assert refused.value.reason == reason


def test_address_of_record() -> None:
    assert aor(parse_uri("sips:%61lice@Example.TEST:5061;transport=tls?x=y")) == "sip:alice@example.test"
    assert aor(parse_uri("tel:+1-201-555")) == "tel:+1201555"


@given(st.text(max_size=30))
def test_escaping_round_trip(text: str) -> None:
    if text and not any("\ud800" <= char <= "\udfff" for char in text):
        uri = parse_uri(f"sip:{escape_user(text)}@h")
        assert unescape(uri.user or "") == text
        assert str(parse_uri(str(uri))) == str(uri)


def test_bare_address_gives_its_parameters_to_the_header() -> None:
    bare = parse_name_addr("sip:a@b;tag=1;x")
    assert (str(bare.uri), bare.tag) == ("sip:a@b", "1")
    framed = parse_name_addr('"A, B" <sip:a@b;lr>;tag=2')
    assert ("lr" in framed.uri.params, framed.tag, framed.display_name) == (True, "2", "A, B")
    for bad in ("sip:a@b,c", "<sip:a@b", "Bad;Name <sip:a@b>", "", "<>", "sip:a@b?x=y"):
        with pytest.raises(SipParseError):
            parse_name_addr(bad)


def test_via() -> None:
    via = parse_via("SIP / 2.0 / UDP first.example.com: 4000;ttl=16 ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1;rport")
    assert (via.transport, via.host, via.port, via.branch) == ("UDP", "first.example.com", 4000, "z9hG4bKa7c6a8dlze.1")
    assert via.rport is None
    assert "rport" in via.params
    for bad in ("", "SIP/2.0", "SIP/2.0/UDP", "SIP/2.0/UDP ;branch=x", "SIP/2.0/UDP h:x"):
        with pytest.raises(SipParseError):
            parse_via(bad)
