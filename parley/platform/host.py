"""One process: the platform, and the services that it was told to run.

They call each other without a socket; the process also listens for gRPC when the configuration says so.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from parley.platform.applications.host import ApplicationHost
from parley.platform.clock import SystemClock
from parley.platform.config import ConfigError, PlatformConfig, RedisConfig, Settings
from parley.platform.events.api import EventBus
from parley.platform.events.factory import make_event_bus
from parley.platform.installed import RUN_FILE, service_class
from parley.platform.keys import load_or_create_master_key, parse_master_key, write_private
from parley.platform.lifecycle import Service, ServiceContext, Tasks
from parley.platform.needs import Need, Waiting
from parley.platform.process_socket import ProcessSocket, ProcessSurface
from parley.platform.rpc.health import Health, HealthServer
from parley.platform.rpc.host import MutualTls, RpcHost
from parley.platform.running import Runner
from parley.platform.schema import Schema
from parley.platform.store.client import Store
from parley.platform.store.valkey import BundledValkey
from parley.platform.telemetry.http import MetricsServer
from parley.platform.telemetry.logs import configure_logs
from parley.platform.telemetry.tracing import Tracing

logger = logging.getLogger(__name__)

SOCKET: Final = "rpc.sock"


@dataclass
class Process:
    """A process with some of the services; `start`, then `run`, then `stop`."""

    settings: Settings
    names: Sequence[str]
    overrides: dict[str, Any] = field(default_factory=dict)
    services: list[Service] = field(default_factory=list)

    async def start(self) -> None:
        """Starts everything; waits for Redis and Kafka where services need them. What was started is stopped on failure.

        Raises ConfigError, OSError, StoreError; EndedEarly when the process is told to end meanwhile.
        """
        platform = self.settings.section("platform", PlatformConfig)
        self.platform = platform
        self._data = platform.data_folder
        self._data.mkdir(parents=True, exist_ok=True)
        configure_logs(",".join(self.names), level=platform.log.level, form=platform.log.format)
        self._tracing = Tracing(platform.otlp_endpoint or None, ratio=platform.trace_ratio)
        self._clock = SystemClock()
        self._tasks = Tasks()
        self._runner = Runner(self.services, self._tasks, drain_seconds=platform.drain_seconds)
        self._health = Health()
        self._valkey: BundledValkey | None = None
        self._rpc: RpcHost | None = None
        self._metrics: MetricsServer | None = None
        self._health_server: HealthServer | None = None
        self._socket: ProcessSocket | None = None
        self._waiting: Waiting | None = None
        self._told = False
        self._stores: list[Store] = []
        self._buses: list[EventBus] = []
        self._runner.handle_signals()
        try:
            await self._runner.guard(self._start(platform))
        except BaseException:
            await self.stop()
            raise

    async def _start(self, platform: PlatformConfig) -> None:
        tls = MutualTls.of(platform.rpc.tls)
        if tls is not None:
            tls.check()
        await self._open_probes(platform)
        redis = await self._redis(platform)
        self._rpc = RpcHost(
            listen=list(platform.rpc.listen) or [f"unix:{self._data / SOCKET}"],
            targets=platform.rpc.targets,
            tls=tls,
            tracer=self._tracing.tracer("rpc"),
            health=self._health,
        )
        self._make_services(platform, redis, self._rpc)
        gate = Store(redis)  # without a tracer: what is asked before the start belongs to no service
        self._stores.append(gate)
        waiting = self._waiting = Waiting({Need.STORE: Schema(gate).check, Need.EVENTS: self._buses[0].check}, self._clock)
        self._socket = ProcessSocket(self._data, ProcessSurface(self._runner, self.services, waiting))
        await self._socket.start()
        await self._rpc.start()
        for bus in self._buses:
            await bus.start()
        await self._runner.start(waiting)
        await gate.close()
        self._write_run_file()
        self._told = True

    async def _open_probes(self, platform: PlatformConfig) -> None:
        """Before all else, so that who asks is answered, however long the start takes."""
        if platform.health_port >= 0:
            self._health_server = HealthServer(self._health, platform.bind, platform.health_port)
            await self._health.set(ready=False, in_service=False)
            await self._health_server.start()
        self._metrics = MetricsServer(platform.bind, platform.metrics_port, lambda: self.ready)
        try:
            await self._metrics.start()
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot listen on {platform.bind} port {platform.metrics_port} for metrics: "
                f"{error.strerror or error}; set platform.metrics_port",
            ) from None
        self._tasks.spawn("health", self._report_health())

    async def _redis(self, platform: PlatformConfig) -> RedisConfig:
        """How the store is reached; where none is configured a bundled one is started, and its data brought up to date."""
        redis = platform.redis
        if redis.url or redis.sentinels:
            return redis
        self._valkey = BundledValkey(self._data / "valkey")
        url = await self._valkey.start()
        self._tasks.spawn("bundled Valkey", self._valkey.keep_running())
        redis = redis.model_copy(update={"url": url})
        store = Store(redis)
        try:
            await Schema(store).migrate(logger.info)
        finally:
            await store.close()
        return redis

    def _make_services(self, platform: PlatformConfig, redis: RedisConfig, rpc: RpcHost) -> None:
        applications = ApplicationHost(rpc)
        key = self._master_key(platform)
        for name in self.names:
            tracer = self._tracing.tracer(name)
            store = Store(redis, tracer=tracer)
            self._stores.append(store)
            bus = make_event_bus(platform.events, store, self._clock, tracer)
            self._buses.append(bus)
            context = ServiceContext(
                self.settings, platform, self._clock, store, bus, rpc, applications, tracer, key, self._tasks
            )
            self.services.append(service_class(name)(context))
        for service in self.services:
            service.register()

    def _master_key(self, platform: PlatformConfig) -> bytes:
        master = platform.master_key.get_secret_value()
        path = self._data / "master.key"
        if not master and not path.exists() and (platform.redis.url or platform.redis.sentinels):
            logger.warning("a master key is made in %s; processes on one Redis must share theirs: platform.master_key", path)
        try:
            return parse_master_key(master) if master else load_or_create_master_key(path)
        except ValueError as error:
            raise ConfigError([f"platform.master_key: {error}"]) from None

    @property
    def ready(self) -> bool:
        """Whether every service takes work."""
        return self._runner.ready

    @property
    def metrics_port(self) -> int:
        """Where metrics are served."""
        return self._metrics.port if self._metrics is not None else 0

    async def _report_health(self) -> None:
        """Keeps the gRPC health service in step."""
        while True:
            is_waiting = self._waiting is not None and bool(self._waiting.reasons)
            await self._health.set(
                ready=self.ready, in_service=self._runner.in_service, started=self._runner.started_once or is_waiting
            )
            await asyncio.sleep(0.25)

    def _write_run_file(self) -> None:
        assert self._rpc is not None
        listeners: dict[str, str] = {}
        for service in self.services:
            opened = getattr(service, "listeners", None)
            if opened is not None:
                listeners = {name.lower(): f"{host}:{port}" for name, (host, port) in opened.by_transport.items()}
        content = {
            "pid": os.getpid(),
            "services": list(self.names),
            "rpc": self._rpc.addresses,
            "metrics": f"{self.platform.bind}:{self.metrics_port}",
            "health": f"{self.platform.bind}:{self._health_server.port}" if self._health_server is not None else "",
            "sip": listeners,
            "https": next((url for service in self.services if (url := getattr(service, "url", ""))), ""),
        }
        write_private(self._data / RUN_FILE, json.dumps(content, indent=2) + "\n")

    async def run(self) -> int:
        """Until a signal or a failure; the exit code."""
        _rarely_collect()
        return await self._runner.run()

    async def stop(self) -> None:
        """Stops everything in reverse."""
        if self._told:
            (self._data / RUN_FILE).unlink(missing_ok=True)
        await self._runner.stop()
        if self._socket is not None:
            await self._socket.stop()
        await asyncio.gather(*(bus.stop() for bus in self._buses))
        if self._rpc is not None:
            await self._rpc.stop()
        for store in self._stores:
            await store.close()
        if self._valkey is not None:
            await self._valkey.stop()
        if self._metrics is not None:
            await self._metrics.stop()
        if self._health_server is not None:
            await self._health_server.stop()
        await asyncio.get_running_loop().run_in_executor(None, self._tracing.stop)


def _rarely_collect() -> None:
    """What start-up made stays, so the collector need not look at it; messages leave next to no cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
