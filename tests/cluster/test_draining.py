"""`parley drain POD`: new work goes elsewhere, calls and allocations end by themselves, and it can be taken back."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace

import pytest

from parley.stun.addresses import Address
from parley.stun.probe import Probe, ProbeError
from tests.support.cluster import CommandError
from tests.support.cluster_install import Installation, Pod, Relay, aside
from tests.support.cluster_people import People
from tests.support.cluster_phone import Phone
from tests.support.waiting import eventually, until


def command(parley: Installation, *arguments: str) -> str:
    """The ``parley`` command on the machine of whoever runs the installation."""
    return parley.cluster.run(sys.executable, "-m", "parley.cli.main", *arguments, f"--namespace={parley.space.name}")


async def not_ready(parley: Installation, pod: Pod, *, ready: bool = False) -> None:
    """Returns once the pod's readiness is as wanted."""

    async def look() -> bool:
        pods = await aside(parley.pods)
        return any(each.uid == pod.uid and each.ready is ready for each in pods)

    await eventually(look, timeout=20, what=f"{pod.name} is {'ready' if ready else 'not ready'}")


async def test_a_front_end_that_drains_keeps_its_calls_and_takes_no_new_ones(people: People, parley: Installation) -> None:
    pods = await aside(parley.ready, "frontend", 2)
    pod = pods[0]
    node = sorted(parley.cluster.node_ips).index(pod.node)
    caller, callee = people.phone("tcp", node, refresh=500), people.phone("tls", node, refresh=500)
    await asyncio.gather(caller.start(), callee.start())
    call = await caller.call(callee)
    try:
        await aside(command, parley, "drain", pod.name)
        await not_ready(parley, pod)
        before = people.ledger.notes.total()
        await caller.ask_in(call, "INVITE")
        other = people.phone("udp", 1 - node)
        await other.start()
        await other.ask_in(await other.call(callee), "BYE")  # over the flow that the draining one still holds
        moved = await caller.call(callee)  # is sent away with 503, and made at the other front end
        assert people.ledger.notes["INVITE sent away with 503"] >= 1
        assert people.ledger.notes.total() > before
        await caller.ask_in(moved, "BYE")
        await caller.ask_in(call, "BYE")
        assert {each.uid for each in parley.pods("frontend")} == {each.uid for each in pods}, "it only takes no work"
    finally:
        await aside(command, parley, "undrain", pod.name)
    await not_ready(parley, pod, ready=True)
    back = people.phone("tcp", node, only=True)

    async def served() -> bool:
        await back.start()
        return await aside(parley.registered_at, back.user) == {pod.uid}

    await eventually(served, timeout=20, what="the front end takes phones again")
    assert not people.ledger.failures, people.ledger.summary()
    await asyncio.gather(*(phone.end() for phone in (caller, callee, other, back)))


async def test_a_pod_that_is_deleted_lets_its_calls_end_first(people: People, parley: Installation) -> None:
    pod = (await aside(parley.ready, "frontend", 2))[0]
    node = sorted(parley.cluster.node_ips).index(pod.node)
    caller, callee = people.phone("tcp", node, refresh=500), people.phone("tcp", node, refresh=500)
    await asyncio.gather(caller.start(), callee.start())
    call = await caller.call(callee)
    await aside(parley.space.kubectl, "delete", "pod", pod.name, "--wait=false")
    await not_ready_or_gone(parley, pod)
    await caller.ask_in(call, "INVITE")
    await caller.ask_in(call, "BYE")
    await aside(parley.ready, "frontend", 2)
    await eventually_moved(caller, callee, parley, pod)
    await caller.ask_in(await caller.call(callee), "BYE")
    assert not people.ledger.failures, people.ledger.summary()
    await asyncio.gather(caller.end(), callee.end())


@pytest.mark.parametrize("leaving", ["caller", "callee"])
async def test_a_phone_that_rings_is_answered_though_a_front_end_of_the_call_ends(
    people: People, parley: Installation, leaving: str
) -> None:
    """It rings for longer than it takes until the pod drains and its nodes have heard all that it says."""
    nodes = sorted(parley.cluster.node_ips)
    pods = {nodes.index(pod.node): pod for pod in await aside(parley.ready, "frontend", 2)}
    await people.served("tcp", 1)
    caller = people.phone("udp", 0, only=True, refresh=500)
    callee = people.phone("tcp", 1, refresh=500, ring=6.0)
    await asyncio.gather(caller.start(), callee.start())
    calling = asyncio.create_task(caller.call(callee))
    await until(lambda: callee.offered > 0)
    assert await aside(parley.registered_at, callee.user) == {pods[1].uid}
    pod = pods[0 if leaving == "caller" else 1]
    await aside(parley.space.kubectl, "delete", "pod", pod.name, "--wait=false")
    call = await calling
    await caller.ask_in(call, "BYE")
    assert callee.offered == 1
    assert not people.ledger.failures, people.ledger.summary()
    await asyncio.gather(caller.end(), callee.end())


async def not_ready_or_gone(parley: Installation, pod: Pod) -> None:
    """Returns once the pod is no place for new work."""

    async def look() -> bool:
        return pod.uid not in {each.uid for each in await aside(parley.pods, "frontend")}

    await eventually(look, timeout=30, what=f"{pod.name} is not served any more")


async def eventually_moved(caller: Phone, callee: Phone, parley: Installation, pod: Pod) -> None:
    """Returns once phones are registered elsewhere."""

    async def look() -> bool:
        edges = [await aside(parley.registered_at, phone.user) for phone in (caller, callee)]
        return all(each and pod.uid not in each for each in edges)

    await eventually(look, timeout=40, what="both phones are registered at other front ends")


async def test_allocations_of_the_relay_end_within_the_bound(people: People, parley: Installation) -> None:
    """Another edge is there: nodes forget the way to one that is not ready then."""
    before = await aside(parley.ready, "avedge")
    await aside(parley.scale, "avedge", 2)
    try:
        pod = next(each for each in await aside(parley.ready, "avedge", 2) if each.uid == before[0].uid)
        server = Address(*parley.edges("turn-udp", sorted(parley.cluster.node_ips).index(pod.node))[0])
        relay = replace(await aside(parley.relay, next(people.names)), server=server)
        async with Probe.open(server) as old:
            await old.allocate(relay.username, relay.password)
            await drain_and_back(parley, pod, old, relay)
            await aside(parley.space.kubectl, "delete", "pod", pod.name, "--wait=false")
            await goes_on_until_the_bound(parley, pod, old)
        await eventually(lambda: serves(relay), timeout=30, what="the other edge serves, or the next one")
    finally:
        await aside(parley.scale, "avedge", len(before))
    await aside(parley.ready, "avedge", len(before))


async def serves(relay: Relay) -> bool:
    """Whether somebody new gets an allocation."""
    try:
        async with Probe.open(relay.server) as new:
            await new.allocate(relay.username, relay.password)
    except (ProbeError, OSError, TimeoutError):
        return False
    return True


async def drain_and_back(parley: Installation, pod: Pod, old: Probe, relay: Relay) -> None:
    """New clients are refused meanwhile, who is there goes on."""
    await aside(command, parley, "drain", pod.name)
    try:
        assert not await serves(relay)
        for _ in range(6):
            assert await old.refresh() > 0
            await asyncio.sleep(0.5)
    finally:
        await aside(command, parley, "undrain", pod.name)
    await not_ready(parley, pod, ready=True)
    assert await old.refresh() > 0


async def goes_on_until_the_bound(parley: Installation, pod: Pod, old: Probe) -> None:
    """An allocation of an edge that was told to end."""
    settings = parley.space.kubectl_json("get", parley.workload("avedge"))["spec"]["template"]["spec"]
    pause = settings["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = settings["terminationGracePeriodSeconds"]
    drain = grace - pause - 15  # what the chart adds for closing
    begun = time.monotonic()
    while time.monotonic() < begun + pause + drain - 1:
        assert await old.refresh() > 0, f"cut off {time.monotonic() - begun:.1f} s after its edge was told to end"
        await asyncio.sleep(0.5)

    async def gone() -> bool:
        found = await aside(parley.space.kubectl, "get", "pods", "--output=name")
        return pod.name not in found

    await eventually(gone, timeout=grace + 5, what="the drain is bounded")


async def test_a_pod_that_does_not_exist_is_said_to(parley: Installation) -> None:
    with pytest.raises(CommandError, match="there is no parley-frontend-none"):
        command(parley, "drain", "parley-frontend-none")
