"""The ``parley`` command against a running Parley, as a person or a script uses it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.cli.run import for_a_first_try
from tests.support.parley_server import ParleyServer
from tests.support.ports import free_port
from tests.support.sip_client import SipClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    running = ParleyServer(tmp_path_factory.mktemp("cli"))
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def test_run_prints_what_to_do_next(server: ParleyServer) -> None:
    async def up() -> bool:
        return "Parley is up" in server.log()

    await eventually(up)
    log = server.log()
    assert f"127.0.0.1:{server.ports['tls']}" in log
    assert "<sip:alice@example.test>;auth_user=alice;auth_pass=Secret-1" in log
    assert str(server.ca_file) in log


def test_a_first_try_has_an_administrator_where_nobody_else_gets_in() -> None:
    for bind, expected in (("", True), ("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("192.0.2.1", False)):
        environ = {"PARLEY_BIND": bind} if bind else {}
        for_a_first_try(environ)
        assert environ["PARLEY_ADDRESSBOOK_DEMO"] == "true"
        assert ("PARLEY_WEB_ADMINISTRATORS" in environ) is expected, bind
    environ = {"PARLEY_WEB_ADMINISTRATORS": "[]"}
    for_a_first_try(environ)
    assert environ["PARLEY_WEB_ADMINISTRATORS"] == "[]"


async def test_users_from_the_first_to_the_last(server: ParleyServer) -> None:
    added = await server.parley(
        "user", "add", "dora@example.test", "--name", "Dora", "--login", "EXAMPLE\\dora", stdin="Secret-9\n"
    )
    assert added.returncode == 0, added.stderr
    assert (await server.parley("user", "add", "dora@example.test", stdin="Secret-9\n")).returncode == 6
    shown = json.loads((await server.parley("--json", "user", "show", "EXAMPLE\\dora")).stdout)
    assert (shown["address"], shown["display_name"], shown["enabled"]) == ("sip:dora@example.test", "Dora", True)
    dora = await SipClient("dora", "Secret-9").connect(server.ports["udp"])
    assert (await dora.register()).status == 200
    table = await server.parley("registrations")
    assert "dora@example.test" in table.stdout
    assert (await server.parley("user", "disable", "dora@example.test")).returncode == 0
    await asyncio.sleep(1)
    assert (await dora.register()).status == 401
    assert (await server.parley("user", "enable", "dora@example.test")).returncode == 0
    listing = json.loads((await server.parley("--json", "user", "list")).stdout)
    assert {user["address"] for user in listing} >= {"sip:alice@example.test", "sip:dora@example.test"}
    assert (await server.parley("user", "delete", "dora@example.test", "--yes")).returncode == 0
    assert (await server.parley("user", "show", "dora@example.test")).returncode == 3


async def test_weak_password_and_foreign_domain_are_refused_with_reasons(server: ParleyServer) -> None:
    weak = await server.parley("user", "add", "eve@example.test", stdin="short\n")
    assert (weak.returncode, "at least 8 characters" in weak.stderr) == (6, True)
    foreign = await server.parley("user", "add", "eve@elsewhere.test", stdin="Secret-9\n")
    assert (foreign.returncode, "example.test" in foreign.stderr) == (6, True)


async def test_import_says_which_rows_failed(server: ParleyServer, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text(
        "address,display_name,password,login_names\n"
        "frank@example.test,Frank,Secret-9,EXAMPLE\\frank;franky\n"
        "grace@example.test,Grace,x,\n"
        "alice@example.test,Again,Secret-9,\n"
    )
    done = await server.parley("user", "import", str(file))
    assert done.returncode == 1
    assert "line 3" in done.stderr
    assert "line 4" in done.stderr
    assert "1 users added, 2 failed" in done.stdout
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("name\nx\n")
    assert (await server.parley("user", "import", str(wrong))).returncode == 2


async def test_follow_shows_a_call_from_start_to_end(server: ParleyServer) -> None:
    command = [sys.executable, "-m", "parley.cli.main", "--config", str(server.folder / "parley.yaml"), "--json"]
    follower = await asyncio.create_subprocess_exec(
        *command, "calls", "--follow", stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        env={"PARLEY_DATA": str(server.folder), "PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert follower.stdout is not None
    try:
        await asyncio.sleep(2.5)
        alice = await SipClient("alice").connect(server.ports["udp"])
        bob = await SipClient("bob").connect(server.ports["udp"])
        assert (await bob.register()).status == 200
        invite = await alice.invite("sip:bob@example.test")
        incoming = await bob.expect("INVITE")
        bob.answer(incoming, 180)
        bob.answer(incoming, 200)
        answer = await alice.response()
        alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
        going_on = json.loads((await server.parley("--json", "calls")).stdout)
        assert [(call["from_aor"], call["state"]) for call in going_on] == [("sip:alice@example.test", "answered")]
        bye = bob.in_dialog_of_callee("BYE", incoming)
        bob.send(bytes(bye))
        alice.answer(await alice.expect("BYE"), 200)
        facts = [json.loads(await asyncio.wait_for(follower.stdout.readline(), 10)) for _ in range(4)]
    finally:
        follower.terminate()
        await follower.communicate()
    assert [fact["kind"] for fact in facts] == ["KIND_STARTED", "KIND_RINGING", "KIND_ANSWERED", "KIND_ENDED"]
    assert (facts[-1]["cause"], facts[-1]["ended_by"]) == ("completed", "callee")
    assert {fact["call_id"] for fact in facts} == {invite.call_id}


async def test_doctor_finds_nothing_wrong(server: ParleyServer) -> None:
    done = await server.parley("--json", "doctor")
    findings = json.loads(done.stdout)
    assert done.returncode == 0, [finding for finding in findings if finding["state"] == "fail"]
    assert {"Redis", "registrar", "address book", "front ends"} <= {finding["what"] for finding in findings}


def parley(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command with nothing running."""
    return subprocess.run(
        [sys.executable, "-m", "parley.cli.main", *arguments], capture_output=True, text=True, cwd=ROOT, check=False,
        env={"PATH": "/usr/bin:/bin", **env}, timeout=60,
    )  # fmt: skip


def test_exit_codes_and_hints_when_nothing_runs(tmp_path: Path) -> None:
    away = parley("user", "list", PARLEY_DATA=str(tmp_path))
    assert (away.returncode, "parley run" in away.stderr) == (4, True)
    unknown = parley("config", "check", PARLEY_DATA=str(tmp_path), PARLEY_FRONTEND_DOMIANS="x")
    assert (unknown.returncode, "PARLEY_FRONTEND_DOMAINS" in unknown.stderr) == (5, True)
    file = tmp_path / "parley.yaml"
    file.write_text("frontend: {listn: ['127.0.0.1']}\nregistar: {}\n")
    wrong = parley("config", "check", str(file), PARLEY_DATA=str(tmp_path))
    assert wrong.returncode == 5
    assert "unknown key 'listn' in frontend; did you mean 'listen'?" in wrong.stderr.replace("\n", " ")
    assert "did you mean 'registrar'?" in wrong.stderr.replace("\n", " ")
    assert parley("--help").returncode == 0
    assert parley("no-such-command").returncode == 2


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"PARLEY_PLATFORM_REDIS__URL": "http://x:Secret-1@h"}, "platform.redis.url: not a Redis URL; write redis://host"),
        ({"PARLEY_PLATFORM_REDIS__URL": "redis://h:port/0"}, "platform.redis.url: not a Redis URL; write redis://host"),
        ({"PARLEY_PLATFORM_REDIS__SENTINELS": "[h]"}, "platform.redis.sentinels: 'h' is not host:port"),
    ],
)
def test_doctor_finds_what_is_wrong_with_the_address_of_redis(
    tmp_path: Path, variables: dict[str, str], problem: str
) -> None:
    done = parley("--json", "doctor", PARLEY_DATA=str(tmp_path), **variables)
    assert (done.returncode, done.stderr) == (1, "")
    (found,) = (finding for finding in json.loads(done.stdout) if finding["what"] == "Redis")
    assert found["state"] == "fail"
    assert found["detail"].startswith(problem)
    assert found["next_step"]
    assert "Secret-1" not in done.stdout


def test_calls_between_services_are_not_served_unencrypted_to_others(tmp_path: Path) -> None:
    file = tmp_path / "parley.yaml"
    file.write_text("platform: {metrics_port: 0, rpc: {listen: ['0.0.0.0:0']}}\n")
    refused = parley("--config", str(file), "run", PARLEY_DATA=str(tmp_path))
    assert refused.returncode == 5
    told = refused.stderr.replace("\n", " ")
    assert "platform.rpc: 0.0.0.0:0 would take calls of anybody, unencrypted: set platform.rpc.tls, or" in told
    assert not (tmp_path / "valkey").exists(), "nothing was started"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = tmp_path / "parley.yaml"
        ports = f"{{udp: {free_port()}, tcp: {port}, tls: -1, ws: -1, wss: -1}}"
        file.write_text(f"platform: {{metrics_port: 0}}\nfrontend: {{ports: {ports}}}\n")
        done = parley("--config", str(file), "run", PARLEY_DATA=str(tmp_path / "d"))
    assert done.returncode == 1
    assert f"port {port}" in done.stderr.replace("\n", " ")
    assert "frontend.ports.tcp" in done.stderr.replace("\n", " ")


async def test_registrations_and_users_survive_a_restart(tmp_path: Path) -> None:
    first = ParleyServer(tmp_path / "parley")
    await first.start()
    bob = await SipClient("bob").connect(first.ports["udp"])
    assert (await bob.register()).status == 200
    first.kill()
    first.launch()
    await first.ready()
    alice = await SipClient("alice").connect(first.ports["udp"])
    invite = alice.request("INVITE", "sip:bob@example.test")
    asked = asyncio.ensure_future(alice.ask(invite))
    bob.answer(await bob.expect("INVITE", 10), 486)
    assert (await asked).status == 486
    await first.stop()
