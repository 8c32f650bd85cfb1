"""Presence as a service of its own, twice, behind two front ends; what happens when a process dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from parley.sip.message import Request, Response
from tests.integration.test_presence import availabilities, notified, publication, publish, subscribe_batch
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import DOMAIN, ParleyCluster

pytestmark = pytest.mark.valkey


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ParleyCluster]:
    async with ParleyCluster(tmp_path, registrars=1, presences=2) as running:
        yield running


async def signed_in(cluster: ParleyCluster, user: str, front_end: int, epid: str) -> OcsClient:
    client = await OcsClient(user, epid=epid).connect(cluster.ports[front_end]["tcp"])
    assert (await client.sign_in(domain="")).status == 200
    return client


def contact_change(client: OcsClient, uri: str) -> bytes:
    """The SOAP of a new contact."""
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:m="http://schemas.microsoft.com/winrtc/2002/11/sip"><s:Body><m:setContact><m:displayName>x</m:displayName>'
        f"<m:groups>1</m:groups><m:subscribed>true</m:subscribed><m:URI>{uri}</m:URI><m:externalURI/>"
        "<m:deltaNum>1</m:deltaNum></m:setContact></s:Body></s:Envelope>"
    ).encode()


async def answered(client: OcsClient, request: Callable[[], Request]) -> Response:
    """The answer once a process of presence is there again: each front end finds that out by itself, in its own time."""
    for _ in range(100):
        answer = await client.ask_signed(request(), timeout=10)
        if answer.status != 503:
            break
        await asyncio.sleep(0.2)
    assert answer.status == 200
    return answer


def contacts_request(client: OcsClient) -> Request:
    """A subscription whose answer has the contact list."""
    headers = [("Event", "vnd-microsoft-roaming-contacts"), ("Supported", "ms-piggyback-first-notify, ms-benotify")]
    return client.ocs_request("SUBSCRIBE", f"sip:{client.user}@{DOMAIN}", headers=headers)


async def contacts_of(client: OcsClient) -> bytes:
    """The contact list, as the answer to a subscription has it."""
    return (await answered(client, partial(contacts_request, client))).body


async def test_across_front_ends_and_after_a_presence_process_died(cluster: ParleyCluster) -> None:
    alice = await signed_in(cluster, "alice", 0, "aaaaaaaaaaaa")
    bob = await signed_in(cluster, "bob", 1, "bbbbbbbbbbbb")
    assert (await alice.ask_signed(subscribe_batch(alice, "bob"))).status == 200
    assert (await bob.ask_signed(publish(bob, publication("machineState", 3500)))).status == 200
    await notified(alice, 3500)

    cluster.presences[0].kill()
    version = 1
    for availability in (15500, 3500, 5000):
        # the first may have been on its way to the process that died
        await answered(bob, partial(publish, bob, publication("machineState", availability, version=version)))
        version += 1
        await notified(alice, availability)


async def test_contacts_and_subscriptions_outlive_every_process_of_presence(cluster: ParleyCluster) -> None:
    alice = await signed_in(cluster, "alice", 0, "aaaaaaaaaaaa")
    bob = await signed_in(cluster, "bob", 1, "bbbbbbbbbbbb")
    assert (await alice.ask_signed(contacts_request(alice))).status == 200  # at once, as nothing is away
    assert b"carol" not in await contacts_of(alice)
    headers = [("Content-Type", "application/SOAP+xml")]
    change = contact_change(alice, f"sip:carol@{DOMAIN}")
    service = alice.ocs_request("SERVICE", f"sip:alice@{DOMAIN}", headers=headers, body=change)
    assert (await alice.ask_signed(service)).status == 200
    assert (await alice.ask_signed(subscribe_batch(alice, "bob"))).status == 200
    for node in cluster.presences:
        node.kill()
    cluster.valkey.kill()
    cluster.valkey.start()
    for node in cluster.presences:
        node.launch()
    await asyncio.gather(*(node.ready() for node in cluster.presences))
    await answered(bob, lambda: publish(bob, publication("machineState", 3500)))
    assert availabilities(await notified(alice, 3500))
    assert f'uri="carol@{DOMAIN}"'.encode() in await contacts_of(alice)


async def test_front_end_dies_and_the_client_comes_back_at_the_other(cluster: ParleyCluster) -> None:
    bob = await signed_in(cluster, "bob", 1, "bbbbbbbbbbbb")
    alice = await signed_in(cluster, "alice", 0, "aaaaaaaaaaaa")
    assert (await alice.ask_signed(subscribe_batch(alice, "bob"))).status == 200
    cluster.front_ends[0].kill()
    await asyncio.wait_for(alice.closed.wait(), 5)
    again = await signed_in(cluster, "alice", 1, "aaaaaaaaaaaa")
    assert (await again.ask_signed(subscribe_batch(again, "bob"))).status == 200
    assert (await bob.ask_signed(publish(bob, publication("machineState", 3500)))).status == 200
    await notified(again, 3500)
