"""Valkey and Kafka without a pod for a while: what clients are told meanwhile, and that nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex

from parley.presence.standard.availability import pidf_of
from parley.presence.standard.pidf import build_pidf
from tests.support.cluster_install import Installation, aside
from tests.support.cluster_line import PhoneError
from tests.support.cluster_people import People
from tests.support.parley_server import DOMAIN
from tests.support.sip_client import SipClient
from tests.support.subscriber import Subscriber, Subscription
from tests.support.waiting import eventually, until


@asynccontextmanager
async def away(parley: Installation, engine: str) -> AsyncIterator[None]:
    """The engine has no pod for as long as the block takes."""
    await aside(parley.scale, engine, 0)
    try:

        async def gone() -> bool:
            selector = f"app.kubernetes.io/component={engine}"
            return not await aside(partial(parley.space.items, "pods", labelSelector=selector))  # also none that ends

        await eventually(gone, timeout=60, what=f"{engine} is away")
        yield
    finally:
        await aside(parley.scale, engine, 1)
        await aside(parley.ready, engine, 1)


async def publish(owner: SipClient, code: int) -> int:
    """Publishes a state; the answer's status."""
    address = f"sip:{owner.user}@{DOMAIN}"
    headers = [("Event", "presence"), ("Content-Type", "application/pidf+xml")]
    request = owner.request("PUBLISH", address, headers=headers, body=build_pidf(pidf_of(address, code)))
    return (await owner.ask(request, timeout=10)).status


async def told(subscription: Subscription, *, timeout: float = 40) -> None:
    """Returns once a watcher was told of a change of the owner."""
    await subscription.notify(timeout=timeout)


async def watching(people: People, owner: SipClient, node: int = 0) -> Subscription:
    """Somebody who watches the owner, and has been told of the state as it is."""
    watcher: Subscriber = await people.subscriber("tcp", node)
    subscription = await watcher.subscribe("presence", owner.user)
    assert subscription.answer.status == 200
    await subscription.notify()
    return subscription


async def test_valkey_comes_back_with_all_that_was_acknowledged(people: People, parley: Installation) -> None:
    phone, absent = people.phone("tcp", refresh=500), people.phone("tls")
    await phone.start()
    texts = [f"kept {number} for {absent.user}" for number in range(5)]
    assert {await phone.say(absent.user, text) for text in texts} == {202}
    user = f"new{token_hex(4)}"
    await aside(parley.make_users, [user])
    client = await people.client("tcp")
    async with away(parley, "valkey"):
        answer = await client.register()
        assert answer.status == 503
        assert int(answer.get("Retry-After") or 0) >= 1
        refused = await client.ask(client.request("MESSAGE", f"sip:{absent.user}@{DOMAIN}", body=b"x"), timeout=10)
        assert refused.status in (500, 503, 504)
        ready = {pod.component for pod in parley.pods() if pod.ready}
        assert {"frontend", "registrar", "presence"} <= ready, "a store that is away does not end processes"

    async def registers() -> bool:
        try:
            return (await client.register()).status == 200
        except TimeoutError:
            return False

    await eventually(registers, timeout=30, what="registration works again")
    await absent.start()

    await until(lambda: all(people.ledger.arrived[absent.user, text] for text in texts), timeout=40)
    caller = people.phone("udp")
    await caller.start()
    await caller.ask_in(await caller.call(phone), "BYE")  # over the registration from before
    fresh = people.phone("tcp", user=user)
    await fresh.start()
    await client.register(expires=0)
    await asyncio.gather(*(each.end() for each in (phone, absent, caller, fresh)))


async def test_a_valkey_pod_that_is_killed_loses_nothing_that_was_acknowledged(people: People, parley: Installation) -> None:
    """Users are durable writes: each import that was acknowledged before SIGKILL is found after it."""
    sender, absent = people.phone("tcp"), people.phone("tls")
    await sender.start()
    users = [f"d{token_hex(3)}x{number}" for number in range(20)]
    await aside(parley.make_users, users)
    stop = asyncio.Event()

    async def keep_writing() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with contextlib.suppress(PhoneError):
                await sender.say(absent.user, f"durable {number} for {absent.user}")

    writing = asyncio.create_task(keep_writing())
    await until(lambda: len(people.ledger.acknowledged) >= 10, timeout=20)
    await aside(parley.kill, (await aside(parley.ready, "valkey"))[0])
    known = len(people.ledger.acknowledged)
    await aside(parley.ready, "valkey", 1)
    await until(lambda: len(people.ledger.acknowledged) >= known + 5, timeout=40)
    stop.set()
    await writing
    await absent.start()

    await until(lambda: not people.ledger.lost(), timeout=60)
    listing = json.loads(await aside(parley.parley, "addressbook", "--json", "user", "list"))
    assert {f"{user}@{DOMAIN}" for user in users} <= {row["address"].removeprefix("sip:") for row in listing}
    await asyncio.gather(sender.end(), absent.end())


async def test_what_happens_while_kafka_is_away_is_told_afterwards(people: People, parley: Installation) -> None:
    owner = await people.client("tcp", 1)
    assert (await owner.register()).status == 200
    subscription = await watching(people, owner)
    phone = people.phone("tcp", refresh=500)
    await phone.start()
    async with away(parley, "kafka"):
        # Facts wait; what clients ask for does not need them.
        assert await publish(owner, 6500) == 200
        caller = people.phone("udp")
        await caller.start()
        await caller.ask_in(await caller.call(phone), "BYE")
        assert await caller.say(phone.user, f"meanwhile {phone.user}") == 200
    await told(subscription, timeout=60)
    assert not people.ledger.failures, people.ledger.summary()
    await asyncio.gather(phone.end(), caller.end())


async def test_watchers_are_told_after_a_presence_pod_died(people: People, parley: Installation) -> None:
    """Partitions of the dead one are taken over: whichever pod a watcher's partition was at, it is told."""
    pods = await aside(parley.ready, "presence", 2)
    owners = [await people.client("tcp", number % 2) for number in range(6)]
    subscriptions = []
    for owner in owners:
        assert (await owner.register()).status == 200
        subscriptions.append(await watching(people, owner))
    await aside(parley.kill, pods[0])
    assert [await publish(owner, 6500) for owner in owners] == [200] * len(owners)
    await asyncio.gather(*(told(subscription) for subscription in subscriptions))
    await aside(parley.ready, "presence", 2)
    assert [await publish(owner, 3500) for owner in owners] == [200] * len(owners)
    await asyncio.gather(*(told(subscription) for subscription in subscriptions))
    for subscription in subscriptions:
        await subscription.refresh(expires=0)


async def test_partitions_are_shared_anew_when_pods_come_and_go(people: People, parley: Installation) -> None:
    owner = await people.client("tcp")
    assert (await owner.register()).status == 200
    subscription = await watching(people, owner, 1)
    for replicas in (3, 1, 2):
        await aside(parley.scale, "presence", replicas)
        await aside(parley.ready, "presence", replicas)
        assert await publish(owner, 6500 if replicas == 1 else 3500) == 200
        await told(subscription)
    await subscription.refresh(expires=0)
    consumed = [await aside(parley.metric, pod, "parley_events_handled_total") for pod in parley.pods("presence")]
    assert any(consumed)
