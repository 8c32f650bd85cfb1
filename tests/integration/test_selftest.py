"""``parley selftest`` against running installations: whole ones, ones that lack a part, and its end before its time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from parley.cli.main import app
from tests.support.jaeger import Jaeger
from tests.support.parley_server import Node, ParleyCluster, ParleyServer, frontend_ports
from tests.support.ports import free_port

pytestmark = pytest.mark.valkey

ROOT = Path(__file__).parents[2]
WHOLE = {
    "users": "ok", "sign in over UDP": "ok", "sign in over TLS": "ok", "sign in over TCP": "ok", "presence": "ok",
    "messages": "ok", "call": "ok", "relay credentials": "ok", "relay": "ok",
    "search over HTTPS": "ok", "clean up": "ok",
}  # fmt: skip
NO_RELAY = ("--skip", "relay credentials", "--skip", "relay")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, jaeger: Jaeger) -> Iterator[ParleyServer]:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.endpoint}
    running = ParleyServer(tmp_path_factory.mktemp("selftest"), env=env)
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def steps(node: Node, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and how each step went."""
    done = await node.parley("--json", "selftest", *arguments)
    assert not done.stderr, done.stderr
    return done.returncode, {step["name"]: step for step in json.loads(done.stdout)}


def states(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: step["state"] for name, step in found.items()}


async def users(node: Node) -> list[str]:
    """Addresses of those that a self-test made, and left."""
    done = await node.parley("--json", "user", "list")
    return [user["address"] for user in json.loads(done.stdout) if "selftest" in user["address"]]


@pytest.mark.jaeger
async def test_a_whole_installation_passes_and_its_traces_are_seen(server: ParleyServer, jaeger: Jaeger) -> None:
    done = await server.parley("selftest", "--jaeger", jaeger.url)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["ok"] * (len(WHOLE) + 2)
    assert lines[-1] == "all is well"
    assert f"UDP 127.0.0.1:{server.ports['udp']}" in lines[1]
    seen = next(line for line in lines if "trace of the call" in line)
    assert "parley-frontend" in seen
    assert "parley-registrar" in seen
    assert f"{jaeger.url}/trace/" in seen
    assert await users(server) == []


async def test_one_transport_is_enough(server: ParleyServer) -> None:
    code, found = await steps(server, "--sip", f"127.0.0.1:{server.ports['udp']}", "--skip", "sign in over TCP")
    assert code == 0
    changed = {
        "sign in over TLS": "skipped",
        "sign in over TCP": "skipped",
        "second sign in": "ok",
        "search over HTTPS": "skipped",
    }
    assert states(found) == WHOLE | changed
    assert found["sign in over TLS"]["detail"] == "no address of it is known"
    assert found["sign in over TCP"]["detail"] == "not wanted"


async def test_a_certificate_that_is_not_trusted_is_told_of(server: ParleyServer) -> None:
    code, found = await steps(server, "--tls-name", "elsewhere.test", "--skip", "presence,messages,call", *NO_RELAY)
    assert code == 1
    failed = found["sign in over TLS"]
    assert (failed["state"], found["sign in over UDP"]["state"], found["clean up"]["state"]) == ("failed", "ok", "ok")
    assert "its certificate is refused: Hostname mismatch" in failed["came"]
    assert "--tls-name" in failed["look_at"]
    code, found = await steps(server, "--https-name", "elsewhere.test", "--skip", "presence,messages,call", *NO_RELAY)
    assert code == 1
    failed = found["search over HTTPS"]
    assert (failed["state"], found["sign in over TLS"]["state"], found["clean up"]["state"]) == ("failed", "ok", "ok")
    assert "its certificate is refused: Hostname mismatch" in failed["came"]
    assert "--https-name" in failed["look_at"]
    assert await users(server) == []


async def test_traces_that_do_not_come_are_told_of(server: ParleyServer) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    code, found = await steps(server, "--jaeger", nowhere, "--trace-timeout", "0.5", *NO_RELAY)
    assert code == 1
    failed = found["trace of the call"]
    assert failed["came"].startswith(f"{nowhere} does not answer as Jaeger does: ")
    assert "16686" in failed["look_at"]
    assert states(found)["clean up"] == "ok"


async def test_one_front_end_is_not_two(server: ParleyServer) -> None:
    code, found = await steps(server, "--expect-edges", "2", *NO_RELAY)
    assert code == 1
    assert found["two front ends"]["came"].startswith("16 connections in a row came to ")
    assert found["call"]["state"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--sip", "127.0.0.1:70000"), "--sip 127.0.0.1:70000 is not HOST:PORT"),
        (("--sips", "::1"), "--sips ::1 is not HOST:PORT"),
        (("--skip", "dancing"), "there is no step dancing to skip"),
        (("--jaeger", "localhost:16686"), "--jaeger localhost:16686 is no URL"),
    ],
)
async def test_wrong_usage(server: ParleyServer, arguments: tuple[str, ...], sentence: str) -> None:
    command = ["--config", str(server.folder / "parley.yaml"), "selftest", *arguments]
    env = {"PARLEY_DATA": str(server.folder), "COLUMNS": "200"}
    done = await asyncio.to_thread(CliRunner().invoke, app, command, env=env)
    assert (done.exit_code, sentence in done.stderr) == (2, True), done.stderr


async def test_told_to_end_it_removes_the_users_first(server: ParleyServer) -> None:
    """While it waits for a trace that never comes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "parley.cli.main", "--config", str(server.folder / "parley.yaml"), "selftest",
        "--jaeger", f"http://127.0.0.1:{free_port()}", "--trace-timeout", "600",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PARLEY_DATA": str(server.folder), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(90):
        while b" relay  " not in await process.stdout.readline():
            pass
    assert len(await users(server)) == 2
    process.send_signal(signal.SIGTERM)
    out, problems = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"clean up" in out
    assert b"told to end" in problems
    assert b"Traceback" not in problems
    assert await users(server) == []


@pytest.fixture
async def poor(tmp_path: Path) -> AsyncIterator[Node]:
    """An installation without presence and without a relay."""
    config = {
        "platform": {"metrics_port": 0, "log": {"format": "json"}},
        "frontend": {"ports": frontend_ports()},
    }  # fmt: skip
    node = Node(tmp_path / "poor", ["addressbook", "registrar", "messaging", "frontend"], config)
    node.launch()
    try:
        await node.ready()
        yield node
    finally:
        await node.stop()


async def test_what_does_not_run_is_named_and_the_rest_is_tried(poor: Node) -> None:
    done = await poor.parley("selftest", "--timeout", "5")
    assert done.returncode == 1, done.stdout
    code, found = await steps(poor, "--timeout", "5")
    assert code == 1
    failed = {"presence": "failed", "relay credentials": "failed"}
    assert states(found) == WHOLE | failed | {"relay": "skipped", "search over HTTPS": "skipped"}
    presence, credentials = found["presence"], found["relay credentials"]
    assert presence["expected"] == "a NOTIFY with the note that the other user published"
    assert "to SUBSCRIBE from UDP 127.0.0.1:" in presence["came"]
    assert "is presence running" in presence["look_at"]
    assert credentials["came"].startswith("UN")
    assert "is the A/V edge running" in credentials["look_at"]
    assert f"expected: {presence['expected']}" in done.stdout
    assert "look at:  is presence running" in done.stdout
    assert done.stdout.splitlines()[-1] == f"2 of {len(WHOLE)} steps failed"
    assert await users(poor) == []


@pytest.mark.jaeger
async def test_a_call_across_two_front_ends_is_one_trace(tmp_path: Path, jaeger: Jaeger) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.endpoint}
    async with ParleyCluster(tmp_path, registrars=1, presences=1, messagings=1, env=env) as cluster:
        tester = Node(tmp_path / "tester", [], {})
        tester.folder.mkdir()
        config = {"platform": {"rpc": {"targets": cluster.targets}}}
        (tester.folder / "parley.yaml").write_text(yaml.safe_dump(config))
        code, found = await steps(
            tester, "--sip", f"127.0.0.1:{cluster.ports[0]['udp']}", "--sips", f"127.0.0.1:{cluster.ports[1]['tls']}",
            "--skip", "sign in over TCP", "--ca", str(cluster.ca_file(1)), "--expect-edges", "2", "--jaeger", jaeger.url,
        )  # fmt: skip
        assert code == 0, found
        assert found["two front ends"]["detail"] == "the users are on two"
        assert found["trace of the call"]["state"] == "ok"
        assert states(found)["relay credentials"] == states(found)["relay"] == "skipped"
        assert found["relay credentials"]["detail"] == "platform.rpc.targets names no avedge"
