"""SIGKILL for a pod of each service: how long it is missed, and that what was acknowledged is still there."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.cluster_install import SERVICES, Installation, aside
from tests.support.cluster_line import PhoneError
from tests.support.cluster_people import People
from tests.support.waiting import eventually, until

RECOVERED = 60.0
"""Seconds within which a killed pod must have been replaced on a machine with two cores."""


VICTIMS = (("addressbook", "presence", "conference", "web"), ("registrar", "messaging", "immcu", "avedge"))
"""Services of which a pod is killed at the same time."""


@pytest.mark.parametrize("services", VICTIMS, ids="-".join)
async def test_killed_pods_are_replaced_and_nothing_acknowledged_is_lost(
    people: People, parley: Installation, services: tuple[str, ...]
) -> None:
    kept = people.phone("tcp", refresh=500)
    await kept.start()
    pods = {service: await aside(parley.ready, service) for service in services}
    async with people.traffic() as traffic:
        await until_used(people)
        begun = time.monotonic()
        for service in services:
            await aside(parley.kill, pods[service][0])
        for service in services:
            after = await aside(parley.ready, service, len(pods[service]), RECOVERED)
            assert pods[service][0].uid not in {pod.uid for pod in after}
            print(f"{service}: replaced after {time.monotonic() - begun:.1f} s")
        await until_used(people)
    lost = traffic.ledger.lost()
    assert not lost, traffic.ledger.summary()
    # No call that goes on needs a service behind the front end; new ones may be refused, but not left without an answer.
    failures = traffic.ledger.failures
    unanswered = [str(each) for each in failures if "in a call" in each.kind or "no answer" in each.why]
    assert not unanswered, "\n".join(unanswered)
    caller = people.phone("udp")
    await caller.start()
    await caller.ask_in(await caller.call(kept), "BYE")
    await caller.end()
    await kept.end()


async def until_used(people: People) -> None:
    """Returns once a user who was never seen before can register, write and be written to."""
    first, second = people.phone("tcp", 0), people.phone("tls", 1)

    async def registers() -> bool:
        try:
            await asyncio.gather(first.start(), second.start())
            await first.say(second.user, f"hello {second.user}")
        except PhoneError:
            return False
        return True

    await eventually(registers, timeout=RECOVERED, what="somebody can begin to use it")
    await asyncio.gather(first.end(), second.end())


async def test_phones_of_a_killed_front_end_come_back_elsewhere_and_its_bindings_go(
    people: People, parley: Installation
) -> None:
    victim, other = await aside(parley.ready, "frontend", 2)
    node = sorted(parley.cluster.node_ips).index(victim.node)
    for transport in ("tcp", "tls"):
        await people.served(transport, node)
    phones = [people.phone(transport, node) for transport in ("tcp", "tls", "tcp", "tls")]
    # Switched off right then: its binding is all that is left of it.
    silent = people.phone("tcp", node, only=True)
    await asyncio.gather(*(phone.start() for phone in (*phones, silent)))
    for phone in (*phones, silent):
        assert await aside(parley.registered_at, phone.user) == {victim.uid}

    async with people.traffic() as traffic:
        await aside(parley.kill, victim)
        begun = time.monotonic()
        await silent.abort()

        async def swept() -> bool:
            return await aside(parley.registered_at, silent.user) == set()

        await eventually(swept, timeout=30, what="bindings of the dead pod are taken away")
        print(f"bindings swept after {time.monotonic() - begun:.1f} s")
        await aside(parley.ready, "frontend", 2)
        print(f"front end replaced after {time.monotonic() - begun:.1f} s")
    assert not traffic.ledger.lost(), traffic.ledger.summary()

    async def all_back() -> bool:
        places = [await aside(parley.registered_at, phone.user) for phone in phones]
        return all(each and victim.uid not in each for each in places)

    await eventually(all_back, timeout=30, what="phones are registered where there is a front end")
    back = traffic.ledger.seconds["come back"]
    assert len(back) >= len(phones)
    print(f"phones were back after {max(back):.1f} s")
    assert other.uid in {pod.uid for pod in parley.pods("frontend")}
    caller = people.phone("udp")
    await caller.start()
    for phone in phones:
        await caller.ask_in(await caller.call(phone), "BYE")
    await asyncio.gather(*(phone.end() for phone in (*phones, caller)))


async def test_a_front_end_that_is_started_again_in_its_pod_gets_its_phones_back(
    people: People, parley: Installation
) -> None:
    """It has the UID that it had, and none of the connections."""
    if not parley.cluster.own:
        pytest.skip("only processes of tools/cluster can be killed from here")
    victim, _ = await aside(parley.ready, "frontend", 2)
    node = sorted(parley.cluster.node_ips).index(victim.node)
    for transport in ("tcp", "tls"):
        await people.served(transport, node)
    phones = [people.phone(transport, node, refresh=500) for transport in ("tcp", "tls")]
    silent = people.phone("tcp", node, only=True, refresh=500)
    await asyncio.gather(*(phone.start() for phone in (*phones, silent)))
    for phone in (*phones, silent):
        assert await aside(parley.registered_at, phone.user) == {victim.uid}
    caller = people.phone("tcp", 1 - node)
    await caller.start()
    call = await caller.call(phones[0])

    await aside(parley.kill_process, victim)
    await silent.abort()
    await caller.ask_in(call, "INVITE")  # waits until they are back
    await caller.ask_in(await caller.call(phones[1]), "BYE")
    await caller.ask_in(call, "BYE")

    async def swept() -> bool:
        return await aside(parley.registered_at, silent.user) == set()

    await eventually(swept, timeout=30, what="the binding over the lost connection is taken away")
    await eventually(lambda: aside(parley.is_back, victim), timeout=RECOVERED, what="the process runs again")
    assert not people.ledger.failures, people.ledger.summary()
    await asyncio.gather(caller.end(), *(phone.end() for phone in phones))


async def test_users_and_kept_messages_outlive_every_process_at_once(people: People, parley: Installation) -> None:
    sender, absent = people.phone("tcp"), people.phone("tls")
    await sender.start()
    texts = [f"kept {number} for {absent.user}" for number in range(5)]
    assert {await sender.say(absent.user, text) for text in texts} == {202}
    victims = [pod for service in SERVICES for pod in parley.pods(service)]
    for pod in victims:
        await aside(parley.kill, pod)
    await aside(parley.sound)
    await absent.start()
    await until(lambda: all(people.ledger.arrived[absent.user, text] for text in texts), timeout=40)
    await asyncio.gather(sender.end(), absent.end())
