"""QueryDLMembers: requests of any form, answers, and names in one table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from parley.addressbook.dlx import NAMES, ExpansionResult, Member, MembersRequest, MembersResponse, Names, wsdl
from parley.addressbook.entries import Kind
from parley.webticket.soap import SoapError
from parley.xml import child, parse_xml
from tests.unit.addressbook.made_up import ADA, TEAM

OTHER = Names(
    "urn:true", "QueryDLMembers", "address", "R", "A", "Code", "List", "Item", "N", "M", "S", "K",
    tuple((result, str(number)) for number, result in enumerate(ExpansionResult)), tuple((kind, kind.name) for kind in Kind),
)  # fmt: skip
"""As if other names turned out to be the true ones."""


def request(inner: str) -> bytes:
    space = "http://schemas.xmlsoap.org/soap/envelope/"
    return f'<e:Envelope xmlns:e="{space}"><e:Header><x/></e:Header><e:Body>{inner}</e:Body></e:Envelope>'.encode()


@pytest.mark.parametrize(
    "inner",
    [
        "<QueryDLMembers>Team@Example.com</QueryDLMembers>",
        '<d:QueryDLMembers xmlns:d="DistributionListExpander"><d:dl> mailto:team@example.com </d:dl></d:QueryDLMembers>',
        "<QueryDLMembers><a><b>sip:team@example.com</b></a><c> </c></QueryDLMembers>",
    ],
)
def test_requests_of_any_form(inner: str) -> None:
    assert MembersRequest.from_bytes(request(inner)) == MembersRequest("team@example.com")


@pytest.mark.parametrize("scheme", ["", "mailto:", "SMTP:", "sip:", "sips:"])
def test_the_address_keeps_its_accents(scheme: str) -> None:
    inner = f"<QueryDLMembers>{scheme}Vertrieb-München@example.test</QueryDLMembers>"
    assert MembersRequest.from_bytes(request(inner)) == MembersRequest("vertrieb-münchen@example.test")


@pytest.mark.parametrize(
    ("inner", "problem"),
    [
        ("", "the body has to hold one QueryDLMembers"),
        ("<Query/>", "the body has to hold one QueryDLMembers"),
        ("<QueryDLMembers/>", "QueryDLMembers has to hold the mail address of one group"),
        (
            "<QueryDLMembers><a>x@y</a><b>y@z</b></QueryDLMembers>",
            "QueryDLMembers has to hold the mail address of one group",
        ),
        (f"<QueryDLMembers>{'x' * 3_000}</QueryDLMembers>", "QueryDLMembers has to hold the mail address of one group"),
        ("<QueryDLMembers>the team</QueryDLMembers>", "this is no mail address; write name@domain"),
        ("<QueryDLMembers>sip:</QueryDLMembers>", "this is no mail address; write name@domain"),
    ],
)
def test_requests_that_are_refused(inner: str, problem: str) -> None:
    with pytest.raises(SoapError) as refused:
        MembersRequest.from_bytes(request(inner))
    assert str(refused.value) == problem


@pytest.mark.parametrize("names", [NAMES, OTHER])
def test_a_request_there_and_back(names: Names) -> None:
    data = MembersRequest("team@example.com").to_bytes(names)
    assert MembersRequest.from_bytes(data, names) == MembersRequest("team@example.com")
    for end in range(len(data)):
        with pytest.raises(SoapError):
            MembersRequest.from_bytes(data[:end], names)


TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), max_size=8).map(str.strip)
RESPONSES = st.builds(
    MembersResponse, st.sampled_from(ExpansionResult),
    st.lists(st.builds(Member, st.sampled_from(Kind), TEXTS, TEXTS, TEXTS), max_size=3).map(tuple),
)  # fmt: skip


@given(RESPONSES, st.sampled_from([NAMES, OTHER]))
def test_answers_there_and_back(response: MembersResponse, names: Names) -> None:
    assert MembersResponse.from_bytes(response.to_bytes(names), names) == response


def test_members_of_an_answer() -> None:
    data = MembersResponse(ExpansionResult.OK, (Member.of(ADA), Member.of(TEAM))).to_bytes()
    assert MembersResponse.from_bytes(data).members == (
        Member(Kind.USER, "Ada Lovelace", "ada@example.com", "sip:ada@example.com"),
        Member(Kind.GROUP, "Engine team", "team@example.com", ""),
    )


def test_an_answer_with_words_that_are_not_known() -> None:
    data = MembersResponse(ExpansionResult.OK).to_bytes().replace(b"ok", b"fine")
    with pytest.raises(SoapError, match="the word 'fine' is not known"):
        MembersResponse.from_bytes(data)


@pytest.mark.parametrize("names", [NAMES, OTHER])
def test_messages_are_as_the_description_says(names: Names) -> None:
    root = parse_xml(wsdl("https://web.example.com/GroupExpansion/int/service.asmx", names))
    types = child(root, "types")
    assert types is not None
    schema = etree.XMLSchema(etree.fromstring(etree.tostring(types[0])))
    response = MembersResponse(ExpansionResult.OK, (Member.of(ADA), Member.of(TEAM))).to_bytes(names)
    for data in (MembersRequest("team@example.com").to_bytes(names), response):
        body = child(parse_xml(data), "Body")
        assert body is not None
        schema.assertValid(etree.fromstring(etree.tostring(body[0])))
    text = etree.tostring(root).decode()
    assert f'soapAction="{names.namespace}/QueryDLMembers"' in text
    assert 'location="https://web.example.com/GroupExpansion/int/service.asmx"' in text
