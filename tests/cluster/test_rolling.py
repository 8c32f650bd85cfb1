"""Restarts, upgrades and rollbacks while people use Parley: no call fails, no message is lost, every answer is in time."""

from __future__ import annotations

import pytest

from tests.support.cluster_install import SERVICES, Installation, aside
from tests.support.cluster_people import People

IN_TIME = 32.0
"""Timers B and F of SIP (RFC 3261 section 17.1)."""


WAVES = (("addressbook", "registrar", "presence", "messaging"), ("conference", "immcu", "avedge", "web"), ("frontend",))
"""Services that are restarted at the same time: all of them, one wave after the other, is what an upgrade does at once."""


@pytest.mark.parametrize("services", WAVES, ids="-".join)
async def test_a_rolling_restart_loses_nothing(people: People, parley: Installation, services: tuple[str, ...]) -> None:
    before = {pod.uid for service in services for pod in parley.pods(service)}
    async with people.traffic() as traffic:
        await aside(parley.restart, *services)
    assert not before & {pod.uid for service in services for pod in parley.pods(service)}
    traffic.check(calls=5, messages=15)
    assert max(traffic.ledger.longest(kind) for kind in ("call", "message", "refresh", "come back")) < IN_TIME


async def test_an_upgrade_and_a_rollback_of_everything_lose_nothing(people: People, parley: Installation) -> None:
    first = parley.revision()
    before = {pod.uid for service in SERVICES for pod in parley.pods(service)}
    engines = {pod.uid for engine in ("valkey", "kafka") for pod in parley.pods(engine)}
    async with people.traffic() as traffic:
        await aside(parley.upgrade, "--set", "log.level=WARNING")
        during = {pod.uid for service in SERVICES for pod in parley.pods(service)}
        await aside(parley.rollback, first)
    after = {pod.uid for service in SERVICES for pod in parley.pods(service)}
    assert not before & during, "the configuration of every process changed"
    assert not during & after, "and was changed back"
    assert engines == {pod.uid for engine in ("valkey", "kafka") for pod in parley.pods(engine)}
    traffic.check(calls=30, messages=90)
    assert max(traffic.ledger.longest(kind) for kind in ("call", "message", "refresh", "come back")) < IN_TIME
