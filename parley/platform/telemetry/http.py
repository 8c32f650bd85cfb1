"""The small HTTP server of every process: /metrics, /livez, /readyz.

Liveness is that the event loop answers. Readiness is that every service of the process takes work; a missing Redis or
Kafka shows in metrics and in answers, not here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

_READY = Gauge("parley_process_ready", "1 while every service of this process takes work, else 0")
_BUILD = Gauge("parley_build_info", "1, with the version of Parley that runs", ["version"])


class MetricsServer:
    """Serves on one port until stopped; ``port`` 0 takes a free one."""

    def __init__(self, host: str, port: int, ready: Callable[[], bool]) -> None:
        self._host = host
        self._wanted_port = port
        self._ready = ready
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Opens the port. Raises OSError when it is taken."""
        _READY.set_function(lambda: float(self._ready()))
        _BUILD.labels(version("parley")).set(1)
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._wanted_port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Closes the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n")
        return web.Response(text="not ready\n", status=503)
