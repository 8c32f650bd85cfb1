"""Sessions of the admin page: cookies that nobody else can make, and which are over."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import OnceItem, OnceResult
from services.web.errors import HttpError
from services.web.schemes.once import Once
from services.web.schemes.sessions import Endings, Sessions

KEY = bytes(range(32))
NOW = 1_800_000_000.0
SESSIONS = Sessions(KEY, secrets.token_bytes)


class Registrar:
    """Notes what was used."""

    def __init__(self) -> None:
        self.taken: dict[bytes, int] = {}
        self.failure: RpcError | None = None
        self.status = 0

    def submit(self, item: OnceItem, *, timeout: float) -> asyncio.Future[OnceResult]:
        future: asyncio.Future[OnceResult] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
            return future
        result = OnceResult(first=item.digest not in self.taken)
        result.status.code = self.status
        if not item.look:
            self.taken.setdefault(item.digest, item.ttl_ms)
        future.set_result(result)
        return future


@given(st.text(max_size=60), st.integers(0, 2**63), st.floats(1, 86_400))
def test_a_sealed_session_is_opened_by_every_replica(address: str, version: int, seconds: float) -> None:
    session = SESSIONS.begin(address, version, NOW + seconds)
    text = SESSIONS.seal(session)
    assert Sessions(KEY, secrets.token_bytes).open(text, NOW) == session
    assert SESSIONS.open(text, NOW + seconds) is None
    assert Sessions(bytes(32), secrets.token_bytes).open(text, NOW) is None
    assert address not in text or len(address) < 3
    assert SESSIONS.seal(session) != text


@given(st.data())
def test_no_part_of_it_can_be_changed(data: st.DataObject) -> None:
    sealer = Sessions(KEY, bytes)  # the same in every run
    text = sealer.seal(sealer.begin("sip:alice@example.test", 1, NOW + 60))
    at = data.draw(st.integers(0, len(text.rstrip("=")) - 2))  # the last may have bits that mean nothing
    other = data.draw(st.sampled_from("ABab01-_").filter(lambda letter: letter != text[at]))
    assert SESSIONS.open(text[:at] + other + text[at + 1 :], NOW) is None
    assert SESSIONS.open(text[:at], NOW) is None


@given(st.text(max_size=100))
def test_nothing_else_is_a_session(text: str) -> None:
    assert SESSIONS.open(text, NOW) is None


def test_one_that_is_too_long_is_not_looked_at() -> None:
    assert SESSIONS.open("A" * 100_000, NOW) is None


def test_what_changes_something_brings_its_token() -> None:
    first, second = (SESSIONS.begin("sip:alice@example.test", 1, NOW + 60) for _ in range(2))
    assert first.allows(first.csrf)
    for token in ("", second.csrf, first.csrf[:-1], first.csrf + "0", "\udcff", "ä"):
        assert not first.allows(token)
    assert first.digest != second.digest


async def test_a_session_that_was_ended_is_over_everywhere() -> None:
    registrar = Registrar()
    here, there = (Endings(Once(registrar, timeout_s=1)) for _ in range(2))
    first, second = (SESSIONS.begin("sip:alice@example.test", 1, NOW + 60) for _ in range(2))
    assert not await there.has_ended(first)
    await here.end(first, NOW)
    await here.end(first, NOW + 1)
    assert await there.has_ended(first)
    assert not await there.has_ended(second)
    assert registrar.taken == {first.digest: 60_000}  # as long as the cookie would be good


async def test_nothing_is_noted_of_one_that_is_over_by_itself() -> None:
    registrar = Registrar()
    await Endings(Once(registrar, timeout_s=1)).end(SESSIONS.begin("sip:alice@example.test", 1, NOW), NOW)
    assert registrar.taken == {}


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED])
@pytest.mark.parametrize("in_result", [False, True])
async def test_without_the_registrar_nobody_is_let_in_on_trust(code: StatusCode, in_result: bool) -> None:
    registrar = Registrar()
    if in_result:
        registrar.status = code.value[0]
    else:
        registrar.failure = RpcError(code, "away")
    with pytest.raises(HttpError) as refused:
        await Endings(Once(registrar, timeout_s=1)).has_ended(SESSIONS.begin("sip:alice@example.test", 1, NOW + 60))
    assert refused.value.status == 503
    assert ("Retry-After", "5") in refused.value.headers
