"""Conference documents, and the names in them."""

from __future__ import annotations

import pytest

from parley.conference.documents import full_document, name_of, partial_document, record_document
from parley.conference.roster import join_focus, join_server
from parley.conference.uris import ConferenceName, is_factory, parse_name, same_uri
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.sip.v1.dialog_pb2 import Dialog
from parley.sip.uri import parse_uri
from parley.xml import child, children, parse_xml, text_of

ALICE, BOB = "sip:alice@example.test", "sip:bob@example.test"
ID = "0123456789ABCDEF"
FOCUS = f"{ALICE};gruu;opaque=app:conf:focus:id:{ID}"
CHAT = f"{ALICE};gruu;opaque=app:conf:chat:id:{ID}"
MSCI = "{http://schemas.microsoft.com/rtc/2005/08/confinfoextensions}"


def meeting() -> pb.Conference:
    state = pb.Conference(
        organizer=ALICE, id=ID, subject="A & B", mcu_types=["chat"], expires_at_ms=1_900_000_000_000,
        admission_policy=pb.ADMISSION_POLICY_OPEN_AUTHENTICATED,
    )  # fmt: skip
    for number, address in enumerate((ALICE, BOB)):
        join_focus(
            state, address, f"<{address}>", f"{{{number}}}", Dialog(call_id=address), presenter=number == 0, now_ms=1000
        )
    join_server(state.participants[0], "chat", "{chat}", 2000, connected=True)
    return state


def test_a_name_is_read_from_each_of_its_uris() -> None:
    name = name_of(meeting())
    assert name.focus == FOCUS
    assert parse_name(parse_uri(FOCUS)) == (name, "focus")
    assert parse_name(parse_uri(CHAT)) == (name, "chat")
    assert same_uri(FOCUS, FOCUS.replace(ID, ID.lower()).replace("alice@example", "alice@EXAMPLE"))
    assert not same_uri(FOCUS, CHAT)
    assert is_factory(parse_uri(f"{ALICE};gruu;opaque=app:conf:focusfactory"))


@pytest.mark.parametrize(
    "uri",
    [
        ALICE,
        f"{ALICE};opaque=app:conf:focus:id:short",
        f"{ALICE};opaque=app:conf:focus:id:{ID}%41",
        f"{ALICE};opaque=app:conf:focus",
        f"sip:example.test;opaque=app:conf:focus:id:{ID}",
    ],
)
def test_other_uris_name_no_conference(uri: str) -> None:
    assert parse_name(parse_uri(uri)) is None
    assert not same_uri(uri, uri)


def test_the_first_document_tells_all() -> None:
    root = parse_xml(full_document(meeting(), 1))
    assert (root.get("entity"), root.get("state"), root.get("version")) == (FOCUS, "full", "1")
    description = child(root, "conference-description")
    assert description is not None
    assert text_of(child(description, "subject")) == "A & B"
    uris = child(description, "conf-uris")
    assert uris is not None
    assert [(text_of(child(one, "uri")), text_of(child(one, "purpose"))) for one in uris] == [(CHAT, "chat")]
    users = child(root, "users")
    assert users is not None
    alice, bob = children(users, "user")
    assert text_of(child(alice, "display-text")) == f"<{ALICE}>"
    kinds = [one.get(f"{MSCI}session-type") for one in children(alice, "endpoint")]
    assert kinds == ["focus", "chat"]
    roles = [text_of(child(children(one, "roles")[0], "entry")) for one in (alice, bob)]
    assert roles == ["presenter", "attendee"]


def test_a_partial_document_has_users_whole_and_those_who_left() -> None:
    root = parse_xml(partial_document(meeting(), 7, {ALICE, "sip:gone@example.test"}, view=True))
    assert (root.get("state"), root.get("version")) == ("partial", "7")
    assert child(root, "conference-description") is None
    users = child(root, "users")
    assert users is not None
    states = {one.get("entity"): (one.get("state"), len(children(one, "endpoint"))) for one in users}
    assert states == {ALICE: ("full", 2), "sip:gone@example.test": ("deleted", 0)}
    view = child(root, "conference-view")
    assert view is not None
    locked = [text_of(child(children(one, "entity-state")[0], "locked")) for one in view]
    assert locked == ["false"]


def test_a_record_is_what_the_organizer_made() -> None:
    state = meeting()
    state.invitees.add(address=BOB, presenter=True)
    root = parse_xml(record_document(state).encode())
    description = child(root, "conference-description")
    assert description is not None
    assert text_of(child(description, "conference-id")) == ID
    assert text_of(child(description, "expiry-time")) == "2030-03-17T17:46:40Z"
    assert text_of(child(description, "admission-policy")) == "openAuthenticated"
    assert text_of(child(description, "is-active")) == "true"


def test_the_key_of_a_name_ignores_the_case_of_its_id() -> None:
    assert ConferenceName(ALICE, "ABCDEFGH").key == ConferenceName(ALICE, "abcdefgh").key
