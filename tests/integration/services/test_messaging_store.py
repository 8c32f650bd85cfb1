"""Sessions and mailboxes on a real store, and on a cluster of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from parley.platform.store.client import Store
from parley.platform.store.shards import shard_of
from parley.proto.events.v1.message_pb2 import MessageUndelivered
from parley.proto.messaging.v1.state_pb2 import Session, StoredMessage
from services.messaging import keys
from services.messaging.config import MessagingConfig
from services.messaging.mailbox import Facts, Mailbox, decode_event
from services.messaging.repository import Deadlines, OutOfOrder, Sessions
from tests.integration.services.rig import all_keys, store_of
from tests.support.valkey import Valkey, ValkeyCluster

pytestmark = pytest.mark.valkey

ALICE = "sip:alice@example.test"
BOB = "sip:bob@example.test"
CAROL = "sip:carol@example.test"
SHARD = shard_of(ALICE)


@pytest.fixture
async def cluster_store(valkey_cluster: ValkeyCluster) -> AsyncIterator[Store]:
    async with store_of(valkey_cluster.url, cluster=True) as made:
        yield made


def session(number: int, peer: str = BOB) -> Session:
    return Session(id=f"{number:016x}", owner=ALICE, peer=peer, call_id=f"c{number}")


def message(text: bytes, sender: str = BOB) -> StoredMessage:
    return StoredMessage(request=text, sender=sender, stored_at_ms=1)


def mailbox(store: Store, **config: int) -> Mailbox:
    return Mailbox(store, MessagingConfig(**config))


async def sessions_hold(store: Store) -> None:
    sessions = Sessions(store, most=2)
    first, second = session(1), session(2, CAROL)
    assert await sessions.open(first, sent=1, received=0, ends_at_ms=100)
    used = await sessions.current(ALICE, BOB, 200)
    assert used is not None
    assert (used.session, used.number) == (first, 2)
    used = await sessions.current(ALICE, BOB, 300)
    assert used is not None
    assert used.number == 3
    assert await sessions.current(ALICE, CAROL, 300) is None
    assert await sessions.received(ALICE, first.id, 7, 400) == first
    assert await sessions.received(ALICE, first.id, 7, 400) == first  # sent again
    with pytest.raises(OutOfOrder):
        await sessions.received(ALICE, first.id, 6, 400)
    assert await sessions.received(BOB, first.id, 8, 400) is None
    assert await Deadlines(store).due(SHARD, 399, 10) == []
    assert await Deadlines(store).due(SHARD, 400, 10) == [f"s|{ALICE}|{first.id}"]

    assert await sessions.open(second, sent=0, received=5, ends_at_ms=100)
    assert not await sessions.open(session(3), sent=0, received=0, ends_at_ms=100)
    first.endpoint = "moved"
    await sessions.keep(first)
    assert await sessions.get(ALICE, first.id) == first
    assert await sessions.close(ALICE, first.id, BOB) == 3
    assert await sessions.close(ALICE, first.id, BOB) == -1
    await sessions.keep(first)
    assert await sessions.get(ALICE, first.id) is None
    assert await sessions.current(ALICE, BOB, 1) is None
    assert await sessions.close(ALICE, second.id, CAROL) == 0


async def test_sessions(store: Store, valkey: Valkey) -> None:
    await sessions_hold(store)
    assert all_keys(valkey) == set()


async def test_sessions_on_a_cluster(cluster_store: Store) -> None:
    await sessions_hold(cluster_store)


async def test_the_newest_session_of_a_peer_is_the_current_one(store: Store) -> None:
    sessions = Sessions(store, most=9)
    old, new = session(1), session(2)
    for one in (old, new):
        assert await sessions.open(one, sent=0, received=0, ends_at_ms=1)
    used = await sessions.current(ALICE, BOB, 1)
    assert used is not None
    assert used.session == new
    assert await sessions.close(ALICE, old.id, BOB) == 0
    used = await sessions.current(ALICE, BOB, 1)
    assert used is not None
    assert used.number == 2


async def test_one_process_opens_a_session_at_a_time(store: Store) -> None:
    sessions = Sessions(store, most=9)
    name = await sessions.begin_opening(ALICE, BOB)
    assert name
    assert await sessions.begin_opening(ALICE, BOB) == ""
    assert await sessions.begin_opening(ALICE, CAROL)
    await sessions.end_opening(ALICE, BOB, "somebody else's")
    assert await sessions.begin_opening(ALICE, BOB) == ""
    await sessions.end_opening(ALICE, BOB, name)
    assert await sessions.begin_opening(ALICE, BOB)


async def mailboxes_hold(store: Store) -> None:
    box = mailbox(store, max_stored=3)
    ids = [await box.put(ALICE, message(b"%d" % n), 100 + n) for n in range(3)]
    assert all(ids)
    assert await box.put(ALICE, message(b"more"), 100) is None
    assert await box.count(ALICE) == 3
    assert await Deadlines(store).due(SHARD, 100, 10) == [f"m|{ALICE}"]
    await box.look_again(ALICE, 500)
    assert await Deadlines(store).due(SHARD, 499, 10) == []
    event = MessageUndelivered(to_aor=ALICE, from_aor=BOB, reason=MessageUndelivered.REASON_EXPIRED)
    assert await box.remove(ALICE, ids[1] or "", event, "00-trace")
    assert not await box.remove(ALICE, ids[1] or "", event)
    record = decode_event(await store.execute("LPOP", keys.outbox_key(SHARD)))
    assert (record.topic, record.key, record.message, record.traceparent) == ("parley.messages", ALICE, event, "00-trace")
    assert await store.execute("LLEN", keys.outbox_key(SHARD)) == 0
    for n in (0, 2):
        first = await box.first(ALICE)
        assert first is not None
        assert first.message == message(b"%d" % n)
        assert first.id == ids[n]
        assert await box.remove(ALICE, first.id)
    assert await box.first(ALICE) is None


async def test_mailboxes(store: Store, valkey: Valkey) -> None:
    await mailboxes_hold(store)
    assert all_keys(valkey) == set()


async def test_mailboxes_on_a_cluster(cluster_store: Store) -> None:
    await mailboxes_hold(cluster_store)


async def test_bytes_are_counted_and_given_back(store: Store) -> None:
    box = mailbox(store, max_stored_bytes=1_000)
    big = await box.put(ALICE, message(b"x" * 800), 1)
    assert big is not None
    assert await box.put(ALICE, message(b"x" * 200), 1) is None
    small = await box.put(ALICE, message(b"x"), 1)
    assert small is not None
    assert await box.remove(ALICE, big)
    assert await box.put(ALICE, message(b"x" * 800), 1) is not None


async def test_pretending_answers_the_same_and_keeps_nothing(store: Store) -> None:
    box = mailbox(store, max_stored=1)
    assert await box.put(ALICE, message(b"x"), 1, pretend=True)
    assert await box.count(ALICE) == 0
    assert await Deadlines(store).due(SHARD, 10, 10) == []
    assert await box.put(ALICE, message(b"x"), 1)
    assert await store.execute("PTTL", keys.mailbox_size_key(ALICE)) == -1
    assert await box.put(ALICE, message(b"x"), 1, pretend=True) is None
    assert await box.count(ALICE) == 1


async def test_what_cannot_be_read_can_be_taken_out(store: Store) -> None:
    box = mailbox(store)
    await store.execute("RPUSH", keys.mailbox_key(ALICE), b"0" * 24 + b"\xff\xff")
    first = await box.first(ALICE)
    assert first is not None
    assert first.message is None
    assert await box.remove(ALICE, first.id)


async def test_what_is_kept_can_be_thrown_away(store: Store, valkey: Valkey) -> None:
    box = mailbox(store)
    await box.put(ALICE, message(b"x"), 1)
    await box.clear(ALICE)
    assert all_keys(valkey) == set()


async def test_one_process_empties_a_mailbox_at_a_time(store: Store) -> None:
    box = mailbox(store)
    name = await box.lock(ALICE, 50)
    assert name
    assert await box.lock(ALICE, 50) == ""
    assert await box.hold(ALICE, name, 20_000)
    assert not await box.hold(ALICE, "somebody else's", 20_000)
    await asyncio.sleep(0.1)
    assert await box.lock(ALICE, 50) == ""
    await box.unlock(ALICE, name)
    assert await box.lock(ALICE, 50)


async def test_a_fact_alone(store: Store) -> None:
    event = MessageUndelivered(to_aor=ALICE, status=480)
    key = await Facts(store).tell(event, "")
    assert decode_event(await store.execute("LPOP", key)).message == event
