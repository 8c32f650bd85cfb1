"""SearchAbEntry: requests as clients write them, answers as they read them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.entries import NumberKind, PhoneNumber
from parley.addressbook.queries import (
    MOST,
    USUAL_ATTRIBUTES,
    FoundEntry,
    SearchRequest,
    SearchResponse,
    xml_text,
)
from parley.addressbook.searching.criteria import Criteria
from parley.webticket.soap import SoapError, fault
from parley.xml import child, children, parse_xml, text_of
from tests.unit.addressbook.made_up import ADA, TEAM

HEADER = """<soap:Header><wsse:Security xmlns:wsse="urn:w"><Assertion/></wsse:Security></soap:Header>"""


def request(inner: str, header: str = HEADER) -> bytes:
    """A request in the words of a client."""
    return f"""<?xml version="1.0"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">{header}<soap:Body>
<SearchAbEntry xmlns="DistributionListExpander" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"><AbEntryRequest>{inner}</AbEntryRequest></SearchAbEntry>
</soap:Body></soap:Envelope>""".encode()


METADATA = """<Metadata><FromDialPad>false</FromDialPad><MaxResultNum>{}</MaxResultNum>
<ReturnList>displayName, title,,displayName</ReturnList></Metadata>"""
CHANGE = """<ChangeSearch xmlns:q1="DistributionListExpander" soapenc:arrayType="q1:AbEntryRequest.ChangeSearchQuery[2]">
<AbEntryRequest.ChangeSearchQuery><SearchOn>givenName</SearchOn><Value> Ada </Value></AbEntryRequest.ChangeSearchQuery>
<AbEntryRequest.ChangeSearchQuery><SearchOn>sn</SearchOn><Value/></AbEntryRequest.ChangeSearchQuery>
<AbEntryRequest.ChangeSearchQuery><SearchOn>c</SearchOn><Value>UK</Value></AbEntryRequest.ChangeSearchQuery></ChangeSearch>"""
BASIC = "<BasicSearch><SearchList>c,mail,sn</SearchList><Value>ada</Value><Verb>BeginsWith</Verb></BasicSearch>"


def test_a_search_for_several_attributes() -> None:
    found = SearchRequest.from_bytes(request(CHANGE + METADATA.format(100)))
    assert found == SearchRequest((("givenName", "Ada"), ("c", "UK")), most=100, returned=("displayName", "title"))
    assert found.criteria() == Criteria.all_of([("givenName", "Ada"), ("c", "UK")])


def test_a_search_for_one_text() -> None:
    found = SearchRequest.from_bytes(request(BASIC))
    assert found == SearchRequest(any_of=("c", "mail", "sn"), value="ada", most=100)
    assert found.criteria() == Criteria.any_of(["c", "mail", "sn"], "ada")
    # Several attributes go before one text; an empty list of them does not.
    assert SearchRequest.from_bytes(request(CHANGE + BASIC)).any_of == ()
    assert SearchRequest.from_bytes(request("<ChangeSearch/>" + BASIC)) == found


@pytest.mark.parametrize(("text", "most"), [("", 100), ("0", 1), ("1", 1), ("5000", MOST)])
def test_how_many_are_wanted(text: str, most: int) -> None:
    assert SearchRequest.from_bytes(request(BASIC + METADATA.format(text))).most == most


def pairs(count: int) -> str:
    query = "<AbEntryRequest.ChangeSearchQuery><SearchOn>sn</SearchOn><Value>x</Value></AbEntryRequest.ChangeSearchQuery>"
    return f"<ChangeSearch>{query * count}</ChangeSearch>"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not well-formed: Document is empty, line 1, column 1 (<string>, line 1)"),
        (request("<ChangeSearch>Tom & Jerry</ChangeSearch>"), "not well-formed: "),
        (request(""), "there is nothing to search for; give a ChangeSearch or a BasicSearch with a value"),
        (
            request(BASIC.replace("ada", " ")),
            "there is nothing to search for; give a ChangeSearch or a BasicSearch with a value",
        ),
        (request(BASIC.replace("BeginsWith", "Sounds")), "the verb Sounds is not known; it has to be BeginsWith"),
        (request(BASIC.replace("ada", "x" * 257)), "a name or a value has more than 256 characters"),
        (request(BASIC.replace("c,mail,sn", ",".join(f"a{n}" for n in range(17)))), "more than 16 attributes are too many"),
        (request(pairs(17)), "more than 16 attributes are too many"),
        (request(BASIC + METADATA.format("many")), "MaxResultNum has to be a number"),
        (request(BASIC + METADATA.format("9" * 11)), "MaxResultNum has to be a number"),
        (request("").replace(b"AbEntryRequest", b"Request"), "SearchAbEntry has no AbEntryRequest"),
        (fault("Client", "x"), "the body has to hold one SearchAbEntry"),
        (request('<!DOCTYPE x [<!ENTITY a "b">]>' + BASIC), "a document type is not taken"),
        (request("<x>" * 40 + "</x>" * 40), "the document is nested too deeply"),
    ],
)
def test_requests_that_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(SoapError) as refused:
        SearchRequest.from_bytes(data)
    assert str(refused.value).startswith(problem)


def test_a_request_cut_short_is_none() -> None:
    data = bytes(SearchRequest((("sn", "x"),)))
    for end in range(len(data)):
        with pytest.raises(SoapError):
            SearchRequest.from_bytes(data[:end])


CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff,")
VALUES = st.text(CHARACTERS, min_size=1, max_size=8).map(str.strip).filter(bool)
NAMES = st.sampled_from(["sn", "mail", "displayName", "x"])
REQUESTS = st.one_of(
    st.builds(lambda found: {"all_of": found}, st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=4).map(tuple)),
    st.builds(
        lambda names, value: {"any_of": names, "value": value},
        st.lists(NAMES, min_size=1, max_size=4, unique=True).map(tuple), VALUES,
    ),
).flatmap(
    lambda what: st.builds(
        lambda most, returned: SearchRequest(most=most, returned=returned, **what),
        st.integers(1, MOST), st.lists(VALUES, max_size=3, unique=True).map(tuple),
    )
)  # fmt: skip


@given(REQUESTS)
def test_requests_there_and_back(found: SearchRequest) -> None:
    assert SearchRequest.from_bytes(bytes(found)) == found


def test_an_answer_is_what_clients_read() -> None:
    data = bytes(SearchResponse((FoundEntry.of(ADA, ()), FoundEntry.of(TEAM, ("Title", "displayname", "zzz")))))
    root = parse_xml(data)
    path = ("Body", "SearchAbEntryResponse", "SearchAbEntryResult", "Items")
    element = root
    for name in path:
        found = child(element, name)
        assert found is not None
        element = found
    ada, team = children(element, "AbEntry")
    attributes = child(ada, "Attributes")
    assert attributes is not None
    read = {}
    for item in children(attributes, "Attribute"):
        values = child(item, "Values")
        texts = (
            [text_of(value) for value in children(values, "string")] if values is not None else text_of(child(item, "Value"))
        )
        read[text_of(child(item, "Name"))] = texts
    assert read == {
        "displayName": "Ada Lovelace", "msRTCSIP-PrimaryUserAddress": "sip:ada@example.com", "title": "Analyst",
        "telephoneNumber": ["+44 20 7946 0001", "tel:+442079460001"], "mobile": "07700 900001", "mail": "ada@example.com",
        "company": "Example", "country": "UK", "photoRelPath": f"photos/{ADA.id}.jpg", "photoSize": "1234",
        "photoHash": "ab" * 32,
    }  # fmt: skip
    assert len(children(team, "Attributes")) == 1
    assert SearchResponse.from_bytes(data).entries[1] == FoundEntry((("displayname", ("Engine team",)),))


def test_one_number_is_a_list_too() -> None:
    plain = replace(ADA, numbers=(PhoneNumber(NumberKind.WORK, "12"),))
    data = bytes(SearchResponse((FoundEntry.of(plain, USUAL_ATTRIBUTES),)))
    assert b"<Name>telephoneNumber</Name><Values><string>12</string></Values>" in data


def test_an_empty_answer() -> None:
    data = bytes(SearchResponse(()))
    assert b"<Items/>" in data
    assert SearchResponse.from_bytes(data) == SearchResponse(())


@given(st.lists(st.lists(st.tuples(NAMES, st.lists(VALUES, min_size=1, max_size=2).map(tuple)), max_size=3).map(tuple)))
def test_answers_there_and_back(entries: list[tuple[tuple[str, tuple[str, ...]], ...]]) -> None:
    response = SearchResponse(tuple(map(FoundEntry, entries)))
    assert SearchResponse.from_bytes(bytes(response)) == response


def test_what_xml_cannot_hold_is_written_as_blanks() -> None:
    assert xml_text("a\x01b\ufffec\ud800d\U0001f642") == "a b c d\U0001f642"
    odd = replace(ADA, title="a\ufffeb")
    assert SearchResponse.from_bytes(bytes(SearchResponse((FoundEntry.of(odd, ("title",)),)))).entries[0].attributes == (
        ("title", ("a b",)),
    )
