"""A storm of sign-ins: Communicator users with contacts, all within a minute, as after a power cut.

Each connects over TCP, proves its password with NTLM (three REGISTERs), reads its contacts and its own settings,
subscribes to the presence of its contacts in one batch and publishes its state; its contacts who are there already are
told. Everything is signed both ways, and every signature of an answer is checked. CPU is that of all processes of Parley.

The first time each contact also learns, once for all times, who watches it, and that is written; later storms lack it.
"""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

from bench.cpu import cpu_seconds
from bench.peers.parley import PASSWORD, ParleyPresence
from bench.tables import Result
from bench.watchers import Communicator
from parley.platform.rpc.host import RpcHost
from parley.proto.presence.v1 import presence_pb2 as pb
from parley.proto.presence.v1.presence_pb2_grpc import PresenceStub
from tests.integration.test_presence import publication, publish
from tests.support.sip_client import DOMAIN

_EVENTS = ("vnd-microsoft-roaming-contacts", "vnd-microsoft-roaming-self")
_CONTACTS = 50
_PAUSE_S = 10.0


async def storm(work: Path, count: int, seconds: float) -> Result:
    """``count`` users sign in, evenly spread over ``seconds``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    names = [f"user{index}" for index in range(count)]
    contacts = min(_CONTACTS, count - 1)
    server = ParleyPresence(work, names)
    await server.start()
    result = Result(
        f"{count} Communicator users with {contacts} contacts sign in within {seconds:.0f} s",
        ["server", "storm", "failed", "p50 ms", "p99 ms", "CPU ms each", "notifications", "cores busy"],
    )
    try:
        await _give_contacts(server, names, contacts)
        for label in ("first", "second"):
            await _measure(result, label, server, names, contacts, seconds)
            await asyncio.sleep(_PAUSE_S)  # for what the leaving of all brings along
    finally:
        await server.stop()
    return result


async def _give_contacts(server: ParleyPresence, names: list[str], contacts: int) -> None:
    """Each user has those behind in the row as contacts."""
    host = RpcHost()
    try:
        stub = host.channel("parley.presence.v1.Presence", server.presence_target).stub(PresenceStub)
        for index, name in enumerate(names):
            others = [names[(index + step) % len(names)] for step in range(1, contacts + 1)]
            entries = [pb.ContactEntry(address=f"sip:{other}@{DOMAIN}", name=other, groups=["Friends"]) for other in others]
            request = pb.ImportContactsRequest(address=f"sip:{name}@{DOMAIN}", contacts=entries, replace=True)
            answer = await stub.ImportContacts(request, timeout=10)
            if not answer.applied:
                raise RuntimeError(f"{name} got no contacts")
    finally:
        await host.stop()


async def _measure(
    result: Result, label: str, server: ParleyPresence, names: list[str], contacts: int, seconds: float
) -> None:
    """Adds the row of one storm."""
    notified = 0

    def arrived(_: float) -> None:
        nonlocal notified
        notified += 1

    clients: list[Communicator] = []
    times: list[float] = []
    failures: list[str] = []

    async def one(index: int) -> None:
        await asyncio.sleep(index * seconds / len(names))
        client = Communicator(names[index], PASSWORD, arrived, epid=f"{index:012x}")
        others = [names[(index + step) % len(names)] for step in range(1, contacts + 1)]
        begun = time.perf_counter()
        try:
            ports = server.ports("tcp")
            await client.connect(ports[index % len(ports)])
            clients.append(client)
            await sign_in(client, others)
        except (OSError, RuntimeError, TimeoutError, AssertionError) as error:
            failures.append(f"{client.user}: {error!r}")
            return
        times.append(time.perf_counter() - begun)

    pids = server.pids()
    before, begun = cpu_seconds(pids), time.monotonic()
    await asyncio.gather(*(one(index) for index in range(len(names))))
    await asyncio.sleep(1)
    used, took = cpu_seconds(pids) - before, time.monotonic() - begun
    times.sort()
    p50, p99 = (times[len(times) * part // 100] * 1e3 if times else 0.0 for part in (50, 99))
    result.rows.append(
        [server.label, label, str(len(failures)), f"{p50:.0f}", f"{p99:.0f}", f"{used / max(1, len(times)) * 1e3:.1f}",
         str(notified), f"{used / took:.2f}"]
    )  # fmt: skip
    result.notes += [f"failed: {failure}" for failure in failures[:3]]
    for client in clients:
        await client.abort()


async def sign_in(client: Communicator, others: list[str]) -> None:
    """What a client does until its user sees who is there. Raises RuntimeError, TimeoutError; AssertionError if unsigned."""
    answer = await client.sign_in()
    if answer.status != 200:
        raise RuntimeError(f"REGISTER: {answer.status}")
    address = f"sip:{client.user}@{DOMAIN}"
    supported = ("Supported", "ms-piggyback-first-notify, ms-benotify")
    for event in _EVENTS:
        request = client.ocs_request("SUBSCRIBE", address, headers=[("Event", event), supported])
        answer = await client.ask_signed(request, timeout=20)
        if answer.status != 200:
            raise RuntimeError(f"SUBSCRIBE {event}: {answer.status}")
    await client.watch(*others)
    answer = await client.ask_signed(publish(client, publication("machineState", 3_500)), timeout=20)
    if answer.status != 200:
        raise RuntimeError(f"SERVICE: {answer.status}")
