"""Idle phones over TLS: memory for each, and how long all need to register again when their front end dies."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench.cpu import cpu_seconds, process_tree, resident_bytes
from bench.tables import Result
from tests.support.parley_server import PASSWORD, ParleyCluster


async def idle_connections(folder: Path, count: int) -> Result:
    """Connects ``count`` phones to the first of two front ends, measures it, and kills it."""
    names = [f"user{index}" for index in range(count)]
    cluster = ParleyCluster(
        folder, registrars=1, frontend={"digest": {"algorithms": ["MD5"]}}, platform={"log": {"level": "WARNING"}}
    )
    result = Result(
        f"{count} idle phones over TLS",
        ["measure", "value"],
    )
    await cluster.start(())
    try:
        await cluster.book.create_users(names)
        front_end = cluster.front_ends[0]
        before = resident_bytes(process_tree([front_end.pid]))
        cpu = cpu_seconds(process_tree([front_end.pid]))
        begun = time.monotonic()
        phones = await _Phones.start([ports["tls"] for ports in cluster.ports], count)
        try:
            await phones.until(count, 600)
            took = time.monotonic() - begun
            await asyncio.sleep(3)
            memory = resident_bytes(process_tree([front_end.pid])) - before
            used = cpu_seconds(process_tree([front_end.pid])) - cpu
            result.rows += [
                ["memory of the front end per phone", f"{memory / count / 1024:.1f} KiB"],
                ["time to sign all in", f"{took:.1f} s"],
                ["CPU of the front end per sign-in (TLS handshake, REGISTER)", f"{used / count * 1e6:.0f} µs"],
            ]
            front_end.kill()
            begun = time.monotonic()
            await phones.until(count, 600, server=1)
            result.rows.append(["time until all are registered at the other front end", f"{time.monotonic() - begun:.1f} s"])
        finally:
            await phones.stop()
    finally:
        await cluster.stop()
    return result


class _Phones:
    """The process of `bench.tls_phones`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, ports: list[int], count: int) -> _Phones:
        """Starts it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.tls_phones", "--ports", ",".join(map(str, ports)), "--users", str(count),
            "--password", PASSWORD,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        return cls(process)

    async def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the phones ended")
        report: dict[str, Any] = json.loads(line)
        return report

    async def until(self, wanted: int, seconds: float, *, server: int = 0) -> None:
        """Waits until that many are registered at a server. Raises RuntimeError that says how many are."""
        report: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while not report or report["registered"][server] < wanted:
                    report = await self._next()
        except TimeoutError:
            raise RuntimeError(f"not all phones registered within {seconds:.0f} s: {report}") from None

    async def stop(self) -> None:
        """Ends it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
