"""``parley init secrets`` as a Job runs it, against an API with Secrets that speaks HTTPS."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from parley.cli.main import app
from parley.platform.authority import Authority
from tests.support.kubernetes_api import KubernetesApi, status
from tests.support.ports import free_port

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi(tmp_path / "cluster") as server:
        yield server


def arguments_of(api: KubernetesApi, arguments: tuple[str, ...]) -> list[str]:
    """The command line; ``--json`` may come first."""
    before = [argument for argument in arguments if argument == "--json"]
    rest = [argument for argument in arguments if argument != "--json"]
    return [*before, "init", "secrets", "--service-account", str(api.account), "--prefix", "parley", *rest]


async def init(api: KubernetesApi, *arguments: str, **environ: str) -> Result:
    """The command, in a thread of this process."""
    env = {"COLUMNS": "200", **api.environ, **environ}
    return await asyncio.to_thread(CliRunner().invoke, app, arguments_of(api, arguments), env=env)


async def process(api: KubernetesApi, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as in a pod."""
    command = [sys.executable, "-m", "parley.cli.main", *arguments_of(api, arguments)]
    env = {"PATH": os.environ["PATH"], "COLUMNS": "200", **api.environ}
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=60, check=False
    )


def secrets_in(api: KubernetesApi, text: str) -> list[str]:
    """Names of Secrets of which a value is in a text, as it is or as the API carries it."""
    return [
        name
        for name, secret in api.secrets.items()
        for key, encoded in secret["data"].items()
        if encoded in text or any(line in text for line in api.data(name)[key].decode().splitlines() if len(line) > 20)
    ]


async def test_all_are_made_once_and_nothing_secret_is_printed(api: KubernetesApi) -> None:
    done = await init(api, "--name", "example.test", "--name", "192.0.2.7", "--label", "app.kubernetes.io/instance=one")
    assert done.exit_code == 0, done.stderr
    assert [line.split(": ") for line in done.stdout.splitlines()] == [
        [f"parley-{kind}", "made"]
        for kind in ("master-key", "valkey", "user-ca", "development-ca", "internal-tls", "client-tls")
    ]
    assert secrets_in(api, done.stdout + done.stderr) == []
    labels = api.secrets["parley-client-tls"]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/instance": "one", "app.kubernetes.io/managed-by": "parley-init"}
    before = api.snapshot()
    again = await init(api, "--json", "--name", "example.test")
    assert again.exit_code == 0
    assert {report["outcome"] for report in json.loads(again.stdout)} == {"kept"}
    assert api.snapshot() == before


async def test_two_at_once_end_with_one_set_of_secrets(api: KubernetesApi) -> None:
    both = await asyncio.gather(*(process(api, "--name", "example.test") for _ in range(2)))
    assert [done.returncode for done in both] == [0, 0], [done.stderr for done in both]
    ca = api.data("parley-development-ca")["tls.crt"]
    assert api.data("parley-internal-tls")["ca.crt"] == api.data("parley-client-tls")["ca.crt"] == ca
    made = [line for done in both for line in done.stdout.splitlines() if line.endswith("made")]
    assert len(made) == len(set(made)) == 6, "each was made by one of them"


async def test_a_renewal_beside_another_writer_is_decided_anew(api: KubernetesApi) -> None:
    assert (await init(api, "--make", "client-tls", "--name", "example.test")).exit_code == 0
    theirs = Authority.make("Theirs").issue(["new.example.test"])

    def be_faster(method: str, name: str) -> None:
        api.before_write = lambda method, name: None
        api.put(name, {"tls.crt": theirs.certificate.encode(), "tls.key": theirs.key.encode()})

    api.before_write = be_faster
    done = await init(api, "--make", "client-tls", "--name", "new.example.test")
    assert done.exit_code == 0, done.stderr
    assert "parley-client-tls: kept (not made by Parley)" in done.stdout
    assert api.data("parley-client-tls")["tls.key"] == theirs.key.encode()


async def test_a_certificate_gets_a_further_name(api: KubernetesApi) -> None:
    assert (await init(api, "--make", "client-tls", "--name", "example.test")).exit_code == 0
    before = api.data("parley-development-ca")
    done = await init(api, "--make", "client-tls", "--name", "example.test,sip.example.test")
    assert "parley-client-tls: renewed (it does not name sip.example.test)" in done.stdout
    assert api.data("parley-development-ca") == before
    assert set(api.secrets) == {"parley-development-ca", "parley-client-tls"}


async def test_a_serviceaccount_without_rights_is_told_which_are_missing(api: KubernetesApi) -> None:
    api.refuse = lambda method, name: (
        status(403, "Forbidden", f'secrets "{name}" is forbidden: User "x" cannot create resource "secrets"')
        if method == "POST"
        else None
    )
    done = await init(api, "--make", "valkey")
    assert done.exit_code == 6
    told = done.stderr
    assert "may not create the Secret telephony/parley-valkey: give it a Role with get, create and patch on secrets" in told
    assert 'User "x" cannot create' in told
    assert "Traceback" not in told


async def test_malformed_values_are_refused_by_name(api: KubernetesApi) -> None:
    api.put("parley-master-key", {"master-key": b"correct horse battery staple"})
    done = await init(api, "--make", "master-key")
    assert done.exit_code == 6
    assert "master-key of the Secret parley-master-key must be 64 hex digits" in done.stderr
    assert "horse" not in done.stderr + done.stdout


async def test_an_immutable_secret_is_told_of_without_what_was_sent(api: KubernetesApi) -> None:
    assert (await init(api, "--make", "client-tls", "--name", "example.test")).exit_code == 0
    api.refuse = lambda method, name: (
        status(422, "Invalid", "data: Forbidden: field is immutable: LS0tLS1C", name, causes=[{"field": "data"}])
        if method == "PATCH"
        else None
    )
    done = await init(api, "--make", "client-tls", "--name", "new.example.test")
    assert done.exit_code == 6
    assert "cannot patch the Secret telephony/parley-client-tls: 422, because of data (is it immutable?" in done.stderr
    assert "LS0tLS1C" not in done.stderr


async def test_an_api_that_cannot_serve_for_a_moment_is_waited_for(api: KubernetesApi) -> None:
    failures = [503, 429]

    def refuse(method: str, name: str) -> web.Response | None:
        return web.Response(status=failures.pop(), text="{}") if failures else None

    api.refuse = refuse
    done = await init(api, "--make", "valkey")
    assert done.exit_code == 0, done.stderr
    assert not failures


async def test_an_api_that_stays_away_ends_the_command_with_a_sentence(api: KubernetesApi) -> None:
    done = await init(api, "--make", "valkey", "--timeout", "0", KUBERNETES_SERVICE_PORT_HTTPS=str(free_port()))
    assert done.exit_code == 4
    assert "does not answer" in done.stderr
    assert "NetworkPolicy" in done.stderr


async def test_an_api_that_is_somebody_else_is_not_trusted(api: KubernetesApi) -> None:
    (api.account / "ca.crt").write_text(Authority.make("Another").pair.certificate)
    done = await init(api, "--make", "valkey")
    assert done.exit_code == 6
    assert "is not trusted by" in done.stderr
    assert api.asked == []


async def test_a_token_that_is_not_taken(api: KubernetesApi) -> None:
    (api.account / "token").write_text("another-token")
    done = await init(api, "--make", "valkey")
    assert done.exit_code == 6
    assert "does not take the token" in done.stderr
    assert "another-token" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--make", "client-tls"), 2, "client-tls needs a --name"),
        (("--make", "masterkey"), 2, "there is no Secret masterkey to make"),
        (("--make", "client-tls", "--name", "ümlaut.example"), 2, "ümlaut.example is no host name"),
        (("--make", "valkey", "--label", "x"), 2, "x is no label"),
        (("--make", "valkey", "--service-account", "/nowhere"), 5, "there is no token of a ServiceAccount in /nowhere"),
    ],
)
async def test_wrong_usage(api: KubernetesApi, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    done = await init(api, *arguments)
    assert (done.exit_code, sentence in done.stderr) == (code, True), done.stderr
    assert api.asked == []
