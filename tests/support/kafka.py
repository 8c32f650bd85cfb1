"""A real Kafka broker (KRaft) for tests."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.support.ports import free_port
from tests.support.programs import cache, start, stop

HOME = "kafka-4.4.0"
ARCHIVE = "classes.jsa"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/log
num.partitions=3
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=1
num.io.threads=2
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=16777216
log.index.size.max.bytes=1048576
"""


def kafka_missing() -> str | None:
    """Why no broker can be started; None when one can."""
    if not (cache() / HOME / "log4j2.properties").exists():
        return "Kafka is not installed; run tools/install-kafka.sh"
    return None if shutil.which("java") else "Kafka needs a JDK, which is not installed"


class Kafka:
    """One broker with its data in a folder; it can be killed and started again."""

    def __init__(self, folder: Path, *, properties: str = "", format_options: Sequence[str] = ()) -> None:
        """``properties``: further lines of its configuration; ``format_options``: of the tool that formats the folder."""
        self._folder = folder
        self._properties = properties
        self._format_options = list(format_options)
        self._home = cache() / HOME
        self.port = free_port()
        self._controller = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> list[str]:
        """What goes into ``events.kafka_servers``."""
        return [f"127.0.0.1:{self.port}"]

    @property
    def _learnt(self) -> Path:
        """Where a broker leaves its classes when it ends; the next ones start in half the time with them."""
        return self._home / f"{ARCHIVE}.{self.port}"

    def _java(self, options: Sequence[str] = ()) -> list[str]:
        archive = self._home / ARCHIVE
        share = [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"] if archive.exists() else []
        # A path without a wildcard of the shell's: java expands it itself.
        return [
            "java", "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *share, *options,
            f"-Dlog4j2.configurationFile={self._home}/log4j2.properties", "-cp", f"{self._home}/libs/*",
        ]  # fmt: skip

    def start(self) -> None:
        """Formats the folder if it is new, and starts the broker."""
        properties = self._folder / "server.properties"
        if not properties.exists():
            usual = PROPERTIES.format(port=self.port, controller=self._controller, folder=self._folder)
            properties.write_text(usual + self._properties)
            subprocess.run(
                [*self._java(), "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", str(properties),
                 *self._format_options],
                check=True, capture_output=True, timeout=60,
            )  # fmt: skip
        learn = [] if (self._home / ARCHIVE).exists() else [f"-XX:ArchiveClassesAtExit={self._learnt}"]
        log = self._folder / "broker.log"
        log.write_bytes(b"")
        with log.open("ab") as output:
            self._process = start([*self._java(learn), "kafka.Kafka", str(properties)], output)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if "Kafka Server started" in log.read_text(errors="replace"):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"Kafka did not start:\n{log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """Ends it without a warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            stop(self._process, 30)
        if self._learnt.exists():
            self._learnt.replace(self._home / ARCHIVE)
