"""SIGKILL for a pod of each service: how long what it does is missed, and until the pod is replaced.

What a service does is asked for again and again by somebody new; missed is the time from the kill to the first success after
the last failure. A service with more than one pod is not missed at all, unless the one that was killed served whoever asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from secrets import token_hex

from bench.cluster.site import Site
from bench.tables import Result
from parley.presence.standard.availability import pidf_of
from parley.presence.standard.pidf import build_pidf
from parley.sip.message import Response
from parley.stun.addresses import Address
from parley.stun.probe import Probe, ProbeError
from tests.support.cluster_install import SERVICES, aside
from tests.support.cluster_line import PhoneError
from tests.support.cluster_people import People
from tests.support.sip_client import DOMAIN

_PAUSE_S = 0.25
_QUIET_S = 3.0
"""So long all must go well after the pod is ready again."""
Work = Callable[[People], Awaitable[None]]
_TROUBLE = (PhoneError, ProbeError, AssertionError, OSError, TimeoutError, LookupError)


async def measure(site: Site) -> Result:
    """One service after the other."""
    result = Result("SIGKILL of a pod", ["service", "pods", "missed", "pod replaced and ready", "attempts that failed"])
    figures = {}
    work = await _work(site)
    for number, service in enumerate(SERVICES):
        await aside(site.parley.sound)
        pods = await aside(site.parley.ready, service)
        people = site.people(100 * number + 10)
        attempts: list[tuple[float, str]] = []
        stop = asyncio.Event()
        asking = asyncio.create_task(_ask(work[service], people, attempts, stop))
        await _until_good(service, attempts)
        begun = time.monotonic()
        await aside(site.parley.kill, pods[0])
        await aside(site.parley.ready, service, len(pods))
        ready = time.monotonic() - begun
        await asyncio.sleep(_QUIET_S)
        await _until_good(service, attempts)
        stop.set()
        await asking
        bad = [at for at, problem in attempts if at > begun and problem]
        missed = next((at for at, problem in attempts if not problem and at > bad[-1]), begun) - begun if bad else 0.0
        result.rows.append([service, str(len(pods)), f"{missed:.1f} s", f"{ready:.1f} s", str(len(bad))])
        figures[service] = {"pods": len(pods), "missed_seconds": round(missed, 1), "replaced_seconds": round(ready, 1)}
    site.figures["recovery"] = figures
    return result


async def _ask(work: Work, people: People, attempts: list[tuple[float, str]], stop: asyncio.Event) -> None:
    """Notes when each attempt ended, and what was wrong; "": nothing."""
    while not stop.is_set():
        problem = ""
        try:
            async with asyncio.timeout(5):
                await work(people)
        except _TROUBLE as error:
            problem = f"{type(error).__name__}: {error}"
        attempts.append((time.monotonic(), problem))
        await asyncio.sleep(_PAUSE_S)


def _require(answer: Response) -> None:
    """Raises AssertionError for an answer that is no success."""
    assert 200 <= answer.status < 300, f"{answer.status} {answer.reason}"


async def _until_good(service: str, attempts: list[tuple[float, str]]) -> None:
    """Raises AssertionError when no attempt succeeds for long."""
    begun = time.monotonic()
    while not any(not problem for at, problem in attempts if at > begun):
        if time.monotonic() > begun + 90:
            raise AssertionError(f"nothing of {service} has worked for 90 s; the last: {attempts[-1:]}")
        await asyncio.sleep(0.1)


async def _work(site: Site) -> dict[str, Work]:
    """What each service is asked for."""
    parley = site.parley
    relay = await aside(parley.relay, site.users[0])
    nodes = [Address(host, relay.server.port) for host, _ in parley.edges("turn-udp")]
    web = await aside(parley.edges, "https", parley.node_of("web"))

    async def register(people: People) -> None:
        client = await people.client("tcp")
        try:
            _require(await client.register(expires=60))
        finally:
            await client.abort()

    async def publish(people: People) -> None:
        client = await people.client("tcp")  # a new user each time: nobody has any number of publications
        address = f"sip:{client.user}@{DOMAIN}"
        headers = [("Event", "presence"), ("Content-Type", "application/pidf+xml")]
        request = client.request("PUBLISH", address, headers=headers, body=build_pidf(pidf_of(address, 3500)))
        try:
            _require(await client.ask(request))
        finally:
            await client.abort()

    async def write(people: People) -> None:
        client = await people.client("tcp", user=site.users[2])
        headers = [("Content-Type", "text/plain"), ("Expires", "1")]
        request = client.request("MESSAGE", f"sip:{site.users[3]}@{DOMAIN}", headers=headers, body=b"hello")
        try:
            _require(await client.ask(request))
        finally:
            await client.abort()

    async def confer(people: People) -> None:
        attendee = await people.attendee()
        try:
            focus = await attendee.create(token_hex(6).upper())
            _require(await attendee.join(focus))
            _require(await attendee.chat(focus))
        finally:
            await attendee.leave_out()
            await attendee.abort()

    async def allocate(people: People) -> None:
        for node in nodes:
            with contextlib.suppress(*_TROUBLE):
                async with asyncio.timeout(1.5), Probe.open(node) as probe:
                    await probe.allocate(relay.username, relay.password)
                    return
        raise AssertionError("no relay answers")

    async def shake_hands(people: People) -> None:
        for host, port in web:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.5):
                    _, writer = await asyncio.open_connection(host, port)
                    writer.transport.abort()
                    return
        raise AssertionError("no web service answers")

    return {
        "addressbook": register, "registrar": register, "presence": publish, "messaging": write, "conference": confer,
        "immcu": confer, "avedge": allocate, "frontend": register, "web": shake_hands,
    }  # fmt: skip
