"""Event packages with two front ends and two presence services, and what happens when a process of them dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley.presence.standard.dialog_info import DialogInfo, parse_dialog_info
from parley.presence.standard.watcherinfo import parse_watcherinfo
from parley.sip.message import Request
from tests.support.parley_server import DOMAIN, ParleyCluster
from tests.support.subscriber import Subscriber

pytestmark = pytest.mark.valkey


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ParleyCluster]:
    presence = {"call_check_seconds": 1}
    async with ParleyCluster(tmp_path, registrars=1, presences=2, presence=presence) as running:
        yield running


async def phone(cluster: ParleyCluster, user: str, front_end: int, *, register: bool = False) -> Subscriber:
    made = await Subscriber(user, transport="tcp").connect(cluster.ports[front_end]["tcp"])
    if register:
        assert (await made.register()).status == 200
    return made


def calls(notify: Request) -> DialogInfo:
    return parse_dialog_info(notify.body)


async def test_a_call_across_front_ends_and_lamps_at_both(cluster: ParleyCluster) -> None:
    alice, bob = await phone(cluster, "alice", 0), await phone(cluster, "bob", 1, register=True)
    watchers = [await phone(cluster, "carol", 0), await phone(cluster, "carol", 1)]
    lamps = [await watcher.subscribe("dialog", user) for watcher in watchers for user in ("alice", "bob")]
    for lamp in lamps:
        assert calls(await lamp.notify()).dialogs == ()
    invite = await alice.invite(f"sip:bob@{DOMAIN}")
    ringing = await bob.expect("INVITE")
    bob.answer(ringing, 180)
    for lamp in lamps:
        await lamp.notify(lambda notify: [dialog.state for dialog in calls(notify).dialogs] == ["early"])
    bob.answer(ringing, 200)
    answer = await alice.response()
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    for lamp in lamps:
        await lamp.notify(lambda notify: [dialog.state for dialog in calls(notify).dialogs] == ["confirmed"])
    # The front end that tells of the call is killed: nobody will say that it ended.
    cluster.front_ends[0].kill()
    for lamp in lamps[2:]:
        gone = await lamp.notify(lambda notify: [d.ended for d in calls(notify).dialogs] == ["error"], timeout=40)
        assert [dialog.state for dialog in calls(gone).dialogs] == ["terminated"]


async def test_a_call_is_over_when_its_front_end_came_back_without_it(cluster: ParleyCluster) -> None:
    alice, bob = await phone(cluster, "alice", 0), await phone(cluster, "bob", 1, register=True)
    lamp = await (await phone(cluster, "carol", 1)).subscribe("dialog", "bob")
    await lamp.notify()
    await alice.invite(f"sip:bob@{DOMAIN}")
    bob.answer(await bob.expect("INVITE"), 180)
    await lamp.notify(lambda notify: [dialog.state for dialog in calls(notify).dialogs] == ["early"])
    cluster.front_ends[0].kill()
    cluster.front_ends[0].launch()
    await cluster.front_ends[0].ready()
    await lamp.notify(lambda notify: [dialog.ended for dialog in calls(notify).dialogs] == ["error"], timeout=30)


async def test_what_was_subscribed_to_outlives_every_process_of_presence(cluster: ParleyCluster) -> None:
    alice = await phone(cluster, "alice", 0, register=True)
    watchers = await alice.subscribe("presence.winfo")
    await watchers.notify()
    lamp = await alice.subscribe("dialog", "bob")
    await lamp.notify()
    for node in cluster.presences:
        node.kill()
    cluster.valkey.kill()
    cluster.valkey.start()
    for node in cluster.presences:
        node.launch()
    await asyncio.gather(*(node.ready() for node in cluster.presences))
    bob = await phone(cluster, "bob", 1)
    for _ in range(50):
        kept = await bob.subscribe("presence", "alice")
        if kept.answer.status != 503:
            break
        await asyncio.sleep(0.2)
    assert kept.answer.status == 200
    told = parse_watcherinfo((await watchers.notify(timeout=20)).body)
    assert (told.state, told.version) == ("partial", 1)
    assert [(w.uri, w.status) for w in told.lists[0].watchers] == [(f"sip:bob@{DOMAIN}", "active")]
    carol = await phone(cluster, "carol", 1, register=True)
    invite = await bob.invite(f"sip:carol@{DOMAIN}")
    carol.answer(await carol.expect("INVITE"), 486)
    bob.acknowledge(invite, await bob.response())
    ended = calls(await lamp.notify(lambda n: any(d.ended == "rejected" for d in calls(n).dialogs), timeout=20))
    assert ended.version == lamp.numbers[-1] - 1
    cluster.presences[0].kill()
    assert (await kept.refresh(expires=0)).status in (200, 503)


async def test_two_services_tell_of_a_user_in_order(cluster: ParleyCluster) -> None:
    """Whichever process a SUBSCRIBE and an event go to, the last notification has the last state."""
    alice, bob = await phone(cluster, "alice", 0), await phone(cluster, "bob", 1, register=True)
    lamps = [await (await phone(cluster, "carol", side)).subscribe("dialog", "bob") for side in (0, 1, 0, 1)]
    for _ in range(6):
        invite = await alice.invite(f"sip:bob@{DOMAIN}")
        ringing = await bob.expect("INVITE")
        bob.answer(ringing, 180)
        await asyncio.gather(*(lamp.refresh() for lamp in lamps))
        bob.answer(ringing, 486)
        alice.acknowledge(invite, await alice.response())
    for lamp in lamps:
        await lamp.notify(lambda notify: sum(d.ended == "rejected" for d in calls(notify).dialogs) == 6)
        while not lamp.told.empty():
            shown = calls(await lamp.notify()).dialogs
            assert [dialog.state for dialog in shown if dialog.state != "terminated"] == []
