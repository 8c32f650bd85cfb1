"""Leases of front ends, sweeps, and listing, on a real store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc import StatusCode

from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.platform.store.shards import shard_of
from parley.proto.registrar.v1 import registrar_pb2 as pb
from services.registrar import keys
from tests.integration.services.rig import ALICE, OK, Registrar, all_keys, contact, store_of
from tests.support.ports import free_port
from tests.support.valkey import Valkey, ValkeyCluster

pytestmark = pytest.mark.valkey


async def listed(registrar: Registrar, **request: Any) -> list[tuple[str, str]]:
    """All pages of ListBindings: address of record and contact."""
    entries: list[tuple[str, str]] = []
    token = ""
    while True:
        page = await registrar.surface.ListBindings(pb.ListBindingsRequest(page_token=token, **request), None)
        entries += [(entry.aor, entry.binding.contact) for entry in page.entries]
        token = page.next_page_token
        if not token:
            return entries


async def live_edges(registrar: Registrar) -> dict[str, str]:
    """What ListEdges says."""
    response = await registrar.surface.ListEdges(pb.ListEdgesRequest(), None)
    return {edge.edge_uid: edge.address for edge in response.edges}


# Leases


async def test_a_lookup_says_where_the_flow_is(registrar: Registrar, clock: FakeClock) -> None:
    await registrar.register(contact(), edge="edge-1")
    assert [binding.edge_address for binding in await registrar.lookup()] == [""]
    await registrar.lease("edge-1", ttl_ms=5000)
    assert [binding.edge_address for binding in await registrar.lookup()] == ["ipv4:edge-1:9090"]
    assert await live_edges(registrar) == {"edge-1": "ipv4:edge-1:9090"}
    clock.advance(5.1)
    assert [binding.edge_address for binding in await registrar.lookup()] == [""]
    assert await live_edges(registrar) == {}


async def test_a_lease_kept_by_another_registrar_is_known_at_once(valkey: Valkey, clock: FakeClock) -> None:
    async with store_of(valkey.url) as left, store_of(valkey.url) as right:
        one, two = Registrar(left, clock), Registrar(right, clock)
        await one.lease("edge-1")
        await one.register(contact(), edge="edge-1")
        assert [binding.edge_address for binding in await two.lookup()] == ["ipv4:edge-1:9090"]


async def test_a_listing_knows_at_once_of_a_restart_told_to_another_registrar(valkey: Valkey, clock: FakeClock) -> None:
    async with store_of(valkey.url) as left, store_of(valkey.url) as right:
        one, two = Registrar(left, clock), Registrar(right, clock)
        await one.lease("edge-1", first_connection=1)
        await one.register(contact(), edge="edge-1", connection=LAST_RUN)
        assert [binding.edge_address for binding in await two.lookup()] == ["ipv4:edge-1:9090"]
        await one.lease("edge-1", first_connection=THIS_RUN)
        for aor in ("", ALICE):
            page = await two.surface.ListBindings(pb.ListBindingsRequest(aor=aor), None)
            assert [entry.binding.edge_address for entry in page.entries] == [""]


@pytest.mark.parametrize(
    "request_",
    [
        pb.KeepLeaseRequest(address="a:1", ttl_ms=1),
        pb.KeepLeaseRequest(edge_uid="e", ttl_ms=1),
        pb.KeepLeaseRequest(edge_uid="e", address="a:1"),
    ],
)
async def test_a_lease_that_says_too_little_is_refused(registrar: Registrar, request_: pb.KeepLeaseRequest) -> None:
    with pytest.raises(RpcError) as caught:
        await registrar.surface.KeepLease(request_, None)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT


# Sweeps


async def test_what_has_ended_is_taken_away_and_told(registrar: Registrar, clock: FakeClock, valkey: Valkey) -> None:
    await registrar.register(contact("sip:a@h", expires=60))
    await registrar.register(contact("sip:b@h", expires=600), call_id="c2")
    assert await registrar.sweeper.sweep() == 0
    clock.advance(61)
    registrar.woken.clear()
    assert await registrar.sweeper.sweep() == 1
    assert registrar.woken == [shard_of(ALICE)]
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED", "EXPIRED"]
    assert [binding.contact for binding in await registrar.lookup()] == ["sip:b@h"]
    clock.advance(600)
    assert await registrar.sweeper.sweep() == 1
    assert [event.remaining for event in await registrar.events()] == [1, 2, 1, 0]
    assert all_keys(valkey) == {keys.outbox_key(shard_of(ALICE))}


async def test_two_registrars_that_sweep_share_the_work(valkey: Valkey, clock: FakeClock) -> None:
    async with store_of(valkey.url) as left, store_of(valkey.url) as right:
        one, two = Registrar(left, clock), Registrar(right, clock)
        users = [f"sip:user{index}@example.test" for index in range(50)]
        await asyncio.gather(*(one.register(contact(expires=60), aor=user) for user in users))
        clock.advance(61)
        assert sum(await asyncio.gather(one.sweeper.sweep(), two.sweeper.sweep())) == 50
        for user in users:
            assert await one.kinds(user) == ["REGISTERED", "EXPIRED"]


async def test_more_than_one_chunk_is_swept(registrar: Registrar, clock: FakeClock) -> None:
    same_shard = [user for index in range(80_000) if shard_of(user := f"sip:u{index}@h") == 5][:1100]
    await asyncio.gather(*(registrar.register(contact(expires=60), aor=user, edge="e") for user in same_shard[:550]))
    await asyncio.gather(*(registrar.register(contact(expires=600), aor=user, edge="e") for user in same_shard[550:]))
    clock.advance(61)
    assert await registrar.sweeper.sweep() == 550
    await registrar.release("e")
    assert await registrar.steady() == len(same_shard) - 550


async def test_a_dead_front_end_loses_its_bindings_after_the_grace(registrar: Registrar, clock: FakeClock) -> None:
    await registrar.steady()
    await registrar.lease("edge-1", ttl_ms=2000)
    await registrar.lease("edge-2", ttl_ms=3_600_000)
    await registrar.register(contact("sip:a@h"), edge="edge-1")
    await registrar.register(contact("sip:b@h"), edge="edge-2", call_id="c2")
    for _ in range(11):
        clock.advance(1)
        assert await registrar.sweeper.sweep() == 0
    clock.advance(1)
    assert await registrar.sweeper.sweep() == 1
    assert [binding.contact for binding in await registrar.lookup()] == ["sip:b@h"]
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED", "FLOW_LOST"]
    assert (await registrar.events())[-1].edge_uid == "edge-1"
    assert await registrar.edges.gone(0) == []


async def test_clients_of_a_front_end_that_leaves_have_a_grace_to_come_back(registrar: Registrar, clock: FakeClock) -> None:
    await registrar.steady()
    await registrar.lease("edge-1", ttl_ms=3_600_000)
    await registrar.register(contact("sip:a@h"), edge="edge-1")
    await registrar.register(contact("sip:b@h"), edge="edge-1", call_id="c2")
    await registrar.release("edge-1")
    for _ in range(9):
        assert [binding.edge_address for binding in await registrar.lookup()] == ["", ""]
        clock.advance(1)
        assert await registrar.sweeper.sweep() == 0
    await registrar.lease("edge-2")
    await registrar.register(contact("sip:b@h"), edge="edge-2", call_id="c2", cseq=2)
    clock.advance(1)
    assert await registrar.sweeper.sweep() == 1
    assert [binding.contact for binding in await registrar.lookup()] == ["sip:b@h"]
    assert await registrar.edges.gone(0) == []


async def test_leases_that_ended_while_nobody_could_renew_them_do_not_count(registrar: Registrar, clock: FakeClock) -> None:
    await registrar.steady()
    await registrar.lease("edge-1", ttl_ms=5000)
    await registrar.register(contact(), edge="edge-1")
    clock.advance(60)  # the store was away, or the machine stood still
    assert await registrar.sweeper.sweep() == 0
    clock.advance(1)
    await registrar.lease("edge-1", ttl_ms=60_000)
    for _ in range(20):
        clock.advance(1)
        assert await registrar.sweeper.sweep() == 0
    assert len(await registrar.lookup()) == 1


async def test_a_registrar_that_begins_waits_a_grace_before_it_takes_bindings(store: Store, clock: FakeClock) -> None:
    before = Registrar(store, clock)
    await before.lease("edge-1", ttl_ms=1000)
    await before.register(contact(), edge="edge-1")
    clock.advance(100)
    registrar = Registrar(store, clock)
    assert await registrar.sweeper.sweep() == 0
    await registrar.steady()
    assert await registrar.lookup() == []


async def test_a_front_end_that_came_back_is_not_forgotten(registrar: Registrar, clock: FakeClock) -> None:
    await registrar.lease("edge-1", ttl_ms=1000)
    clock.advance(100)
    assert await registrar.edges.gone(10) == ["edge-1"]
    await registrar.lease("edge-1")
    await registrar.edges.forget("edge-1", 10)
    assert await live_edges(registrar) == {"edge-1": "ipv4:edge-1:9090"}


async def test_a_binding_that_moved_is_not_swept_with_its_old_front_end(registrar: Registrar) -> None:
    await registrar.register(contact(), edge="edge-1")
    await registrar.register(contact(), edge="edge-2", cseq=2)
    await registrar.release("edge-1")
    assert await registrar.steady() == 0
    assert [binding.flow.edge_uid for binding in await registrar.lookup()] == ["edge-2"]


# Front ends that are started again under their uid

LAST_RUN, THIS_RUN, UDP = 9_999_999_999_999_999, 10_000_000_000_000_000, 1 << 63


async def test_flows_of_the_run_before_are_held_by_nobody(registrar: Registrar) -> None:
    await registrar.lease("edge-1", first_connection=1)
    for index, connection in enumerate((LAST_RUN, THIS_RUN, UDP + 5)):
        user = f"sip:user{index}@h"
        await registrar.register(contact(), aor=user, edge="edge-1", connection=connection)
        assert [binding.edge_address for binding in await registrar.lookup(user)] == ["ipv4:edge-1:9090"]
    await registrar.lease("edge-1", first_connection=THIS_RUN)
    reached = [(await registrar.lookup(f"sip:user{index}@h"))[0].edge_address for index in range(3)]
    assert reached == ["", "ipv4:edge-1:9090", "ipv4:edge-1:9090"]
    response = await registrar.surface.ListEdges(pb.ListEdgesRequest(), None)
    assert [edge.first_connection for edge in response.edges] == [THIS_RUN]


async def test_bindings_over_flows_of_the_run_before_are_swept_after_the_grace(
    registrar: Registrar, clock: FakeClock, valkey: Valkey
) -> None:
    await registrar.lease("edge-1", ttl_ms=3_600_000, first_connection=1)
    await registrar.register(contact("sip:lost@h"), edge="edge-1", connection=LAST_RUN)
    await registrar.register(contact("sip:back@h"), edge="edge-1", connection=LAST_RUN, call_id="c2")
    await registrar.register(contact("sip:udp@h"), edge="edge-1", connection=UDP + 5, call_id="c3")
    await registrar.register(contact("sip:other@h"), edge="edge-2", connection=LAST_RUN, call_id="c4")
    await registrar.lease("edge-1", ttl_ms=3_600_000, first_connection=THIS_RUN)
    await registrar.register(contact("sip:back@h"), edge="edge-1", connection=THIS_RUN, call_id="c2", cseq=2)
    clock.advance(9)
    assert await registrar.sweeper.sweep() == 0
    clock.advance(1)
    registrar.woken.clear()
    assert await registrar.sweeper.sweep() == 1
    assert registrar.woken == [shard_of(ALICE)]
    assert {binding.contact for binding in await registrar.lookup()} == {"sip:back@h", "sip:udp@h", "sip:other@h"}
    assert await registrar.kinds() == ["REGISTERED"] * 4 + ["FLOW_LOST"]
    assert await registrar.edges.restarted(0) == []
    await registrar.release("edge-1")
    await registrar.steady()
    await registrar.edges.forget("edge-1", 0)
    assert not [key for key in all_keys(valkey) if "{edges}" in key]


async def test_renewals_of_a_run_are_no_new_start(registrar: Registrar, clock: FakeClock) -> None:
    for _ in range(3):
        await registrar.lease("edge-1", first_connection=THIS_RUN)
    await registrar.lease("edge-1")  # of a release that does not say it
    assert await registrar.edges.restarted(0) == []


async def test_a_start_that_follows_during_a_sweep_is_not_forgotten(registrar: Registrar, clock: FakeClock) -> None:
    await registrar.lease("edge-1", first_connection=1)
    await registrar.lease("edge-1", first_connection=2)
    (restart,) = await registrar.edges.restarted(0)
    await registrar.lease("edge-1", first_connection=3)
    await registrar.edges.forget_restart(restart)
    assert [later.first_connection for later in await registrar.edges.restarted(0)] == [3]


async def test_more_than_one_chunk_of_lost_flows_is_swept(registrar: Registrar, clock: FakeClock) -> None:
    same_shard = [user for index in range(120_000) if shard_of(user := f"sip:u{index}@h") == 5][:1600]
    await registrar.lease("e", ttl_ms=3_600_000, first_connection=1)
    await asyncio.gather(
        *(
            registrar.register(contact(), aor=user, edge="e", connection=LAST_RUN if index % 2 else UDP + index)
            for index, user in enumerate(same_shard)
        )
    )
    await registrar.lease("e", ttl_ms=3_600_000, first_connection=THIS_RUN)
    clock.advance(10)
    assert await registrar.sweeper.sweep() == 800
    assert await registrar.sweeper.sweep() == 0
    assert len(await registrar.listed()) == 800


# Listing


async def test_all_bindings_are_listed_page_by_page(registrar: Registrar) -> None:
    users = [f"sip:user{index}@example.test" for index in range(120)]
    await asyncio.gather(*(registrar.register(contact(), aor=user) for user in users))
    await registrar.register(contact("sip:b@h"), aor=users[0], call_id="c2")
    for size in (1, 7, 100, 121, 1000):
        entries = await listed(registrar, page_size=size)
        assert len(entries) == 121
        assert {aor for aor, _ in entries} == set(users)
    assert len(await listed(registrar, aor=users[0])) == 2
    assert await listed(registrar, aor="sip:nobody@example.test") == []


async def test_no_binding_is_missed_while_others_are_refreshed_and_end(registrar: Registrar, clock: FakeClock) -> None:
    users = [user for index in range(5000) if shard_of(user := f"sip:u{index}@h") == 9][:30]
    for user in users:
        await registrar.register(contact(), aor=user)
        clock.advance(0.01)
    first = await registrar.surface.ListBindings(pb.ListBindingsRequest(page_size=10), None)
    seen = {entry.aor for entry in first.entries}
    assert seen == set(users[:10])
    for user in users[:10:2]:
        await registrar.register(contact(), aor=user, cseq=2)
    await registrar.register(contact(expires=0), aor=users[9], cseq=2)
    token = first.next_page_token
    while token:
        page = await registrar.surface.ListBindings(pb.ListBindingsRequest(page_size=10, page_token=token), None)
        seen |= {entry.aor for entry in page.entries}
        token = page.next_page_token
    assert seen == set(users)


async def test_ended_bindings_are_not_listed(registrar: Registrar, clock: FakeClock) -> None:
    await registrar.register(contact(expires=60))
    clock.advance(61)
    assert await listed(registrar) == []
    assert await listed(registrar, aor=ALICE) == []


@pytest.mark.parametrize("token", ["x", "!", "OTk5CjEKYQ==", "NQp4Cng="])
async def test_a_page_token_of_somebody_elses_is_refused(registrar: Registrar, token: str) -> None:
    with pytest.raises(RpcError) as caught:
        await registrar.surface.ListBindings(pb.ListBindingsRequest(page_token=token), None)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT


# Faults


async def test_without_a_store_every_answer_is_unavailable(clock: FakeClock) -> None:
    async with store_of(f"redis://127.0.0.1:{free_port()}/0") as store:
        registrar = Registrar(store, clock)
        assert (await registrar.register(contact())).status.code == StatusCode.UNAVAILABLE.value[0]
        (found,) = await registrar.surface.lookup([pb.BindingLookup(id=1, aor=ALICE)])
        assert found.status.code == StatusCode.UNAVAILABLE.value[0]
        with pytest.raises(RpcError) as caught:
            await registrar.lease("edge-1")
        assert caught.value.code is StatusCode.UNAVAILABLE
        with pytest.raises(StoreError):
            await registrar.sweeper.sweep()


async def test_registrations_survive_the_store_and_the_script_is_sent_again(
    tmp_path_factory: pytest.TempPathFactory, clock: FakeClock
) -> None:
    with Valkey(tmp_path_factory.mktemp("valkey"), "--appendfsync", "always") as server:
        async with store_of(server.url) as store:
            registrar = Registrar(store, clock)
            await registrar.register(contact())
            server.kill()
            # the first command finds the connection broken, or the server away
            status = (await registrar.register(contact(), cseq=2)).status.code
            assert status == StatusCode.UNAVAILABLE.value[0]
            server.start()
        async with store_of(server.url) as store:
            registrar = Registrar(store, clock)
            assert len(await registrar.lookup()) == 1
            server.ask("SCRIPT", "FLUSH")
            assert (await registrar.register(contact(), cseq=3)).outcome == OK
            assert await registrar.kinds() == ["REGISTERED"]


async def test_pages_and_sweeps_on_a_cluster(valkey_cluster: ValkeyCluster, clock: FakeClock) -> None:
    async with store_of(valkey_cluster.url, cluster=True) as store:
        registrar = Registrar(store, clock)
        users = [f"sip:user{index}@example.test" for index in range(60)]
        await asyncio.gather(*(registrar.register(contact(expires=60), aor=user) for user in users))
        assert {aor for aor, _ in await listed(registrar, page_size=11)} == set(users)
        clock.advance(61)
        assert await registrar.sweeper.sweep() == 60
        assert await listed(registrar) == []
