"""Parley under load: one embedded process, or two front ends beside processes of the other services."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from bench.cpu import process_tree
from bench.peers.base import wait_udp
from parley.sip import message
from tests.support.parley_server import PASSWORD, ParleyCluster, ParleyServer, quiet_limits

__all__ = ["PASSWORD", "Parley", "ParleyPair", "ParleyPresence"]

# SIPp 3.6 knows MD5 only, and gives up when it is offered anything else.
DIGEST = {"algorithms": ["MD5"]}


COMPILED = (message.__file__ or "").endswith(".so")
"""Whether the bench runs in a tree that `tools/compile_cores.py` made."""
NAME = "Parley, compiled" if COMPILED else "Parley"


class Parley:
    """One process with all services and its Valkey, as ``parley run`` starts it."""

    label = NAME

    def __init__(self, folder: Path, *, users: Sequence[str]) -> None:
        self._users = users
        config = {"frontend": {"digest": DIGEST, "limits": quiet_limits()}, "platform": {"log": {"level": "WARNING"}}}
        self._server = ParleyServer(folder, config=config)

    @property
    def address(self) -> str:
        """SIP over UDP."""
        return f"127.0.0.1:{self._server.ports['udp']}"

    async def start(self) -> None:
        """Starts it and makes the users."""
        await self._server.start()
        await self._server.create_users(self._users)
        await wait_udp(self.address)

    async def stop(self) -> None:
        """Ends it."""
        await self._server.stop()

    def pids(self) -> set[int]:
        """Parley and the Valkey it started."""
        return process_tree([self._server.pid])


class ParleyPair:
    """Two front ends, one registrar, one address book, one Valkey."""

    label = f"{NAME}, two front ends"

    def __init__(self, folder: Path, users: Sequence[str]) -> None:
        self._users = users
        self._cluster = ParleyCluster(
            folder, registrars=1, frontend={"digest": DIGEST}, platform={"log": {"level": "WARNING"}}
        )
        self.caller_address = f"127.0.0.1:{self._cluster.ports[0]['udp']}"
        self.callee_address = f"127.0.0.1:{self._cluster.ports[1]['udp']}"

    async def start(self) -> None:
        """Starts all processes and makes the users."""
        await self._cluster.start(self._users)
        await asyncio.gather(wait_udp(self.caller_address), wait_udp(self.callee_address))

    async def stop(self) -> None:
        """Ends all."""
        await self._cluster.stop()

    def pids(self) -> set[int]:
        """All processes."""
        return process_tree(self._cluster.pids())


class ParleyPresence:
    """Two front ends and a presence service, with what they need, as processes of their own."""

    label = f"{NAME}, two front ends"

    def __init__(self, folder: Path, users: Sequence[str]) -> None:
        self._users = users
        self._cluster = ParleyCluster(folder, registrars=1, presences=1, platform={"log": {"level": "WARNING"}})

    @property
    def presence_target(self) -> str:
        """gRPC address of the presence service."""
        return self._cluster.presence_target

    def ports(self, transport: str) -> Sequence[int]:
        """Where the front ends take SIP."""
        return [ports[transport] for ports in self._cluster.ports]

    async def start(self) -> None:
        """Starts all processes and makes the users."""
        await self._cluster.start(self._users)

    async def stop(self) -> None:
        """Ends all."""
        await self._cluster.stop()

    def pids(self) -> set[int]:
        """All processes."""
        return process_tree(self._cluster.pids())
