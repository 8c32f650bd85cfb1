"""One peer, reached within the process or over a socket: what is tested holds for both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from parley.platform.rpc.channels import Channel
from parley.platform.rpc.host import RpcHost
from tests.unit.platform.rpc.servers import (
    EDGE,
    REGISTRAR,
    DeliverClient,
    LookupClient,
    Peer,
    deliver_client,
    lookup_client,
    start_peer,
)


@dataclass
class Way:
    """How the caller reaches the peer."""

    peer: Peer
    registrar: Channel
    edge: Channel
    lookups: LookupClient
    deliveries: DeliverClient


@pytest.fixture(params=["local", "remote"])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    """Clients of one peer, both ways."""
    peer = await start_peer()
    caller = peer.host if request.param == "local" else RpcHost()
    target = None if request.param == "local" else peer.target
    registrar, edge = caller.channel(REGISTRAR, target), caller.channel(EDGE, target)
    made = Way(peer, registrar, edge, lookup_client(registrar), deliver_client(edge))
    yield made
    peer.registrar.gate.set()
    await made.lookups.stop()
    await made.deliveries.stop()
    await caller.stop(0)
    await peer.host.stop(0)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """A peer that is only reached over a socket."""
    started = await start_peer()
    yield started
    started.registrar.gate.set()
    await started.host.stop(0)


@pytest.fixture
async def caller() -> AsyncIterator[RpcHost]:
    """A process that serves nothing."""
    host = RpcHost()
    yield host
    await host.stop(0)
