"""Documents of Communicator: read, written, refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.contacts import add_group, delete_contact, new_list, set_contact
from parley.presence.documents.access import parse_roaming_list, parse_set_container_members, parse_set_subscribers
from parley.presence.documents.batches import merged, parse_batch
from parley.presence.documents.contact_lists import contact_delta, contact_list, parse_soap, search_result
from parley.presence.documents.provisioning import group_list, parse_groups
from parley.presence.documents.publications import fault, parse_publish, roaming_data
from parley.presence.errors import BadDocument, VersionConflict, WrongVersion
from parley.presence.model import new_presentity
from parley.presence.publishing import publish
from parley.xml import children, local_name, parse_xml

PUBLISH = b"""<publish xmlns="http://schemas.microsoft.com/2006/09/sip/rich-presence">
<publications uri="sip:alice@example.test">
<publication categoryName="note" instance="0" container="200" version="0" expireType="static">
<note xmlns="http://schemas.microsoft.com/2006/09/sip/note"><body type="personal" uri="">a &lt; b</body></note></publication>
<publication categoryName="state" instance="4294967295" container="2" version="7" expireType="endpoint" expires="0">
<state xmlns="http://schemas.microsoft.com/2006/09/sip/state" xmlns:x="http://www.w3.org/2001/XMLSchema-instance"
 x:type="phoneState"><availability>6500</availability><activity token="on-the-phone" minAvailability="6500"
 maxAvailability="8999"/></state></publication></publications></publish>"""


def test_publish_is_read() -> None:
    note, state = parse_publish(PUBLISH)
    assert (note.key, note.version, note.expire_type, note.expires_s) == (("note", 0, 200), 0, "static", None)
    assert b"a &lt; b</body></note>" in note.content
    assert (state.instance, state.version, state.expires_s) == (4294967295, 7, 0)
    assert state.state is not None
    assert (state.state.kind, state.state.availability, state.state.activity) == ("phoneState", 6500, "on-the-phone")
    assert (state.state.min_availability, state.state.max_availability) == (6500, 8999)


def test_what_was_published_comes_back_whole() -> None:
    state = new_presentity("sip:alice@example.test")
    publish(state, parse_publish(PUBLISH)[:1], "epid", 1_000)
    root = parse_xml(roaming_data(state, categories=["note", "gone"], containers=None, subscribers=()))
    assert [local_name(part) for part in root] == ["categories", "containers"]
    gone, note = children(root[0], "category")
    assert (gone.get("name"), gone.get("instance"), len(gone)) == ("gone", None, 0)
    assert (note.get("version"), note.get("container"), note.get("expireType")) == ("1", "200", "static")
    assert len(root[1]) == 6


def test_fault_names_every_operation() -> None:
    body = fault(VersionConflict([WrongVersion(1, 0, 4), WrongVersion(3, 2, 0)]))
    assert body.count(b"<operation ") == 2
    assert b'index="3" version="2" curVersion="0"' in body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not well-formed"),
        (b"<x/>", "the document is x, not publish"),
        (b"<publish/>", "the request has no publication"),
        (PUBLISH.replace(b'categoryName="note"', b""), "publication without categoryName"),
        (PUBLISH.replace(b'version="7"', b'version="-7"'), "publication version is no number that makes sense"),
        (PUBLISH.replace(b">6500<", b">busy<"), "availability is no number"),
        (PUBLISH[:-20], "not well-formed"),
    ],
)
def test_publish_requests_that_are_refused(body: bytes, reason: str) -> None:
    with pytest.raises(BadDocument) as refused:
        parse_publish(body)
    assert str(refused.value).startswith(reason)


SOAP = (
    b'<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body>'
    b'<m:setContact xmlns:m="http://schemas.microsoft.com/winrtc/2002/11/sip"><m:displayName>Bob &amp; Co</m:displayName>'
    b"<m:groups>1 2</m:groups><m:subscribed>true</m:subscribed><m:URI>sip:bob@example.test</m:URI><m:externalURI />"
    b"<m:contactExtension><a/></m:contactExtension><m:deltaNum>12</m:deltaNum></m:setContact>"
    b"</SOAP-ENV:Body></SOAP-ENV:Envelope>"
)


def test_soap_is_read_by_namespace_free_names() -> None:
    call = parse_soap(SOAP)
    assert (call.method, call.values["displayName"], call.number("deltaNum")) == ("setContact", "Bob & Co", 12)
    assert b"<a" in call.extension
    for body in (b"<x/>", b"<Envelope/>", b"<Envelope><Body/></Envelope>"):
        with pytest.raises(BadDocument):
            parse_soap(body)
    with pytest.raises(BadDocument):
        call.number("groups")


def test_lists_and_deltas_write_addresses_as_clients_read_them() -> None:
    contacts = new_list()
    added = add_group(contacts, 'A "quoted" <name>', "")
    change = set_contact(
        contacts,
        uri="sip:bob@example.test",
        name="B",
        groups=[1, 2],
        subscribed=True,
        external_uri="",
        extension=b"",
        limit=9,
    )
    root = parse_xml(contact_list(contacts))
    assert root.get("deltaNum") == "3"
    assert [local_name(part) for part in root] == ["group", "group", "contact"]
    assert (root[2].get("uri"), root[2].get("groups")) == ("bob@example.test", "1 2")
    assert parse_xml(contact_delta(added))[0].get("name") == 'A "quoted" <name>'
    delta = parse_xml(contact_delta(change))
    assert (delta.get("deltaNum"), delta.get("prevDeltaNum"), delta[0].get("uri")) == ("3", "2", "sip:bob@example.test")
    gone = parse_xml(contact_delta(delete_contact(contacts, "bob@example.test")))
    assert local_name(gone[0]) == "deletedContact"


BATCH = (
    b'<batchSub xmlns="http://schemas.microsoft.com/2006/01/sip/batch-subscribe" uri="sip:a@b" name="">'
    b'<action name="subscribe" id="1"><adhocList><resource uri="sip:bob@b"/><resource uri="sip:carol@b"><context/>'
    b'</resource></adhocList><categoryList xmlns="c"><category name="state"/></categoryList></action></batchSub>'
)


def test_batches() -> None:
    (action,) = parse_batch(BATCH)
    assert (action.resources, action.categories) == (("sip:bob@b", "sip:carol@b"), ("state",))
    assert merged(["sip:x@b", "sip:bob@b"], action) == ["sip:x@b", "sip:bob@b", "sip:carol@b"]
    (away,) = parse_batch(BATCH.replace(b'"subscribe"', b'"unsubscribe"'))
    assert merged(["sip:x@b", "sip:bob@b"], away) == ["sip:x@b"]
    for body in (BATCH.replace(b'"subscribe"', b'"watch"'), b"<batchSub/>", BATCH.replace(b'uri="sip:bob@b"', b"")):
        with pytest.raises(BadDocument):
            parse_batch(body)


def test_access_and_settings() -> None:
    members = b'<setContainerMembers><container id="200" version="1"><member action="add" type="user" value="a@b"/></container></setContainerMembers>'  # noqa: E501
    assert parse_set_container_members(members) == [(200, 1, [("add", "user", "a@b")])]
    assert parse_set_subscribers(b'<setSubscribers><subscriber user="sip:a@b" acknowledged="true"/></setSubscribers>') == [
        ("a@b", True)
    ]
    assert parse_roaming_list(b'<roamingList><roaming type="categories"/></roamingList>') == {"categories"}
    names = parse_groups(b'<provisioningGroupList><provisioningGroup name="ucPolicy"/></provisioningGroupList>')
    body = group_list([*names, "x"], {"ucPolicy": {"enable": "a&b"}})
    assert b"<enable>a&amp;b</enable>" in body
    assert b'<provisionGroup name="x"/>' in body
    for parse in (parse_set_container_members, parse_set_subscribers, parse_groups):
        with pytest.raises(BadDocument):
            parse(b"<nothing/>")


def test_search_results() -> None:
    body = search_result([{"uri": "sip:bob@b", "displayName": 'B"ob'}], more=True)
    assert b"<m:moreAvailable>true</m:moreAvailable>" in body
    assert parse_xml(body) is not None


@given(st.binary(max_size=120))
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    for parse in (
        parse_publish, parse_soap, parse_batch, parse_groups, parse_set_container_members, parse_set_subscribers,
        parse_roaming_list,
    ):  # fmt: skip
        for body in (data, b"<publish><publications><publication " + data + b"/></publications></publish>"):
            try:
                parse(body)
            except BadDocument:
                continue
