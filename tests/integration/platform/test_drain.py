"""``parley drain`` and ``undrain``: of a front end with a call, over its unix socket alone, and of a pod by kubectl."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parley.proto.platform.v1.process_pb2 import StatusRequest
from parley.proto.platform.v1.process_pb2_grpc import ProcessStub
from parley.sip.message import Request, Response
from tests.support.parley_server import Node, ParleyCluster
from tests.support.ports import free_port
from tests.support.sip_client import SipClient
from tests.support.waiting import eventually

KUBECTL = """\
#!{python}
import os, subprocess, sys

asked = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(" ".join(asked) + "\\n")
if os.environ.get("KUBECTL_SAYS"):
    sys.exit(os.environ["KUBECTL_SAYS"])
command = asked[asked.index("--") + 1 :]
done = subprocess.run([sys.executable, "-m", "parley.cli.main", *command[1:]])
if done.returncode:
    print(f"command terminated with exit code {{done.returncode}}", file=sys.stderr)
sys.exit(done.returncode)
"""
"""Stands in for kubectl: runs what is asked of a pod here, or says what the test tells it to."""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ParleyCluster]:
    """A front end that drains for as long as a test needs."""
    platform = {"drain_seconds": 120, "health_port": 0}
    async with ParleyCluster(
        tmp_path / "c", front_ends=1, registrars=1, platform=platform, frontend={"drain_seconds": 120}
    ) as running:
        yield running


async def called(cluster: ParleyCluster, transport: str = "udp") -> tuple[SipClient, SipClient, tuple[Request, Response]]:
    """Two phones with a call, the second of them over TCP; ``transport``: that of the first."""
    alice = await SipClient("alice", transport=transport).connect(cluster.ports[0][transport])
    bob = await SipClient("bob", transport="tcp").connect(cluster.ports[0]["tcp"])
    for client in (alice, bob):
        assert (await client.register()).status == 200
    invite = await alice.invite("sip:bob@example.test")
    bob.answer(await bob.expect("INVITE"), 200)
    answer = await alice.response()
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    await bob.expect("ACK")
    return alice, bob, (invite, answer)


async def in_service(node: Node) -> bool:
    """What the probe of a pod is told."""
    address = json.loads((node.folder / "run.json").read_text())["health"]
    async with grpc.aio.insecure_channel(address) as channel:
        asked = health_pb2.HealthCheckRequest(service="readiness")
        answer = await health_pb2_grpc.HealthStub(channel).Check(asked, timeout=5)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def is_ready(node: Node) -> bool:
    """What /readyz says."""
    metrics = json.loads((node.folder / "run.json").read_text())["metrics"]
    async with aiohttp.ClientSession() as session, session.get(f"http://{metrics}/readyz") as answer:
        return answer.status == 200


@pytest.mark.valkey
async def test_front_end_drains_and_comes_back(cluster: ParleyCluster) -> None:
    node = cluster.front_ends[0]
    alice, bob, dialog = await called(cluster)
    began = await node.parley("drain")
    assert began.returncode == 0, began.stderr
    assert began.stdout == "Parley is draining (at most 120 s): 1 calls of frontend, 1 connections of frontend left\n"
    assert not await is_ready(node)
    assert (await alice.register()).status == 503
    waiting = asyncio.create_task(node.parley("drain", "--wait"))
    again = json.loads((await node.parley("--json", "drain")).stdout)
    assert (again["phase"], again["services"][0]["remaining"]["calls"]) == ("PHASE_DRAINING", "1")
    assert not waiting.done()
    await alice.hang_up(bob, *dialog)
    done = await waiting
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Parley is drained: nothing is left"
    assert node.exit_code is None
    assert not await is_ready(node)
    assert (await node.parley("undrain")).stdout == "Parley takes work\n"
    assert await is_ready(node)
    carol = await SipClient("carol").connect(cluster.ports[0]["udp"])
    assert (await carol.register()).status == 200


async def out_of_service(node: Node) -> None:
    """Returns once the probe of a pod is told so."""

    async def look() -> bool:
        return not await in_service(node)

    await eventually(look, timeout=30, what="it is out of service")


@pytest.mark.valkey
async def test_pod_stays_in_its_services_while_phones_on_udp_have_calls(cluster: ParleyCluster) -> None:
    """Where addresses are translated for it, what it sends to them would else go astray."""
    node = cluster.front_ends[0]
    alice, bob, dialog = await called(cluster)
    assert (await node.parley("drain")).returncode == 0
    assert not await is_ready(node)
    for _ in range(8):
        assert await in_service(node)
        await asyncio.sleep(0.1)
    await alice.hang_up(bob, *dialog)
    await out_of_service(node)
    assert (await node.parley("undrain")).returncode == 0
    await eventually(lambda: in_service(node), timeout=30, what="it is back")


@pytest.mark.valkey
async def test_pod_leaves_its_services_at_once_when_only_connections_have_calls(cluster: ParleyCluster) -> None:
    node = cluster.front_ends[0]
    alice, bob, dialog = await called(cluster, "tcp")
    assert (await node.parley("drain")).returncode == 0
    await out_of_service(node)
    assert json.loads((await node.parley("--json", "drain")).stdout)["services"][0]["remaining"]["calls"] == "1"
    # One that ends is sent nothing new for that reason alone, and has phones on UDP to the end.
    node.signal(signal.SIGTERM)
    await eventually(lambda: in_service(node), timeout=30, what="it is in service until it ends")
    await alice.hang_up(bob, *dialog)


@pytest.mark.valkey
async def test_drain_that_is_called_off_and_sigterm_in_another(cluster: ParleyCluster) -> None:
    node = cluster.front_ends[0]
    alice, bob, dialog = await called(cluster)
    waiting = asyncio.create_task(node.parley("drain", "--wait"))

    async def draining() -> bool:
        return not await is_ready(node)

    await eventually(draining, timeout=30, what="the drain begins")
    assert (await node.parley("undrain")).returncode == 0
    called_off = await waiting
    assert called_off.returncode == 1
    assert "the drain was called off" in called_off.stderr
    assert (await alice.register()).status == 200
    assert (await node.parley("drain")).returncode == 0
    waiting = asyncio.create_task(node.parley("drain", "--wait"))
    scripted = asyncio.create_task(node.parley("--json", "drain", "--wait"))
    node.signal(signal.SIGTERM)

    async def told() -> bool:
        return "it was told to end" in (await node.parley("drain")).stdout

    await eventually(told, timeout=30, what="it knows that it ends")
    assert node.exit_code is None
    await alice.hang_up(bob, *dialog)

    async def ended() -> bool:
        return node.exit_code == 0

    await eventually(ended, timeout=20, what="it ends with the drain")
    assert (await waiting).returncode == 0
    assert json.loads((await scripted).stdout)["phase"] in ("PHASE_DRAINED", "PHASE_ENDED")
    gone = await node.parley("drain")
    assert gone.returncode == 4
    assert "no running Parley was found" in gone.stderr


async def test_only_the_owner_of_the_process_reaches_it(tmp_path: Path) -> None:
    ports = {"udp": 0, "tcp": 0, "tls": -1, "ws": -1, "wss": -1}
    platform = {
        "redis": {"url": "redis://127.0.0.1:1"}, "metrics_port": 0, "rpc": {"listen": [f"127.0.0.1:{free_port()}"]}
    }  # fmt: skip
    node = Node(tmp_path / "node", ["frontend"], {"platform": platform, "frontend": {"ports": ports}})
    node.launch()
    try:
        address = (await node.ready())["rpc"][0]
        mode = (node.folder / "process.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ProcessStub(channel).Status(StatusRequest(), timeout=5)
        assert refused.value.code() is StatusCode.UNIMPLEMENTED
        async with grpc.aio.insecure_channel(f"unix:{node.folder / 'process.sock'}") as channel:
            state = (await ProcessStub(channel).Status(StatusRequest(), timeout=5)).state
        assert [(service.name, service.ready) for service in state.services] == [("frontend", True)]
    finally:
        await node.stop()
    assert not (node.folder / "process.sock").exists()


class Kubectl:
    """A node of no process, whose commands find a kubectl."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = Node(folder / "here", ["frontend"], {})
        self.node.folder.mkdir()
        (self.node.folder / "parley.yaml").write_text("platform: {}\n")
        self._log = folder / "asked"
        program = folder / "bin" / "kubectl"
        program.parent.mkdir()
        program.write_text(KUBECTL.format(python=sys.executable, log=str(self._log)))
        program.chmod(0o755)
        self._patch = monkeypatch
        monkeypatch.setenv("PATH", str(program.parent))

    def says(self, text: str) -> None:
        self._patch.setenv("KUBECTL_SAYS", text)

    @property
    def asked(self) -> list[str]:
        return self._log.read_text().splitlines()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    return Kubectl(tmp_path, monkeypatch)


async def test_pod_is_drained_by_the_same_command_in_it(kubectl: Kubectl) -> None:
    done = await kubectl.node.parley("--json", "drain", "parley-frontend-1", "-n", "voice", "--wait")
    assert kubectl.asked == ["exec --namespace voice parley-frontend-1 -- parley --json drain --wait"]
    # No Parley runs with the data folder that the command in the "pod" sees: its words and its exit code are passed on.
    assert done.returncode == 4
    assert done.stderr.startswith("error: no running Parley was found")
    assert "command terminated" not in done.stderr
    done = await kubectl.node.parley("undrain", "parley-frontend-1")
    assert kubectl.asked[-1] == "exec parley-frontend-1 -- parley undrain"
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [
        ('Error from server (NotFound): pods "p" not found', 3, "there is no p in the namespace voice"),
        (
            'Error from server (Forbidden): pods "p" is forbidden: User "u" cannot create resource "pods/exec"',
            6, "you may not run commands in p in the namespace voice",
        ),
        ('OCI runtime exec failed: exec: "parley": executable file not found in $PATH', 1, "is it one of Parley's pods?"),
        ("Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout", 4, "the cluster cannot be reached"),
        ("error: something else", 1, "error: something else"),
    ],
)  # fmt: skip
async def test_what_kubectl_cannot_do(kubectl: Kubectl, said: str, code: int, told: str) -> None:
    kubectl.says(said)
    done = await kubectl.node.parley("drain", "p", "-n", "voice")
    assert done.returncode == code, done.stderr
    assert told in done.stderr


async def test_no_kubectl(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    done = await kubectl.node.parley("drain", "p")
    assert done.returncode == 1
    assert "kubectl is not installed, or not on the PATH" in done.stderr
