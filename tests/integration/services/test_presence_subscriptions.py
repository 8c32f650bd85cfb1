"""Subscriptions in Redis: who is told of watchers; what a client renewed outlives what is said of the one before."""

from __future__ import annotations

import pytest

from parley.platform.clock import FakeClock
from parley.platform.store.client import Store
from parley.platform.store.shards import shard_of
from parley.proto.events.v1.presence_pb2 import WatcherChanged
from parley.proto.presence.v1 import state_pb2 as pb
from parley.proto.sip.v1.message_pb2 import Flow
from services.presence import keys
from services.presence.packages import DIALOG, LISTS, PRESENCE, WATCHERS
from services.presence.repository import PresenceRepository, decode_event
from tests.integration.services.rig import all_keys, store_of
from tests.support.valkey import Valkey, ValkeyCluster

pytestmark = pytest.mark.valkey

ALICE, BOB, CAROL = (f"sip:{user}@example.test" for user in ("alice", "bob", "carol"))


class Rig:
    """A repository and what it woke."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.woken: list[str] = []
        self.repository = PresenceRepository(store, self.woken.append, FakeClock(), call_check_s=30)

    async def told(self, aor: str) -> list[tuple[str, str]]:
        """The events of watchers of a user: who, and what happened."""
        raw = await self.store.execute("LRANGE", keys.outbox_key(shard_of(aor)), 0, -1)
        messages = [decode_event(entry).message for entry in raw]
        return [(one.watcher, one.event) for one in messages if isinstance(one, WatcherChanged) and one.aor == aor]


@pytest.fixture
def rig(store: Store) -> Rig:
    return Rig(store)


def subscription(*resources: str, event: str = PRESENCE, connection: int = 1, call_id: str = "c") -> pb.Subscription:
    made = pb.Subscription(
        id=f"i-{event}", watcher=BOB, event=event, target=resources[0], call_id=call_id, expires_at_ms=10**13,
        list=len(resources) > 1, resources=resources,
    )  # fmt: skip
    made.flow.CopyFrom(Flow(edge_uid="e", connection_id=connection))
    return made


async def watches(rig: Rig, target: str, package: str = "") -> list[int]:
    """The connections of those who watch."""
    return [one.flow.connection_id for one in await rig.repository.watchers(target, package)]


async def test_watchers_are_told_of_only_while_somebody_wants_to_know(rig: Rig) -> None:
    watching = subscription(ALICE)
    await rig.repository.keep(watching)
    assert await rig.told(ALICE) == []
    interested = subscription(ALICE, event=WATCHERS)
    interested.watcher = ALICE
    await rig.repository.keep(interested)
    await rig.repository.keep(watching)  # a refresh is nothing new
    assert await rig.told(ALICE) == []
    assert await rig.repository.end(watching, "rejected")
    await rig.repository.keep(watching)
    assert await rig.told(ALICE) == [(BOB, "rejected"), (BOB, "subscribe")]
    assert rig.woken == [keys.outbox_key(shard_of(ALICE))] * 2
    assert await watches(rig, ALICE, DIALOG) == []


@pytest.mark.parametrize("event", [PRESENCE, DIALOG])
async def test_what_a_client_renewed_is_not_ended_with_the_one_before(rig: Rig, event: str) -> None:
    before, renewed = subscription(ALICE, event=event), subscription(ALICE, event=event, connection=2, call_id="d")
    package = "" if event == PRESENCE else event
    await rig.repository.keep(before)
    await rig.repository.keep(renewed)
    assert not await rig.repository.end(before)
    assert not await rig.repository.move(before, Flow(edge_uid="e", connection_id=3))
    await rig.repository.forget(before, [ALICE])
    assert await watches(rig, ALICE, package) == [2]
    assert await rig.repository.move(renewed, Flow(edge_uid="e", connection_id=3))
    assert await watches(rig, ALICE, package) == [3]
    assert await rig.repository.end(renewed)
    assert await watches(rig, ALICE, package) == []
    assert not await rig.repository.end(renewed)
    assert await rig.repository.next_number(renewed) == 0


async def test_nothing_is_left_of_a_list(rig: Rig, valkey: Valkey) -> None:
    listed = subscription(ALICE, CAROL)
    listed.list_name = "contacts"
    await rig.repository.keep(listed, first=1)
    (entry,) = await rig.repository.watchers(CAROL)
    assert list(entry.resources) == []
    assert [one.id for one in await rig.repository.watchers(ALICE, LISTS)] == [listed.id]
    assert await rig.repository.next_number(entry) == 2
    less = subscription(ALICE, ALICE)
    less.list_name = "contacts"
    await rig.repository.keep(less, gone=[CAROL])
    assert await rig.repository.watchers(CAROL) == []
    (entry,) = await rig.repository.watchers(ALICE)
    assert await rig.repository.end(entry)
    assert all_keys(valkey) == set()


async def test_on_a_cluster(valkey_cluster: ValkeyCluster) -> None:
    async with store_of(valkey_cluster.url, cluster=True) as store:
        rig = Rig(store)
        listed = subscription(ALICE, BOB, CAROL)
        await rig.repository.keep(listed)
        assert [await watches(rig, one) for one in (ALICE, BOB, CAROL)] == [[1]] * 3
        assert await rig.repository.versions(listed) == dict.fromkeys((ALICE, BOB, CAROL), 0)
        assert await rig.repository.end(listed)
        assert [await watches(rig, one) for one in (ALICE, BOB, CAROL)] == [[]] * 3
