"""The messaging service as processes of its own, behind two front ends; what happens when one is killed in the middle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis

from parley.platform.store.shards import shard_of
from services.messaging.keys import deadlines_key, mailbox_lock_key
from tests.support.messages import Talk, accept, begin, client, gone, page, paged, phone, said
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import DOMAIN, ParleyCluster
from tests.support.sip_client import SipClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ParleyCluster]:
    async with ParleyCluster(tmp_path, registrars=1, presences=1, messagings=1) as running:
        yield running


async def until_taken(sender: SipClient, to: str, body: bytes) -> int:
    """Sends a text until it is acknowledged, as a user would; the answer."""
    while True:
        answer = await sender.ask(page(sender, to, body), timeout=40)
        if answer.status in (200, 202):
            return answer.status
        assert answer.status in (408, 503), answer
        await asyncio.sleep(0.2)


async def restarted(cluster: ParleyCluster) -> None:
    node = cluster.messagings[0]
    node.kill()
    node.launch()
    await node.ready()


async def test_what_was_acknowledged_is_delivered_after_a_kill(cluster: ParleyCluster) -> None:
    bob = await phone(cluster.ports[0], "bob")
    for text in (b"one", b"two"):
        assert await until_taken(bob, "alice", text) == 202
    await restarted(cluster)
    assert await until_taken(bob, "alice", b"three") == 202
    alice = await client(cluster.ports[1], "alice")
    await accept(alice)
    assert [(await said(alice)).body for _ in range(3)] == [b"one", b"two", b"three"]
    await gone(alice, bob)


async def test_who_signs_in_is_delivered_to_though_the_process_that_was_told_dies(cluster: ParleyCluster) -> None:
    aor, node = f"sip:alice@{DOMAIN}", cluster.messagings[0]
    store = redis.Redis.from_url(cluster.valkey.url)

    async def due_within(seconds: float, at_least: float = -1e6) -> bool:
        due_ms = await asyncio.to_thread(store.zscore, deadlines_key(shard_of(aor)), f"m|{aor}")
        return due_ms is not None and at_least < float(due_ms) / 1000 - time.time() < seconds

    async def is_left_alone() -> bool:
        return not await asyncio.to_thread(store.exists, mailbox_lock_key(aor))

    bob = await phone(cluster.ports[0], "bob")
    assert await until_taken(bob, "alice", b"one") == 202
    await eventually(lambda: due_within(1e6, at_least=600), what="who is not there is not looked for often")
    await eventually(is_left_alone, what="nobody delivers: a mailbox whose process dies then is locked for a while")
    # It is told of the sign-in, and has not got to it when it dies.
    node._config["messaging"]["sign_in_seconds"] = 3600.0
    await restarted(cluster)
    alice = await phone(cluster.ports[1], "alice")
    await eventually(lambda: due_within(60), what="the mailbox is to be looked at soon")
    node._config["messaging"]["sign_in_seconds"] = 0.1
    await restarted(cluster)
    assert (await paged(alice)).body == b"one"
    store.close()
    await gone(alice, bob)


async def test_a_session_goes_on_after_a_kill_and_nothing_acknowledged_is_lost(cluster: ParleyCluster) -> None:
    alice, bob = await client(cluster.ports[0], "alice"), await phone(cluster.ports[1], "bob")
    talk = await begin(alice, "bob")
    assert isinstance(talk, Talk)
    asking = asyncio.create_task(talk.say("MESSAGE", b"before"))
    assert (await paged(bob)).body == b"before"
    assert (await asking).status == 200

    seen: list[bytes] = []

    async def show() -> None:
        while True:
            message = await alice.expect("MESSAGE", 60)
            assert message.call_id == talk.call_id  # the same dialog before and after
            seen.append(message.body)
            alice.answer(message, 200)

    showing = asyncio.create_task(show())
    restart: asyncio.Task[None] | None = None
    for number in range(20):
        await until_taken(bob, "alice", b"%d" % number)
        if number == 7:
            restart = asyncio.create_task(restarted(cluster))
    assert restart is not None
    await restart
    showing.cancel()
    await asyncio.gather(showing, return_exceptions=True)
    assert list(dict.fromkeys(seen)) == [b"%d" % number for number in range(20)]
    assert len(seen) <= 21  # the one under way may have been shown before its sender could be told

    going_on = asyncio.create_task(say_again(talk, b"after"))
    assert (await paged(bob)).body == b"after"
    assert (await going_on) == 200
    await gone(alice, bob)


async def say_again(talk: Talk, body: bytes) -> int:
    """Says something in a session; while the service is away it is said again."""
    while True:
        status = (await talk.say("MESSAGE", body)).status
        if status != 503:
            return status
        await asyncio.sleep(0.2)


async def test_while_it_is_away_there_is_a_clear_answer(cluster: ParleyCluster) -> None:
    alice, bob = await client(cluster.ports[0], "alice"), await phone(cluster.ports[0], "bob")
    cluster.messagings[0].kill()
    refused = await bob.ask(page(bob, "alice", b"x"))
    assert refused.status == 503
    assert refused.get("Retry-After")
    answer = await begin(alice, "bob")
    assert not isinstance(answer, Talk)
    assert answer.status == 503
    cluster.messagings[0].launch()
    await cluster.messagings[0].ready()
    assert await until_taken(bob, "carol", b"x") == 202
    cluster.presences[0].kill()  # nobody knows who is blocked
    unknown = await bob.ask(page(bob, "carol", b"x"))
    assert (unknown.status, "Retry-After" in unknown) == (503, True)
    await gone(alice, bob)


async def test_two_processes_open_one_session(tmp_path: Path) -> None:
    async with ParleyCluster(tmp_path, registrars=1, presences=1, messagings=2) as cluster:
        alice = await client(cluster.ports[0], "alice")
        writers = [await phone(cluster.ports[index], "bob") for index in (0, 1)]
        sending = [asyncio.create_task(writer.ask(page(writer, "alice", b"hi"))) for writer in writers]
        talk = await accept(alice)
        for _ in sending:
            assert (await said(alice)).call_id == talk.call_id
        assert [(await done).status for done in sending] == [200, 200]
        assert await no_more_invites(alice)
        await gone(alice, *writers)


async def no_more_invites(owner: OcsClient) -> bool:
    try:
        await owner.expect("INVITE", 1)
    except TimeoutError:
        return True
    return False
