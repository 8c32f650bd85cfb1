"""Two front ends and two registrars: calls across them, and what happens when processes die."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from parley.sip.message import Request, Response
from tests.support.parley_server import ParleyCluster
from tests.support.sip_client import DOMAIN, SipClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyCluster]:
    """A cluster that tests leave as they found it."""
    with ParleyCluster(tmp_path_factory.mktemp("cluster")).for_module() as running:
        yield running


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[ParleyCluster]:
    """A cluster whose processes a test may kill."""
    async with ParleyCluster(tmp_path, registrar={"edge_grace": 2.0}) as running:
        yield running


async def phone(cluster: ParleyCluster, user: str, front_end: int, transport: str = "udp") -> SipClient:
    """A client that is not registered yet."""
    return await SipClient(user, transport=transport).connect(cluster.ports[front_end][transport])


async def registered(cluster: ParleyCluster, user: str, front_end: int, transport: str = "udp") -> SipClient:
    """A client that is registered."""
    client = await phone(cluster, user, front_end, transport)
    assert (await client.register()).status == 200
    return client


async def leave(*clients: SipClient) -> None:
    """Takes registrations back, so that the next test finds none."""
    for client in clients:
        await client.register(expires=0)


async def established(caller: SipClient, callee: SipClient) -> tuple[Request, Request, Response]:
    """A call that is answered: the caller's INVITE, the callee's, and the answer."""
    invite = await caller.invite(f"sip:{callee.user}@{DOMAIN}")
    incoming = await callee.expect("INVITE")
    callee.answer(incoming, 200)
    answer = await caller.response()
    assert answer.status == 200
    caller.send(bytes(caller.in_dialog("ACK", invite, answer)))
    await callee.expect("ACK")
    return invite, incoming, answer


async def renewed(caller: SipClient, callee: SipClient, invite: Request, answer: Response) -> None:
    """Another INVITE within the call, answered and acknowledged."""
    again = caller.in_dialog("INVITE", invite, answer)
    caller.send(bytes(again))
    callee.answer(await callee.expect("INVITE", 15), 200)
    assert (await caller.response()).status == 200
    caller.send(bytes(caller.in_dialog("ACK", again, answer)))
    await callee.expect("ACK")


async def test_call_between_phones_on_different_front_ends_and_back(shared: ParleyCluster) -> None:
    alice = await registered(shared, "alice", 0, "tcp")
    bob = await registered(shared, "bob", 1, "tls")
    invite, incoming, answer = await established(alice, bob)
    assert len(incoming.values("Record-Route")) == 2
    assert incoming.get("P-Asserted-Identity") == '"alice" <sip:alice@example.test>'
    assert incoming.get("Proxy-Authorization") is None
    # a re-INVITE of the callee travels the other way
    again = bob.in_dialog_of_callee("INVITE", incoming)
    again.set("Contact", f"<{bob.contact}>")
    bob.send(bytes(again))
    held = await alice.expect("INVITE")
    assert held.get("Record-Route") is None
    alice.answer(held, 200)
    assert (await bob.response()).status == 200
    bob.send(bytes(bob.in_dialog_of_callee("ACK", incoming)))
    await alice.expect("ACK")
    await alice.hang_up(bob, invite, answer)
    await leave(alice, bob)


async def test_fork_to_three_devices_on_both_front_ends(shared: ParleyCluster) -> None:
    alice = await phone(shared, "alice", 0)
    devices = [await registered(shared, "bob", *where) for where in ((0, "udp"), (1, "tcp"), (1, "tls"))]
    invite = await alice.invite("sip:bob@example.test")
    ringing = [await device.expect("INVITE") for device in devices]
    for device, incoming in zip(devices, ringing, strict=True):
        device.answer(incoming, 180, to_tag=device.transport)
    devices[1].answer(ringing[1], 200, to_tag="tcp")
    answer = await alice.response()
    assert (answer.status, answer.to_tag) == (200, "tcp")
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    for loser, incoming in ((devices[0], ringing[0]), (devices[2], ringing[2])):
        cancel = await loser.expect("CANCEL")
        assert cancel.get("Reason") == 'SIP ;cause=200 ;text="Call completed elsewhere"'
        loser.answer(cancel, 200)
        loser.answer(incoming, 487, to_tag=loser.transport)
        await loser.expect("ACK")
    await alice.hang_up(devices[1], invite, answer)
    await leave(*devices)


async def test_caller_cancels_a_call_at_the_other_front_end(shared: ParleyCluster) -> None:
    alice = await phone(shared, "alice", 0)
    bob = await registered(shared, "bob", 1)
    invite = await alice.invite("sip:bob@example.test")
    incoming = await bob.expect("INVITE")
    bob.answer(incoming, 180)
    while (await alice.response(final=False)).status != 180:
        pass
    cancel = Request.create(
        "CANCEL", invite.uri_text,
        headers=[("Via", str(invite.via)), ("Max-Forwards", "70"), ("From", invite.get("From") or ""),
                 ("To", invite.get("To") or ""), ("Call-ID", invite.call_id), ("CSeq", f"{invite.cseq.number} CANCEL"),
                 ("Reason", 'Q.850;cause=16;text="Terminated"')],
    )  # fmt: skip
    alice.send(bytes(cancel))
    received = await bob.expect("CANCEL")
    assert received.get("Reason") == 'Q.850;cause=16;text="Terminated"'
    bob.answer(received, 200)
    bob.answer(incoming, 487)
    statuses = {(await alice.response()).status, (await alice.response()).status}
    assert statuses == {200, 487}
    await leave(bob)


@pytest.mark.parametrize("status", [486, 603, 488])
async def test_refusals_of_the_callee_come_back(shared: ParleyCluster, status: int) -> None:
    alice = await phone(shared, "alice", 1)
    bob = await registered(shared, "bob", 0)
    invite = await alice.invite("sip:bob@example.test")
    bob.answer(await bob.expect("INVITE"), status)
    final = await alice.response()
    assert final.status == status
    alice.acknowledge(invite, final)
    await bob.expect("ACK")
    await leave(bob)


async def test_nonce_is_good_at_both_front_ends_but_each_count_only_once(shared: ParleyCluster) -> None:
    first = await phone(shared, "alice", 0)
    second = await phone(shared, "alice", 1)
    register = first.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:alice@{DOMAIN}")
    first.send(bytes(register))
    challenge = await first.response()
    assert challenge.status == 401
    used = first.authorize(register, challenge, nc=1)
    first.send(bytes(used))
    assert (await first.response()).status == 200

    def at_second(nc: int) -> Request:
        return second.authorize(second.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:alice@{DOMAIN}"), challenge, nc=nc)

    second.send(bytes(at_second(1)))
    replayed = await second.response()
    assert replayed.status == 401
    assert "stale=true" in (replayed.get("WWW-Authenticate") or "")
    second.send(bytes(at_second(2)))
    assert (await second.response()).status == 200
    second.send(bytes(at_second(2)))
    assert (await second.response()).status == 401


async def test_unknown_user_and_wrong_password_look_the_same(shared: ParleyCluster) -> None:
    def shape(response: Response) -> list[tuple[str, str]]:
        return [
            (name, re.sub(r'nonce="[^"]*"', "", value))
            for name, value in response.headers()
            if name not in ("Via", "From", "To", "Call-ID", "CSeq")
        ]

    nobody = await phone(shared, "nobody", 0)
    carol = await phone(shared, "carol", 0)
    carol.password = "Wrong-1"
    answers = [await client.register() for client in (nobody, carol)]
    assert [answer.status for answer in answers] == [401, 401]
    assert shape(answers[0]) == shape(answers[1])


async def test_binding_whose_flow_died_is_passed_over(own: ParleyCluster) -> None:
    alice = await phone(own, "alice", 0)
    dead = await registered(own, "bob", 1, "tcp")
    living = await registered(own, "bob", 0, "udp")
    own.front_ends[1].kill()
    invite = await alice.invite("sip:bob@example.test")
    incoming = await living.expect("INVITE", 10)
    living.answer(incoming, 200)
    answer = await alice.response(10)
    assert answer.status == 200
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    await living.expect("ACK")
    assert dead.received.empty()

    async def swept() -> bool:
        listing = await own.registrars[0].parley("--json", "registrations", "bob@example.test")
        return listing.stdout.count('"aor"') == 1

    await eventually(swept, timeout=20, what="the dead front end's binding is taken away")
    await alice.hang_up(living, invite, answer)


@pytest.mark.parametrize("instance", [True, False])
async def test_call_to_a_phone_between_two_connections_waits_for_it(shared: ParleyCluster, instance: bool) -> None:
    alice = await phone(shared, "alice", 0)
    bob = await phone(shared, "bob", 1, "tcp")
    # A phone without an instance names another port in its contact each time.
    extra = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"' if instance else ""
    assert (await bob.register(contact=f"<{bob.contact}>{extra}")).status == 200
    await bob.abort()
    invite = await alice.invite("sip:bob@example.test")
    again = await phone(shared, "bob", 0, "tls")
    assert (await again.register(contact=f"<{again.contact}>{extra}")).status == 200
    incoming = await again.expect("INVITE")
    again.answer(incoming, 200)
    answer = await alice.response()
    assert answer.status == 200
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    await again.expect("ACK")
    await alice.hang_up(again, invite, answer)
    await leave(again)


@pytest.mark.parametrize("end", ["stopped", "killed", "drained"])
@pytest.mark.parametrize("called", ["before", "after"])
async def test_phone_whose_front_end_has_ended_is_waited_for_longer(tmp_path: Path, end: str, called: str) -> None:
    """It was sent away by us, so it will be back: when many are, that takes longer than for one that changed its network."""
    frontend = {"flow_grace_seconds": 0.3, "drain_seconds": 0.5}
    async with ParleyCluster(tmp_path, frontend=frontend) as own:
        alice = await phone(own, "alice", 0)
        bob = await registered(own, "bob", 1, "tcp")
        leaving = own.front_ends[1]
        if called == "before":  # the stream between the front ends is there
            invite, _, answer = await established(alice, bob)
            await alice.hang_up(bob, invite, answer)
        if end == "stopped":
            await leaving.stop()
        elif end == "killed":
            leaving.kill()
        else:
            assert (await leaving.parley("drain")).returncode == 0
        await asyncio.wait_for(bob.closed.wait(), 10)
        invite = await alice.invite("sip:bob@example.test")
        await asyncio.sleep(1.5)  # several times the grace of a connection
        again = await registered(own, "bob", 0, "tcp")
        again.answer(await again.expect("INVITE"), 200)
        answer = await alice.response()
        assert answer.status == 200
        alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
        await again.expect("ACK")
        await alice.hang_up(again, invite, answer)


@pytest.mark.parametrize("front_end", [0, 1])
async def test_call_that_a_broken_connection_swallowed_is_offered_over_the_next(
    shared: ParleyCluster, front_end: int
) -> None:
    """What is written to a connection in its last moment is lost, and neither side is told."""
    alice = await phone(shared, "alice", 0)
    bob = await registered(shared, "bob", front_end, "tcp")
    invite = await alice.invite("sip:bob@example.test")
    lost = await bob.expect("INVITE")
    await bob.abort()
    again = await registered(shared, "bob", 1, "tls")
    incoming = await again.expect("INVITE")
    assert incoming.call_id == lost.call_id
    again.answer(incoming, 200)
    answer = await alice.response()
    assert answer.status == 200
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    await again.expect("ACK")
    await alice.hang_up(again, invite, answer)
    await leave(again)


@pytest.mark.parametrize("answers_at", [0, 1])
@pytest.mark.parametrize("rings_at", [0, 1])
async def test_ringing_phone_may_answer_over_another_connection(
    shared: ParleyCluster, rings_at: int, answers_at: int
) -> None:
    """The Via names the address of all front ends: the answer comes to any of them."""
    alice = await phone(shared, "alice", 0)
    bob = await registered(shared, "bob", rings_at, "tcp")
    invite = await alice.invite("sip:bob@example.test")
    incoming = await bob.expect("INVITE")
    bob.answer(incoming, 180)
    while (await alice.response(final=False)).status != 180:
        pass
    await bob.abort()
    again = await registered(shared, "bob", answers_at, "tcp")
    again.answer(incoming, 200)
    answer = await alice.response()
    assert answer.status == 200
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    await again.expect("ACK")
    await alice.hang_up(again, invite, answer)
    await leave(again)


@pytest.mark.parametrize("front_end", [0, 1])
async def test_answer_of_a_phone_on_udp_may_come_to_any_front_end(shared: ParleyCluster, front_end: int) -> None:
    """A balancer that has forgotten it sends its datagrams elsewhere."""
    alice = await phone(shared, "alice", 0)
    bob = await registered(shared, "bob", front_end, "udp")
    elsewhere = await phone(shared, "bob", 1 - front_end, "udp")
    invite = await alice.invite("sip:bob@example.test")
    offer = await bob.expect("INVITE")
    elsewhere.answer(offer, 180)
    while (await alice.response(final=False)).status != 180:
        pass
    elsewhere.answer(offer, 200)
    answer = await alice.response()
    assert answer.status == 200
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    await bob.expect("ACK")
    alice.send(bytes(alice.in_dialog("BYE", invite, answer)))
    elsewhere.answer(await bob.expect("BYE"), 200)
    assert (await alice.response()).status == 200
    await leave(bob)


async def test_call_to_a_phone_that_does_not_come_back_ends_after_the_grace(shared: ParleyCluster) -> None:
    alice, bob = await phone(shared, "alice", 0), await registered(shared, "bob", 1, "tcp")
    await bob.abort()
    begun = asyncio.get_running_loop().time()
    await alice.invite("sip:bob@example.test")
    assert (await alice.response()).status == 480
    assert asyncio.get_running_loop().time() - begun < 4


async def test_caller_who_gives_up_meanwhile_is_told_so(shared: ParleyCluster) -> None:
    alice, bob = await phone(shared, "alice", 0), await registered(shared, "bob", 1, "tcp")
    await bob.abort()
    invite = await alice.invite("sip:bob@example.test")
    cancel = Request.create(
        "CANCEL", invite.uri_text,
        headers=[("Via", str(invite.via)), ("Max-Forwards", "70"), ("From", invite.get("From") or ""),
                 ("To", invite.get("To") or ""), ("Call-ID", invite.call_id), ("CSeq", f"{invite.cseq.number} CANCEL")],
    )  # fmt: skip
    await asyncio.sleep(0.3)
    alice.send(bytes(cancel))
    statuses = {(await alice.response(1.5)).status, (await alice.response(1.5)).status}
    assert statuses == {200, 487}


async def test_acknowledged_register_survives_kill_of_any_process(own: ParleyCluster) -> None:
    bob = await registered(own, "bob", 0, "udp")
    for node in (own.registrars[0], own.front_ends[0], own.book, own.registrars[1]):
        node.kill()
        node.launch()
        await node.ready()
    alice = await phone(own, "alice", 1)

    async def call() -> bool:
        invite = alice.request("INVITE", "sip:bob@example.test")
        response_task = asyncio.ensure_future(alice.ask(invite))
        try:
            incoming = await bob.expect("INVITE", 3)
        except TimeoutError:
            response_task.cancel()
            return False
        bob.answer(incoming, 486)
        return (await response_task).status == 486

    await eventually(call, timeout=30, what="the registration made before is still used")


async def test_store_away_is_503_at_once_and_heals_by_itself(own: ParleyCluster) -> None:
    bob = await registered(own, "bob", 0)
    own.valkey.kill()
    answer = await bob.register()
    assert answer.status == 503
    assert int(answer.get("Retry-After") or 0) >= 1
    alice = await phone(own, "alice", 1)
    response = await alice.ask(alice.request("INVITE", "sip:bob@example.test"), timeout=6)
    assert response.status in (503, 504)
    assert response.get("Retry-After")
    own.valkey.start()

    async def heals() -> bool:
        return (await bob.register()).status == 200

    await eventually(heals, timeout=15, what="registration works again")


async def test_registrars_away_is_503_and_heals(own: ParleyCluster) -> None:
    bob = await registered(own, "bob", 0)
    for registrar in own.registrars:
        registrar.kill()
    answer = await bob.register()
    assert answer.status in (503, 504)
    assert answer.get("Retry-After")
    for registrar in own.registrars:
        registrar.launch()
    for registrar in own.registrars:
        await registrar.ready()

    async def heals() -> bool:
        return (await bob.register()).status == 200

    await eventually(heals, timeout=15, what="registration works again")


async def test_call_goes_on_over_a_new_connection_after_its_front_end_died(own: ParleyCluster) -> None:
    alice = await registered(own, "alice", 0, "udp")
    bob = await registered(own, "bob", 1, "tcp")
    contact = f"<sip:bob@127.0.0.1:{bob.local[1]};transport=tcp>"
    invite, _, answer = await established(alice, bob)
    own.front_ends[1].kill()
    await bob.closed.wait()
    again = await phone(own, "bob", 0, "tcp")
    assert (await again.register(contact=contact)).status == 200
    await renewed(alice, again, invite, answer)
    bye = alice.in_dialog("BYE", invite, answer)
    alice.send(bytes(bye))
    again.answer(await again.expect("BYE", 15), 200)
    assert (await alice.response()).status == 200


@pytest.mark.parametrize("front_end", [0, 1])
async def test_who_comes_back_in_a_moment_is_asked_in_the_dialog(shared: ParleyCluster, front_end: int) -> None:
    """The flow of the dialog is gone, and so is the one of the binding, as they are the same."""
    alice = await registered(shared, "alice", 0, "udp")
    bob = await registered(shared, "bob", front_end, "tcp")
    contact = f"<sip:bob@127.0.0.1:{bob.local[1]};transport=tcp>"
    invite, _, answer = await established(alice, bob)
    await bob.abort()
    again = alice.in_dialog("INVITE", invite, answer)
    alice.send(bytes(again))
    await asyncio.sleep(0.5)
    back = await phone(shared, "bob", 0, "tcp")
    assert (await back.register(contact=contact)).status == 200
    back.answer(await back.expect("INVITE"), 200)
    assert (await alice.response()).status == 200
    alice.send(bytes(alice.in_dialog("ACK", again, answer)))
    await back.expect("ACK")
    await alice.hang_up(back, invite, answer)
    await leave(alice)


@pytest.mark.parametrize("within", ["a call", "no call"])
async def test_device_that_is_looked_for_while_registrars_fail_is_not_said_to_be_nowhere(
    own: ParleyCluster, within: str
) -> None:
    """480 is of the callee, and no reason to ask again; 503 with Retry-After is."""
    alice = await registered(own, "alice", 0)
    bob = await registered(own, "bob", 0, "tcp")
    invite, _, answer = await established(alice, bob)
    await bob.abort()
    if within == "a call":
        alice.send(bytes(alice.in_dialog("INVITE", invite, answer)))
    else:
        await alice.invite(f"sip:{bob.user}@{DOMAIN}")
    assert (await alice.response(final=False)).status == 100
    for registrar in own.registrars:
        registrar.kill()
    refusal = await alice.response(10)
    assert (refusal.status, bool(refusal.get("Retry-After"))) in ((503, True), (504, True))


async def test_front_end_that_begins_waits_for_those_it_asks(own: ParleyCluster) -> None:
    for node in (*own.registrars, own.front_ends[0]):
        node.kill()
    own.front_ends[0].launch()
    ready = asyncio.ensure_future(own.front_ends[0].ready())
    done, _ = await asyncio.wait([ready], timeout=4)
    assert not done
    own.registrars[0].launch()
    await ready
    bob = await phone(own, "bob", 0, "tcp")
    assert (await bob.register()).status == 200


@pytest.mark.parametrize("front_end", [0, 1])
async def test_who_came_back_over_a_new_connection_is_asked_and_acknowledged(shared: ParleyCluster, front_end: int) -> None:
    alice = await registered(shared, "alice", 0, "udp")
    bob = await registered(shared, "bob", front_end, "tcp")
    contact = f"<sip:bob@127.0.0.1:{bob.local[1]};transport=tcp>"
    invite, _, answer = await established(alice, bob)
    bob.close()
    await bob.closed.wait()
    again = await phone(shared, "bob", front_end, "tcp")
    assert (await again.register(contact=contact)).status == 200
    await renewed(alice, again, invite, answer)
    await alice.hang_up(again, invite, answer)
    assert (await again.register(expires=0, contact=contact)).status == 200


async def test_drain_sends_new_work_away_and_lets_calls_end(own: ParleyCluster) -> None:
    alice = await registered(own, "alice", 0)
    bob = await registered(own, "bob", 1)
    invite, _, answer = await established(alice, bob)
    own.front_ends[0].signal(signal.SIGTERM)

    async def refused() -> bool:
        response = await alice.register()
        return response.status == 503 and bool(response.get("Retry-After"))

    await eventually(refused, what="new work is sent away")
    assert own.front_ends[0].exit_code is None
    own.front_ends[0].signal(signal.SIGUSR1)

    async def taken() -> bool:
        return (await alice.register()).status == 200

    await eventually(taken, what="the drain is cancelled")
    own.front_ends[0].signal(signal.SIGTERM)
    await eventually(refused, what="it drains again")
    await alice.hang_up(bob, invite, answer)

    async def ended() -> bool:
        return own.front_ends[0].exit_code == 0

    await eventually(ended, timeout=15, what="the front end ends once its calls have")


async def test_changed_password_counts_within_a_second(own: ParleyCluster) -> None:
    carol = await registered(own, "carol", 0)
    done = await own.book.parley("user", "passwd", "carol@example.test", stdin="Another-1\n")
    assert done.returncode == 0, done.stderr
    await asyncio.sleep(1)
    assert (await carol.register()).status == 401
    carol.password = "Another-1"
    assert (await carol.register()).status == 200
