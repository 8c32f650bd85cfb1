"""A front end that dies and is started again under its uid, as a container is that is restarted in its pod."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.support.parley_server import ParleyCluster
from tests.support.sip_client import DOMAIN, SipClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyCluster]:
    """Two front ends; who has lost a connection alone is waited for very shortly."""
    folder = tmp_path_factory.mktemp("cluster")
    parley = ParleyCluster(folder, registrar={"edge_grace": 6.0}, frontend={"flow_grace_seconds": 0.3})
    with parley.for_module() as running:
        yield running


async def phone(cluster: ParleyCluster, user: str, front_end: int, transport: str) -> SipClient:
    """A client that is registered."""
    client = await SipClient(user, transport=transport).connect(cluster.ports[front_end][transport])
    assert (await client.register()).status == 200
    return client


async def leave(*clients: SipClient) -> None:
    """Takes registrations back, lost ones among them, so that the next test finds none."""
    for client in clients:
        assert (await client.register(contact="*", expires=0)).status == 200


async def restart(cluster: ParleyCluster, front_end: int) -> None:
    """Kills a front end and starts it again at once."""
    node = cluster.front_ends[front_end]
    node.kill()
    node.launch()
    await node.ready()


async def transports(cluster: ParleyCluster, user: str) -> dict[str, bool]:
    """Over what a user is registered, and whether that is within reach, as ``parley registrations`` lists it."""
    listing = await cluster.registrars[0].parley("--json", "registrations", f"{user}@{DOMAIN}")
    found = [entry["binding"] for entry in json.loads(listing.stdout)]
    return {binding["transport"]: bool(binding.get("edge_address")) for binding in found}


async def test_connections_of_the_run_before_are_swept_and_udp_stays(cluster: ParleyCluster) -> None:
    over_tcp = await phone(cluster, "bob", 1, "tcp")
    over_udp = await phone(cluster, "bob", 1, "udp")
    await restart(cluster, 1)
    await asyncio.wait_for(over_tcp.closed.wait(), 5)

    async def swept() -> bool:
        return await transports(cluster, "bob") == {"UDP": True}

    assert await transports(cluster, "bob") == {"TCP": False, "UDP": True}
    await eventually(swept, timeout=25, what="the binding over the lost connection is taken away")
    alice = await phone(cluster, "alice", 0, "udp")
    await alice.invite(f"sip:bob@{DOMAIN}")
    over_udp.answer(await over_udp.expect("INVITE"), 486)
    assert (await alice.response()).status == 486
    await leave(over_udp, alice)


@pytest.mark.parametrize("caller_at", [0, 1])
async def test_a_call_waits_for_who_was_cut_off_by_the_restart(cluster: ParleyCluster, caller_at: int) -> None:
    bob = await phone(cluster, "bob", 1, "tcp")
    await restart(cluster, 1)
    await asyncio.wait_for(bob.closed.wait(), 5)
    alice = await phone(cluster, "alice", caller_at, "udp")
    await alice.invite(f"sip:bob@{DOMAIN}")
    await asyncio.sleep(2)  # several times the grace of a connection
    again = await phone(cluster, "bob", 1, "tcp")
    again.answer(await again.expect("INVITE"), 486)
    assert (await alice.response()).status == 486
    await leave(again, alice)
