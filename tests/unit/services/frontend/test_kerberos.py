"""Tokens are accepted away from the event loop, and which schemes a domain may offer."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from pydantic import ValidationError

from parley.platform.config import ConfigError, Settings
from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import OnceItem, OnceResult
from parley.proto.sip.v1.message_pb2 import ItemStatus
from parley.sipae.acceptor import Established, TokenAcceptor
from parley.sipae.principal import KerberosError, Principal
from services.frontend.communicator import sign_in_servers
from services.frontend.config import FrontendConfig
from services.frontend.kerberos import Contexts, OnceClient, acceptor_of
from tests.unit.sipae.test_principal import keytab as key_of

SERVICE = "sip/ocs.example.test"


class NoCipher:
    def sign(self, text: bytes) -> bytes:
        return text

    def verify(self, text: bytes, signature: bytes) -> bool:
        return text == signature


CONTEXT = Established(Principal(("alice",), "EXAMPLE.TEST"), NoCipher(), bytes(32), 1.0)


class Registrar:
    """Takes each digest once, or answers with an error."""

    def __init__(self, *, seen: Iterable[bytes] = (), status: int = 0, error: Exception | None = None) -> None:
        self._seen = set(seen)
        self._status = status
        self._error = error

    def submit(self, item: OnceItem, *, timeout: float) -> asyncio.Future[OnceResult]:
        assert item.ttl_ms >= 600_000, "as long as an authenticator is good"
        future: asyncio.Future[OnceResult] = asyncio.get_running_loop().create_future()
        if self._error is not None:
            future.set_exception(self._error)
        else:
            first = item.digest not in self._seen
            self._seen.add(item.digest)
            future.set_result(OnceResult(first=first and not self._status, status=ItemStatus(code=self._status)))
        return future


class Acceptor:
    """Accepts everything, each token for another."""

    def accept(self, token: bytes) -> Established:
        return replace(CONTEXT, digest=sha256(token).digest())


class SlowAcceptor:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.threads: set[threading.Thread] = set()

    def accept(self, token: bytes) -> Established:
        self.threads.add(threading.current_thread())
        assert self.go_on.wait(10)
        if token == b"bad":
            raise KerberosError("no")
        if token == b"broken":
            raise OSError("the disk is full")
        return CONTEXT


def contexts_with(acceptor: TokenAcceptor, once: OnceClient | None = None, *, limit: int = 10) -> Contexts:
    return Contexts(acceptor, SERVICE, once or Registrar(), asyncio.get_running_loop(), limit=limit)


Outcome = Established | KerberosError | RpcError


async def outcomes(contexts: Contexts, *tokens: bytes) -> list[asyncio.Future[Outcome]]:
    """What will come of tokens; only those that were taken."""
    loop = asyncio.get_running_loop()
    futures = []
    for token in tokens:
        future: asyncio.Future[Outcome] = loop.create_future()
        if contexts.accept(token, future.set_result):
            futures.append(future)
    return futures


async def test_the_loop_goes_on_while_a_token_is_accepted() -> None:
    acceptor = SlowAcceptor()
    contexts = contexts_with(acceptor)
    (future,) = await outcomes(contexts, b"good")
    await asyncio.sleep(0)  # the loop is not held up: the acceptor still waits
    assert not future.done()
    acceptor.go_on.set()
    assert await future is CONTEXT
    assert threading.current_thread() not in acceptor.threads
    contexts.close()


class AnyNumber(Registrar):
    """Takes everything."""

    def submit(self, item: OnceItem, *, timeout: float) -> asyncio.Future[OnceResult]:
        self._seen.clear()
        return super().submit(item, timeout=timeout)


async def test_no_more_than_the_limit_wait() -> None:
    acceptor = SlowAcceptor()
    contexts = contexts_with(acceptor, AnyNumber(), limit=3)
    taken = await outcomes(contexts, *[b"good"] * 5)
    assert len(taken) == 3
    acceptor.go_on.set()
    assert await asyncio.gather(*taken) == [CONTEXT] * 3
    assert len(await outcomes(contexts, b"good")) == 1
    contexts.close()


async def test_why_a_token_is_not_accepted(caplog: pytest.LogCaptureFixture) -> None:
    acceptor = SlowAcceptor()
    acceptor.go_on.set()
    contexts = contexts_with(acceptor)
    with caplog.at_level(logging.ERROR):
        refused, failed = await asyncio.gather(*await outcomes(contexts, b"bad", b"broken"))
    assert isinstance(refused, KerberosError)
    assert isinstance(failed, KerberosError)
    assert (str(refused), str(failed)) == ("no", "it could not be dealt with")
    assert "the disk is full" in caplog.text
    contexts.close()


async def test_what_another_front_end_accepted_is_not_accepted_here() -> None:
    once = Registrar(seen=[sha256(b"seen").digest()])
    contexts = contexts_with(Acceptor(), once)
    (seen,) = await asyncio.gather(*await outcomes(contexts, b"seen"))
    assert isinstance(seen, KerberosError)
    assert "another front end" in str(seen)
    new, again = await asyncio.gather(*await outcomes(contexts, b"new", b"new"))
    assert isinstance(new, Established)
    assert isinstance(again, KerberosError)
    contexts.close()


@pytest.mark.parametrize(
    ("registrar", "code"),
    [
        (Registrar(error=RpcError(StatusCode.UNAVAILABLE, "away")), StatusCode.UNAVAILABLE),
        (Registrar(error=OSError("odd")), StatusCode.INTERNAL),
        (Registrar(status=StatusCode.UNAVAILABLE.value[0]), StatusCode.UNAVAILABLE),
    ],
)
async def test_nobody_gets_in_while_the_registrar_is_away(registrar: Registrar, code: StatusCode) -> None:
    contexts = contexts_with(Acceptor(), registrar)
    (outcome,) = await asyncio.gather(*await outcomes(contexts, b"new"))
    assert isinstance(outcome, RpcError)
    assert outcome.code is code
    contexts.close()


# Configuration


def config(communicator: dict[str, Any], *domains: str) -> FrontendConfig:
    return FrontendConfig.model_validate(
        {"domains": domains or ("example.test", "Example.org"), "communicator": communicator}
    )


def test_ntlm_alone_is_offered_unless_a_domain_says_otherwise() -> None:
    chosen = config({"schemes": {"EXAMPLE.ORG": ["Kerberos", "NTLM"]}, "kerberos": {"keytab": "/a"}})
    servers = sign_in_servers(chosen, SERVICE)
    assert {domain: server.schemes for domain, server in servers.items()} == {
        "example.test": ("NTLM",), "example.org": ("Kerberos", "NTLM"),
    }  # fmt: skip
    assert servers["example.org"].target("Kerberos") == SERVICE
    assert servers["example.org"].realms == {"EXAMPLE.ORG": "example.org"}


def test_realms_that_are_named_are_the_only_ones() -> None:
    kerberos = {"keytab": "/a", "realms": {"CORP.LOCAL": "Example.Test"}}
    assert config({"schemes": {"example.test": ["Kerberos"]}, "kerberos": kerberos}).realms == {"CORP.LOCAL": "example.test"}


@pytest.mark.parametrize(
    ("communicator", "why"),
    [
        ({"schemes": {"elsewhere.test": ["NTLM"]}}, "names elsewhere.test, which is not one of frontend.domains"),
        ({"schemes": {"example.test": []}}, "has for example.test no scheme"),
        ({"schemes": {"example.test": ["NTLM", "NTLM"]}}, "has for example.test no scheme, or one twice"),
        ({"schemes": {"example.test": ["Digest"]}}, "Input should be 'TLS-DSK', 'Kerberos' or 'NTLM'"),
        ({"schemes": {"example.test": ["Kerberos"]}}, "offers Kerberos: set communicator.kerberos.keytab"),
        ({"kerberos": {"realms": {"A": "example.test"}}}, "names example.test for A, which does not offer Kerberos"),
    ],
)
def test_what_cannot_be_offered(communicator: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(communicator)
    assert why in str(refused.value)


def test_a_problem_of_a_whole_section_names_the_section(tmp_path: Path) -> None:
    path = tmp_path / "parley.yaml"
    path.write_text("frontend: {communicator: {schemes: {elsewhere.test: [NTLM]}}}")
    with pytest.raises(ConfigError, match=r"^frontend: communicator\.schemes names elsewhere\.test"):
        Settings(path, {}).section("frontend", FrontendConfig)


def test_what_is_missing_is_told_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert acceptor_of(config({}), tmp_path) is None
    keytab = tmp_path / "sip.keytab"
    chosen = config({"schemes": {"example.test": ["Kerberos"]}, "kerberos": {"keytab": str(keytab)}})
    with pytest.raises(ConfigError, match=r"kerberos: the keytab .*sip\.keytab cannot be read: No such file"):
        acceptor_of(chosen, tmp_path)
    keytab.write_bytes(b"\x05\x02")
    with pytest.raises(ConfigError, match=r"has no key of sip/example\.test but of no key at all"):
        acceptor_of(chosen, tmp_path)
    keytab.write_bytes(key_of(Principal(("sip", "example.test"), "EXAMPLE.TEST")))
    for module in ("gssapi", "gssapi.raw"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"Kerberos needs parley\[kerberos\]"):
        acceptor_of(chosen, tmp_path)
