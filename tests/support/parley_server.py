"""Parley as users start it: one embedded process, or its services as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.network import Host
from tests.support.ports import free_port
from tests.support.programs import start, stop
from tests.support.valkey import Valkey

PASSWORD = "Secret-1"
DOMAIN = "example.test"
DRAIN_S = 2
"""Longest wait at an end for calls that a test has left open."""


class Node:
    """One ``parley run`` with a configuration and a data folder of its own."""

    def __init__(
        self, folder: Path, services: Sequence[str], config: dict[str, Any], env: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._services = list(services)
        self._config = config
        self._env = env or {}
        self.network: Host | None = None
        """The network namespace it runs in; None for the one of the test. To be set before the start."""
        self._process: subprocess.Popen[bytes] | None = None

    def set(self, section: str, values: dict[str, Any]) -> None:
        """Sets keys of a section, before the start."""
        self._config[section] = self._config.get(section, {}) | values

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Starts the process without waiting."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "run.json").unlink(missing_ok=True)
        path = self.folder / "parley.yaml"
        path.write_text(yaml.safe_dump(self._config))
        command = [*(self.network.prefix if self.network is not None else ())]
        command += [sys.executable, "-m", "parley.cli.main", "--config", str(path), "run"]
        if self._services:
            command += ["--services", ",".join(self._services)]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PARLEY_", "OTEL_"))}
        env |= {"PARLEY_DATA": str(self.folder), "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **self._env}
        with (self.folder / "parley.log").open("ab") as log:
            self._process = start(command, log, cwd=Path(__file__).parents[2], env=env)

    async def ready(self, timeout: float = 90) -> dict[str, Any]:
        """Waits until it is up; what it says of itself."""
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if (self.folder / "run.json").exists():
                content: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
                if content["pid"] == self._process.pid:
                    return content
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise AssertionError(f"Parley did not start:\n{self.log()[-4000:]}")

    def log(self) -> str:
        """What it printed."""
        return (self.folder / "parley.log").read_text(errors="replace")

    def kill(self) -> None:
        """Ends it without a warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> None:
        """Ends it and waits."""
        if self._process is not None:
            await asyncio.to_thread(stop, self._process, 15)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process is not None else None

    async def parley(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs the ``parley`` command against it."""
        command = [sys.executable, "-m", "parley.cli.main", "--config", str(self.folder / "parley.yaml"), *arguments]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PARLEY_", "OTEL_"))}
        env |= {"PARLEY_DATA": str(self.folder), "COLUMNS": "200"}
        return await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, input=stdin, env=env, timeout=120,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip

    async def create_users(self, names: Sequence[str], password: str = PASSWORD, domain: str = DOMAIN) -> None:
        """Adds users of a domain."""
        realm = domain.partition(".")[0].upper()
        rows = "".join(f"{name}@{domain},{name},{password},{realm}\\{name}\n" for name in names)
        path = self.folder / "users.csv"
        path.write_text("address,display_name,password,login_names\n" + rows)
        done = await self.parley("user", "import", str(path))
        assert done.returncode == 0, done.stderr + done.stdout


def frontend_ports() -> dict[str, int]:
    """Free ports for every transport."""
    return {name: free_port() for name in ("udp", "tcp", "tls", "ws", "wss")}


def quiet_limits() -> dict[str, Any]:
    """Limits that one source, as all load on loopback is, does not meet."""
    return {
        "requests_per_second": 1e6, "request_burst": 1_000_000, "user_requests_per_second": 1e6,
        "user_request_burst": 1_000_000, "connections_per_address": 60_000,
    }  # fmt: skip


class ParleyServer(Node):
    """Everything in one process with the demo users alice, bob and carol."""

    def __init__(self, folder: Path, *, config: dict[str, Any] | None = None, env: dict[str, str] | None = None) -> None:
        self.ports = frontend_ports()
        web_port = free_port()
        self.web_url = f"https://127.0.0.1:{web_port}"
        merged: dict[str, Any] = {
            "platform": {"metrics_port": 0, "log": {"format": "json"}, "drain_seconds": DRAIN_S},
            "addressbook": {"demo": True, "demo_password": PASSWORD},
            "frontend": {"ports": self.ports},
            "web": {"port": web_port},
            "avedge": {"ports": {"udp": 0, "tcp": 0, "dtls": -1, "tls": -1}},
        }
        for section, values in (config or {}).items():
            merged[section] = merged.get(section, {}) | values
        super().__init__(folder, (), merged, env)
        self.password = PASSWORD
        self.metrics = ""

    def offer_certificates(self, schemes: Sequence[str]) -> None:
        """Sets, before the start, the schemes of the domain, and where its clients get certificates."""
        certificates = f"{self.web_url}/CertProv/CertProvisioningService.svc"
        self._config["frontend"]["communicator"] = {
            **self._config["frontend"].get("communicator", {}), "schemes": {DOMAIN: list(schemes)},
            "certificate_url": certificates,
        }  # fmt: skip

    @property
    def ca_file(self) -> Path:
        """The development CA."""
        return self.folder / "tls" / "ca.pem"

    def uri(self, transport: str) -> str:
        """The server as a softphone's outbound proxy."""
        port = self.ports["tcp" if transport == "tcp" else transport]
        return f"sip:127.0.0.1:{port};transport={transport}"

    async def start(self) -> None:
        """Starts it and waits until it is up."""
        self.launch()
        self.metrics = (await self.ready())["metrics"]


class ParleyCluster:
    """Front ends and registrars as processes of their own, with one address book, on one Valkey."""

    def __init__(
        self, folder: Path, *, front_ends: int = 2, registrars: int = 2, frontend: dict[str, Any] | None = None,
        platform: dict[str, Any] | None = None, registrar: dict[str, Any] | None = None, env: dict[str, str] | None = None,
        targets: dict[str, str] | None = None, rpc: dict[str, Any] | None = None, presences: int = 0,
        conferences: int = 0, messagings: int = 0, presence: dict[str, Any] | None = None, webs: int = 0,
    ) -> None:  # fmt: skip
        """``targets``: addresses of further services, applications of a test among them; ``rpc``: more of platform.rpc."""
        self.valkey = Valkey(folder / "valkey")
        registrar_ports = [free_port() for _ in range(registrars)]
        book_port = free_port()
        self.registrar_target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in registrar_ports)
        known = {"registrar": self.registrar_target, "addressbook": f"127.0.0.1:{book_port}", **(targets or {})}
        presence_ports = [free_port() for _ in range(presences)]
        self.presence_target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in presence_ports)
        if presences:
            known["presence"] = self.presence_target
            known["search"] = known["addressbook"]
        conference_ports = {name: [free_port() for _ in range(conferences)] for name in ("conference", "immcu")}
        for service, ports in conference_ports.items() if conferences else ():
            known[service] = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        messaging_ports = [free_port() for _ in range(messagings)]
        if messagings:
            known["messaging"] = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in messaging_ports)
        self.targets = known
        """Where each service is, for processes and commands of a test."""

        def node(name: str, service: str, rpc_port: int, **sections: Any) -> Node:
            common = {
                "metrics_port": 0, "redis": {"url": self.valkey.url}, "master_key": "ab" * 32, "log": {"format": "json"},
                "drain_seconds": DRAIN_S,
                "rpc": {"listen": [f"127.0.0.1:{rpc_port}"], "targets": known, **(rpc or {})}, **(platform or {}),
            }  # fmt: skip
            return Node(folder / name, [service], {"platform": common, **sections}, env)

        self.book_target = f"127.0.0.1:{book_port}"
        self.book = node("book", "addressbook", book_port)
        self.registrars = [
            node(f"registrar{i}", "registrar", port, registrar=registrar or {}) for i, port in enumerate(registrar_ports)
        ]
        self.presences = [
            node(f"presence{i}", "presence", port, presence={"notify_interval": 0.1, **(presence or {})})
            for i, port in enumerate(presence_ports)
        ]
        self.conferences = [
            node(f"{service}{i}", service, port)
            for service, ports in conference_ports.items()
            for i, port in enumerate(ports)
        ]
        self.messagings = [
            node(f"messaging{i}", "messaging", port, messaging={"sign_in_seconds": 0.1, "retry_seconds": 1.0})
            for i, port in enumerate(messaging_ports)
        ]
        web_ports = [free_port() for _ in range(webs)]
        self.web_urls = [f"https://127.0.0.1:{port}" for port in web_ports]
        self.webs = [node(f"web{i}", "web", free_port(), web={"port": port}) for i, port in enumerate(web_ports)]
        self.ports = [frontend_ports() for _ in range(front_ends)]
        self.front_ends = [
            node(
                f"frontend{i}", "frontend", free_port(),
                frontend={"ports": ports, "limits": quiet_limits(), "edge_uid": f"edge-{i}", **(frontend or {})},
            )
            for i, ports in enumerate(self.ports)
        ]  # fmt: skip
        self.password = PASSWORD

    @property
    def nodes(self) -> list[Node]:
        """All processes but Valkey."""
        return [
            self.book, *self.registrars, *self.presences, *self.conferences, *self.messagings, *self.webs,
            *self.front_ends,
        ]  # fmt: skip

    def offer_certificates(self, schemes: Sequence[str]) -> None:
        """Sets, before the start, the schemes of the domain, and the first web service for certificates."""
        url = f"{self.web_urls[0]}/CertProv/CertProvisioningService.svc"
        for node in self.front_ends:
            node._config["frontend"]["communicator"] = {"schemes": {DOMAIN: list(schemes)}, "certificate_url": url}

    def pids(self) -> set[int]:
        """All processes, Valkey included."""
        assert self.valkey._process is not None
        return {node.pid for node in self.nodes if node.exit_code is None} | {self.valkey._process.pid}

    def ca_file(self, index: int) -> Path:
        """The development CA of a front end."""
        return self.front_ends[index].folder / "tls" / "ca.pem"

    def web_ca_file(self, index: int) -> Path:
        """The development CA of a process of the web services."""
        return self.webs[index].folder / "tls" / "ca.pem"

    def uri(self, index: int, transport: str) -> str:
        """A front end as a softphone's outbound proxy."""
        return f"sip:127.0.0.1:{self.ports[index][transport]};transport={transport}"

    async def start(self, users: Sequence[str] = ("alice", "bob", "carol")) -> None:
        """Starts all, and makes users."""
        self.valkey.start()  # in this thread: the kernel ends it with the thread that started it
        for node in self.nodes:
            node.launch()
        await asyncio.gather(*(node.ready() for node in self.nodes))
        if users:
            await self.book.create_users(users)

    async def stop(self) -> None:
        """Ends all."""
        await asyncio.gather(*(node.stop() for node in self.nodes))
        await asyncio.to_thread(self.valkey.stop)

    @contextmanager
    def for_module(self) -> Iterator[ParleyCluster]:
        """Runs it for several tests, outside of any event loop of theirs."""
        try:
            asyncio.run(self.start())
            yield self
        finally:
            asyncio.run(self.stop())

    async def __aenter__(self) -> ParleyCluster:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
