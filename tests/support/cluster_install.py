"""Parley as the chart installs it, as tests see it: its pods, its ports, its users, its metrics, its traces.

``tools/cluster/install.sh`` made it, with the values of ``tests/cluster/values``. Tests leave it as they found it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.parse
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from parley.stun.addresses import Address
from tests.support.cluster import Cluster, CommandError, Namespace
from tests.support.jaeger import JaegerSpan, spans_in
from tests.support.metrics import metric_in
from tests.support.parley_server import DOMAIN, PASSWORD

Params = ParamSpec("Params")
ResultT = TypeVar("ResultT")

RELEASE = "parley"
NAMESPACE = "parley"
SERVICES = ("addressbook", "registrar", "presence", "messaging", "conference", "immcu", "avedge", "frontend", "web")
VALUES = Path(__file__).parents[1] / "cluster" / "values"
CHART = Path(__file__).parents[2] / "charts" / "parley"
SMALL = (CHART / "values-small.yaml", VALUES / "small.yaml")
"""The values of the small profile."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
"""Labels of a namespace that takes no pod with rights beyond the restricted standard."""


@dataclass(frozen=True)
class Pod:
    """A pod as the API tells it."""

    name: str
    component: str
    uid: str
    address: str
    node: str
    ready: bool
    ending: bool
    restarts: int

    @classmethod
    def of(cls, item: dict[str, Any]) -> Pod:
        """From its JSON."""
        status = item["status"]
        conditions = {each["type"]: each["status"] for each in status.get("conditions") or []}
        return cls(
            item["metadata"]["name"],
            item["metadata"]["labels"].get("app.kubernetes.io/component", ""),
            item["metadata"]["uid"],
            status.get("podIP", ""),
            item["spec"].get("nodeName", ""),
            conditions.get("Ready") == "True",
            bool(item["metadata"].get("deletionTimestamp")),
            sum(each["restartCount"] for each in status.get("containerStatuses") or []),
        )


@dataclass(frozen=True)
class Relay:
    """Where TURN over UDP is, and how to use it."""

    server: Address
    username: str
    password: str


@dataclass(frozen=True)
class Installation:
    """One release in one namespace."""

    space: Namespace
    release: str = RELEASE
    image_tag: str = ""
    """Of the images that `install` takes."""

    @classmethod
    def found(cls, cluster: Cluster) -> Installation:
        """The one that ``make cluster-install`` made. Raises AssertionError without one."""
        installation = cls(Namespace(cluster, NAMESPACE))
        try:
            installation.helm("status", RELEASE)
        except CommandError as error:
            raise AssertionError(f"Parley is not installed; run make cluster-install ({error})") from None
        return installation

    @property
    def cluster(self) -> Cluster:
        """Where it runs."""
        return self.space.cluster

    # Helm.

    def helm(self, *arguments: str | Path, timeout: float = 300) -> str:
        """What helm printed. Raises CommandError."""
        return self.cluster.helm(*arguments, f"--namespace={self.space.name}", timeout=timeout)

    def upgrade(self, *arguments: str | Path, wait: bool = True) -> None:
        """Another revision: the values of the last one, with changes. Raises CommandError."""
        waiting = ("--wait", "--timeout=240s") if wait else ()
        self.helm("upgrade", self.release, CHART, "--reuse-values", *arguments, *waiting)

    def install(self, *arguments: str | Path, wait: bool = True) -> None:
        """Installs the chart with files of values and further arguments. Raises CommandError."""
        files = [f"--values={each}" if isinstance(each, Path) else each for each in arguments]
        waiting = ("--wait", "--timeout=180s") if wait else ()
        self.helm("install", self.release, CHART, *files, f"--set-string=image.tag={self.image_tag}", *waiting)

    def tag(self) -> str:
        """The tag of the images in use."""
        values = json.loads(self.helm("get", "values", self.release, "--output=json"))
        return str(values["image"]["tag"])

    def revision(self) -> int:
        """The number of the revision in force."""
        history = json.loads(self.helm("history", self.release, "--output=json"))
        return max(int(each["revision"]) for each in history if each["status"] == "deployed")

    def rollback(self, revision: int) -> None:
        """Goes back to an earlier revision. Raises CommandError."""
        self.helm("rollback", self.release, str(revision), "--wait", "--timeout=240s")

    # Pods.

    def pods(self, component: str = "") -> list[Pod]:
        """The pods of a component that do not end, or of all, by name."""
        selector = f"app.kubernetes.io/instance={self.release}"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        items = self.space.items("pods", labelSelector=selector)
        pods = [Pod.of(item) for item in items if item["status"]["phase"] in ("Pending", "Running")]
        return sorted((pod for pod in pods if not pod.ending), key=lambda pod: pod.name)

    def ready(self, component: str, count: int | None = None, timeout: float = 120) -> list[Pod]:
        """The pods of a component, once all are ready, and there are so many. Raises AssertionError."""

        def look() -> list[Pod]:
            pods = self.pods(component)
            enough = bool(pods) if count is None else len(pods) == count
            return pods if enough and all(pod.ready for pod in pods) else []

        return self.cluster.wait_for(f"{component}: {count or 'all'} pods are ready", look, timeout=timeout)

    def one_of(self, component: str) -> str:
        """The name of a pod that stays, a ready one if there is any; of a Deployment kubectl may take one that is ending."""
        pods = self.cluster.wait_for(f"{component}: a pod", lambda: self.pods(component), timeout=30)
        return next((pod for pod in pods if pod.ready), pods[0]).name

    def node_of(self, component: str) -> int:
        """Which node has a pod of a component, as `edges` counts them."""
        return sorted(self.cluster.node_ips).index(self.ready(component)[0].node)

    def sound(self, timeout: float = 120) -> None:
        """Returns once every pod is ready, and each service on all nodes it can be on, whatever a test did before.

        Pods of a node that was away stay where they went; clients reach front ends at their own node only. Raises
        AssertionError.
        """

        def look() -> bool:
            items = [item for kind in ("deployments", "statefulsets") for item in self.space.items(kind, "apis/apps/v1")]
            return bool(items) and all(
                item["status"].get("readyReplicas", 0) == item["status"].get("replicas", 0) == item["spec"]["replicas"]
                for item in items
            )

        self.cluster.wait_for("all pods are ready", look, timeout=timeout)
        self.restart(*(component for component, pods in self._by_component().items() if self._is_crowded(pods)))

    def _by_component(self) -> dict[str, list[Pod]]:
        found: dict[str, list[Pod]] = {}
        for pod in self.pods():
            found.setdefault(pod.component, []).append(pod)
        return found

    def _is_crowded(self, pods: list[Pod]) -> bool:
        return len({pod.node for pod in pods}) < min(len(pods), len(self.cluster.node_ips))

    def workload(self, component: str) -> str:
        """Its Deployment or StatefulSet, as kubectl names it."""
        kind = "statefulset" if component in ("valkey", "kafka") else "deployment"
        return f"{kind}/{self.release}-{component}"

    def restart(self, *components: str) -> None:
        """Replaces all pods, a few at a time; returns once that is done. Raises CommandError."""
        for component in components:
            self.space.kubectl("rollout", "restart", self.workload(component))
        for component in components:
            self.space.rolled_out(self.workload(component))

    def scale(self, component: str, replicas: int) -> None:
        """Sets the number of pods, without waiting."""
        self.space.kubectl("scale", self.workload(component), f"--replicas={replicas}")

    @contextmanager
    def scaled(self, component: str, replicas: int) -> Iterator[list[Pod]]:
        """That many pods, for as long as the block takes."""
        before = self.space.kubectl_json("get", self.workload(component))["spec"]["replicas"]
        self.scale(component, replicas)
        try:
            yield self.ready(component, replicas)
        finally:
            self.scale(component, before)
            self.ready(component, before)

    def kill(self, pod: Pod) -> None:
        """SIGKILL for all processes of a pod, which is not asked before and does not come back under its UID."""
        self.space.kubectl("delete", "pod", pod.name, "--grace-period=0", "--force", "--wait=false")

    def kill_process(self, pod: Pod) -> None:
        """SIGKILL for the process of a pod of our own cluster, as when it needs too much memory; it begins anew in its pod.

        Raises AssertionError when it is not found, CommandError.
        """
        for status in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                of_pod = f"/pod{pod.uid}/" in (status / "cgroup").read_text()
                if of_pod and (status / "comm").read_text().strip() == "parley":
                    self.cluster.run("kill", "-KILL", status.name)
                    return
        raise AssertionError(f"no process of {pod.name} is on this machine")

    def is_back(self, pod: Pod) -> bool:
        """Whether the process of a pod was started again, and takes work."""
        now = next((each for each in self.pods(pod.component) if each.uid == pod.uid), None)
        return now is not None and now.restarts > pod.restarts and now.ready

    def exec(self, target: str, *command: str, stdin: str | None = None, timeout: float = 60) -> str:
        """What a command in a pod printed. Raises CommandError."""
        stream = () if stdin is None else ("--stdin",)
        return self.space.kubectl("exec", *stream, target, "--", *command, input=stdin, timeout=timeout)

    def logs(self, target: str, *arguments: str) -> str:
        """What a pod wrote. Raises CommandError."""
        return self.space.kubectl("logs", target, *arguments)

    # Ports.

    def edges(self, port: str, first: int = 0) -> list[tuple[str, int]]:
        """Where clients find a port of `clientPorts` (sip-udp, sip-tls, turn-udp...): at each node, that one first."""
        item = self.space.kubectl_json("get", "service", f"{self.release}-{_service_of(port)}")
        number = next(each["nodePort"] for each in item["spec"]["ports"] if each["name"] == port)
        addresses = [self.cluster.node_ips[name] for name in sorted(self.cluster.node_ips)]
        return [(address, number) for address in (*addresses[first:], *addresses[:first])]

    # Users.

    def make_users(self, names: Sequence[str]) -> None:
        """Adds users, with the password of tests; those that are there stay. Raises CommandError."""
        rows = "".join(f"{name}@{DOMAIN},{name},{PASSWORD},EXAMPLE\\{name}\n" for name in names)
        header = "address,display_name,password,login_names\n"
        script = "cat > /tmp/users.csv && parley user import /tmp/users.csv"
        where = "addressbook" if self.pods("addressbook") else "core"  # the small profile has it in a process with others
        self.exec(self.one_of(where), "sh", "-c", script, stdin=header + rows, timeout=120)

    def secret(self, suffix: str, key: str) -> str:
        """A file of a Secret that the installation made."""
        content: str = self.space.kubectl_json("get", "secret", f"{self.release}-{suffix}")["data"][key]
        return b64decode(content).decode()

    def parley(self, component: str, *arguments: str, timeout: float = 60) -> str:
        """What the ``parley`` command printed in a pod of a component. Raises CommandError."""
        return self.exec(self.one_of(component), "parley", *arguments, timeout=timeout)

    def relay(self, user: str) -> Relay:
        """The relay, with a name and a password for it that Parley issues to a user."""
        told = json.loads(self.parley("avedge", "--json", "edge", "credentials", f"{user}@{DOMAIN}"))
        servers = [server for server in told["iceServers"] if "username" in server]
        return Relay(self.relay_address(), servers[0]["username"], servers[0]["credential"])

    def relay_address(self) -> Address:
        """Where the relay is reached over UDP."""
        return Address(*self.edges("turn-udp", self.node_of("avedge"))[0])

    def registered_at(self, user: str) -> set[str]:
        """Front ends that hold a user's registrations, by their pods' UIDs."""
        listing = json.loads(self.parley("registrar", "--json", "registrations", f"{user}@{DOMAIN}"))
        return {entry["binding"]["flow"]["edge_uid"] for entry in listing}

    # Metrics.

    def metrics(self, pod: Pod) -> str:
        """What a pod says at /metrics, by way of the API server. Raises CommandError."""
        path = f"/api/v1/namespaces/{self.space.name}/pods/{pod.name}:9464/proxy/metrics"
        return self.cluster.read(path)

    def metric(self, pod: Pod, name: str, **labels: str) -> float:
        """The sum of a metric of a pod over the series that have those labels."""
        return metric_in(self.metrics(pod), name, **labels)

    def memory(self) -> dict[str, int]:
        """Bytes that pods use, by component, as the kubelets count them (working sets)."""
        by_name = {pod.name: pod.component for pod in self.pods()}
        used: dict[str, int] = {}
        for node in self.cluster.node_ips:
            summary = json.loads(self.cluster.read(f"/api/v1/nodes/{node}/proxy/stats/summary"))
            for each in summary["pods"]:
                reference = each["podRef"]
                if reference["namespace"] == self.space.name and reference["name"] in by_name:
                    component = by_name[reference["name"]]
                    used[component] = used.get(component, 0) + each["memory"]["workingSetBytes"]
        return used

    # Traces.

    def find_traces(self, service: str, tags: dict[str, str]) -> list[list[JaegerSpan]]:
        """Traces in the Jaeger of the installation in which a span of the service has the tags."""
        query = urllib.parse.urlencode({"service": service, "lookback": "1h", "limit": 200, "tags": json.dumps(tags)})
        return [spans_in(trace) for trace in self._jaeger(f"/api/traces?{query}")]

    def traced_services(self) -> set[str]:
        """Services that sent spans."""
        return set(self._jaeger("/api/services"))

    def _jaeger(self, path: str) -> list[Any]:
        service = f"/api/v1/namespaces/{self.space.name}/services/{self.release}-jaeger:16686/proxy"
        return json.loads(self.cluster.read(service + path)).get("data") or []


def _service_of(port: str) -> str:
    """The Service that has a port of clients: those of TURN share one for each protocol."""
    return {"turn-dtls": "turn-udp", "turn-tls": "turn-tcp"}.get(port, port)


async def aside(work: Callable[Params, ResultT], *arguments: Params.args, **options: Params.kwargs) -> ResultT:
    """Runs what blocks, as kubectl, in a thread: phones go on meanwhile."""
    return await asyncio.to_thread(work, *arguments, **options)
