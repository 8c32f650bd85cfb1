"""The exchange for a ticket and a certificate, with a client that reads and writes text: what it relies on is there."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from parley.webticket.certificates import CertificateRequest, certificate_response
from parley.webticket.metadata import CERTIFICATE_PORT, TICKET_PORT, certificate_metadata, ticket_metadata
from parley.webticket.names import SOAP, WSU
from parley.webticket.security import SecurityHeader, add_security
from parley.webticket.soap import SoapError, add, envelope, fault, instant, parse_envelope, parse_instant
from parley.webticket.tickets import Ticket, TicketError, Tickets
from parley.webticket.trust import TokenRequest, TokenResponse, computed_key, p_sha1
from parley.xml import to_bytes
from tests.unit.webticket import texts

NOW = 1_767_225_600.0  # 2026-01-01
ENTROPY, OURS = bytes(range(32)), bytes(range(100, 132))
KEY = computed_key(ENTROPY, OURS)
TEXT = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40)


def tickets() -> Tickets:
    return Tickets(b"k" * 32, lambda count: bytes(count))


def ticket(**changes: Any) -> Ticket:
    made = Ticket(
        id="T-1", address="sip:alice@example.test", user_version=3, audience="certificates", proof_key=KEY,
        expires_at=NOW + 100,
    )  # fmt: skip
    return replace(made, **changes)


def answer(expires_at: float = NOW + 100) -> str:
    """What the ticket service answers."""
    response = TokenResponse(
        "01020304-0506", "https://x", "T-1", tickets().seal(ticket(expires_at=expires_at)), OURS, NOW, expires_at
    )
    return bytes(response).decode()


# Requests for tickets


def test_a_request_written_as_text_is_read() -> None:
    found = TokenRequest.parse(texts.token_request(ENTROPY))
    assert found == TokenRequest("01020304-0506", "https://x/CertProv/y", "sip:alice@example.test", ENTROPY)


@given(st.one_of(st.just(""), TEXT), TEXT, st.one_of(st.just(""), TEXT), st.binary(min_size=16, max_size=128))
def test_token_requests_round_trip(context: str, applies_to: str, claim: str, entropy: bytes) -> None:
    request = TokenRequest(context, applies_to, claim, entropy)
    assert TokenRequest.parse(bytes(request)) == request


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<a/>", "not a SOAP envelope"),
        (b"<Envelope", "not well-formed"),
        (b'<!DOCTYPE x []><Envelope xmlns="x"/>', "document type"),
        (b"<Envelope><Header/></Envelope>", "Envelope has no Body"),
        (b"<Envelope><Body><Other/></Body></Envelope>", "has to hold one RequestSecurityToken"),
        (texts.token_request(b"short"), "16 to 128 bytes"),
        (texts.token_request(ENTROPY).replace(b"<wst:BinarySecret>A", b"<wst:BinarySecret>!"), "no base64"),
        (texts.token_request(ENTROPY, applies_to=""), "Address is empty"),
        (texts.token_request(ENTROPY, claim="s" * 3000), "Value is empty or too long"),
        (texts.token_request(ENTROPY).replace(b'Context="', b'Context="' + b"c" * 3000), "Context is too long"),
        (texts.token_request(ENTROPY, claim=" " * 70_000), "too large"),
    ],
)  # fmt: skip
def test_requests_that_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(SoapError, match=reason):
        TokenRequest.parse(data)


# Answers, as they are cut up


def test_the_answer_survives_being_cut_as_text() -> None:
    text = answer()
    assert b64decode(texts.cut(text, "BinarySecret")) == OURS
    assert texts.cut(text, "Lifetime") == (
        "<wsu:Created>2026-01-01T00:00:00.000Z</wsu:Created><wsu:Expires>2026-01-01T00:01:40.000Z</wsu:Expires>"
    )
    assertion = texts.cut(text, "Assertion", whole=True)
    assert 'AssertionID="T-1"' in assertion
    etree.fromstring(assertion)  # declares every prefix that it uses
    assert 'Context="01020304-0506"' in text
    assert texts.cut(text, "KeySize") == "256"


def test_p_sha1_begins_alike_whatever_its_length() -> None:
    assert p_sha1(b"secret", b"seed", 50)[:20] == p_sha1(b"secret", b"seed", 20)
    assert len(computed_key(ENTROPY, OURS)) == 32


# Security headers


def header_of(data: bytes) -> SecurityHeader:
    return SecurityHeader.parse(parse_envelope(data, "GetAndPublishCert").header)


def call(text: str, key: bytes = KEY) -> bytes:
    """A call for a certificate with a header from the answer."""
    return texts.envelope(texts.certificate_request("AAAA"), texts.signed_header(text, key))


def test_a_header_put_together_from_text_proves_the_key() -> None:
    header = header_of(call(answer()))
    assert header.ticket_id == "T-1"
    header.verify(KEY, NOW)
    assert tickets().open(header.ticket, "certificates", NOW) == ticket()


def test_a_header_written_as_xml_proves_the_key() -> None:
    root, _ = envelope({})
    assertion = etree.fromstring(texts.cut(answer(), "Assertion", whole=True))
    header = add(root, SOAP, "Header")
    add_security(header, assertion, KEY, created_at=NOW, expires_at=NOW + 5)
    found = SecurityHeader.parse(etree.fromstring(to_bytes(root)).find(f"{{{SOAP}}}Header"))
    found.verify(KEY, NOW + 4)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<DigestValue>", b"<DigestValue>AAAA", "the signature is wrong"),
        (b"<SignatureValue>", b"<SignatureValue>AAAA", "the signature is wrong"),
        (b"00:01:40", b"00:01:41", "the signature is wrong"),
        (b'URI="#timestamp"', b'URI="#other"', "not of the timestamp"),
        (b'URI="#timestamp"', b'URI=""', "not of the timestamp"),
        (b"xmldsig#hmac-sha1", b"xmldsig#rsa-sha1", "SignatureMethod has to be"),
        (b'<SignatureMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1">',
         b'<SignatureMethod Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1"><HMACOutputLength>8</HMACOutputLength>',
         "one reference, and whole"),
        (b"xmldsig#sha1", b"xmldsig#md5", "DigestMethod has to be"),
        (b"<Reference URI", b"<Reference/><Reference URI", "one reference"),
        (b"<wsu:Timestamp ", b'<wsu:Timestamp xmlns:a="b" a:c="" ', "has no canonical form"),
        (b"</Transform>", b'</Transform><Transform Algorithm="x"/>', "not of the timestamp"),
    ],
)  # fmt: skip
def test_signatures_that_are_refused(old: bytes, new: bytes, reason: str) -> None:
    data = call(answer())
    assert old in data
    with pytest.raises(SoapError, match=reason):
        header_of(data.replace(old, new, 1)).verify(KEY, NOW)


def test_another_key_and_another_time_are_refused() -> None:
    header = header_of(call(answer()))
    with pytest.raises(SoapError, match="the signature is wrong"):
        header.verify(bytes(32), NOW)
    for now in (NOW - 301, NOW + 401):
        with pytest.raises(SoapError, match="not of now"):
            header.verify(KEY, now)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<wsse:KeyIdentifier>T-1", b"<wsse:KeyIdentifier>T-2", "by another ticket"),
        (b'AssertionID="T-1"', b"", "has no AssertionID"),
        (b"wsu:Timestamp", b"wsu:Other", "one Timestamp"),
        (b"<wsse:Security>", b"<wsse:Security><Signature/>", "one Signature"),
        (b"<wsse:Security>", b'<wsse:Security><a:Assertion xmlns:a="b"/>', "one Assertion"),
        (b"2026-01-01T00:00:00.000Z</wsu:Created><wsu:Expires>", b"today</wsu:Created><wsu:Expires>", "cannot be read"),
        (b"2026-01-01T00:00:00.000Z</wsu:Created><wsu:Expires>", b"2026-01-01</wsu:Created><wsu:Expires>", "cannot be read"),
    ],
)
def test_headers_that_are_refused(old: bytes, new: bytes, reason: str) -> None:
    data = call(answer())
    assert old in data
    with pytest.raises(SoapError, match=reason):
        header_of(data.replace(old, new))


def test_a_call_without_a_header() -> None:
    with pytest.raises(SoapError, match="has no header"):
        header_of(texts.envelope(texts.certificate_request("AAAA")))


# Tickets


@given(TEXT, TEXT, st.integers(0, 2**63), TEXT, st.binary(max_size=64), st.floats(1.0, 1e10))
def test_tickets_round_trip(name: str, address: str, version: int, audience: str, key: bytes, expires_at: float) -> None:
    one = Ticket(name, address, version, audience, key, expires_at)
    assert tickets().open(tickets().seal(one), audience, 0.0) == one


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "none of ours"),
        ("!", "none of ours"),
        ("A" * 5000, "none of ours"),
        (tickets().seal(ticket())[:-4] + "AAAA", "none of ours"),
        (Tickets(b"o" * 32, lambda count: bytes(count)).seal(ticket()), "none of ours"),
        (tickets().seal(ticket(audience="other")), "another service"),
        (tickets().seal(ticket(expires_at=NOW)), "has expired"),
    ],
)
def test_tickets_that_are_refused(text: str, reason: str) -> None:
    with pytest.raises(TicketError, match=reason):
        tickets().open(text, "certificates", NOW)


# Certificates


def test_a_request_for_a_certificate_is_read_with_its_line_breaks() -> None:
    data = b64encode(bytes(range(120))).decode()
    body = texts.certificate_request(f"{data[:76]}\r\n{data[76:]}\r\n")
    found = CertificateRequest.from_bytes(texts.envelope(body))
    assert found == CertificateRequest("{01020304-0506}", "alice@example.test", bytes(range(120)), "abc-1")


@given(TEXT, TEXT, st.binary(max_size=3000), TEXT)
def test_certificate_requests_round_trip(device: str, entity: str, request: bytes, request_id: str) -> None:
    root, body = envelope({})
    one = CertificateRequest(device, entity, request, request_id)
    one.add_to(body)
    assert CertificateRequest.from_bytes(to_bytes(root)) == one


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        ('Entity="alice@example.test"', "DeviceId or Entity"),
        ('DeviceId="{01020304-0506}"', "DeviceId or Entity"),
        ("<wstep:RequestID>abc-1</wstep:RequestID>", "has no RequestID"),
        ("<wst:RequestSecurityToken>", "has no RequestSecurityToken"),
    ],
)
def test_requests_for_certificates_that_are_refused(old: str, reason: str) -> None:
    body = texts.certificate_request("AAAA")
    new = "<wst:Other/><wst:RequestSecurityTokens>" if old == "<wst:RequestSecurityToken>" else ""
    body = body.replace(old, new)
    if new:
        body = body.replace("</wst:RequestSecurityToken>", "</wst:RequestSecurityTokens>")
    with pytest.raises(SoapError, match=reason):
        CertificateRequest.from_bytes(texts.envelope(body))


def test_the_certificate_is_where_clients_look_for_it() -> None:
    root = etree.fromstring(certificate_response(b"der", "abc-1"))
    path = ("Body", "GetAndPublishCertResponse", "RequestSecurityTokenResponse", "RequestedSecurityToken",
            "BinarySecurityToken")  # fmt: skip
    assert first(root, *path).text == b64encode(b"der").decode()


# Metadata


def first(element: etree._Element, *path: str) -> etree._Element:
    """The first element of each local name."""
    for name in path:
        element = next(found for found in element if etree.QName(found).localname == name)
    return element


def test_metadata_says_where_tickets_come_from_and_where_calls_go() -> None:
    root = etree.fromstring(certificate_metadata("https://x/here", "https://x/tickets"))
    policy = first(root, "Policy")
    assert policy.get(f"{{{WSU}}}Id") == f"{CERTIFICATE_PORT}_policy"
    tokens = first(policy, "ExactlyOne", "All", "EndorsingSupportingTokens")
    assert first(tokens, "Policy", "IssuedToken", "Issuer", "Address").text == "https://x/tickets"
    assert first(root, "service", "port").get("name") == CERTIFICATE_PORT
    assert first(root, "service", "port", "address").get("location") == "https://x/here"
    root = etree.fromstring(ticket_metadata("https://x/entry"))
    assert first(root, "service", "port").get("name") == TICKET_PORT
    assert first(root, "service", "port", "address").get("location") == "https://x/entry"


# Odds and ends


@given(st.integers(0, 4_000_000_000_000))
def test_instants_round_trip(milliseconds: int) -> None:
    assert parse_instant(instant(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=0.0015)


def test_faults_say_whose_fault_it_is() -> None:
    root = etree.fromstring(fault("Client", "a < b"))
    assert first(root, "Body", "Fault", "faultcode").text == "s:Client"
    assert first(root, "Body", "Fault", "faultstring").text == "a < b"
