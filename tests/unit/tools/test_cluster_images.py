"""Image archives: written, read, and told from others of their name."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tools.cluster import images, namespaces
from tools.cluster.images import Archive
from tools.cluster.settings import ClusterError, Settings


def archive(path: Path, files: dict[str, Any]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            data = json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def settings(tmp_path: Path) -> Settings:
    return Settings.of({"PARLEY_CLUSTER": str(tmp_path / "state"), "PARLEY_CACHE": str(tmp_path / "cache")})


def test_what_is_written_is_a_docker_archive_whose_digests_are_right(tmp_path: Path) -> None:
    program = tmp_path / "probe"
    program.write_bytes(b"\x7fELF program")
    images.write(tmp_path / "out" / "probe.tar", images.PROBE, program, ("serve",), "65532:65532")
    with tarfile.open(tmp_path / "out" / "probe.tar") as tar:
        read = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    [manifest] = json.loads(read["manifest.json"])
    config = json.loads(read[manifest["Config"]])
    assert manifest["RepoTags"] == [images.PROBE]
    assert manifest["Config"] == hashlib.sha256(read[manifest["Config"]]).hexdigest() + ".json"
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(read["layer.tar"]).hexdigest()]
    assert config["config"]["Entrypoint"] == ["/probe"]
    assert config["config"]["Cmd"] == ["serve"]
    with tarfile.open(fileobj=io.BytesIO(read["layer.tar"])) as layer:
        [member] = layer.getmembers()
        assert (member.name, member.mode) == ("probe", 0o755)


def test_the_same_program_gives_the_same_archive(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"program")
    for name in ("a.tar", "b.tar"):
        images.write(tmp_path / name, images.PAUSE, program, (), "65535:65535")
        os.utime(program, (1, 1))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_names_are_read_of_docker_and_oci_archives(tmp_path: Path) -> None:
    docker = archive(
        tmp_path / "d.tar", {"manifest.json": [{"RepoTags": ["localhost/parley/web:test", "localhost/parley/web:1"]}]}
    )
    assert Archive.open(docker).names == ("localhost/parley/web:test", "localhost/parley/web:1")
    entries = [
        {"annotations": {"io.containerd.image.name": "docker.io/library/a:1", "org.opencontainers.image.ref.name": "1"}},
        {"annotations": {"org.opencontainers.image.ref.name": "localhost/b:2"}},
    ]
    assert Archive.open(archive(tmp_path / "o.tar", {"index.json": {"manifests": entries}})).names == (
        "docker.io/library/a:1",
        "localhost/b:2",
    )


@pytest.mark.parametrize(
    "files",
    [{"manifest.json": [{"RepoTags": None}]}, {"index.json": {"manifests": [{}]}}, {"else": 1}],
    ids=["docker archive without names", "OCI archive without names", "some other archive"],
)
def test_archives_without_names_are_refused_with_a_sentence(tmp_path: Path, files: dict[str, Any]) -> None:
    with pytest.raises(ClusterError, match=r"names no image|is no image archive"):
        Archive.open(archive(tmp_path / "x.tar", files))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("text")
    for path in (tmp_path / "x.tar", tmp_path / "absent.tar", tmp_path):
        with pytest.raises(ClusterError, match="is no image archive"):
            Archive.open(path)


def test_only_what_a_node_lacks_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []

    def run(*command: object, **_: object) -> str:
        imported.append(Path(str(command[-1])).name)
        return ""

    monkeypatch.setattr(images, "run", run)
    monkeypatch.setattr(namespaces, "in_node", lambda number, *command: [f"n{number}", *command])
    (tmp_path / "state" / "n1").mkdir(parents=True)
    node = images.NodeImages(settings(tmp_path), 1)
    first = Archive.open(archive(tmp_path / "web-1.tar", {"manifest.json": [{"RepoTags": ["localhost/web:test"]}]}))
    second = Archive.open(archive(tmp_path / "web-2.tar", {"manifest.json": [{"RepoTags": ["localhost/web:test"]}]}))
    other = Archive.open(archive(tmp_path / "api.tar", {"manifest.json": [{"RepoTags": ["localhost/api:test"]}]}))
    assert node.load([first, other]) == 2
    assert node.load([first, other]) == 0
    assert node.load([second]) == 1
    assert node.load([first]) == 1, "the name stands for the second one since"
    assert imported == ["web-1.tar", "api.tar", "web-2.tar", "web-1.tar"]


def test_pruning_leaves_what_is_wanted_or_used_on_any_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []

    def run(*command: str, **_: object) -> str:
        if "list" in command:
            line = "abc  localhost/used:1  io.containerd.runc.v2\n" if command[0] == "n2" else ""
            return f"CONTAINER  IMAGE  RUNTIME\n{line}"
        removed.extend(part for part in command if part.startswith("localhost/"))
        return ""

    monkeypatch.setattr(images, "run", run)
    monkeypatch.setattr(namespaces, "in_node", lambda number, *command: [f"n{number}", *command])
    for node in ("n1", "n2"):
        folder = tmp_path / "state" / node
        folder.mkdir(parents=True)
        (folder / "images.json").write_text(json.dumps({f"localhost/{name}:1": "key" for name in ("used", "kept", "old")}))
    kept = Archive(Path("kept.tar"), ("localhost/kept:1",), "key")
    assert images.prune(settings(tmp_path), [1, 2], [kept]) == ["localhost/old:1"]
    assert removed == ["localhost/old:1"] * 2
    assert images.prune(settings(tmp_path), [1, 2], [kept]) == []
