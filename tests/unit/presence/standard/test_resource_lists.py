import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.resource_lists import (
    Entry,
    ResourceList,
    all_entries,
    build_resource_lists,
    parse_resource_lists,
)
from tests.unit.presence.standard.made import full_texts, refused, texts, tuples_of

NS = b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:cp="urn:ietf:params:xml:ns:copycontrol">'
FULL = (
    NS
    + b"""
  <list name="team"><display-name>The team</display-name>
    <entry uri="sip:a@example.test"><display-name>Anna</display-name></entry>
    <list name="inner"><entry uri="sip:c@example.test" cp:copyControl="bcc"/><entry uri="sip:a@example.test"/></list>
    <entry uri="sip:b@example.test" cp:copyControl="shout"/>
    <external anchor="http://example.test/other"/><entry-ref ref="x/y"/>
  </list>
  <list/>
</resource-lists>"""
)


def test_all_of_it_is_read() -> None:
    inner = ResourceList("inner", "", (Entry("sip:c@example.test", "", "bcc"), Entry("sip:a@example.test")))
    entries = (Entry("sip:a@example.test", "Anna"), Entry("sip:b@example.test"))
    lists = parse_resource_lists(FULL, 4)
    assert lists == (ResourceList("team", "The team", entries, (inner,)), ResourceList())
    assert [entry.uri for entry in all_entries(lists)] == ["sip:a@example.test", "sip:b@example.test", "sip:c@example.test"]


def test_it_is_written() -> None:
    lists = (ResourceList("n", "N", (Entry("sip:a@b", "A", "cc"),), (ResourceList("i"),)),)
    assert build_resource_lists(lists) == (
        b'<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:cp="urn:ietf:params:xml:ns:copycontrol">'
        b'<list name="n"><display-name>N</display-name><entry uri="sip:a@b" cp:copyControl="cc"><display-name>A'
        b'</display-name></entry><list name="i"/></list></resource-lists>'
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (FULL[:-20], "not well-formed"),
        (b"<resource-lists/>", "the root is not resource-lists of urn:ietf:params:xml:ns:resource-lists"),
        (NS + b"<list><entry/></list></resource-lists>", "an entry without a URI"),
        (NS + b"<list>" * 33 + b"</list>" * 33 + b"</resource-lists>", "the document is nested too deeply"),
    ],
)
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_resource_lists, data) == f"resource lists: {text}"


def test_entries_of_all_lists_count() -> None:
    with pytest.raises(DocumentError, match=r"^resource lists: more than 3 entries$"):
        parse_resource_lists(FULL, 3)


entries = st.builds(Entry, full_texts, texts, st.sampled_from((None, "to", "cc", "bcc")))
some_lists = st.recursive(
    st.builds(ResourceList, texts, texts, tuples_of(entries)),
    lambda inner: st.builds(ResourceList, texts, texts, tuples_of(entries, 2), tuples_of(inner, 2)),
    max_leaves=5,
)


@given(tuples_of(some_lists))
def test_what_is_written_is_read_again(lists: tuple[ResourceList, ...]) -> None:
    assert parse_resource_lists(build_resource_lists(lists)) == lists
