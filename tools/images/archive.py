"""Archives of several images that share layers, as ``docker save`` writes them: each layer once."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.images.buildah import Buildah
from tools.images.shell import ImageError

KEEP: Final = 3
"""How many archives of one group stay: of this checkout, and of those before it."""


def write(buildah: Buildah, refs: Sequence[str], path: Path) -> None:
    """Writes images into one archive. Raises ImageError."""
    unfinished = path.with_suffix(".new")
    contents = []
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, tarfile.open(unfinished, "w") as tar:
        there: set[str] = set()
        for ref in refs:
            manifest, config = buildah.facts(ref)
            digests = [layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]]
            new = [digest for digest in digests if digest not in there]
            if new:
                blobs = Path(folder) / "layers"
                buildah.export(ref, blobs)
                for digest in new:
                    _add_file(tar, blobs / digest, f"{digest}.tar")
                there.update(new)
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add(tar, name, config)
            contents.append({"Config": name, "RepoTags": [ref], "Layers": [f"{digest}.tar" for digest in digests]})
        _add(tar, "manifest.json", json.dumps(contents).encode())
    unfinished.replace(path)


def prune(folder: Path, group: str) -> None:
    """Removes the archives of a group that were not used for longest."""
    archives = sorted(folder.glob(f"{group}-*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in archives[KEEP:]:
        path.unlink()


def _add_file(tar: tarfile.TarFile, path: Path, name: str) -> None:
    if not path.exists():
        raise ImageError(f"buildah wrote no layer {path.name}; remove its storage in the cache, and build again")
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    member.mode = 0o644
    with path.open("rb") as file:
        tar.addfile(member, file)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))
