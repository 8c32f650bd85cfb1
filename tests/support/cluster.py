"""A running Kubernetes cluster, as tests of the chart use it: kubectl, helm, names of its own for what a test makes.

``tools/cluster/cluster.sh up`` brings it up; KUBECONFIG may name another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from tests.support.kubernetes_reads import Reader, ReadError, reader_of
from tests.support.programs import start, stop
from tools.cluster.settings import ROOT, Settings

ResultT = TypeVar("ResultT")
TOOL = ROOT / "tools" / "cluster" / "cluster.sh"


class CommandError(AssertionError):
    """A command that failed, with what it printed."""


@dataclass(frozen=True)
class Cluster:
    """The cluster of a kubeconfig."""

    kubeconfig: Path
    settings: Settings

    @classmethod
    def running(cls) -> Cluster:
        """The cluster that KUBECONFIG names, else the one of ``make cluster-up``. Raises AssertionError without one."""
        settings = Settings.from_environment()
        cluster = cls(Path(os.environ.get("KUBECONFIG") or settings.kubeconfig), settings)
        if not cluster.kubeconfig.exists():
            raise AssertionError("there is no cluster; run make cluster-up, or set KUBECONFIG")
        try:
            cluster.kubectl("get", "--raw", "/readyz", timeout=30)
        except CommandError as error:
            raise AssertionError(
                f"the cluster of {cluster.kubeconfig} does not answer; run make cluster-up ({error})"
            ) from None
        return cluster

    @property
    def own(self) -> bool:
        """Whether its nodes are those of tools/cluster, which tests may switch off."""
        return self.kubeconfig == self.settings.kubeconfig and '"own"' in (self.settings.state / "cluster.json").read_text()

    def run(self, *command: str | Path, input: str | None = None, timeout: float = 120) -> str:
        """What a command printed that finds the cluster by KUBECONFIG. Raises CommandError."""
        arguments = [str(part) for part in command]
        done = subprocess.run(
            arguments, input=input, capture_output=True, text=True, check=False, timeout=timeout, env=self.environment
        )
        if done.returncode:
            raise CommandError(f"{' '.join(arguments)} gave {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def kubectl(self, *arguments: str | Path, input: str | None = None, timeout: float = 120) -> str:
        """What kubectl printed. Raises CommandError."""
        return self.run(self.program("kubectl"), *arguments, input=input, timeout=timeout)

    def kubectl_json(self, *arguments: str, timeout: float = 120) -> Any:
        """What ``kubectl ... --output=json`` told. Raises CommandError."""
        return json.loads(self.kubectl(*arguments, "--output=json", timeout=timeout))

    def read(self, path: str, **query: str) -> str:
        """The answer of the API server to a GET of a path of its API. Raises CommandError."""
        whole = f"{path}?{urlencode(query)}" if query else path
        if self._reader is None:
            return self.kubectl("get", "--raw", whole)
        try:
            return self._reader.get(whole)
        except (ReadError, OSError) as error:
            raise CommandError(str(error)) from None

    @cached_property
    def _reader(self) -> Reader | None:
        return reader_of(self.kubeconfig)

    def helm(self, *arguments: str | Path, timeout: float = 600) -> str:
        """What helm printed. Raises CommandError."""
        return self.run(self.program("helm"), *arguments, timeout=timeout)

    def apply(self, manifest: str, *arguments: str) -> None:
        """Makes or changes what a manifest in YAML or JSON says. Raises CommandError."""
        self.kubectl("apply", "--filename=-", *arguments, input=manifest)

    def load(self, *archives: Path) -> None:
        """Brings images to every node; nothing happens for those that are there. Raises CommandError."""
        self.run(TOOL, "load", *archives, timeout=900)

    def kill_node(self, name: str) -> None:
        """Lets the power of one of our own nodes fail. Raises CommandError."""
        self.run(TOOL, "kill-node", name)

    def start_node(self, name: str) -> None:
        """Switches it on again; returns once it is Ready. Raises CommandError."""
        self.run(TOOL, "start-node", name, timeout=300)

    def program(self, name: str) -> str:
        """Where kubectl or helm is: what tools/cluster built, else what is installed. Raises AssertionError."""
        built = self.settings.programs / name
        found = str(built) if built.exists() else shutil.which(name)
        assert found, f"{name} is not there; run tools/cluster/cluster.sh build"
        return found

    @cached_property
    def environment(self) -> dict[str, str]:
        """For programs that talk to the cluster."""
        path = f"{self.settings.programs}:{os.environ['PATH']}"
        return {
            **os.environ,
            "PATH": path,
            "KUBECONFIG": str(self.kubeconfig),
            "NO_PROXY": self.settings.no_proxy(os.environ),
        }

    @cached_property
    def node_ips(self) -> dict[str, str]:
        """The address of each node, by its name; NodePorts are there."""
        return {
            node["metadata"]["name"]: next(
                address["address"] for address in node["status"]["addresses"] if address["type"] == "InternalIP"
            )
            for node in self.kubectl_json("get", "nodes")["items"]
        }

    def wait_for(
        self, what: str, look: Callable[[], ResultT | None], *, timeout: float = 60, pause: float = 0.3, retry: bool = True
    ) -> ResultT:
        """The first result of ``look`` that is true. With ``retry``, a command or check that fails is tried again."""
        deadline = time.monotonic() + timeout
        while True:
            problem = ""
            try:
                result = look()
                if result:
                    return result
            except AssertionError as error:
                if not retry:
                    raise
                problem = f": {error}"
            if time.monotonic() > deadline:
                raise AssertionError(f"did not happen within {timeout:g} s: {what}{problem}")
            time.sleep(pause)

    def state(self) -> str:
        """What somebody would look at first: pods that are not as they should be, what they said, and warnings."""
        lines = []
        for pod in json.loads(self.read("/api/v1/pods"))["items"]:
            space, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            containers = pod["status"].get("containerStatuses", [])
            restarts = sum(each["restartCount"] for each in containers)
            ready = bool(containers) and all(each["ready"] for each in containers)
            lines.append(
                f"{space} {name} on {pod['spec'].get('nodeName')}: {pod['status']['phase']}, "
                f"{'ready' if ready else 'NOT ready'}, {restarts} restarts, since {pod['status'].get('startTime')}"
            )
            if not ready or restarts:
                for previous in ("--previous",) * bool(restarts) + ("--previous=false",):
                    with contextlib.suppress(CommandError):
                        lines.append(self.kubectl("logs", f"--namespace={space}", name, "--tail=15", previous))
        with contextlib.suppress(CommandError):
            events = self.kubectl(
                "get", "events", "--all-namespaces", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"
            )
            lines += events.splitlines()[-15:]
        return "\n".join(lines)

    @contextlib.contextmanager
    def namespace(self, prefix: str = "test", **labels: str) -> Iterator[Namespace]:
        """A namespace that nobody else has; gone at the end, with all in it."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        try:
            if labels:
                self.kubectl("label", "namespace", name, *(f"{key}={value}" for key, value in labels.items()))
            yield Namespace(self, name)
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True)
class Namespace:
    """What a test does inside one namespace."""

    cluster: Cluster
    name: str

    def kubectl(self, *arguments: str | Path, input: str | None = None, timeout: float = 120) -> str:
        """What kubectl printed. Raises CommandError."""
        return self.cluster.kubectl(f"--namespace={self.name}", *arguments, input=input, timeout=timeout)

    def kubectl_json(self, *arguments: str, timeout: float = 120) -> Any:
        """What ``kubectl ... --output=json`` told. Raises CommandError."""
        return self.cluster.kubectl_json(f"--namespace={self.name}", *arguments, timeout=timeout)

    def items(self, kind: str, group: str = "api/v1", **query: str) -> list[dict[str, Any]]:
        """The objects of a kind, as "pods", or "deployments" of "apis/apps/v1". Raises CommandError."""
        found: list[dict[str, Any]] = json.loads(self.cluster.read(f"/{group}/namespaces/{self.name}/{kind}", **query))[
            "items"
        ]
        return found

    def apply(self, manifest: str) -> None:
        """Makes or changes what a manifest says. Raises CommandError."""
        self.cluster.apply(manifest, f"--namespace={self.name}")

    def exec(self, pod: str, *command: str, timeout: float = 60) -> str:
        """What a command in a pod printed. Raises CommandError."""
        return self.kubectl("exec", pod, "--", *command, timeout=timeout)

    def rolled_out(self, workload: str, timeout: float = 120) -> None:
        """Returns once all pods of a workload (``deployment/name``) are ready. Raises CommandError."""
        self.kubectl("rollout", "status", workload, f"--timeout={timeout:g}s", timeout=timeout + 10)

    @contextlib.contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to one of a pod or Service. Raises AssertionError."""
        command = [self.cluster.program("kubectl"), f"--namespace={self.name}", "port-forward", target, f":{port}"]
        with tempfile.NamedTemporaryFile() as log:
            process = start(command, log, env=self.cluster.environment)

            def local() -> int:
                said = Path(log.name).read_text()
                found = re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", said)
                assert found, f"kubectl port-forward said: {said}"
                return int(found[1])

            try:
                yield self.cluster.wait_for(f"a port that leads to {target}", local, timeout=30)
            finally:
                stop(process)
