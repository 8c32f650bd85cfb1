"""Conferences as services of their own, twice, behind two front ends; what happens when processes die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from parley.sip.message import Response
from tests.support.attendee import Attendee
from tests.support.parley_server import DOMAIN, ParleyCluster

pytestmark = pytest.mark.valkey


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ParleyCluster]:
    async with ParleyCluster(tmp_path, registrars=1, conferences=2) as running:
        yield running


async def insist(ask: Callable[[], Awaitable[Response]]) -> Response:
    """Asks again while the server says that it will be back."""
    for _ in range(100):
        answer = await ask()
        if answer.status != 503:
            return answer
        await asyncio.sleep(0.2)
    raise AssertionError("the service does not come back")


async def say(attendee: Attendee, text: str) -> Response:
    """Says something in the chat."""
    return await insist(lambda: attendee.say(text))


async def meeting(cluster: ParleyCluster, stack: AsyncExitStack) -> tuple[str, list[Attendee]]:
    """Three in the chat of a conference, at two front ends; the URI of its focus."""
    people = []
    for number, user in enumerate(("alice", "bob", "carol")):
        person = await Attendee(user, epid=f"{number}" * 12).join_in(cluster.ports[number % 2]["tcp"])
        stack.push_async_callback(person.leave_out)
        people.append(person)
    focus = await people[0].create("CLUSTER00001")
    for person in people:
        assert (await person.join(focus)).status == 200
        assert (await person.watch(focus)).status == 200
        assert (await person.chat(focus)).status == 200
    return focus, people


async def test_what_was_acknowledged_is_relayed_when_a_process_dies(cluster: ParleyCluster) -> None:
    async with AsyncExitStack() as stack:
        _, (alice, bob, carol) = await meeting(cluster, stack)
        carol.answers["MESSAGE"] = 0  # so that messages are under way when the processes die
        said = []
        for number in range(4):
            assert (await say(alice, f"{number}")).status == 202
            said.append(f"{number}")
        await bob.until("the messages", lambda: [text for _, text in bob.heard()] == said)
        chats = [node for node in cluster.conferences if "immcu" in node.folder.name]
        for node in chats:
            node.kill()
        carol.answers["MESSAGE"] = 200
        for node in chats:
            node.launch()
        await asyncio.gather(*(node.ready() for node in chats))
        assert (await say(bob, "4")).status == 202

        def new(attendee: Attendee) -> list[str]:
            """What was heard, without what came twice: a message whose answer was lost comes again."""
            return list(dict.fromkeys(text for _, text in attendee.heard()))

        await carol.until("all messages in order", lambda: new(carol) == [*said, "4"], timeout=30)
        await alice.until("the last one", lambda: alice.heard() == [(f"<sip:bob@{DOMAIN}>", "4")])
        assert new(bob) == said
        assert len(bob.heard()) <= len(said) + 1, "only the one that was under way may come twice"


async def test_a_conference_outlives_its_services_and_the_store(cluster: ParleyCluster) -> None:
    async with AsyncExitStack() as stack:
        focus, (alice, bob, carol) = await meeting(cluster, stack)
        for node in cluster.conferences:
            node.kill()
        cluster.valkey.kill()
        cluster.valkey.start()
        for node in cluster.conferences:
            node.launch()
        await asyncio.gather(*(node.ready() for node in cluster.conferences))
        assert (await say(alice, "still here?")).status == 202
        for person in (bob, carol):
            await person.until(
                "the message", lambda person=person: person.heard() == [(f"<{alice.address}>", "still here?")]
            )
        lock = f'<modifyConferenceLock><conferenceKeys confEntity="{focus}"/><locked>true</locked></modifyConferenceLock>'
        assert (await insist(lambda: alice.command(focus, lock))).status == 202
        await bob.until("the lock", bob.is_locked)


async def test_who_loses_the_front_end_comes_back_in(cluster: ParleyCluster) -> None:
    async with AsyncExitStack() as stack:
        focus, (alice, bob, _) = await meeting(cluster, stack)
        cluster.front_ends[1].kill()
        await asyncio.wait_for(bob.closed.wait(), 5)
        again = await Attendee("bob", epid=bob.epid).join_in(cluster.ports[0]["tcp"])
        stack.push_async_callback(again.leave_out)
        assert (await again.join(focus, endpoint="{another}")).status == 200
        watching = await again.watch(focus)
        assert watching.body.count(b"<user ") == 3, "carol and bob are still there, each once"
        assert (await again.chat(focus)).status == 200
        assert (await say(alice, "welcome back")).status == 202
        await again.until("the message", lambda: again.heard() == [(f"<{alice.address}>", "welcome back")])
