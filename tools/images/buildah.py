"""buildah with its storage in the cache, so that it neither sees nor leaves anything elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tools.images.inputs import cache
from tools.images.shell import ImageError, run

KEPT: Final = "parley-kept-"
"""How names of containers begin that are not a build's, and stay when one begins."""


class Buildah:
    """Images in one storage; a lock that is held outside keeps others away from it."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache() / "buildah"
        self._env = os.environ | {"TMPDIR": str(self._folder / "tmp")}

    def prepare(self) -> None:
        """Makes the storage, and removes what a build left that was ended. Raises ImageError."""
        if os.geteuid() != 0:
            raise ImageError("images are built as root; run this with sudo")
        (self._folder / "tmp").mkdir(parents=True, exist_ok=True)
        for container in json.loads(self("containers", "--json") or "null") or []:
            if not container["containername"].startswith(KEPT):
                self("rm", container["id"])

    def __call__(self, *arguments: str | Path) -> str:
        """Runs one of its commands. Raises ImageError."""
        driver = os.environ.get("STORAGE_DRIVER", "overlay")
        where = ("--root", self._folder / "storage", "--runroot", self._folder / "run", "--storage-driver", driver)
        return run("buildah", *where, *arguments, env=self._env)

    def has(self, ref: str) -> bool:
        """Whether an image of that name is there."""
        try:
            self("inspect", "--type", "image", "--format", "{{.FromImageID}}", ref)
        except ImageError:
            return False
        return True

    def build(
        self,
        ref: str,
        context: Path,
        dockerfile: Path,
        *,
        target: str = "",
        arguments: Mapping[str, str] | None = None,
        mounts: Sequence[tuple[Path, str]] = (),
    ) -> None:
        """Builds a Dockerfile, or up to one of its targets; ``mounts`` are there for its commands, read-only."""
        options: list[str | Path] = ["--quiet", "--layers", "--format", "docker", "--isolation", "chroot"]
        options += ["--network", "host", "--pull-never", "--tag", ref, "--file", dockerfile]
        if target:
            options += ["--target", target]
        for name, value in (arguments or {}).items():
            options += ["--build-arg", f"{name}={value}"]
        for source, destination in mounts:
            options += ["--volume", f"{source}:{destination}:ro"]
        self("bud", *options, context)

    def tag(self, ref: str, name: str) -> None:
        """Gives an image another name, which another image may have had."""
        self("tag", ref, name)

    def names(self) -> list[str]:
        """Names of all images that have one."""
        listing = json.loads(self("images", "--json") or "null") or []
        return [name for image in listing for name in image.get("names") or ()]

    def forget(self, names: Sequence[str]) -> None:
        """Takes names away, and with them the layers of builds that no other image has."""
        with contextlib.suppress(ImageError):  # a test may be running one
            if names:
                self("rmi", *names)
            self("rmi", "--prune")

    def facts(self, ref: str) -> tuple[dict[str, Any], bytes]:
        """An image's manifest, and its configuration byte for byte."""
        inspected = json.loads(self("inspect", "--type", "image", ref))
        return json.loads(inspected["Manifest"]), inspected["Config"].encode()

    def export(self, ref: str, folder: Path) -> None:
        """Writes an image's layers into a folder, each as a file that is named by its digest."""
        shutil.rmtree(folder, ignore_errors=True)
        self("push", "--quiet", "--format", "v2s2", "--disable-compression", ref, f"dir:{folder}")
