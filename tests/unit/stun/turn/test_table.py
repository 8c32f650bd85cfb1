"""The table of allocations: found, counted, and ended in time."""

from __future__ import annotations

from math import inf

from parley.stun.addresses import Address
from parley.stun.turn.allocations import Allocation, Dialect, Flow, Transport
from parley.stun.turn.observer import CloseReason
from parley.stun.turn.table import Quotas
from tests.support.turn import SERVER, Rig


def flow(number: int) -> Flow:
    return Flow(Transport.UDP, Address(f"198.51.100.{number % 250}", number), SERVER)


def opened(rig: Rig, number: int, lifetime: float, *, kept: bool = False) -> Allocation:
    return rig.table.open(
        flow(number), Dialect.MS_TURN, username="u", user="u", key=b"", relays=(), now=rig.now, lifetime=lifetime,
        kept_by_traffic=kept, connection_id=bytes(20),
    )  # fmt: skip


def test_they_end_in_the_order_of_their_time() -> None:
    rig = Rig()
    for number, lifetime in enumerate([30, 10, 20], 1):
        opened(rig, number, lifetime)
    assert rig.table.expire(rig.now) == rig.now + 10
    assert rig.table.expire(rig.now + 20) == rig.now + 30
    assert [allocation.number for allocation, _ in rig.observer.closed_] == [2, 3]
    assert rig.table.expire(rig.now + 30) == inf
    assert len(rig.table) == 0


def test_a_longer_life_and_a_shorter_one() -> None:
    rig = Rig()
    allocation = opened(rig, 1, 10)
    rig.table.extend(allocation, 100, rig.now)
    assert rig.table.expire(rig.now + 10) == rig.now + 100
    rig.table.extend(allocation, 5, rig.now + 10)
    assert rig.table.expire(rig.now + 15) <= rig.now + 100
    assert rig.observer.closed_ == [(allocation, CloseReason.EXPIRED)]
    assert rig.table.expire(rig.now + 100) == inf


def test_refreshing_again_and_again_keeps_the_heap_small() -> None:
    rig = Rig()
    allocation = opened(rig, 1, 600)
    for step in range(1000):
        rig.table.extend(allocation, 3600 if step % 2 else 600, rig.now + step)
        rig.table.expire(rig.now + step)
    assert len(rig.table._heap) <= 2


def test_traffic_keeps_those_that_live_by_it() -> None:
    rig = Rig()
    kept, other = opened(rig, 1, 10, kept=True), opened(rig, 2, 10)
    for allocation in (kept, other):
        allocation.traffic.sent_packets = 1
    rig.table.expire(rig.now + 10)
    assert list(rig.table) == [kept]
    kept.traffic.received_packets = 1
    rig.table.expire(rig.now + 20)
    assert list(rig.table) == [kept]
    rig.table.expire(rig.now + 30)
    assert len(rig.table) == 0


def test_a_client_that_comes_from_elsewhere() -> None:
    rig = Rig(quotas=Quotas(per_source=1))
    allocation = opened(rig, 1, 10)
    rig.table.move(allocation, flow(2))
    assert rig.table.at(flow(1)) is None
    assert rig.table.at(flow(2)) is allocation
    rig.table.check_room("u", flow(1).client.host)
    rig.table.close(allocation, CloseReason.RELEASED)
    rig.table.close(allocation, CloseReason.RELEASED)
    rig.table.check_room("u", flow(2).client.host)
    assert len(rig.observer.closed_) == 1
    assert rig.table.numbered(allocation.number) is None
