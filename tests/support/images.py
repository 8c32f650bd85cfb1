"""Container images of this checkout: what is in their archives, and running them as a strict cluster does.

``tools/images/build.sh`` makes them where they are not made yet.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import Any

from tools.images.buildah import KEPT, Buildah
from tools.images.inputs import ROOT
from tools.images.shell import ImageError

_NAMESPACES = ("pid", "network", "ipc", "uts", "mount")


def built() -> dict[str, dict[str, str]]:
    """Where each image is, after building what is not there. Raises CalledProcessError."""
    done = subprocess.run([ROOT / "tools" / "images" / "build.sh"], check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, dict[str, str]] = json.loads(done.stdout)
    return result


@dataclass(frozen=True)
class Image:
    """One image of an archive."""

    ref: str
    archive: Path

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        return next(item for item in self._json("manifest.json") if self.ref in item["RepoTags"])

    @cached_property
    def _content(self) -> dict[str, Any]:
        return dict(self._json(self._manifest["Config"]))

    @property
    def config(self) -> dict[str, Any]:
        """What a container of it is started with."""
        return dict(self._content["config"])

    @property
    def layers(self) -> list[str]:
        """Its layers, the lowest first."""
        return list(self._manifest["Layers"])

    @cached_property
    def size(self) -> int:
        """Bytes of all layers, as they are unpacked."""
        with tarfile.open(self.archive) as tar:
            return sum(tar.getmember(layer).size for layer in self.layers)

    @cached_property
    def files(self) -> dict[str, tarfile.TarInfo]:
        """What a container of it sees, by path."""
        found: dict[str, tarfile.TarInfo] = {}
        with tarfile.open(self.archive) as tar:
            for layer in self.layers:
                with tarfile.open(fileobj=tar.extractfile(layer)) as content:
                    for member in content:
                        _lay_over(found, member)
        return found

    def _json(self, name: str) -> Any:
        with tarfile.open(self.archive) as tar:
            file = tar.extractfile(name)
            assert file is not None
            return json.load(file)


def _lay_over(found: dict[str, tarfile.TarInfo], member: tarfile.TarInfo) -> None:
    """Adds a file of a layer, or takes away what the layer says is gone."""
    path = "/" + member.name.removeprefix("./").strip("/")
    folder, _, name = path.rpartition("/")
    if name == ".wh..wh..opq":
        gone, stays = folder, {folder}
    elif name.startswith(".wh."):
        gone, stays = f"{folder}/{name.removeprefix('.wh.')}", set()
    else:
        found[path] = member
        return
    for other in [other for other in found if other == gone or other.startswith(f"{gone}/")]:
        if other not in stays:
            del found[other]


class Sandbox:
    """An image unpacked, for containers with a root that cannot be written, no capability and no network."""

    def __init__(self, image: Image, root: Path, folder: Path) -> None:
        self._image = image
        self._root = root
        self._folder = folder

    def run(self, *command: str, entrypoint: bool = False, timeout: float = 60) -> str:
        """What a command printed. Raises AssertionError when it fails."""
        with self.start(*command, entrypoint=entrypoint) as container:
            output, _ = container.process.communicate(timeout=timeout)
        assert container.process.returncode == 0, output
        return output

    @contextmanager
    def start(self, *command: str, entrypoint: bool = True) -> Iterator[Container]:
        """A container that runs a command, by default behind the image's entry point; it is removed in the end."""
        name = f"parley-test-{token_hex(4)}"
        bundle = self._folder / name
        bundle.mkdir()
        (bundle / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # every container engine gives one
        words = [*(self._image.config.get("Entrypoint") or ()), *command] if entrypoint else list(command)
        (bundle / "config.json").write_text(json.dumps(self._specification(words, bundle)))
        process = subprocess.Popen(
            ["runc", "run", "--bundle", bundle, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            yield Container(name, process)
        finally:
            subprocess.run(["runc", "delete", "--force", name], check=False, capture_output=True)
            process.wait(timeout=30)
            assert process.stdout is not None
            process.stdout.close()

    def _specification(self, command: list[str], bundle: Path) -> dict[str, Any]:
        """What runc is told, in the terms of the OCI runtime specification."""
        config = self._image.config
        user, _, group = (config["User"] or "0").partition(":")
        writable = [("/tmp", "mode=1777"), ("/dev", "mode=755")]
        writable += [
            (path, f"mode=700,uid={user},gid={group or user}") for path in config.get("Volumes") or () if path != "/tmp"
        ]
        mounts = [
            {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", *options.split(",")]}
            for path, options in writable
        ]
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self._root), "readonly": True},
            "process": {
                "args": command, "env": config["Env"], "cwd": config.get("WorkingDir") or "/", "noNewPrivileges": True,
                "user": {"uid": int(user), "gid": int(group or user)}, "capabilities": {},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/etc/resolv.conf", "source": str(bundle / "resolv.conf"), "options": ["bind", "ro"]},
                *mounts,
            ],
            "linux": {"namespaces": [{"type": kind} for kind in _NAMESPACES]},
        }  # fmt: skip


@dataclass
class Container:
    """One that runs."""

    name: str
    process: subprocess.Popen[str]

    def exec(self, *command: str, timeout: float = 60) -> tuple[int, str]:
        """The exit code of a command in it, and what that printed."""
        done = subprocess.run(
            ["runc", "exec", self.name, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=timeout,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def signal(self, name: str) -> None:
        """Sends a signal to its first process."""
        subprocess.run(["runc", "kill", self.name, name], check=True)


@contextmanager
def sandbox(image: Image, folder: Path) -> Iterator[Sandbox]:
    """An image unpacked in buildah's storage, for as long as it is used."""
    buildah = Buildah()
    name = f"{KEPT}{token_hex(4)}"
    try:
        buildah("from", "--name", name, "--pull-never", image.ref)
    except ImageError:  # the storage was made anew since
        buildah("from", "--name", name, f"docker-archive:{image.archive}:{image.ref}")
    try:
        yield Sandbox(image, Path(buildah("mount", name).strip()), folder)
    finally:
        buildah("rm", name)
