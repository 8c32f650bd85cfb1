"""The scripts of the embedded store, with a shell and programs that stand for its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.chart.rendering import rendered

SNAPSHOT = b"REDIS0011" + b"data" + b"\xff" + b"checksum"
CHANGES = ("mv", "rm")
"""What start.sh does to files; a machine may die before each of them."""
DYING = """#!/bin/sh
echo {name} >> {count}
[ "$(wc -l < {count})" -le "$SURVIVES" ] || kill -9 "$PPID"
exec {program} "$@"
"""


class Store:
    """The volume of a store, and its scripts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = rendered("values").of("ConfigMap")["parley-valkey"]["data"]
        self.volume = folder / "data"
        for name in ("data", "valkey-secret", "run", "bin"):
            (folder / name).mkdir()
        (folder / "valkey-secret" / "password").write_text("hush")
        for name in CHANGES:
            program = DYING.format(name=name, count=folder / "count", program=shutil.which(name))
            self._write(name, program)
        self._write("valkey-server", "#!/bin/sh\n")

    def _write(self, name: str, text: str) -> None:
        path = self._folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, script: str, given: bytes = b"", survives: int = 99) -> int:
        """The return code of a script, which is killed before its file operation number ``survives`` + 1."""
        (self._folder / "count").write_text("")
        text = self._data[script]
        places = {"/data": "data", "/etc/valkey-secret": "valkey-secret", "/run/valkey": "run"}
        for path, name in places.items():
            text = text.replace(path, str(self._folder / name))
        variables = {"PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}", "SURVIVES": str(survives)}
        return subprocess.run(["sh", "-c", text], input=given, env=variables, timeout=60, check=False).returncode

    @property
    def files(self) -> dict[str, bytes]:
        """What a server that starts now has for its data."""
        return {path.name: path.read_bytes() for path in (self.volume / "appendonlydir").iterdir()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with data."""
    folder = tmp_path / "store"
    folder.mkdir()
    found = Store(folder)
    (found.volume / "appendonlydir").mkdir()
    (found.volume / "appendonlydir" / "appendonly.aof.1.base.rdb").write_bytes(b"old")
    return found


@pytest.mark.parametrize("survives", range(5))
def test_a_snapshot_becomes_the_data_though_the_store_dies_in_between(store: Store, survives: int) -> None:
    assert store.run("restore.sh", SNAPSHOT) == 0
    store.run("start.sh", survives=survives)
    assert store.run("start.sh") == 0
    assert store.files == {
        "appendonly.aof.1.base.rdb": SNAPSHOT,
        "appendonly.aof.manifest": b"file appendonly.aof.1.base.rdb seq 1 type b\n",
    }
    replaced = [path for path in store.volume.iterdir() if path.name.startswith("replaced-")]
    assert [(path / "appendonly.aof.1.base.rdb").read_bytes() for path in replaced] == [b"old"]


def test_a_snapshot_is_taken_by_one_start_alone(store: Store) -> None:
    assert store.run("restore.sh", SNAPSHOT) == 0
    assert store.run("start.sh") == 0
    (store.volume / "appendonlydir" / "appendonly.aof.1.incr.aof").write_bytes(b"later")
    assert store.run("start.sh") == 0
    assert store.files["appendonly.aof.1.incr.aof"] == b"later"


@pytest.mark.parametrize("given", [b"", b"no snapshot at all", SNAPSHOT[:-1], SNAPSHOT + b"\n"])
def test_what_is_no_whole_snapshot_changes_nothing(store: Store, given: bytes) -> None:
    assert store.run("restore.sh", given) == 1
    assert store.run("start.sh") == 0
    assert store.files == {"appendonly.aof.1.base.rdb": b"old"}


def test_a_new_store_starts_with_nothing(store: Store) -> None:
    shutil.rmtree(store.volume / "appendonlydir")
    assert store.run("start.sh") == 0
    assert list(store.volume.iterdir()) == []
