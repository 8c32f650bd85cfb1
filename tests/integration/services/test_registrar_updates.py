"""REGISTER on a real store: what is kept, what is replaced, what is refused, and which events are written."""

from __future__ import annotations

import asyncio

import pytest

from parley.platform.clock import FakeClock
from parley.platform.store.client import Store
from parley.platform.store.shards import shard_of
from parley.sip.gruu import TemporaryGruus
from parley.sip.uri import parse_uri
from services.registrar import keys
from tests.integration.services.rig import (
    ALICE,
    GRUU_KEY,
    OK,
    OUT_OF_ORDER,
    TOO_BRIEF,
    TOO_MANY,
    Registrar,
    all_keys,
    contact,
    store_of,
)
from tests.support.valkey import Valkey, ValkeyCluster

pytestmark = pytest.mark.valkey

ONE = "sip:alice@192.0.2.1:5060"
TWO = "sip:alice@192.0.2.2:5060"


async def test_a_registration_is_answered_with_the_whole_set(registrar: Registrar, clock: FakeClock) -> None:
    now_ms = round(clock.wall() * 1000)
    result = await registrar.register(contact(ONE, expires=600))
    assert result.outcome == OK
    assert result.now_ms == now_ms
    (binding,) = result.bindings
    assert (binding.contact, binding.contact_header, binding.user_agent) == (ONE, f"<{ONE}>", "test")
    assert (binding.call_id, binding.cseq, binding.flow.edge_uid, binding.flow.connection_id) == ("c1", 1, "edge-1", 1)
    assert binding.expires_at_ms == now_ms + 600_000
    assert binding.registered_at_ms == now_ms
    result = await registrar.register(contact(TWO), call_id="c2")
    assert {binding.contact for binding in result.bindings} == {ONE, TWO}


@pytest.mark.parametrize("others", [0, 1])
async def test_a_refresh_moves_the_end_and_makes_no_event(registrar: Registrar, clock: FakeClock, others: int) -> None:
    for index in range(others):
        await registrar.register(contact(f"sip:other@192.0.2.{index}", q=100), call_id=f"other {index}")
    before = await registrar.kinds()
    await registrar.register(contact(), connection=1)
    (first, *_) = await registrar.lookup()
    clock.advance(300)
    woken = len(registrar.woken)
    await registrar.register(contact(expires=700), cseq=2, connection=2)
    (binding, *rest) = await registrar.lookup()
    assert len(rest) == others
    assert binding.expires_at_ms == first.expires_at_ms + 400_000
    assert binding.registered_at_ms == first.registered_at_ms
    assert (binding.cseq, binding.flow.connection_id) == (2, 2)
    assert await registrar.kinds() == [*before, "REGISTERED"]
    assert len(registrar.woken) == woken
    (entry,) = [entry for entry in await registrar.listed() if entry.binding.contact == binding.contact]
    assert entry.binding.expires_at_ms == binding.expires_at_ms


async def test_a_phone_that_comes_by_another_front_end_is_told_of(registrar: Registrar) -> None:
    await registrar.register(contact(), edge="edge-1")
    await registrar.register(contact(), edge="edge-2", cseq=2)
    await registrar.register(contact(), edge="edge-2", cseq=3)
    assert [event.edge_uid for event in await registrar.events()] == ["edge-1", "edge-2"]
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED"]
    assert len(await registrar.lookup()) == 1


async def test_no_contact_asks_and_changes_nothing(registrar: Registrar) -> None:
    await registrar.register(contact())
    result = await registrar.register(call_id="other", cseq=1)
    assert [binding.contact for binding in result.bindings] == [ONE]
    assert not (await registrar.register(aor="sip:bob@example.test")).bindings
    assert await registrar.kinds() == ["REGISTERED"]


async def test_events_tell_what_happened_in_order(registrar: Registrar) -> None:
    await registrar.register(contact(ONE, epid="aa", instance="urn:x"))
    await registrar.register(contact(TWO), call_id="c2")
    await registrar.register(contact(ONE, epid="aa", expires=0), cseq=2)
    events = await registrar.events()
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED", "UNREGISTERED"]
    assert [(event.sequence, event.remaining) for event in events] == [(1, 1), (2, 2), (3, 1)]
    gone = events[2]
    assert (gone.aor, gone.contact, gone.epid, gone.edge_uid, gone.user_agent, gone.call_id) == (
        ALICE, ONE, "aa", "edge-1", "test", "c1",
    )  # fmt: skip


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("cseq", [1, 2, 3])
async def test_out_of_order_changes_nothing(registrar: Registrar, cseq: int, others: int) -> None:
    for index in range(others):
        await registrar.register(contact(f"sip:other@192.0.2.{index}", q=100), call_id=f"other {index}")
    await registrar.register(contact(expires=600), cseq=3)
    result = await registrar.register(contact(expires=900), cseq=cseq)
    assert (result.outcome, list(result.bindings)) == (OUT_OF_ORDER, [])
    assert (await registrar.register(contact(expires=0), cseq=cseq)).outcome == OUT_OF_ORDER
    binding = (await registrar.lookup())[0]
    assert binding.cseq == 3
    assert binding.expires_at_ms == result.now_ms + 600_000


async def test_one_contact_out_of_order_refuses_the_whole_request(registrar: Registrar) -> None:
    await registrar.register(contact(ONE), cseq=5)
    result = await registrar.register(contact(TWO), contact(ONE), cseq=4)
    assert result.outcome == OUT_OF_ORDER
    assert [binding.contact for binding in await registrar.lookup()] == [ONE]


async def test_the_same_request_again_is_answered_again(registrar: Registrar) -> None:
    first = await registrar.register(contact(ONE), contact(TWO), cseq=3)
    again = await registrar.register(contact(ONE), contact(TWO), cseq=3)
    assert again.outcome == OK
    assert again.bindings == first.bindings
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED"]
    await registrar.register(contact(ONE, expires=0), cseq=4)
    assert (await registrar.register(contact(ONE, expires=0), cseq=4)).outcome == OK


async def test_the_same_request_over_another_connection_takes_over(registrar: Registrar) -> None:
    await registrar.register(contact(), cseq=3, connection=1)
    await registrar.register(contact(), cseq=3, connection=2)
    (binding,) = await registrar.lookup()
    assert binding.flow.connection_id == 2


async def test_another_call_id_starts_anew(registrar: Registrar) -> None:
    await registrar.register(contact(), cseq=30)
    result = await registrar.register(contact(), call_id="after restart", cseq=1)
    assert result.outcome == OK
    assert [binding.call_id for binding in result.bindings] == ["after restart"]


async def test_star_removes_everything(registrar: Registrar, valkey: Valkey) -> None:
    await registrar.register(contact(ONE))
    await registrar.register(contact(TWO), call_id="c2", cseq=9)
    assert (await registrar.remove_all(call_id="c2", cseq=9)).outcome == OUT_OF_ORDER
    assert len(await registrar.lookup()) == 2
    result = await registrar.remove_all(call_id="c3", cseq=1)
    assert (result.outcome, len(result.bindings)) == (OK, 0)
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED", "UNREGISTERED", "UNREGISTERED"]
    assert all_keys(valkey) == {keys.outbox_key(shard_of(ALICE))}


async def test_the_same_instance_and_reg_id_replace_whatever_the_contact(registrar: Registrar) -> None:
    await registrar.register(contact(ONE, instance="urn:x", reg_id=1))
    await registrar.register(contact(ONE, instance="urn:x", reg_id=2), call_id="c2", connection=2)
    result = await registrar.register(contact(TWO, instance="urn:x", reg_id=1), call_id="c3", connection=3)
    assert {(binding.contact, binding.reg_id) for binding in result.bindings} == {(TWO, 1), (ONE, 2)}
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED"]


async def test_the_same_endpoint_id_replaces_and_its_old_connection_may_close(registrar: Registrar) -> None:
    await registrar.register(contact(ONE, epid="ab"), connection=1)
    await registrar.register(contact(TWO, epid="ab"), call_id="c2", edge="edge-2", connection=1)
    await registrar.close_flow("edge-1", 1)
    (binding,) = await registrar.lookup()
    assert (binding.contact, binding.flow.edge_uid) == (TWO, "edge-2")
    await registrar.close_flow("edge-2", 1)
    assert await registrar.lookup() == []
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED", "FLOW_LOST"]


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("SIP:alice@192.0.2.1:5060", True),
        ("sip:%61lice@192.0.2.1:5060", True),
        ("sip:alice@192.0.2.1:5060;ob", True),
        ("sip:alice@192.0.2.1:5060;transport=tcp", False),
        ("sip:Alice@192.0.2.1:5060", False),
        ("sip:alice@192.0.2.1", False),
        ("sips:alice@192.0.2.1:5060", False),
    ],
)
async def test_contacts_are_compared_as_uris(registrar: Registrar, valkey: Valkey, other: str, same: bool) -> None:
    await registrar.register(contact(ONE))
    result = await registrar.register(contact(other), call_id="c2", connection=2)
    assert len(result.bindings) == (1 if same else 2)
    await registrar.remove_all(call_id="c3")
    assert all_keys(valkey) == {keys.outbox_key(shard_of(ALICE))}


async def test_two_phones_behind_alike_addresses_are_told_apart_by_their_parameters(registrar: Registrar) -> None:
    await registrar.register(contact(f"{ONE};rinstance=a"))
    result = await registrar.register(contact(f"{ONE};rinstance=b"), call_id="c2", connection=2)
    assert len(result.bindings) == 2
    result = await registrar.register(contact(f"{ONE};RINSTANCE=A;x=1"), call_id="c1", cseq=2)
    assert {binding.contact for binding in result.bindings} == {f"{ONE};rinstance=b", f"{ONE};RINSTANCE=A;x=1"}
    assert (await registrar.register(contact(f"{ONE};rinstance=a"), call_id="c1", cseq=1)).outcome == OUT_OF_ORDER
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED"]


async def test_too_brief_is_refused_with_the_least(registrar: Registrar) -> None:
    result = await registrar.register(contact(ONE), contact(TWO, expires=59))
    assert (result.outcome, result.min_expires) == (TOO_BRIEF, 60)
    assert await registrar.lookup() == []


async def test_too_many_bindings_are_refused_whole(store: Store, clock: FakeClock) -> None:
    registrar = Registrar(store, clock, max_bindings=2)
    assert (await registrar.register(contact(ONE))).outcome == OK
    three = "sip:alice@192.0.2.3:5060"
    assert (await registrar.register(contact(TWO), contact(three), call_id="c2")).outcome == TOO_MANY
    assert [binding.contact for binding in await registrar.lookup()] == [ONE]
    assert (await registrar.register(contact(TWO), call_id="c2")).outcome == OK
    assert (await registrar.register(contact(three), call_id="c3")).outcome == TOO_MANY
    # refreshing, and putting one in the place of another, goes on
    assert (await registrar.register(contact(ONE), cseq=2)).outcome == OK
    assert (await registrar.register(contact(three), contact(TWO, expires=0), call_id="c3", cseq=2)).outcome == OK


async def test_what_has_ended_does_not_count(store: Store, clock: FakeClock) -> None:
    registrar = Registrar(store, clock, max_bindings=1)
    await registrar.register(contact(ONE, expires=60))
    clock.advance(61)
    result = await registrar.register(contact(TWO), call_id="c2")
    assert [binding.contact for binding in result.bindings] == [TWO]
    assert await registrar.kinds() == ["REGISTERED", "REGISTERED", "EXPIRED"]


async def test_a_refresh_that_comes_too_late_registers_anew(registrar: Registrar, clock: FakeClock) -> None:
    await registrar.register(contact(expires=60), cseq=5)
    clock.advance(61)
    assert await registrar.lookup() == []
    (binding,) = (await registrar.register(contact(expires=60), cseq=6)).bindings
    assert binding.registered_at_ms == round(clock.wall() * 1000)
    assert await registrar.kinds() == ["REGISTERED", "EXPIRED", "REGISTERED"]


async def test_gruus_are_made_for_who_wants_them(registrar: Registrar) -> None:
    wanted = contact(ONE, instance="urn:uuid:1")
    (binding,) = (await registrar.register(wanted, gruu=True)).bindings
    assert binding.pub_gruu == f"{ALICE};gr=urn:uuid:1"
    assert TemporaryGruus(GRUU_KEY).resolve(parse_uri(binding.temp_gruu)) == (ALICE, "urn:uuid:1")
    (binding,) = (await registrar.register(wanted, cseq=2)).bindings
    assert (binding.pub_gruu, binding.temp_gruu) == ("", "")
    (binding,) = (await registrar.register(contact(ONE), cseq=3, gruu=True)).bindings[:1]
    assert binding.pub_gruu == ""


async def test_lookup_prefers_high_q_then_the_newest(registrar: Registrar, clock: FakeClock) -> None:
    for index, (uri, q) in enumerate([("sip:a@h", 500), ("sip:b@h", 1000), ("sip:c@h", 1000)]):
        await registrar.register(contact(uri, q=q), call_id=f"c{index}")
        clock.advance(1)
    await registrar.register(contact("sip:b@h"), call_id="c1", cseq=2)
    assert [binding.contact for binding in await registrar.lookup()] == ["sip:c@h", "sip:b@h", "sip:a@h"]


async def test_a_batch_holds_all_kinds_of_outcomes(registrar: Registrar) -> None:
    from parley.proto.registrar.v1 import registrar_pb2 as pb

    items = [
        pb.BindingUpdate(
            id=index, aor=f"sip:u{index}@example.test", call_id="c", cseq=1, contacts=[contact(expires=expires)]
        )
        for index, expires in enumerate([600, 30, 0, None])
    ]
    results = {result.id: result for result in await registrar.surface.update(items)}
    assert [results[index].outcome for index in range(4)] == [OK, TOO_BRIEF, OK, OK]
    assert [len(results[index].bindings) for index in range(4)] == [1, 0, 0, 1]
    assert results[3].bindings[0].expires_at_ms == results[3].now_ms + 3_600_000


async def test_two_registrars_change_one_user_at_a_time(valkey: Valkey, clock: FakeClock) -> None:
    async with store_of(valkey.url) as left, store_of(valkey.url) as right:
        registrars = [Registrar(store, clock, max_bindings=5) for store in (left, right)]
        results = await asyncio.gather(
            *(registrars[index % 2].register(contact(f"sip:a@192.0.2.{index}"), call_id=f"c{index}") for index in range(20))
        )
        assert sorted(result.outcome for result in results) == [OK] * 5 + [TOO_MANY] * 15
        assert len(await registrars[0].lookup()) == 5
        events = await registrars[0].events()
        assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
        assert [event.remaining for event in events] == [1, 2, 3, 4, 5]


async def test_on_a_cluster_every_shard_takes_updates(valkey_cluster: ValkeyCluster, clock: FakeClock) -> None:
    async with store_of(valkey_cluster.url, cluster=True) as store:
        registrar = Registrar(store, clock)
        users = [f"sip:user{index}@example.test" for index in range(150)]
        results = await asyncio.gather(*(registrar.register(contact(), aor=user) for user in users))
        assert {result.outcome for result in results} == {OK}
        assert all(node.raw("DBSIZE") > 0 for node in valkey_cluster.nodes)
        found = await asyncio.gather(*(registrar.lookup(user) for user in users))
        assert all(len(bindings) == 1 for bindings in found)
        await registrar.release("edge-1")
        assert await registrar.steady() == 150
        assert await registrar.kinds(users[0]) == ["REGISTERED", "FLOW_LOST"]


async def test_nothing_is_left_of_a_user_that_no_sweeper_sees(registrar: Registrar, valkey: Valkey) -> None:
    await registrar.register(contact(expires=600))
    left = valkey.ask("PTTL", keys.bindings_key(ALICE))
    assert 86_400_000 < left <= 600_000 + 86_400_000
