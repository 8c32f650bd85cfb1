"""What clients see of a front end that drains: an answer that is due comes, before the connection is closed."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.integration.test_cluster import established, phone, registered
from tests.support.parley_server import ParleyCluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("leaving", ["of who asks", "of who is asked"])
async def test_connection_on_which_a_request_waits_is_closed_once_it_is_answered(
    tmp_path: Path, leaving: str, transport: str
) -> None:
    async with ParleyCluster(tmp_path) as own:
        alice = await registered(own, "alice", 0, transport)
        bob = await registered(own, "bob", 1, "tcp")
        invite, _, answer = await established(alice, bob)
        number = 0 if leaving == "of who asks" else 1
        idle = await registered(own, "carol", number, "tcp")
        alice.send(bytes(alice.in_dialog("BYE", invite, answer)))
        bye = await bob.expect("BYE")

        own.front_ends[number].signal(signal.SIGTERM)
        await asyncio.wait_for(idle.closed.wait(), 10)
        assert not alice.closed.is_set()
        assert not bob.closed.is_set()
        assert own.front_ends[number].exit_code is None
        bob.answer(bye, 200)
        assert (await alice.response()).status == 200

        async def ended() -> bool:
            return own.front_ends[number].exit_code == 0

        await eventually(ended, timeout=10, what="the front end ends")
        if number == 1:
            await asyncio.wait_for(bob.closed.wait(), 5)
        elif transport == "tcp":
            await asyncio.wait_for(alice.closed.wait(), 5)


@pytest.mark.parametrize("acknowledged", ["while it is away", "once it is back"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_phone_that_rings_may_be_answered_before_its_front_end_ends(
    tmp_path: Path, transport: str, acknowledged: str
) -> None:
    async with ParleyCluster(tmp_path) as own:
        alice = await registered(own, "alice", 0)
        bob = await registered(own, "bob", 1, transport)
        idle = await registered(own, "carol", 1, "tcp")
        invite = await alice.invite("sip:bob@example.test")
        offer = await bob.expect("INVITE")
        bob.answer(offer, 180)
        while (await alice.response(final=False)).status != 180:
            pass

        own.front_ends[1].signal(signal.SIGTERM)
        await asyncio.wait_for(idle.closed.wait(), 10)
        await asyncio.sleep(0.5)  # ten looks at what waits
        assert not bob.closed.is_set()
        assert own.front_ends[1].exit_code is None
        bob.answer(offer, 200)
        answer = await alice.response()
        assert answer.status == 200

        async def ended() -> bool:
            return own.front_ends[1].exit_code == 0

        await eventually(ended, timeout=10, what="the front end ends")
        if transport == "tcp":  # the socket of this phone on UDP hears one front end alone
            ack = bytes(alice.in_dialog("ACK", invite, answer))
            if acknowledged == "while it is away":
                alice.send(ack)
                await asyncio.sleep(1.5)
            again = await phone(own, "bob", 0, transport)
            assert (await again.register(contact=f"<{bob.contact}>")).status == 200
            if acknowledged == "once it is back":
                alice.send(ack)
            await again.expect("ACK")


async def test_device_that_was_sent_away_by_the_front_end_that_is_asked_is_waited_for_longer(tmp_path: Path) -> None:
    """It is not gone of itself, so it will be back, wherever its front end stands in its drain."""
    async with ParleyCluster(tmp_path, frontend={"flow_grace_seconds": 0.3, "drain_seconds": 0.5}) as own:
        alice = await registered(own, "alice", 0)
        bob = await registered(own, "bob", 0, "tcp")
        contact = f"<sip:bob@127.0.0.1:{bob.local[1]};transport=tcp>"
        assert (await bob.register(contact=contact)).status == 200
        invite, _, answer = await established(alice, bob)
        assert (await own.front_ends[0].parley("drain")).returncode == 0
        await asyncio.wait_for(bob.closed.wait(), 10)
        alice.send(bytes(alice.in_dialog("INFO", invite, answer)))
        await asyncio.sleep(1.5)  # several times the grace of a connection
        again = await phone(own, "bob", 1, "tcp")
        assert (await again.register(contact=contact)).status == 200
        again.answer(await again.expect("INFO"), 200)
        assert (await alice.response()).status == 200


async def test_call_whose_device_is_waited_for_is_answered_before_the_front_end_ends(tmp_path: Path) -> None:
    """Over UDP nobody learns that a front end has gone, and after a provisional answer nothing is sent again."""
    async with ParleyCluster(tmp_path, frontend={"drain_seconds": 3.0}) as own:
        alice = await registered(own, "alice", 0)
        bob = await registered(own, "bob", 0, "tcp")
        invite, _, answer = await established(alice, bob)
        await bob.abort()
        again = alice.in_dialog("INVITE", invite, answer)
        alice.send(bytes(again))
        own.front_ends[0].signal(signal.SIGTERM)
        refusal = await alice.response(10)
        assert (refusal.status, refusal.get("Retry-After")) == (503, "1")
        assert refusal.cseq.number == again.cseq.number
        assert own.front_ends[0].exit_code is None
        alice.acknowledge(again, refusal)

        async def ended() -> bool:
            return own.front_ends[0].exit_code == 0

        await eventually(ended, timeout=10, what="the front end ends")


@pytest.mark.parametrize("callee_at", [0, 1])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_who_still_waits_when_a_front_end_ends_is_told_so(tmp_path: Path, transport: str, callee_at: int) -> None:
    async with ParleyCluster(tmp_path, frontend={"drain_seconds": 2.0}) as own:
        alice = await registered(own, "alice", 0, transport)
        bob = await registered(own, "bob", callee_at, "tcp")
        invite = await alice.invite("sip:bob@example.test")
        offer = await bob.expect("INVITE")
        bob.answer(offer, 180)
        own.front_ends[0].signal(signal.SIGTERM)
        refusal = await alice.response(10)
        assert (refusal.status, refusal.get("Retry-After"), refusal.cseq.method) == (503, "1", "INVITE")
        assert refusal.cseq.number == invite.cseq.number
        assert "Front End" in ((await bob.expect("CANCEL")).get("Reason") or "")


async def test_who_never_answers_does_not_keep_a_front_end_from_ending(tmp_path: Path) -> None:
    async with ParleyCluster(tmp_path, frontend={"drain_seconds": 2.0}) as own:
        alice = await registered(own, "alice", 0)
        bob = await registered(own, "bob", 1, "tcp")
        invite, _, answer = await established(alice, bob)
        alice.send(bytes(alice.in_dialog("BYE", invite, answer)))
        await bob.expect("BYE")
        own.front_ends[1].signal(signal.SIGTERM)
        await asyncio.wait_for(bob.closed.wait(), 10)
