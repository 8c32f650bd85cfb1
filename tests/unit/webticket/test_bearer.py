"""The header of a request that brings a ticket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from parley.webticket.bearer import BearerHeader, add_bearer
from parley.webticket.metadata import address_book_metadata
from parley.webticket.names import SOAP
from parley.webticket.soap import SoapError
from parley.webticket.trust import TokenResponse
from parley.xml import child


def assertion(ticket: str = "AAAA", id: str = "T-1") -> etree._Element:
    answer = etree.fromstring(bytes(TokenResponse("c", "https://x", id, ticket, b"e" * 16, 0.0, 1.0)))
    (found,) = answer.iter("{*}Assertion")
    return found


def header(*assertions: etree._Element, created_at: float = 1_000.0, expires_at: float = 1_060.0) -> etree._Element:
    element = etree.Element(f"{{{SOAP}}}Header")
    add_bearer(element, assertions[0], created_at=created_at, expires_at=expires_at)
    for further in assertions[1:]:
        element[0].append(further)
    return etree.fromstring(etree.tostring(element))


@given(
    ticket=st.text("ABCabc012+/=", min_size=1), id=st.from_regex(r"T-[0-9a-f]{1,32}", fullmatch=True),
    at=st.integers(0, 2**31), lasts=st.integers(1, 100_000),
)  # fmt: skip
def test_what_is_written_is_read(ticket: str, id: str, at: int, lasts: int) -> None:
    read = BearerHeader.parse(header(assertion(ticket, id), created_at=at, expires_at=at + lasts))
    assert read == BearerHeader(id, ticket, at, at + lasts)


@pytest.mark.parametrize(("now", "is_good"), [(699, False), (700, True), (1_030, True), (1_359, True), (1_360, False)])
def test_the_timestamp_is_of_now(now: float, is_good: bool) -> None:
    read = BearerHeader.parse(header(assertion()))
    if is_good:
        read.check_time(now)
        return
    with pytest.raises(SoapError, match="not of now"):
        read.check_time(now)


def test_headers_that_are_refused() -> None:
    with pytest.raises(SoapError, match="no header"):
        BearerHeader.parse(None)
    with pytest.raises(SoapError, match="Header has no Security"):
        BearerHeader.parse(etree.Element(f"{{{SOAP}}}Header"))
    with pytest.raises(SoapError, match="one Assertion"):
        BearerHeader.parse(header(assertion(), assertion()))
    without = header(assertion())
    security = child(without, "Security")
    assert security is not None
    security.remove(security[0])
    with pytest.raises(SoapError, match="one Timestamp"):
        BearerHeader.parse(without)


def test_metadata_name_the_policy_after_the_port() -> None:
    root = etree.fromstring(address_book_metadata("https://x/search", "https://x/tickets"))
    policy = child(root, "Policy")
    assert policy is not None
    assert list(policy.attrib.values()) == ["AddressBookWebTicketBearer_policy"]
    assert [element.get("name") for element in root.iter("{*}port")] == ["AddressBookWebTicketBearer"]
    assert len(list(root.iter("{*}SignedSupportingTokens"))) == 1
    assert not list(root.iter("{*}EndorsingSupportingTokens"))
