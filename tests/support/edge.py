"""An A/V edge of its own, as ``parley run --services avedge`` starts it, and programs that talk to it."""

from __future__ import annotations

import asyncio
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.metrics import metric_in
from tests.support.parley_server import Node
from tests.support.ports import free_port

REALM = "example.test"
USER, PASSWORD = "relay-user", "relay-password"


class EdgeNode(Node):
    """One process with the edge alone, on loopback."""

    def __init__(
        self, folder: Path, *, platform: dict[str, Any] | None = None, drain_seconds: float = 0.2,
        env: dict[str, str] | None = None, **avedge: Any,
    ) -> None:  # fmt: skip
        self.udp, self.tcp, self.tls, self.alternate = free_port(), free_port(), free_port(), free_port()
        config: dict[str, Any] = {
            "platform": {"metrics_port": 0, "log": {"format": "json"}, **(platform or {})},
            "avedge": {
                "ports": {
                    "udp": self.udp, "tcp": self.tcp, "tls": self.tls, "dtls": self.tls, "discovery": self.alternate,
                },
                "drain_seconds": drain_seconds,
                "credentials": {"realm": REALM, "users": {USER: PASSWORD}},
                **avedge,
            },
        }  # fmt: skip
        super().__init__(folder, ["avedge"], config, env)
        self.metrics_address = ""

    async def start(self) -> None:
        """Starts it and waits until it is up."""
        self.launch()
        await self.start_up()

    async def start_up(self) -> None:
        """Waits until it is up."""
        self.metrics_address = (await self.ready())["metrics"]

    async def __aenter__(self) -> EdgeNode:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def metrics(self) -> str:
        """What /metrics says."""
        url = f"http://{self.metrics_address}/metrics"
        return await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over the series that have those labels."""
        return metric_in(await self.metrics(), name, **labels)


async def run_program(*arguments: str, timeout: float = 30) -> tuple[int, str]:
    """Runs a program to its end; its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
        raise AssertionError(f"{arguments[0]} did not end:\n{output.decode(errors='replace')[-3000:]}") from None
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")
