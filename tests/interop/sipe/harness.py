# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives ``run-client`` from Python.

with Client("alice", server="127.0.0.1:5061", transport="tls") as alice:
    alice.expect("signed-on")
    alice.command("send_im", to="bob@example.test", text="hello")
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.support.programs import cache, stop

HERE = Path(__file__).resolve().parent

Record = dict[str, Any]
"""What the client prints on one line; ``event`` says what it is."""

T = TypeVar("T")


class Missing(AssertionError):
    """An awaited record did not come."""


def out() -> Path:
    """Where the build and the logs go: ``SIPE_OUT``, or the cache."""
    folder = os.environ.get("SIPE_OUT")
    return Path(folder) if folder else cache() / "sipe"


def build() -> None:
    """Builds the client, so that the first scenario need not wait for it; OSError or CalledProcessError when it cannot."""
    subprocess.run([HERE / "run-client", "--build"], check=True, stdout=subprocess.DEVNULL)


def matches(record: Record, fields: Mapping[str, Any]) -> bool:
    """Whether the members are as wanted: equal to a value, or good to a predicate."""
    return all(wanted(record.get(key)) if callable(wanted) else record.get(key) == wanted for key, wanted in fields.items())


class Client:
    """One user's client in a process of its own; its events can be awaited.

    Members of its configuration are given as keywords. ``log`` is the file for what SIPE logs, every SIP message included.
    ``host`` is the name of the machine that the client sees, by which SIPE tells its endpoints apart; it needs root.
    """

    def __init__(
        self,
        user: str,
        server: str,
        domain: str = "example.test",
        login: str | None = None,
        password: str = "Secret-1",
        log: Path | None = None,
        host: str = "",
        **config: Any,
    ) -> None:
        self.name = user
        self.uri = f"sip:{user}@{domain}"
        self.log = log
        self.records: list[Record] = []
        self._seen = 0  # records before this were already matched
        self._numbers = 0
        self._arrivals: queue.Queue[Record | None] = queue.Queue()
        content = {
            "account": f"{user}@{domain}",
            "login": login or f"EXAMPLE\\{user}",
            "password": password,
            "server": server,
            "debug": log is not None,
            **config,
        }
        self._folder = tempfile.TemporaryDirectory(prefix="sipe-")
        path = Path(self._folder.name) / "config.json"
        path.write_text(json.dumps(content))
        command: list[str | Path] = [HERE / "run-client", path]
        if host:
            command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, *command]
        with Path(log or os.devnull).open("wb") as stderr:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                record: Record = json.loads(line)
            except ValueError:
                record = {"garbage": line.decode(errors="replace")}
            self._arrivals.put(record)
        self._arrivals.put(None)

    def _next(self, timeout: float) -> Record | None:
        """The next record; None when none comes in that time or any more."""
        try:
            record = self._arrivals.get(timeout=max(timeout, 0))
        except queue.Empty:
            return None
        if record is None:
            self._arrivals.put(None)  # for whoever waits after the end
        else:
            self.records.append(record)
        return record

    def wait(self, wanted: Callable[[Record], bool], timeout: float = 10, what: str = "a record") -> Record:
        """The first record not yet passed for which ``wanted`` is true."""
        deadline = time.monotonic() + timeout
        while True:
            while self._seen < len(self.records):
                record = self.records[self._seen]
                self._seen += 1
                if wanted(record):
                    return record
            if self._next(deadline - time.monotonic()) is None:
                raise Missing(f"{self.name}: {what} did not come in {timeout:g} s; last were {self.records[-4:]}")

    def expect(self, event: str, timeout: float = 10, /, **fields: Any) -> Record:
        """The next event of that name whose members match; values may be predicates. Events before it are passed over."""
        return self.wait(
            lambda record: record.get("event") == event and matches(record, fields), timeout, f"event {event} {fields or ''}"
        )

    def drain(self, seconds: float) -> list[Record]:
        """Collects for a while; the records that came."""
        start, deadline = len(self.records), time.monotonic() + seconds
        while self._next(deadline - time.monotonic()) is not None:
            pass
        return self.records[start:]

    def command(self, name: str, /, **members: Any) -> Record:
        """Runs a command and returns its result; what happens meanwhile can still be awaited."""
        assert self._process.stdin is not None
        self._numbers += 1
        number = self._numbers
        position = self._seen
        try:
            self._process.stdin.write(json.dumps({"cmd": name, "id": number, **members}).encode() + b"\n")
            self._process.stdin.flush()
            result = self.wait(
                lambda record: record.get("event") == "result" and record.get("id") == number, 10, f"result of {name}"
            )
        except BrokenPipeError:
            raise Missing(f"{self.name}: the client has ended; last were {self.records[-4:]}") from None
        finally:
            self._seen = position
        if not result["ok"]:
            raise Missing(f"{self.name}: {name} failed: {result['error']}")
        return result

    def buddy(self, uri: str) -> Record | None:
        """The entry of the contact list, or None."""
        for group in self.command("blist")["groups"]:
            for entry in group["buddies"]:
                if entry["buddy"] == uri:
                    found: Record = entry
                    return found
        return None

    def eventually(self, what: str, probe: Callable[[], T], timeout: float = 10) -> T:
        """Polls until ``probe`` returns something true; what that is."""
        deadline = time.monotonic() + timeout
        while True:
            value = probe()
            if value:
                return value
            if time.monotonic() > deadline:
                raise Missing(f"{self.name}: {what}: not within {timeout:g} s")
            time.sleep(0.2)

    def stop(self, timeout: float = 5) -> None:
        """Signs out and ends; makes it end when it does not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        stop(self._process, timeout)
        self._reader.join(timeout)
        self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
