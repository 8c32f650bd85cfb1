"""Restarts, upgrades and rollbacks while people use Parley: no call fails, no message is lost, every answer is in time.

An upgrade of everything under load keeps two cores busy for minutes, so it belongs to ``make cluster-soak``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from tests.support.cluster_install import SERVICES, Installation, aside
from tests.support.cluster_people import People
from tests.support.waiting import until

IN_TIME = 32.0
"""Timers B and F of SIP (RFC 3261 section 17.1)."""


WAVES = (("addressbook", "registrar", "presence", "messaging"), ("conference", "immcu", "avedge", "web"), ("frontend",))
"""Services that are restarted at the same time: all of them, one wave after the other, is what an upgrade does at once."""
ENGINES = ("valkey", "kafka")


def _pods(parley: Installation, components: Iterable[str]) -> set[str]:
    """The UIDs of their pods."""
    return {pod.uid for component in components for pod in parley.pods(component)}


@pytest.mark.parametrize("services", WAVES, ids="-".join)
async def test_a_rolling_restart_loses_nothing(people: People, parley: Installation, services: tuple[str, ...]) -> None:
    before = _pods(parley, services)
    async with people.traffic() as traffic:
        await aside(parley.restart, *services)
    assert not before & _pods(parley, services)
    traffic.check(calls=5, messages=15)
    assert max(traffic.ledger.longest(kind) for kind in ("call", "message", "refresh", "come back")) < IN_TIME


async def test_an_upgrade_and_a_rollback_keep_calls_registrations_and_messages(people: People, parley: Installation) -> None:
    first = parley.revision()
    before = _pods(parley, SERVICES)
    caller, callee, absent = people.phone("tcp"), people.phone("tls", 1), people.phone("udp")
    await asyncio.gather(caller.start(), callee.start())
    call = await caller.call(callee)
    assert await caller.say(absent.user, "for later") == 202
    await aside(parley.upgrade, "--set", "log.level=WARNING")
    during = _pods(parley, SERVICES)
    await caller.ask_in(call, "INVITE")
    await caller.say(callee.user, "meanwhile")
    await aside(parley.rollback, first)
    await caller.ask_in(call, "BYE")
    await caller.ask_in(await caller.call(callee), "BYE")
    await absent.start()
    await until(lambda: not people.ledger.lost(), timeout=30)
    assert not before & during, "the configuration of every process changed"
    assert not during & _pods(parley, SERVICES), "and was changed back"
    assert not people.ledger.failures, people.ledger.summary()
    await asyncio.gather(*(phone.end() for phone in (caller, callee, absent)))


@pytest.mark.soak
async def test_an_upgrade_and_a_rollback_of_everything_lose_nothing(people: People, parley: Installation) -> None:
    first = parley.revision()
    before = _pods(parley, SERVICES)
    engines = _pods(parley, ENGINES)
    async with people.traffic() as traffic:
        await aside(parley.upgrade, "--set", "log.level=WARNING")
        during = _pods(parley, SERVICES)
        await aside(parley.rollback, first)
    assert not before & during, "the configuration of every process changed"
    assert not during & _pods(parley, SERVICES), "and was changed back"
    assert engines == _pods(parley, ENGINES)
    traffic.check(calls=30, messages=90)
    assert max(traffic.ledger.longest(kind) for kind in ("call", "message", "refresh", "come back")) < IN_TIME
