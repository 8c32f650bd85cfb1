"""What every server that is measured looks like to the benchmarks."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bench.cpu import process_tree


class Peer(Protocol):
    """A SIP server under load."""

    @property
    def label(self) -> str:
        """What it is called in tables."""

    @property
    def address(self) -> str:
        """ "127.0.0.1:port" for SIP over UDP."""

    async def start(self) -> None:
        """Starts it and returns when it answers."""

    async def stop(self) -> None:
        """Ends all its processes."""

    def pids(self) -> set[int]:
        """All processes that work for it, its database included."""


class Command:
    """A server process with a log file."""

    def __init__(self, arguments: list[str], log: Path, *, env: dict[str, str] | None = None) -> None:
        self._arguments = arguments
        self._log = log
        self._env = env
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the process; its output goes to the log file."""
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._arguments, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, env=self._env
            )

    @property
    def pid(self) -> int:
        """The first process."""
        assert self._process is not None
        return self._process.pid

    def pids(self) -> set[int]:
        """The process and its descendants."""
        return process_tree([self.pid]) if self._process and self._process.returncode is None else set()

    def log_text(self) -> str:
        """What it printed."""
        return self._log.read_text(errors="replace")

    async def stop(self) -> None:
        """Asks the process to end; kills it after five seconds."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def kill(self) -> None:
        """Ends the process without a warning."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()


async def until_answered(address: tuple[str, int], request: Callable[[int], bytes], timeout: float) -> None:
    """Returns when a server answers a datagram, whatever it answers. Raises TimeoutError.

    ``request``: makes the datagram, knowing the port that it is sent from.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        probe.connect(address)
        message = request(probe.getsockname()[1])
        async with asyncio.timeout(timeout):
            while True:
                try:
                    await loop.sock_sendall(probe, message)
                    await asyncio.wait_for(loop.sock_recv(probe, 65536), 0.25)
                except TimeoutError:
                    continue
                except ConnectionError:  # nobody has the port yet
                    await asyncio.sleep(0.05)
                    continue
                return


async def wait_udp(address: str, timeout: float = 20) -> None:
    """Returns when a SIP server answers an OPTIONS. Raises TimeoutError."""
    host, _, port = address.rpartition(":")

    def options(local: int) -> bytes:
        return (
            f"OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{local};branch=z9hG4bKprobe\r\n"
            "Max-Forwards: 70\r\nFrom: <sip:probe@example.test>;tag=1\r\nTo: <sip:example.test>\r\n"
            "Call-ID: probe\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        ).encode()

    await until_answered((host, int(port)), options, timeout)


def required(program: str) -> str:
    """The path of a program, or an error that says what to install."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise SystemExit(f"{program} is not installed; run tools/install-debian.sh bench as root")
    return path
