"""``parley init storage`` as a Job runs it, against real servers."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from parley.cli.main import app
from parley.platform.events.brokers import Brokers
from parley.platform.events.topics import TOPICS
from parley.platform.schema import KEY, WRITES
from tests.integration.platform.test_kafka_topics import partitions
from tests.support.kafka import Kafka
from tests.support.ports import free_port
from tests.support.valkey import Valkey

pytestmark = pytest.mark.valkey


def init(folder: Path, platform: dict[str, Any], *arguments: str, as_json: bool = False) -> Result:
    """The command with a configuration."""
    path = folder / "parley.yaml"
    path.write_text(yaml.safe_dump({"platform": platform}))
    command = [*(["--json"] if as_json else []), "--config", str(path), "init", "storage", *arguments]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200", "PARLEY_DATA": str(folder)})


def test_an_empty_redis_is_ready_at_once_and_again(valkey: Valkey, tmp_path: Path) -> None:
    for _ in range(2):
        done = init(tmp_path, {"redis": {"url": valkey.url}})
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == f"the storage is ready; the stored data is of version {WRITES}"
        assert "note:" not in done.stdout
    assert valkey.ask("HGETALL", KEY) == {b"version": str(WRITES).encode()}


def test_a_redis_without_a_file_is_told_of(tmp_path: Path) -> None:
    with Valkey(tmp_path / "valkey", "--appendonly", "no") as server:
        done = init(tmp_path, {"redis": {"url": server.url}})
    assert done.exit_code == 0, done.output
    assert "note: Redis does not append to a file (appendonly no)" in done.stdout


async def test_redis_that_comes_late_is_waited_for_with_a_line_a_second_at_most(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey")
    begun = time.monotonic()
    command = asyncio.ensure_future(asyncio.to_thread(init, tmp_path, {"redis": {"url": server.url}}, "--timeout", "60"))
    try:
        await asyncio.sleep(2.5)
        server.start()  # in this thread: the kernel ends it with the thread that started it
        done = await command
    finally:
        server.stop()
    assert done.exit_code == 0, done.output
    waits = [line for line in done.stderr.splitlines() if line.startswith("waiting for Redis: ")]
    assert 1 <= len(waits) <= time.monotonic() - begun + 1


def test_redis_that_does_not_come_ends_it_with_a_sentence(tmp_path: Path) -> None:
    done = init(tmp_path, {"redis": {"url": f"redis://127.0.0.1:{free_port()}"}}, "--timeout", "0")
    assert done.exit_code == 4
    assert re.search(r"error: Redis did not come up in time: .+\nhint: addresses are in platform\.redis", done.stderr)


def test_newer_data_is_refused(valkey: Valkey, tmp_path: Path) -> None:
    valkey.ask("HSET", KEY, "version", "99")
    done = init(tmp_path, {"redis": {"url": valkey.url}})
    assert done.exit_code == 6
    assert "the stored data is of version 99" in done.stderr
    assert valkey.ask("HGET", KEY, "version") == b"99"


def test_the_bundled_valkey_needs_no_init(tmp_path: Path) -> None:
    done = init(tmp_path, {})
    assert done.exit_code == 5
    assert "starts a Valkey of its own and prepares it" in done.stderr


@pytest.mark.kafka
def test_all_topics_are_made_on_kafka(valkey: Valkey, kafka: Kafka, tmp_path: Path) -> None:
    events = {"driver": "kafka", "kafka_servers": kafka.servers, "partitions": 2}
    platform = {"redis": {"url": valkey.url}, "events": events}
    first = init(tmp_path, platform, as_json=True)
    assert first.exit_code == 0, first.output
    names = {topic["name"] for topic in json.loads(first.stdout)["topics"]}
    assert names == {topic.name for topic in TOPICS} | {f"{topic.name}.dead" for topic in TOPICS}
    found = asyncio.run(partitions(Brokers(tuple(kafka.servers))))
    assert names <= set(found)
    events["partitions"] = 256
    more = init(tmp_path, platform)
    assert more.exit_code == 0, more.output
    assert "note: the topic parley.calls has " in more.stdout
    assert f"Kafka has all {len(names)} topics, 0 of them made now" in more.stderr
    assert asyncio.run(partitions(Brokers(tuple(kafka.servers)))) == found


@pytest.mark.kafka
def test_kafka_that_does_not_come(valkey: Valkey, tmp_path: Path) -> None:
    events = {"driver": "kafka", "kafka_servers": [f"127.0.0.1:{free_port()}"]}
    done = init(tmp_path, {"redis": {"url": valkey.url}, "events": events}, "--timeout", "0")
    assert done.exit_code == 4
    assert "Kafka did not come up in time: no Kafka broker can be reached" in done.stderr
