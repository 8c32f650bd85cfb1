"""SIPp as the phones that are called."""

from __future__ import annotations

import asyncio
import tempfile
from types import TracebackType

from bench.sipp import SCENARIOS


class Callee:
    """A SIPp that answers every INVITE on one port until it is ended."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._folder = tempfile.TemporaryDirectory()

    async def __aenter__(self) -> Callee:
        self._process = await asyncio.create_subprocess_exec(
            "sipp", "-sf", str(SCENARIOS / "callee.xml"), "-i", "127.0.0.1", "-p", str(self.port), "-nostdin",
            "-buff_size", "4194304",
            cwd=self._folder.name, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._folder.cleanup()
