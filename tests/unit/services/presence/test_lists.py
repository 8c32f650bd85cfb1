"""Lists as notifications: what is told of each user, and how big it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.presence.documents.publications import CATEGORIES_TYPE
from parley.presence.standard.rlmi import parse_list
from parley.proto.presence.v1 import state_pb2 as pb
from parley.sip.uri import parse_uri
from services.presence.lists import Entry, document_size, list_document, list_named, list_uri, row_size
from services.presence.views import Document

ALICE = "sip:alice@example.test"


def document(size: int) -> Document:
    return Document("application/pidf+xml", b"<presence>" + b" " * size + b"</presence>")


def test_states_of_users_and_their_documents() -> None:
    subscription = pb.Subscription(target=ALICE, list_name="contacts", format="application/pidf+xml", list=True)
    entries = [
        Entry("sip:bob@example.test", document(5), name="Bob"),
        Entry("sip:carol@example.test", name="Carol"),
        Entry("sip:dave@example.test", state="terminated", reason="noresource"),
        Entry("sip:erin@example.test", state="pending"),
    ]
    made = list_document(subscription, entries, version=7, full=True)
    rlmi, parts = parse_list(made.content_type, made.body)
    assert (rlmi.uri, rlmi.version, rlmi.full_state) == (f"{ALICE};opaque=app:presence:list:contacts", 7, True)
    told = [[(one.state, one.reason, bool(one.content_id)) for one in resource.instances] for resource in rlmi.resources]
    assert told == [[("active", "", True)], [], [("terminated", "noresource", False)], [("pending", "", False)]]
    assert [resource.name for resource in rlmi.resources] == ["Bob", "Carol", "", ""]
    assert [part.body for part in parts] == [document(5).body]


def test_communicator_is_told_without_versions_and_with_room_before_each_boundary() -> None:
    subscription = pb.Subscription(target=ALICE, format=CATEGORIES_TYPE, list=True)
    entries = [Entry("sip:bob@example.test", Document(CATEGORIES_TYPE, b"<categories/>"))]
    made = list_document(subscription, entries, version=7, full=False)
    boundary = made.content_type.rpartition("boundary=")[2]
    assert b"<categories/>\r\n\r\n--" + boundary.encode() in made.body
    assert parse_list(made.content_type, made.body)[0].version == 0


@given(
    st.lists(
        st.tuples(st.from_regex(r"\Asip:[a-z]{1,30}@[a-z]{1,30}\Z"), st.text("aüβ", max_size=40), st.integers(0, 900)),
        max_size=20,
    )
)
def test_sizes_are_not_underestimated(rows: list[tuple[str, str, int]]) -> None:
    subscription = pb.Subscription(target=ALICE, format="application/pidf+xml", list=True)
    entries = [Entry(uri, document(size), name=name) for uri, name, size in rows]
    made = list_document(subscription, entries, version=2**31, full=True)
    estimated = sum(
        row_size(entry.uri, entry.name) + document_size(document(size))
        for entry, (_, _, size) in zip(entries, rows, strict=True)
    )
    assert len(made.body) <= estimated + 600


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (ALICE, None),
        (f"{ALICE};opaque=app:presence", None),
        (f"{ALICE};opaque=user:epid:x;gruu", None),
        (f"{ALICE};opaque=app:presence:list:contacts", "contacts"),
        (f"{ALICE};opaque=APP:presence:list:", ""),
    ],
)
def test_names_of_lists(uri: str, name: str | None) -> None:
    assert list_named(parse_uri(uri)) == name
    if name:
        assert list_uri(pb.Subscription(target=ALICE, list_name=name)) == uri
