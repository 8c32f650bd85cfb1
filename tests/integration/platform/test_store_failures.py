"""The store while servers come, go and change places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from parley.platform.config import ConfigError, RedisConfig
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError, StoreUnavailable
from parley.platform.store.scripts import Script
from tests.support.valkey import Valkey, ValkeyCluster, ValkeySentinel, until
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

COUNT = "redis.call('INCR', KEYS[1]); return ARGV[1]"


@pytest.fixture
async def clustered(valkey_cluster: ValkeyCluster) -> AsyncIterator[Store]:
    opened = Store(RedisConfig(url=valkey_cluster.url, cluster=True))
    yield opened
    await opened.close()


class Move:
    """A slot on its way from one master to another, as an operator moves it."""

    def __init__(self, cluster: ValkeyCluster, tag: str) -> None:
        self._cluster = cluster
        self._slot = key_slot(tag.encode())
        self.old = cluster.owner(self._slot)
        self.new = next(node for node in cluster.nodes if node is not self.old)

    def begin(self, *keys: str) -> None:
        """The keys are there already, the slot is not."""
        self.new.raw("CLUSTER", "SETSLOT", self._slot, "IMPORTING", self.old.node_id)
        self.old.raw("CLUSTER", "SETSLOT", self._slot, "MIGRATING", self.new.node_id)
        self.old.raw("MIGRATE", "127.0.0.1", self.new.port, "", 0, 5000, "KEYS", *keys)

    def finish(self) -> None:
        """The slot is there; the new owner is told first."""
        self._give(self.new)

    def undo(self) -> None:
        """As it was before, with no keys."""
        self.finish()
        self.new.flush()
        self._give(self.old)

    def _give(self, target: Valkey) -> None:
        for node in sorted(self._cluster.nodes, key=lambda node: node is not target):
            node.raw("CLUSTER", "SETSLOT", self._slot, "NODE", target.node_id)
        until(lambda: all(node.owner_port(self._slot) == target.port for node in self._cluster.nodes), "all know the owner")


async def test_moved_slot_is_followed_by_commands_scripts_and_durable_writes(
    valkey_cluster: ValkeyCluster, clustered: Store
) -> None:
    script = Script(clustered, "count", COUNT)
    keys = [f"{{moved{i}}}n" for i in range(40)]
    assert await script.many([([key], [key]) for key in keys]) == [key.encode() for key in keys]
    move = Move(valkey_cluster, "moved0")
    move.begin(keys[0])
    move.finish()
    try:
        assert await script.many([([key], [key]) for key in keys]) == [key.encode() for key in keys]
        assert await clustered.execute("GET", keys[0]) == b"2"
        assert await clustered.durable("INCR", keys[0]) == 3
        assert await script.durable([keys[0]], ["d"]) == b"d"
        assert await clustered.pipeline([["GET", key] for key in keys[:2]]) == [b"4", b"2"]
    finally:
        move.undo()


@pytest.mark.parametrize("first", ["execute", "pipeline", "durable"])
async def test_each_way_to_write_follows_a_moved_slot(valkey_cluster: ValkeyCluster, clustered: Store, first: str) -> None:
    key = f"{{{first}}}n"
    assert await clustered.execute("INCR", key) == 1
    move = Move(valkey_cluster, first)
    move.begin(key)
    move.finish()
    try:
        if first == "pipeline":
            assert await clustered.pipeline([["INCR", key], ["INCR", key]]) == [2, 3]
        else:
            assert await getattr(clustered, first)("INCR", key) == 2
    finally:
        move.undo()


async def test_slot_that_is_moving_is_asked_for_where_its_keys_went(valkey_cluster: ValkeyCluster, clustered: Store) -> None:
    script = Script(clustered, "count", COUNT)
    assert await script(["{asked}n"], ["before"]) == b"before"
    move = Move(valkey_cluster, "asked")
    move.begin("{asked}n")
    try:
        assert await script(["{asked}n"], ["during"]) == b"during"
        assert await clustered.execute("GET", "{asked}n") == b"2"
        assert await clustered.pipeline([["GET", "{asked}n"], ["GET", "other"]]) == [b"2", None]
        assert await script(["{asked}new"], ["made there"]) == b"made there"
        assert await clustered.durable("INCR", "{asked}n") == 3
    finally:
        move.undo()


async def test_one_bad_call_of_a_batch_spoils_no_other(clustered: Store) -> None:
    script = Script(clustered, "count", COUNT)
    await clustered.execute("SET", "{bad}n", "text")
    calls = [([f"{{good{i}}}n"], [i]) for i in range(20)]
    calls.insert(7, (["{bad}n"], [0]))
    replies = await script.many(calls)
    assert isinstance(replies.pop(7), StoreError)
    assert replies == [str(i).encode() for i in range(20)]


async def test_replica_that_takes_over_in_a_cluster_is_found(tmp_path: Path) -> None:
    with ValkeyCluster(tmp_path / "cluster") as cluster:
        store = Store(RedisConfig(url=cluster.url, cluster=True))
        dying = cluster.nodes[1]
        key = next(f"k{i}" for i in range(1000) if cluster.owner(key_slot(f"k{i}".encode())) is dying)
        replica = await asyncio.to_thread(cluster.add_replica, tmp_path / "replica", dying)
        try:
            assert await store.durable("SET", key, "before") == b"OK"
            dying.kill()
            with pytest.raises(StoreUnavailable):
                await store.execute("GET", key)

            async def healed() -> bool:
                try:
                    return bool(await store.execute("SET", key, "after") == b"OK")
                except StoreUnavailable:
                    return False

            await eventually(healed, timeout=30, what="the store finds the replica that took over")
            assert await store.durable("SET", key, "at last") == b"OK"
        finally:
            await store.close()
            replica.stop()


async def role_of(server: Valkey) -> bytes:
    """What a server says of its replication; nothing while Sentinel closes its connections to change its role."""
    try:
        said = await asyncio.to_thread(server.raw, "INFO", "replication")
    except redis.ConnectionError:
        return b""
    assert isinstance(said, bytes)
    return said


async def test_sentinel_fail_over_keeps_durable_writes_and_old_master_gets_none(valkey_sentinel: ValkeySentinel) -> None:
    store = Store(RedisConfig(sentinels=["127.0.0.1:1", *valkey_sentinel.sentinels], replicas=1))
    script = Script(store, "count", COUNT)
    assert await store.durable("SET", "k", "v") == b"OK"  # on the replica's disk too
    valkey_sentinel.master.kill()
    with pytest.raises(StoreUnavailable):
        await store.execute("GET", "k")

    async def healed() -> bool:
        (reply,) = await script.many([(["n"], ["x"])])
        return not isinstance(reply, StoreError)

    await eventually(healed, timeout=30, what="the store follows Sentinel")
    assert await store.execute("GET", "k") == b"v"
    await asyncio.to_thread(valkey_sentinel.master.start)  # comes back believing that it is the master

    async def demoted() -> bool:
        return b"role:slave" in await role_of(valkey_sentinel.master)

    await eventually(demoted, timeout=30, what="Sentinel makes the old master a replica")
    assert await store.execute("GET", "k") == b"v"
    await store.close()


async def test_write_to_a_server_that_became_a_replica_is_sent_to_the_master(valkey_sentinel: ValkeySentinel) -> None:
    store = Store(RedisConfig(sentinels=valkey_sentinel.sentinels))
    script = Script(store, "count", COUNT)
    assert await script(["n"], ["x"]) == b"x"
    await asyncio.to_thread(valkey_sentinel.master.raw, "SET", "unknown", "there")
    await asyncio.to_thread(valkey_sentinel.ask, "SENTINEL", "FAILOVER", "mymaster")

    async def at_new_master() -> bool:
        replies = await script.many([(["n"], ["x"])])
        return replies == [b"x"] and b"role:master" in await role_of(valkey_sentinel.replica)

    await eventually(at_new_master, timeout=30, what="scripts run on the new master")
    assert int(await store.execute("GET", "n")) >= 2
    await store.close()


async def test_no_sentinel_answers(tmp_path: Path) -> None:
    store = Store(RedisConfig(sentinels=["127.0.0.1:1", "127.0.0.1:2"]))
    with pytest.raises(StoreUnavailable, match="no Sentinel knows the master"):
        await store.execute("GET", "k")
    script = Script(store, "count", COUNT)
    assert all(isinstance(reply, StoreUnavailable) for reply in await script.many([(["n"], [1]), (["m"], [1])]))
    await store.close()


async def test_no_node_of_a_cluster_answers() -> None:
    store = Store(RedisConfig(url="redis://127.0.0.1:1", cluster=True))
    with pytest.raises(StoreUnavailable, match="no node of the cluster answers"):
        await store.execute("GET", "k")
    await store.close()


async def test_unfinished_writes_fail_when_the_store_is_closed(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        store = Store(RedisConfig(url=server.url))
        await store.execute("PING", key="x")
        held_up = asyncio.create_task(asyncio.to_thread(server.ask, "CLIENT", "PAUSE", 3000, "ALL"))
        await held_up
        waiting = [asyncio.ensure_future(store.durable("SET", "k", "v")), asyncio.ensure_future(store.execute("GET", "k"))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await store.close()
        for reply in await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 2):
            assert isinstance(reply, StoreUnavailable)
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.execute("GET", "k")


async def test_password_of_the_configuration_and_of_the_url(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        await asyncio.to_thread(server.raw, "ACL", "SETUSER", "parley", "on", ">s3cret/", "~*", "+@all")
        await asyncio.to_thread(server.raw, "ACL", "SETUSER", "default", "off")
        host = f"127.0.0.1:{server.port}"
        good = Store(RedisConfig(url=f"redis://parley:s3cret%2F@{host}/0"))
        assert await good.execute("PING", key="x") == b"PONG"
        bad = Store(RedisConfig(url=f"redis://parley:wrong@{host}/0"))
        with pytest.raises(StoreUnavailable, match="WRONGPASS") as caught:
            await bad.execute("PING", key="x")
        assert "wrong@" not in str(caught.value)
        await good.close()
        await bad.close()


async def test_url_that_is_none_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"platform\.redis\.url: not a Redis URL"):
        Store(RedisConfig(url="http://redis"))
