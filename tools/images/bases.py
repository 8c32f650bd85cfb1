"""The base images, made here and given the names that docker/Dockerfile asks for.

Each is built once for what it is made of, and tagged with the official name whenever it is used.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tools.images.buildah import Buildah
from tools.images.inputs import HERE, ROOT, cache, files_below, fingerprint
from tools.images.shell import ImageError, run, say

SUITE: Final = "bookworm"
DEBIAN: Final = f"docker.io/library/debian:{SUITE}-slim"
TOOLCHAIN: Final = "/usr/local/rustup/toolchains/machine"
"""Where the image of Rust expects the machine's toolchain."""


def official(argument: str) -> str:
    """The base image that docker/Dockerfile names in a build argument."""
    found = re.search(rf"^ARG {argument}=(\S+)$", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    if not found:
        raise ImageError(f"docker/Dockerfile has no ARG {argument} with a default; restore it from git")
    return found[1]


def debian_key() -> str:
    """Names what the image of Debian is made of."""
    return fingerprint(files_below(HERE / "base"), SUITE)


def debian(buildah: Buildah) -> str:
    """The image of Debian; its packages are kept in a file, which outlives the storage of images."""
    ref = f"localhost/parley-base/debian:{debian_key()}"
    if not buildah.has(ref):
        root = cache() / "images" / f"debian-{debian_key()}" / "root.tar"
        if not root.exists():
            say(f"installing Debian {SUITE} by debootstrap")
            root.parent.mkdir(parents=True, exist_ok=True)
            run(HERE / "base" / "debootstrap.sh", SUITE, root)
        buildah.build(ref, root.parent, HERE / "base" / "Dockerfile")
    buildah.tag(ref, DEBIAN)
    return DEBIAN


def python(buildah: Buildah) -> None:
    """The image of Python."""
    _derived(buildah, "python", official("PYTHON_IMAGE"))


def rust(buildah: Buildah) -> None:
    """The image of Rust, empty but for a linker: `toolchain` is mounted into it."""
    _derived(buildah, "rust", official("RUST_IMAGE"))


def toolchain() -> Path:
    """The folder of this machine's Rust. Raises ImageError."""
    try:
        return Path(run("rustc", "--print", "sysroot").strip())
    except ImageError:
        raise ImageError(
            "the relay is built with cargo, which is not installed; install it from https://rustup.rs"
        ) from None


def _derived(buildah: Buildah, name: str, official_name: str) -> None:
    ref = f"localhost/parley-base/{name}:{fingerprint(files_below(HERE / name), debian_key())}"
    if not buildah.has(ref):
        say(f"making {official_name}")
        buildah.build(ref, HERE / name, HERE / name / "Dockerfile", arguments={"DEBIAN_IMAGE": debian(buildah)})
    buildah.tag(ref, official_name)
