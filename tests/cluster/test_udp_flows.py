"""Phones on UDP that keep one source port: the nodes remember where its packets went, and must forget it with the pod."""

from __future__ import annotations

import asyncio
import contextlib
import time

from tests.support.cluster_install import Installation, aside
from tests.support.cluster_line import PhoneError
from tests.support.cluster_people import People
from tests.support.cluster_phone import Phone
from tests.support.sip_client import DOMAIN
from tests.support.waiting import until

SOON = 25.0
"""Seconds within which a phone must be served again after its pod died, while packets of it go on."""


async def keep_asking(phone: Phone, done: asyncio.Event, answered: list[float]) -> None:
    """Sends an OPTIONS twice a second, as keep-alives of phones do; when answers came."""
    while not done.is_set():
        with contextlib.suppress(TimeoutError, PhoneError):
            await asyncio.wait_for(phone.ask_until("OPTIONS", f"sip:{DOMAIN}"), 0.5)
            answered.append(time.monotonic())
            await asyncio.sleep(0.5)


async def test_a_phone_reaches_a_new_pod_after_its_own_was_killed(people: People, parley: Installation) -> None:
    pods = await aside(parley.ready, "frontend", 2)
    pod = pods[0]
    node = sorted(parley.cluster.node_ips).index(pod.node)
    phone = people.phone("udp", node, only=True, refresh=500)
    await phone.start()
    done = asyncio.Event()
    answered: list[float] = []
    asking = asyncio.create_task(keep_asking(phone, done, answered))
    await until(lambda: len(answered) >= 2)
    await aside(parley.kill, pod)
    killed = time.monotonic()
    await aside(parley.ready, "frontend", 2)
    assert {each.node for each in parley.pods("frontend")} == set(parley.cluster.node_ips)

    try:
        await until(lambda: answered[-1] > killed + 1, timeout=SOON)
    finally:
        done.set()
        await asking
    print(f"UDP: first answer {next(at for at in answered if at > killed + 0.5) - killed:.1f} s after SIGKILL")
    await phone.sign_in("register")
    assert not people.ledger.failures, people.ledger.summary()
    await phone.end()


async def test_a_phone_is_served_again_when_its_front_end_moved_away_and_back(people: People, parley: Installation) -> None:
    first, second = await aside(parley.ready, "frontend", 2)
    nodes = sorted(parley.cluster.node_ips)
    node = nodes.index(first.node)
    phone = people.phone("udp", node, only=True, refresh=500)
    await phone.start()
    done = asyncio.Event()
    answered: list[float] = []
    asking = asyncio.create_task(keep_asking(phone, done, answered))
    try:
        await aside(parley.cluster.kubectl, "cordon", first.node)
        await aside(parley.space.kubectl, "delete", "pod", first.name, "--wait=false")
        await aside(parley.ready, "frontend", 2)
        assert {each.node for each in parley.pods("frontend")} == {second.node}
        mover = people.phone("udp", node)
        await mover.start()  # a phone that knows both nodes goes to the other one by itself
        await mover.end()
        await aside(parley.cluster.kubectl, "uncordon", first.node)
        leaving = next(pod for pod in parley.pods("frontend") if pod.uid != second.uid)
        await aside(parley.space.kubectl, "delete", "pod", leaving.name, "--wait=false")
        await aside(parley.ready, "frontend", 2)
        back = time.monotonic()
        assert {each.node for each in parley.pods("frontend")} == set(nodes)
        await until(lambda: answered[-1] > back, timeout=SOON)
    finally:
        await aside(parley.cluster.kubectl, "uncordon", first.node)
        done.set()
        await asking
    await phone.sign_in("register")
    assert not people.ledger.failures, people.ledger.summary()
    await phone.end()
