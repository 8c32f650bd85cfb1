"""The HTTP server of a process."""

from __future__ import annotations

from importlib.metadata import version

import aiohttp
import pytest

from parley.platform.telemetry.http import MetricsServer


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def test_probes_and_metrics() -> None:
    ready = False
    server = MetricsServer("127.0.0.1", 0, lambda: ready)
    await server.start()
    assert await get(server.port, "/livez") == (200, "alive\n")
    assert await get(server.port, "/readyz") == (503, "not ready\n")
    ready = True
    assert await get(server.port, "/readyz") == (200, "ready\n")
    status, text = await get(server.port, "/metrics")
    assert status == 200
    assert "\nparley_process_ready 1.0\n" in text
    assert f'\nparley_build_info{{version="{version("parley")}"}} 1.0\n' in text
    ready = False
    assert "\nparley_process_ready 0.0\n" in (await get(server.port, "/metrics"))[1]
    assert (await get(server.port, "/secret"))[0] == 404
    await server.stop()
    await server.stop()


async def test_port_that_is_taken() -> None:
    first = MetricsServer("127.0.0.1", 0, lambda: True)
    await first.start()
    with pytest.raises(OSError, match="in use"):
        await MetricsServer("127.0.0.1", first.port, lambda: True).start()
    await first.stop()
