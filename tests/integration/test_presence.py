"""Presence between Communicator clients and standard phones, on Parley as users start it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from parley.presence.standard.availability import availability_of, pidf_of
from parley.presence.standard.pidf import build_pidf, parse_pidf
from parley.sip.message import Request, Response
from tests.integration.test_bad_input import metric
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import ParleyServer, quiet_limits
from tests.support.sip_client import DOMAIN, SipClient

pytestmark = pytest.mark.valkey

RICH = "http://schemas.microsoft.com/2006/09/sip/rich-presence"
STATE = "http://schemas.microsoft.com/2006/09/sip/state"
XSI = "http://www.w3.org/2001/XMLSchema-instance"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = quiet_limits() | {"failures_per_source": 1000, "failures_per_user": 1000}
    config = {"frontend": {"limits": limits}, "presence": {"notify_interval": 0.1, "max_resources": 500}}
    running = ParleyServer(tmp_path_factory.mktemp("presence"), config=config)
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


def publication(kind: str, availability: int, *, version: int = 0, instance: int = 1_000, container: int = 2) -> str:
    """A publication of a state."""
    expires = "static" if kind == "userState" else "endpoint"
    return (
        f'<publication categoryName="state" instance="{instance}" container="{container}" version="{version}" '
        f'expireType="{expires}"><state xmlns="{STATE}" xmlns:xsi="{XSI}" xsi:type="{kind}" manual="false">'
        f"<availability>{availability}</availability></state></publication>"
    )


def publish(client: OcsClient, *publications: str, body: bytes = b"") -> Request:
    """A SERVICE that publishes."""
    address = f"sip:{client.user}@{DOMAIN}"
    text = f'<publish xmlns="{RICH}"><publications uri="{address}">{"".join(publications)}</publications></publish>'
    headers = [("Content-Type", "application/msrtc-category-publish+xml")]
    return client.ocs_request("SERVICE", address, headers=headers, body=body or text.encode())


def subscribe_batch(client: OcsClient, *others: str) -> Request:
    """A batched subscription."""
    address = f"sip:{client.user}@{DOMAIN}"
    resources = "".join(f'<resource uri="sip:{other}@{DOMAIN}"/>' for other in others)
    body = (
        f'<batchSub xmlns="http://schemas.microsoft.com/2006/01/sip/batch-subscribe" uri="{address}" name="">'
        f'<action name="subscribe" id="1"><adhocList>{resources}</adhocList>'
        '<categoryList xmlns="http://schemas.microsoft.com/2006/09/sip/categorylist"><category name="state"/>'
        '<category name="note"/></categoryList></action></batchSub>'
    )
    headers = [
        ("Event", "presence"), ("Accept", "application/rlmi+xml, multipart/related"), ("Require", "adhoclist, categoryList"),
        ("Supported", "ms-benotify"), ("Supported", "ms-piggyback-first-notify"), ("Supported", "eventlist"),
        ("Content-Type", "application/msrtc-adrl-categorylist+xml"),
    ]  # fmt: skip
    return client.ocs_request("SUBSCRIBE", address, headers=headers, body=body.encode())


def availabilities(message: Request | Response) -> list[int]:
    """The numbers in a document."""
    return [int(number) for number in re.findall(rb"<availability>(\d+)</availability>", message.body)]


async def notified(client: OcsClient, availability: int) -> Request:
    """The notification that tells a state; those before it are passed over."""
    while True:
        notify = await client.expect("BENOTIFY", 8)
        assert client.is_signed(notify)
        if availability in availabilities(notify):
            return notify


async def phone_told(phone: SipClient, availability: int) -> Request:
    """The NOTIFY that tells a phone a state; all are answered."""
    while True:
        notify = await phone.expect("NOTIFY", 8)
        phone.answer(notify, 200)
        if notify.body and availability_of(parse_pidf(notify.body))[0] == availability:
            return notify


async def signed_in(server: ParleyServer, user: str, *, epid: str = "0123456789ab", transport: str = "tcp") -> OcsClient:
    client = await OcsClient(user, transport=transport, epid=epid).connect(server.ports[transport])
    answer = await client.sign_in()
    assert answer.status == 200
    assert client.is_signed(answer)
    return client


async def test_communicator_sees_a_phone_and_a_phone_sees_communicator(server: ParleyServer) -> None:
    alice = await signed_in(server, "alice")
    bob = await SipClient("bob").connect(server.ports["udp"])
    assert (await bob.register()).status == 200
    answer = await alice.ask_signed(subscribe_batch(alice, "bob", "carol"))
    assert answer.status == 200
    assert "multipart/related" in (answer.get("Content-Type") or "")
    assert answer.get("ms-piggyback-cseq") == "1"
    pidf = pidf_of(f"sip:bob@{DOMAIN}", 6500, "on-the-phone", "in a call")
    headers = [("Event", "presence"), ("Content-Type", "application/pidf+xml"), ("Expires", "600")]
    published = await bob.ask(bob.request("PUBLISH", f"sip:bob@{DOMAIN}", headers=headers, body=build_pidf(pidf)))
    assert published.status == 200
    tag = published.get("SIP-ETag") or ""
    assert tag
    notify = await notified(alice, 6500)
    assert b'token="on-the-phone"' in notify.body
    assert f"sip:bob@{DOMAIN}".encode() in notify.body

    subscribe = bob.request("SUBSCRIBE", f"sip:alice@{DOMAIN}", headers=[("Event", "presence"), ("Expires", "600")])
    assert (await bob.ask(subscribe)).status == 200
    await phone_told(bob, 18500)
    assert (await alice.ask_signed(publish(alice, publication("machineState", 3500)))).status == 200
    await phone_told(bob, 3500)
    busy = await alice.ask_signed(publish(alice, publication("userState", 9500, instance=536870912)))
    assert busy.status == 200
    assert 9500 in availabilities(busy)
    await phone_told(bob, 9500)

    removed = [("Event", "presence"), ("SIP-If-Match", tag), ("Expires", "0")]
    assert (await bob.ask(bob.request("PUBLISH", f"sip:bob@{DOMAIN}", headers=removed))).status == 200
    assert (await bob.ask(bob.request("PUBLISH", f"sip:bob@{DOMAIN}", headers=removed))).status == 412
    await notified(alice, 3500)
    assert (await bob.register(contact="*", expires=0)).status == 200
    await notified(alice, 18500)
    await alice.abort()
    await phone_told(bob, 18500)  # a lost connection is signing out


async def test_two_endpoints_are_one_user(server: ParleyServer) -> None:
    desk = await signed_in(server, "carol", epid="aaaaaaaaaaaa")
    watcher = await signed_in(server, "alice", epid="cccccccccccc")
    assert (await watcher.ask_signed(subscribe_batch(watcher, "carol"))).status == 200
    assert (await desk.ask_signed(publish(desk, publication("machineState", 15500, instance=101)))).status == 200
    await notified(watcher, 15500)
    laptop = await signed_in(server, "carol", epid="bbbbbbbbbbbb", transport="tls")
    assert (await laptop.ask_signed(publish(laptop, publication("machineState", 3500, instance=102)))).status == 200
    await notified(watcher, 3500)
    await laptop.abort()
    await notified(watcher, 15500)
    await desk.abort()
    await notified(watcher, 18500)
    await watcher.abort()


async def test_old_version_is_a_conflict_that_names_the_current_one(server: ParleyServer) -> None:
    alice = await signed_in(server, "alice", epid="dddddddddddd")
    assert (await alice.ask_signed(publish(alice, publication("machineState", 3500, instance=77)))).status == 200
    again = await alice.ask_signed(publish(alice, publication("machineState", 5000, instance=77)))
    assert again.status == 409
    assert again.get("Content-Type") == "application/msrtc-fault+xml"
    assert b'<operation index="1" version="0" curVersion="1"/>' in again.body
    assert "2141" in (again.get("ms-diagnostics") or "")
    await alice.abort()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<publish", 400),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><publish>&a;</publish>', 400),
        (b"<publish>" + b"<a>" * 40 + b"</a>" * 40 + b"</publish>", 400),
        (b"<other/>", 400),
        (b"<publish/>", 400),
        (b"<publish>" + b" " * 60_000 + b"</publish>", 400),
    ],
)
async def test_documents_that_are_refused(server: ParleyServer, body: bytes, status: int) -> None:
    alice = await signed_in(server, "alice", epid="eeeeeeeeeeee")
    before = await metric(server, 'parley_presence_refused_total{method="SERVICE"')
    answer = await alice.ask_signed(publish(alice, body=body))
    assert answer.status == status
    assert "ms-diagnostics" in answer
    assert await metric(server, 'parley_presence_refused_total{method="SERVICE"') == before + 1
    assert (await alice.ask_signed(subscribe_batch(alice, "bob"))).status == 200
    await alice.abort()


async def test_a_thousand_entries_are_too_many_and_somebody_elses_data_is_not_shown(server: ParleyServer) -> None:
    alice = await signed_in(server, "alice", epid="ffffffffffff")
    many = await alice.ask_signed(subscribe_batch(alice, *(f"user{n}" for n in range(1000))))
    assert many.status == 413
    headers = [("Event", "vnd-microsoft-roaming-contacts"), ("Supported", "ms-piggyback-first-notify")]
    assert (await alice.ask_signed(alice.ocs_request("SUBSCRIBE", f"sip:bob@{DOMAIN}", headers=headers))).status == 403
    service = [("Content-Type", "application/msrtc-category-publish+xml")]
    assert (await alice.ask_signed(alice.ocs_request("SERVICE", f"sip:bob@{DOMAIN}", headers=service))).status == 403
    await alice.abort()


async def test_blocked_watcher_sees_somebody_offline(server: ParleyServer) -> None:
    carol = await signed_in(server, "carol", epid="121212121212")
    bob = await signed_in(server, "bob", epid="343434343434")
    assert (await carol.ask_signed(publish(carol, publication("machineState", 3500, instance=5)))).status == 200
    assert 3500 in availabilities(await bob.ask_signed(subscribe_batch(bob, "carol")))

    async def member(action: str, version: int) -> int:
        body = (
            '<setContainerMembers xmlns="http://schemas.microsoft.com/2006/09/sip/container-management">'
            f'<container id="32000" version="{version}"><member action="{action}" type="user" value="bob@{DOMAIN}"/>'
            "</container></setContainerMembers>"
        )
        headers = [("Content-Type", "application/msrtc-setcontainermembers+xml")]
        request = carol.ocs_request("SERVICE", f"sip:carol@{DOMAIN}", headers=headers, body=body.encode())
        return (await carol.ask_signed(request)).status

    assert await member("add", 0) == 200
    await notified(bob, 18500)
    assert await member("remove", 0) == 409
    assert await member("remove", 1) == 200
    await notified(bob, 3500)
    await bob.abort()
    await carol.abort()


async def test_wrong_signature_ends_the_connection_and_replay_is_dropped(server: ParleyServer) -> None:
    alice = await signed_in(server, "alice", epid="565656565656")
    request = subscribe_batch(alice, "bob")
    assert (await alice.ask_signed(request)).status == 200
    replayed = await metric(server, 'parley_frontend_signatures_total{verdict="replayed"}')
    alice.send(bytes(request))
    assert (await alice.ask_signed(subscribe_batch(alice, "carol"))).status == 200
    assert await metric(server, 'parley_frontend_signatures_total{verdict="replayed"}') == replayed + 1
    unsigned = alice.ocs_request("OPTIONS", f"sip:bob@{DOMAIN}")
    alice.send(bytes(unsigned))
    assert (await alice.response()).status == 401
    alice.send(bytes(alice.sign(subscribe_batch(alice, "bob"), wrong=True)))
    await asyncio.wait_for(alice.closed.wait(), 5)


async def test_forms_of_login_and_wrong_ones(server: ParleyServer) -> None:
    for login, domain in (("alice", ""), (f"alice@{DOMAIN}", ""), ("ALICE", "example")):
        client = await OcsClient("alice", epid="787878787878").connect(server.ports["tcp"])
        assert (await client.sign_in(login=login, domain=domain)).status == 200
        await client.abort()
    for user, password in (("alice", "Wrong-1"), ("nobody", "Secret-1")):
        client = await OcsClient(user, password, epid="909090909090").connect(server.ports["tcp"])
        refused = await client.sign_in()
        assert refused.status == 401
        assert "gssapi-data" not in (refused.get("WWW-Authenticate") or "")
        await client.abort()
    client = await OcsClient("bob", epid="909090909090").connect(server.ports["tcp"])
    stranger = await client.sign_in(login="alice")  # the password is alice's too, the address is not
    assert stranger.status == 403
    assert "4004" in (stranger.get("ms-diagnostics") or "")


async def test_disabled_user_is_disconnected(server: ParleyServer) -> None:
    await server.create_users(["dora"])
    dora = await OcsClient("dora").connect(server.ports["tcp"])
    assert (await dora.sign_in(domain="")).status == 200
    done = await server.parley("user", "disable", f"dora@{DOMAIN}")
    assert done.returncode == 0, done.stderr
    await asyncio.wait_for(dora.closed.wait(), 5)
    again = await OcsClient("dora").connect(server.ports["tcp"])
    assert (await again.sign_in(domain="")).status == 401


async def test_unknown_packages_formats_and_users(server: ParleyServer) -> None:
    bob = await SipClient("bob").connect(server.ports["udp"])
    target = f"sip:alice@{DOMAIN}"
    short = [("Event", "presence"), ("Expires", "5")]
    brief = await bob.ask(bob.request("SUBSCRIBE", target, headers=short))
    assert (brief.status, brief.get("Min-Expires")) == (423, "60")
    strange = [("Event", "presence"), ("Accept", "text/strange")]
    assert (await bob.ask(bob.request("SUBSCRIBE", target, headers=strange))).status == 406
    nobody = bob.request("SUBSCRIBE", f"sip:nobody@{DOMAIN}", headers=[("Event", "presence")])
    assert (await bob.ask(nobody)).status == 404
    dialog = bob.request("SUBSCRIBE", target, headers=[("Event", "presence"), ("Expires", "600")], to_tag="x")
    assert (await bob.ask(dialog)).status == 481
    word = [("Event", "presence"), ("Content-Type", "text/plain")]
    assert (await bob.ask(bob.request("PUBLISH", f"sip:bob@{DOMAIN}", headers=word, body=b"here"))).status == 415
    other = [("Event", "presence"), ("Content-Type", "application/pidf+xml")]
    assert (await bob.ask(bob.request("PUBLISH", target, headers=other, body=b"<presence/>"))).status == 403
    assert (await bob.ask(bob.request("PUBLISH", f"sip:bob@{DOMAIN}", headers=other, body=b"<presence"))).status == 400
