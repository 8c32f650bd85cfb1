"""What a SUBSCRIBE asks for, by its headers, its target and its body; what cannot be read is refused with a status."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.platform.applications.host import Incoming
from parley.presence.documents.publications import CATEGORIES_TYPE
from parley.presence.errors import PresenceError
from parley.presence.standard.resource_lists import CONTENT_TYPE, Entry, ResourceList, build_resource_lists
from parley.proto.presence.v1 import state_pb2 as pb
from parley.proto.sip.v1.application_pb2 import ApplicationRequest
from parley.sip.errors import SipError, SipParseError
from parley.sip.message import Request, parse_message
from services.presence.config import PresenceConfig
from services.presence.packages import DIALOG, FORMATS, PRESENCE
from services.presence.repository import PresenceRepository
from services.presence.users import Users
from services.presence.wishes import Choice, Wish, subscription_id, wish_of

ALICE = "sip:alice@example.test"
CONFIG = PresenceConfig(max_list_resources=3)


class Contacts(PresenceRepository):
    """The contacts of everybody."""

    def __init__(self) -> None:
        """No store."""

    async def contact_addresses(self, aor: str) -> list[str]:
        return ["sip:bob@example.test", "sip:carol@example.test"]


class Everybody(Users):
    """All are users, but for nobody."""

    def __init__(self) -> None:
        """No address book."""

    async def name_of(self, aor: str) -> str | None:
        return None if "nobody" in aor else "Somebody"


def subscribe(uri: str = ALICE, *, body: bytes = b"", **headers: str) -> Request:
    fields = {
        "Via": "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "From": f"<{ALICE}>;tag=f", "To": f"<{uri}>", "Call-ID": "c",
        "CSeq": "1 SUBSCRIBE", "Event": "presence", **{name.replace("_", "-"): value for name, value in headers.items()},
    }  # fmt: skip
    return Request.create("SUBSCRIBE", uri, headers=list(fields.items()), body=body)


def wish(request: Request) -> Wish:
    async def read() -> Wish:
        item = ApplicationRequest(user_aor=ALICE)
        return wish_of(Incoming(item, request, lambda _: None, lambda _: None), CONFIG)

    return asyncio.run(read())


def chosen(request: Request, known: pb.Subscription | None = None) -> pb.Subscription:
    wanted = wish(request)
    made = pb.Subscription(watcher=wanted.watcher, event=wanted.event, target=wanted.target)
    asyncio.run(Choice(CONFIG, Contacts(), Everybody()).make(made, wanted, request, known))
    return made


def listing(*uris: str) -> bytes:
    return build_resource_lists([ResourceList(entries=tuple(map(Entry, uris)))])


def naming(*uris: str, disposition: str = "recipient-list", body: bytes | None = None, **headers: str) -> Request:
    content = listing(*uris) if body is None else body
    return subscribe(
        body=content, Supported="eventlist", Content_Type=CONTENT_TYPE, Content_Disposition=disposition, **headers
    )


def test_headers_are_read() -> None:
    found = wish(subscribe("sip:bob@Example.Test:5070", Event='Dialog;id=7;call-id="x y"', Expires="600"))
    assert (found.event, found.event_id, found.call) == ("dialog", "7", "x y")
    assert (found.target, found.watcher, found.expires_s, found.takes_lists) == ("sip:bob@example.test", ALICE, 600, False)
    communicator = wish(subscribe(From=f"<{ALICE}>;tag=f;epid=0123", Supported="ms-benotify, ms-piggyback-first-notify"))
    assert (communicator.endpoint, communicator.best_effort, communicator.piggyback) == ("0123", True, True)
    assert communicator.expires_s == CONFIG.max_subscription_seconds
    assert wish(subscribe(f"{ALICE};opaque=app:presence:list:contacts", Supported="eventlist")).list_name == "contacts"


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Require": "x"}, 420), ({"Expires": "5"}, 423), ({"Event": "a;=b"}, 400)],
)
def test_headers_that_are_refused(headers: dict[str, str], status: int) -> None:
    with pytest.raises(SipParseError) as caught:
        wish(subscribe(body=b"", **headers))
    assert caught.value.status == status


def test_what_a_subscription_is_known_by() -> None:
    def known_by(**headers: str) -> str:
        request = subscribe(body=b"", **headers)
        return subscription_id(request, wish(request))

    assert known_by() == known_by(CSeq="2 SUBSCRIBE", Expires="700")
    others = [
        known_by(Event="presence;id=1"),
        known_by(Event="dialog"),
        known_by(Call_ID="d"),
        known_by(From=f"<{ALICE}>;tag=g"),
    ]
    assert len({known_by(), *others}) == 5
    endpoint = f"<{ALICE}>;tag=f;epid=0123"
    assert known_by(From=endpoint) == known_by(Call_ID="d", From=endpoint)


def test_one_user_or_several() -> None:
    one = chosen(subscribe("sip:bob@example.test"))
    assert (list(one.resources), one.format, one.list) == (["sip:bob@example.test"], FORMATS[PRESENCE], False)
    named = chosen(naming("sip:bob@example.test", "sip:Bob@EXAMPLE.test", "tel:+1", "dave@example.test", Event="dialog"))
    assert (list(named.resources), named.format, named.list) == (
        ["sip:bob@example.test", "sip:Bob@example.test", "sip:dave@example.test"], FORMATS[DIALOG], True,
    )  # fmt: skip
    again = chosen(subscribe(Event="dialog"), named)
    assert (again.resources, again.list) == (named.resources, True)
    contacts = chosen(subscribe(f"{ALICE};opaque=app:presence:list:contacts", Supported="eventlist"))
    assert (len(contacts.resources), contacts.list_name) == (2, "contacts")
    assert chosen(subscribe(Accept=f"{CATEGORIES_TYPE}, application/pidf+xml")).format == CATEGORIES_TYPE


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (subscribe("sip:nobody@example.test"), 404),
        (subscribe(Accept="text/plain"), 406),
        (subscribe(Event="dialog", Accept="application/pidf+xml"), 406),
        (naming(disposition="render"), 400),
        (naming(body=b"<x/>"), 400),
        (naming(*(f"sip:u{number}@example.test" for number in range(4))), 413),
        (subscribe(f"{ALICE};opaque=app:presence:list:friends", Supported="eventlist"), 404),
        (subscribe("sip:bob@example.test;opaque=app:presence:list:contacts", Supported="eventlist"), 403),
    ],
)
def test_choices_that_are_refused(request_: Request, status: int) -> None:
    with pytest.raises(PresenceError) as caught:
        chosen(request_)
    assert caught.value.status == status


def test_lists_are_for_those_who_take_them() -> None:
    with pytest.raises(SipParseError) as caught:
        chosen(subscribe(f"{ALICE};opaque=app:presence:list:contacts"))
    assert (caught.value.status, caught.value.headers) == (421, (("Require", "eventlist"),))


_LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=30)


@given(
    st.dictionaries(st.sampled_from(["Event", "Supported", "Require", "Accept", "Expires", "Content-Type", "From"]), _LINES),
    st.one_of(st.binary(max_size=80), st.just(listing("sip:bob@example.test"))),
    st.sampled_from([ALICE, f"{ALICE};opaque=app:presence:list:contacts", "sip:bob@example.test"]),
)
def test_any_headers_and_bodies_are_taken_or_refused(headers: dict[str, str], body: bytes, uri: str) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    raw = f"SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nTo: <{uri}>\r\nCall-ID: c\r\n"
    own = "" if "From" in headers else f"From: <{ALICE}>;tag=f\r\n"
    content = (
        f"{raw}{own}CSeq: 1 SUBSCRIBE\r\n{lines}Content-Disposition: recipient-list\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        request = parse_message(content.encode() + body)
        assert isinstance(request, Request)
        made = chosen(request) if wish(request).event in FORMATS else None
    except (SipError, PresenceError) as error:
        status = getattr(error, "status", 400)
    else:
        status = 200
        assert made is None or len(made.resources) <= CONFIG.max_list_resources
    assert status == 200 or 400 <= status < 700
