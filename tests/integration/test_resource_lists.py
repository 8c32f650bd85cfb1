"""List subscriptions of standard phones (RFC 4662, RFC 5367), on Parley as users start it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TypedDict

import pytest

from parley.presence.standard.availability import availability_of, pidf_of
from parley.presence.standard.dialog_info import parse_dialog_info
from parley.presence.standard.multipart import Part
from parley.presence.standard.pidf import build_pidf, parse_pidf
from parley.presence.standard.resource_lists import CONTENT_TYPE, Entry, ResourceList, build_resource_lists
from parley.presence.standard.rlmi import Rlmi, parse_list
from parley.sip.message import Request
from tests.integration.test_presence import publication, publish, signed_in
from tests.integration.test_presence_cluster import contact_change
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN
from tests.support.subscriber import Subscriber, Subscription

pytestmark = pytest.mark.valkey

USERS = ("dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kate", "leo")
"""Nobody changes in two of the tests: who leaves one of them may be told of in the next."""
MANY = tuple(f"user{number:03}" for number in range(150))
LISTS = [("Supported", "eventlist"), ("Accept", "application/pidf+xml, application/rlmi+xml, multipart/related")]
LAMPS = [("Supported", "eventlist"), ("Accept", "application/dialog-info+xml, application/rlmi+xml, multipart/related")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    presence = {"notify_interval": 0.1, "max_list_resources": 150, "blocked_watchers": "refuse"}
    running = ParleyServer(
        tmp_path_factory.mktemp("lists"), config={"frontend": {"limits": quiet_limits()}, "presence": presence}
    )
    try:
        asyncio.run(running.start())
        asyncio.run(running.create_users((*USERS, *MANY)))
        yield running
    finally:
        asyncio.run(running.stop())


async def phone(server: ParleyServer, user: str, transport: str = "udp") -> Subscriber:
    return await Subscriber(user, transport=transport).connect(server.ports[transport])


def contacts_of(user: str) -> str:
    """The URI of a user's contacts as a list."""
    return f"sip:{user}@{DOMAIN};opaque=app:presence:list:contacts"


class Wanted(TypedDict):
    """What a SUBSCRIBE that names its users has."""

    headers: list[tuple[str, str]]
    body: bytes


def naming(*users: str) -> Wanted:
    """Body and headers that name users."""
    entries = tuple(Entry(user if ":" in user else f"sip:{user}@{DOMAIN}") for user in users)
    headers = [*LISTS, ("Require", "recipient-list-subscribe"), ("Content-Type", CONTENT_TYPE),
               ("Content-Disposition", "recipient-list")]  # fmt: skip
    return {"headers": headers, "body": build_resource_lists([ResourceList(entries=entries)])}


def read(notify: Request) -> tuple[Rlmi, dict[str, Part]]:
    """The list of a NOTIFY, and the documents by the users they are of."""
    assert notify.get("Require") == "eventlist"
    rlmi, parts = parse_list(notify.get("Content-Type") or "", notify.body)
    assert rlmi.version == notify.cseq.number - 1
    by_id = {part.content_id: part for part in parts}
    found = {
        resource.uri.removeprefix("sip:").partition("@")[0]: by_id[instance.content_id]
        for resource in rlmi.resources
        for instance in resource.instances
        if instance.content_id
    }
    assert len(found) == len(parts), "a document that the list does not name"
    return rlmi, found


def instance_of(rlmi: Rlmi, user: str) -> tuple[str, str]:
    """State and reason of a user in a list."""
    resource = next(resource for resource in rlmi.resources if resource.uri == f"sip:{user}@{DOMAIN}")
    return resource.instances[0].state, resource.instances[0].reason


async def add_contact(client: OcsClient, user: str) -> None:
    change = contact_change(client, f"sip:{user}@{DOMAIN}")
    headers = [("Content-Type", "application/SOAP+xml")]
    request = client.ocs_request("SERVICE", f"sip:{client.user}@{DOMAIN}", headers=headers, body=change)
    assert (await client.ask_signed(request)).status == 200


async def is_published(user: Subscriber, availability: int) -> None:
    """A phone says how its user is."""
    body = build_pidf(pidf_of(f"sip:{user.user}@{DOMAIN}", availability))
    headers = [("Event", "presence"), ("Content-Type", "application/pidf+xml"), ("Expires", "600")]
    assert (await user.ask(user.request("PUBLISH", f"sip:{user.user}@{DOMAIN}", headers=headers, body=body))).status == 200


async def shows(subscription: Subscription, user: str, availability: int) -> Rlmi:
    """The list of the NOTIFY that tells a user's state."""

    def tells(notify: Request) -> bool:
        _, found = read(notify)
        return user in found and availability_of(parse_pidf(found[user].body))[0] == availability

    return read(await subscription.notify(tells))[0]


async def test_users_named_in_the_body(server: ParleyServer) -> None:
    alice = await phone(server, "alice")
    kept = await alice.subscribe("presence", **naming("dave", "erin", "nobody", "tel:+15550100"))
    assert (kept.answer.status, kept.answer.get("Require")) == (200, "eventlist")
    rlmi, found = read(await kept.notify())
    assert (rlmi.full_state, rlmi.uri, rlmi.version) == (True, f"sip:alice@{DOMAIN}", 0)
    assert sorted(found) == ["dave", "erin"]
    assert [resource.name for resource in rlmi.resources] == ["dave", "erin", ""]
    assert instance_of(rlmi, "nobody") == ("terminated", "noresource")
    await is_published(await phone(server, "dave"), 6500)
    changed = await shows(kept, "dave", 6500)
    assert (changed.full_state, [resource.uri for resource in changed.resources]) == (False, [f"sip:dave@{DOMAIN}"])
    # The same list again, then another one.
    assert (await kept.refresh()).status == 200
    again, found = read(await kept.notify())
    assert (again.full_state, sorted(found)) == (True, ["dave", "erin"])
    other = naming("judy")
    assert (await kept.refresh(body=other["body"])).status == 200
    rlmi, found = read(await kept.notify(lambda notify: len(read(notify)[0].resources) == 1))
    assert (rlmi.full_state, sorted(found)) == (True, ["judy"])
    await is_published(await phone(server, "erin"), 15500)
    await is_published(await phone(server, "judy"), 9500)
    assert [resource.uri for resource in (await shows(kept, "judy", 9500)).resources] == [f"sip:judy@{DOMAIN}"]


async def test_lamps_of_several_users(server: ParleyServer) -> None:
    alice, grace, heidi = await phone(server, "alice"), await phone(server, "grace"), await phone(server, "heidi")
    assert (await heidi.register()).status == 200
    wanted = naming("grace", "heidi")
    kept = await alice.subscribe("dialog", headers=[*LAMPS, *wanted["headers"][2:]], body=wanted["body"])
    _, found = read(await kept.notify())
    assert all(parse_dialog_info(part.body).dialogs == () for part in found.values())
    assert sorted(found) == ["grace", "heidi"]
    invite = await grace.invite(f"sip:heidi@{DOMAIN}")
    heidi.answer(await heidi.expect("INVITE"), 486)
    grace.acknowledge(invite, await grace.response())

    def over(notify: Request) -> bool:
        rlmi, found = read(notify)
        assert not rlmi.full_state
        return any(
            dialog.state == "terminated" for part in found.values() for dialog in parse_dialog_info(part.body).dialogs
        )

    _, found = read(await kept.notify(over))
    assert list(found) == ["grace"]


async def test_the_own_contacts_are_a_list_that_changes(server: ParleyServer) -> None:
    ivan = await signed_in(server, "ivan", epid="aaaa00000001")
    await add_contact(ivan, "kate")
    mine = await phone(server, "ivan")
    kept = await mine.subscribe("presence", target=contacts_of("ivan"), headers=LISTS)
    assert kept.answer.status == 200
    assert kept.contact.uri_text == contacts_of("ivan")
    rlmi, found = read(await kept.notify())
    assert (rlmi.uri, rlmi.full_state, sorted(found)) == (contacts_of("ivan"), True, ["kate"])
    await add_contact(ivan, "leo")
    rlmi, found = read(await kept.notify(lambda notify: len(read(notify)[0].resources) == 2))
    assert (rlmi.full_state, sorted(found)) == (True, ["kate", "leo"])
    leo = await signed_in(server, "leo", epid="aaaa00000002")
    assert (await leo.ask_signed(publish(leo, publication("machineState", 3500)))).status == 200
    await shows(kept, "leo", 3500)
    delete = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:m="http://schemas.microsoft.com/winrtc/2002/11/sip"><s:Body><m:deleteContact>'
        f"<m:URI>sip:leo@{DOMAIN}</m:URI><m:deltaNum>3</m:deltaNum></m:deleteContact></s:Body></s:Envelope>"
    ).encode()
    headers = [("Content-Type", "application/SOAP+xml")]
    request = ivan.ocs_request("SERVICE", f"sip:ivan@{DOMAIN}", headers=headers, body=delete)
    assert (await ivan.ask_signed(request)).status == 200
    rlmi, found = read(await kept.notify(lambda notify: read(notify)[0].full_state))
    assert sorted(found) == ["kate"]
    assert (await kept.refresh(expires=0)).status == 200
    last = await kept.notify()
    assert (last.get("Subscription-State"), last.body) == ("terminated;reason=timeout", b"")
    await ivan.abort()
    await leo.abort()


async def test_who_blocks_is_refused_and_who_admits_nobody_is_pending(server: ParleyServer) -> None:
    frank = await signed_in(server, "frank", epid="aaaa00000003")

    async def member(container: int, version: int, action: str, kind: str, value: str = "") -> None:
        body = (
            '<setContainerMembers xmlns="http://schemas.microsoft.com/2006/09/sip/container-management">'
            f'<container id="{container}" version="{version}"><member action="{action}" type="{kind}"{value}/></container>'
            "</setContainerMembers>"
        )
        headers = [("Content-Type", "application/msrtc-setcontainermembers+xml")]
        request = frank.ocs_request("SERVICE", f"sip:frank@{DOMAIN}", headers=headers, body=body.encode())
        assert (await frank.ask_signed(request)).status == 200

    bob = await phone(server, "bob")
    single = await bob.subscribe("presence", "frank")
    assert (await single.notify()).body
    listed = await bob.subscribe("presence", **naming("frank", "grace"))
    assert sorted(read(await listed.notify())[1]) == ["frank", "grace"]
    lamps = await bob.subscribe("dialog", "frank")
    await lamps.notify()
    await member(200, 1, "remove", "sameEnterprise")
    await single.notify(lambda notify: (notify.get("Subscription-State") or "").startswith("pending"))
    rlmi, _ = read(await listed.notify())
    assert instance_of(rlmi, "frank") == ("pending", "")
    watchers = await (await phone(server, "frank")).subscribe("presence.winfo")
    await watchers.notify()
    await member(32000, 0, "add", "user", f' value="bob@{DOMAIN}"')
    for kept in (single, lamps):
        last = await kept.notify(lambda notify: (notify.get("Subscription-State") or "").startswith("terminated"))
        assert last.get("Subscription-State") == "terminated;reason=rejected"
        assert (await kept.refresh()).status == 481
    rlmi, _ = read(await listed.notify())
    assert instance_of(rlmi, "frank") == ("terminated", "rejected")
    assert (await bob.subscribe("presence", "frank")).answer.status == 403
    assert (await bob.subscribe("dialog", "frank")).answer.status == 403
    gone = await watchers.notify(lambda notify: b'event="rejected"' in notify.body)
    assert f"sip:bob@{DOMAIN}".encode() in gone.body
    await frank.abort()


async def test_a_long_list_comes_in_several_notifications(server: ParleyServer) -> None:
    carol = await phone(server, "carol")
    kept = await carol.subscribe("presence", **naming(*MANY))
    first, told = read(await kept.notify())
    assert first.full_state
    assert len(first.resources) == len(MANY)
    assert 0 < len(told) < len(MANY)
    seen = set(told)
    while len(seen) < len(MANY):
        rlmi, told = read(await kept.notify())
        assert not rlmi.full_state
        assert not seen & set(told)
        seen |= set(told)
    await kept.refresh(expires=0)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"without": "eventlist"}, 421),
        ({"disposition": "render"}, 400),
        ({"body": b"<resource-lists/>"}, 400),
        ({"body": b"<!DOCTYPE x><resource-lists/>"}, 400),
        ({"target": f"sip:bob@{DOMAIN}"}, 403),
        ({"users": tuple(f"u{number}" for number in range(151))}, 413),
        ({"accept": "text/plain"}, 406),
        ({"require": "something"}, 420),
    ],
)
async def test_lists_that_are_refused(server: ParleyServer, change: dict[str, object], status: int) -> None:
    alice = await phone(server, "alice", "tcp")
    users = change.get("users", ("dave",))
    assert isinstance(users, tuple)
    wanted = naming(*users)
    headers = [
        ("Supported", "100rel" if "without" in change else "eventlist"),
        ("Accept", str(change.get("accept", "application/pidf+xml, application/rlmi+xml, multipart/related"))),
        ("Require", str(change.get("require", "recipient-list-subscribe"))),
        ("Content-Type", CONTENT_TYPE),
        ("Content-Disposition", str(change.get("disposition", "recipient-list"))),
    ]
    body = change.get("body", wanted["body"])
    assert isinstance(body, bytes)
    refused = await alice.subscribe("presence", target=str(change.get("target", "")), headers=headers, body=body)
    assert refused.answer.status == status
    if status == 421:
        assert refused.answer.get("Require") == "eventlist"


async def test_lists_that_are_not_there_or_somebody_elses(server: ParleyServer) -> None:
    alice = await phone(server, "alice")
    other = f"sip:alice@{DOMAIN};opaque=app:presence:list:friends"
    assert (await alice.subscribe("presence", target=other, headers=LISTS)).answer.status == 404
    assert (await alice.subscribe("presence", target=contacts_of("bob"), headers=LISTS)).answer.status == 403
    plain = await alice.subscribe("presence", target=contacts_of("alice"))
    assert (plain.answer.status, plain.answer.get("Require")) == (421, "eventlist")
