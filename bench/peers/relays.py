"""The relays that are measured, each with one relay thread on the first core."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from bench.peers.base import Command, required, until_answered
from bench.pinning import pinned
from parley.stun.codes import MessageClass, Method
from parley.stun.message import Message
from tests.support.ports import free_port

USER, PASSWORD, REALM = "bench", "a secret of the bench", "example.test"
FIRST_PORT, LAST_PORT = 20_000, 29_999


class RelayPeer(Protocol):
    """A TURN server under load."""

    @property
    def label(self) -> str:
        """What it is called in tables."""

    @property
    def address(self) -> tuple[str, int]:
        """Where clients come to, over UDP."""

    async def start(self) -> None:
        """Starts it and returns when it answers."""

    async def stop(self) -> None:
        """Ends all its processes."""

    def pids(self) -> set[int]:
        """All its processes."""


class _Relay(ABC):
    """A server that is one command."""

    def __init__(self, label: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.label = label
        self.address = ("127.0.0.1", free_port())
        self._folder = folder
        self._command = Command(pinned(0) + self.arguments(), folder / "log")

    @abstractmethod
    def arguments(self) -> list[str]:
        """The command."""

    async def start(self) -> None:
        """Starts it and returns when it answers."""
        await self._command.start()
        try:
            await wait_stun(self.address)
        except TimeoutError:
            raise RuntimeError(f"{self.label} does not answer: {self._command.log_text()[-2000:]}") from None

    async def stop(self) -> None:
        """Ends it."""
        await self._command.stop()

    def pids(self) -> set[int]:
        """Its processes."""
        return self._command.pids()


class ParleyRelay(_Relay):
    """The edge's core with one of its data planes."""

    def __init__(self, plane: str, folder: Path) -> None:
        self._plane = plane
        super().__init__(f"Parley, {plane}", folder)

    def arguments(self) -> list[str]:
        """The command."""
        return [sys.executable, "-m", "bench.peers.relay_server", str(self.address[1]), self._plane]


class Coturn(_Relay):
    """coturn, from Debian."""

    def __init__(self, folder: Path) -> None:
        super().__init__("coturn", folder)

    def arguments(self) -> list[str]:
        """The command."""
        host, port = self.address
        return [
            required("turnserver"), "-n", "-L", host, "-E", host, "-p", str(port), "-m", "1", "--lt-cred-mech",
            "-u", f"{USER}:{PASSWORD}", "-r", REALM, "--no-tls", "--no-dtls", "--no-tcp", "--no-tcp-relay", "--no-cli",
            "--allow-loopback-peers", "--min-port", str(FIRST_PORT), "--max-port", str(LAST_PORT),
            "--pidfile", str(self._folder / "pid"), "--log-file", "stdout", "--userdb", str(self._folder / "users"),
        ]  # fmt: skip


async def wait_stun(address: tuple[str, int], timeout: float = 20) -> None:
    """Returns when a server answers a Binding request. Raises TimeoutError."""
    await until_answered(address, lambda _: bytes(Message(Method.BINDING, MessageClass.REQUEST)), timeout)
