"""Container images as files: writing small ones, reading what others hold, and importing them into nodes.

No registry is involved: whoever runs pods of an image loads its archive first, and pods use the imagePullPolicy
IfNotPresent or Never.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.cluster import namespaces
from tools.cluster.settings import ClusterError, Settings
from tools.cluster.shell import run

PAUSE: Final = "localhost/pause:1"
COREDNS: Final = "localhost/coredns:1"
PROBE: Final = "localhost/probe:1"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_PROGRAMS: Final = (  # image, program, arguments, user; DNS needs root for its port
    (PAUSE, "pause", (), "65535:65535"),
    (COREDNS, "coredns", (), "0:0"),
    (PROBE, "probe", ("serve",), "65532:65532"),
)
_CTR: Final = ("ctr", "--namespace", "k8s.io")
_NAME: Final = "io.containerd.image.name"
_TAG: Final = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Archive:
    """An image archive, as docker and buildah write them."""

    path: Path
    names: tuple[str, ...]
    """The images in it, with their tags."""
    key: str
    """Tells it from others of that path."""

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Raises ClusterError when it is not there, or no archive of images with names."""
        try:
            facts = path.stat()
            names = _names(path)
        except (OSError, tarfile.TarError, ValueError, KeyError) as error:
            raise ClusterError(
                f"{path} is no image archive ({error}); write one with tools/images/build.sh or docker save"
            ) from error
        if not names:
            raise ClusterError(f"{path} names no image; write it with a name, as in docker save NAME:TAG")
        return cls(path, names, f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}")


def of_programs(settings: Settings) -> list[Archive]:
    """Archives of the cluster's own images, written when their programs are newer. Raises ClusterError."""
    archives = []
    for name, program, arguments, user in _PROGRAMS:
        source = settings.programs / program
        if not source.exists():
            raise ClusterError(f"{source} is not built; run tools/cluster/cluster.sh build")
        path = settings.programs.parent / "images" / f"{program}.tar"
        if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
            write(path, name, source, arguments, user)
        archives.append(Archive.open(path))
    return archives


def write(path: Path, name: str, program: Path, arguments: tuple[str, ...], user: str) -> None:
    """Writes a docker archive of an image that holds one static program, started by a user, by default with arguments."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, program.name, program.read_bytes(), 0o755)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "config": {"Entrypoint": [f"/{program.name}"], "Cmd": list(arguments), "Env": ["PATH=/"], "User": user},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.new")
    with tarfile.open(unfinished, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)
        _add(tar, config_name, config, 0o644)
        _add(tar, "layer.tar", layer.getvalue(), 0o644)
    unfinished.replace(path)


class NodeImages:
    """What was imported into one node, so that nothing is imported twice."""

    def __init__(self, settings: Settings, number: int) -> None:
        self._number = number
        self._file = settings.state / f"n{number}" / "images.json"

    def missing(self, archives: list[Archive]) -> list[Archive]:
        """The archives of which an image is not there, or is another one of that name."""
        there = self._read()
        return [archive for archive in archives if any(there.get(name) != archive.key for name in archive.names)]

    def load(self, archives: list[Archive]) -> int:
        """Imports what is missing; how many archives that were. Raises ClusterError."""
        there = self._read()
        missing = self.missing(archives)
        for archive in missing:
            run(*namespaces.in_node(self._number, *_CTR, "images", "import", archive.path), timeout=600)
            there.update(dict.fromkeys(archive.names, archive.key))
            self._write(there)
        return len(missing)

    def prune(self, wanted: set[str]) -> list[str]:
        """Removes images that were loaded once and are not wanted any more; their names."""
        there = self._read()
        old = sorted(set(there) - wanted)
        if old:
            run(*namespaces.in_node(self._number, *_CTR, "images", "remove", "--sync", *old))
            self._write({name: key for name, key in there.items() if name not in old})
        return old

    def used(self) -> set[str]:
        """The images of which there are containers."""
        lines = run(*namespaces.in_node(self._number, *_CTR, "containers", "list")).splitlines()[1:]
        return {line.split()[1] for line in lines if len(line.split()) > 1}

    def _read(self) -> dict[str, str]:
        with contextlib.suppress(FileNotFoundError):
            return {str(name): str(key) for name, key in json.loads(self._file.read_text()).items()}
        return {}

    def _write(self, there: dict[str, str]) -> None:
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps(there, indent=1))
        unfinished.replace(self._file)


def load(settings: Settings, nodes: list[int], archives: list[Archive]) -> int:
    """Imports archives into all nodes at once; how many imports that were. Raises ClusterError."""
    with ThreadPoolExecutor(len(nodes) or 1) as pool:
        return sum(pool.map(lambda number: NodeImages(settings, number).load(archives), nodes))


def prune(settings: Settings, nodes: list[int], keep: list[Archive]) -> list[str]:
    """Removes images that are not to be kept and that no node uses, as a pod may move; their names. Raises ClusterError."""
    places = [NodeImages(settings, number) for number in nodes]
    wanted = {name for archive in keep for name in archive.names}.union(*(place.used() for place in places))
    return sorted({name for place in places for name in place.prune(wanted)})


def _names(path: Path) -> tuple[str, ...]:
    with tarfile.open(path) as tar:
        members = set(tar.getnames())
        if "manifest.json" in members:
            return tuple(name for image in _json(tar, "manifest.json") for name in image["RepoTags"] or ())
        notes = [image.get("annotations", {}) for image in _json(tar, "index.json")["manifests"]]
    names = [note.get(_NAME) or note.get(_TAG, "") for note in notes]
    return tuple(name for name in names if ":" in name)


def _json(tar: tarfile.TarFile, name: str) -> Any:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return json.load(file)


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    """Adds a file with nothing of today in it, so that the same program gives the same image."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = mode
    tar.addfile(member, io.BytesIO(data))
