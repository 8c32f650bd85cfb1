"""More pods take their share of the work; fewer lose nothing. Autoscaling and disruption budgets do what they say."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.cluster import CommandError
from tests.support.cluster_install import Installation, Pod, aside
from tests.support.cluster_people import People
from tests.support.cluster_traffic import Load
from tests.support.waiting import eventually

WORK = {"frontend": "parley_frontend_messages_total", "registrar": "parley_registrar_updates_total"}
"""A metric by service that grows with its work."""


async def work_of(parley: Installation, pods: list[Pod]) -> dict[str, float]:
    """What each pod has done so far."""
    return {pod.name: await aside(parley.metric, pod, WORK[pod.component]) for pod in pods}


async def scaled(parley: Installation, replicas: int) -> list[Pod]:
    """Brings both to a number of pods."""
    for service in WORK:
        await aside(parley.scale, service, replicas)
    return [pod for service in WORK for pod in await aside(parley.ready, service, replicas)]


async def test_one_three_one(people: People, parley: Installation) -> None:
    kept = people.phone("tcp", expires=600, refresh=500)
    await scaled(parley, 1)
    try:
        await kept.start()
        async with people.traffic(Load(calls=2, messages=4), refresh=2.0) as traffic:
            pods = await scaled(parley, 3)
            begun = await work_of(parley, pods)
            # A node with two pods takes either by chance: of half of so many both have some, all but once in 4000.
            fresh = [people.phone(("udp", "tcp", "tls")[n % 3], n, refresh=4.0) for n in range(24)]
            await asyncio.gather(*(phone.start() for phone in fresh))

            idle: list[str] = []

            async def all_work() -> bool:
                now = await work_of(parley, pods)
                idle[:] = [name for name in begun if now[name] <= begun[name]]
                return not idle

            # Who calls a registrar looks for others when its connection is half a minute old; they have their turn after it.
            try:
                await eventually(all_work, timeout=90)
            except AssertionError:
                raise AssertionError(f"they have nothing to do: {idle}") from None
            await asyncio.gather(*(phone.end() for phone in fresh))
            await scaled(parley, 1)
        traffic.check(calls=10, messages=20)
        # Who registered before, and did nothing since, is reached.
        caller = people.phone("udp")
        await caller.start()
        await caller.ask_in(await caller.call(kept), "BYE")
        await caller.end()
        await kept.end()
    finally:
        await scaled(parley, 2)


async def test_front_ends_are_added_under_load_as_the_autoscaler_sees_it(people: People, parley: Installation) -> None:
    first = parley.revision()
    autoscaling = {"enabled": True, "minReplicas": 2, "maxReplicas": 3, "cpu": 60}
    await aside(parley.upgrade, "--set-json", f"services.frontend.autoscaling={json.dumps(autoscaling)}")
    try:
        async with people.traffic(Load(calls=6, messages=15), refresh=1.0) as traffic:

            async def wants_more() -> bool:
                (scaler,) = await aside(parley.space.items, "horizontalpodautoscalers", "apis/autoscaling/v2")
                seen = scaler["status"].get("currentMetrics") or []
                return bool(seen) and scaler["status"].get("desiredReplicas", 0) > 2

            await eventually(wants_more, timeout=90, what="the autoscaler wants a third front end")
            pods = await aside(parley.ready, "frontend", 3)
        assert len(pods) == 3
        traffic.check(calls=10, messages=20)
    finally:
        await aside(parley.rollback, first)
        await aside(parley.scale, "frontend", 2)  # the autoscaler may have acted once more before it was taken away
        await aside(parley.ready, "frontend", 2)


def test_a_budget_lets_one_front_end_go_and_no_more(parley: Installation) -> None:
    pods = parley.ready("frontend", 2)
    evicted: list[str] = []
    try:
        for pod in pods:
            eviction = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": pod.name, "namespace": parley.space.name},
            }
            path = f"/api/v1/namespaces/{parley.space.name}/pods/{pod.name}/eviction"
            command = ("create", "--raw", path, "--filename=-")
            if not evicted:
                parley.cluster.kubectl(*command, input=json.dumps(eviction))
                evicted.append(pod.name)
            else:
                with pytest.raises(CommandError, match="disruption budget"):
                    parley.cluster.kubectl(*command, input=json.dumps(eviction))
    finally:
        parley.ready("frontend", 2)


def test_what_has_one_pod_has_no_budget_that_would_keep_a_node_from_being_emptied(parley: Installation) -> None:
    budgets = {item["metadata"]["name"] for item in parley.space.kubectl_json("get", "pdb")["items"]}
    assert budgets == {f"parley-{component}" for component in ("frontend", "registrar", "presence")}
