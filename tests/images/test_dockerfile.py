"""docker/Dockerfile as a whole: what every image must be, whoever builds it."""

import re
import tomllib

import pytest

from tests.images.dockerfile import ROOT, Dockerfile, read

SHARED = {"9464/tcp", "9090/tcp", "9465/tcp"}
SIP = {"5060/udp", "5060/tcp", "5061/tcp", "5066/tcp", "7443/tcp", "5063/tcp"}
TURN = {"3478/udp", "3478/tcp", "5349/udp", "5349/tcp"}
HTTPS = {"8443/tcp"}
OWN_PORTS = {"frontend": SIP, "avedge": TURN, "web": HTTPS, "parley": SIP | TURN | HTTPS}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SERVICES = sorted(PROJECT["entry-points"]["parley.services"])
TITLE = "org.opencontainers.image.title"
LABELS = {
    f"org.opencontainers.image.{name}" for name in ("title", "description", "version", "revision", "source", "licenses")
}


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return read()


@pytest.fixture(params=["parley", *SERVICES])
def image(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_service_has_an_image_and_nothing_else_has(dockerfile: Dockerfile) -> None:
    images = {name for name, stage in dockerfile.stages.items() if stage.base == "runtime"}
    assert images == {"parley", *SERVICES}


def test_bases_are_pinned_to_a_patch_release_and_can_be_replaced(dockerfile: Dockerfile) -> None:
    assert set(dockerfile.arguments) == {"PYTHON_IMAGE", "RUST_IMAGE"}
    for default in dockerfile.arguments.values():
        assert re.fullmatch(r"docker\.io/library/\w+:\d+\.\d+\.\d+-slim-bookworm", default), default
    outside = {stage.base for stage in dockerfile.stages.values() if stage.base not in dockerfile.stages}
    assert outside == {"${PYTHON_IMAGE}", "${RUST_IMAGE}"}


def test_python_is_one_that_the_project_supports(dockerfile: Dockerfile) -> None:
    version = re.search(r":(\d+)\.(\d+)", dockerfile.arguments["PYTHON_IMAGE"])
    assert version is not None
    assert (int(version[1]), int(version[2])) >= (3, 11)


def test_rust_is_one_that_the_relay_is_written_for(dockerfile: Dockerfile) -> None:
    wanted = tomllib.loads((ROOT / "native" / "relay" / "Cargo.toml").read_text())["package"]["rust-version"]
    version = re.search(r":(\d+)\.(\d+)", dockerfile.arguments["RUST_IMAGE"])
    assert version is not None
    assert (int(version[1]), int(version[2])) >= tuple(int(part) for part in wanted.split("."))


def test_nothing_is_fetched_but_what_a_hash_or_a_distribution_vouches_for(dockerfile: Dockerfile) -> None:
    for stage in dockerfile.stages.values():
        assert not stage.own("ADD"), "ADD takes URLs and unpacks; COPY does not"
        for command in stage.own("RUN"):
            assert "://" not in command
            assert not re.search(r"\b(curl|wget)\b", command)
            for install in re.findall(r"pip\S* (?:--python \S+ )?(?:install|wheel) [^&]*", command):
                assert "--require-hashes" in install or "--no-index" in install, install


def test_data_that_images_leave_out_is_not_used(dockerfile: Dockerfile) -> None:
    """40 of the 46 MB of phonenumbers are names of places and of carriers."""
    left_out = re.findall(r"site-packages/phonenumbers/(\w+)", " ".join(dockerfile.stages["build"].own("RUN")))
    assert sorted(left_out) == ["carrierdata", "geodata"]
    used = re.compile(r"phonenumbers(?:\.| import .*\b)(?:geocoder|carrier|geodata|carrierdata)\b")
    for folder in ("parley", "services"):
        assert [path for path in (ROOT / folder).rglob("*.py") if used.search(path.read_text())] == []


def test_apt_leaves_no_lists(dockerfile: Dockerfile) -> None:
    commands = [command for stage in dockerfile.stages.values() for command in stage.own("RUN") if "apt-get" in command]
    assert commands
    for command in commands:
        assert "--no-install-recommends" in command
        assert "rm -rf /var/lib/apt/lists/*" in command


def test_images_get_no_compiler(dockerfile: Dockerfile) -> None:
    packages = re.search(r"--no-install-recommends ([^&]*)&&", " ".join(dockerfile.stages["runtime"].all("RUN")))
    assert packages is not None
    assert packages[1].split() == ["libgssapi-krb5-2"]


def test_the_user_is_a_number_that_is_not_root(dockerfile: Dockerfile, image: str) -> None:
    assert dockerfile.stages[image].last("USER") == "10001:10001"  # a number, as runAsNonRoot asks for


def test_labels_say_what_it_is(dockerfile: Dockerfile, image: str) -> None:
    labels = dockerfile.stages[image].labels
    assert labels.keys() >= LABELS
    assert labels[TITLE] == f'"{image if image == "parley" else f"parley-{image}"}"'
    assert labels["org.opencontainers.image.licenses"] == f'"{PROJECT["license"]}"'
    assert labels["parley.sbom"].strip('"') in " ".join(dockerfile.stages[image].all("COPY"))


def test_the_version_is_the_project_s(dockerfile: Dockerfile) -> None:
    assert f"VERSION={PROJECT['version']}" in dockerfile.stages["runtime"].own("ARG")


def test_ports_are_those_of_the_service(dockerfile: Dockerfile, image: str) -> None:
    assert dockerfile.stages[image].ports == SHARED | OWN_PORTS.get(image, set())


def test_it_runs_its_service(dockerfile: Dockerfile, image: str) -> None:
    stage = dockerfile.stages[image]
    assert stage.command("ENTRYPOINT") == ["parley"]
    assert stage.command("CMD") == (["run"] if image == "parley" else ["run", "--services", image])


def test_it_ends_with_a_drain_and_tells_its_health(dockerfile: Dockerfile, image: str) -> None:
    stage = dockerfile.stages[image]
    assert stage.last("STOPSIGNAL") == "SIGTERM"
    health = stage.last("HEALTHCHECK")
    assert "/usr/local/lib/parley/health.py" in health
    assert "docker/health.py /usr/local/lib/parley/health.py" in stage.all("COPY")


def test_what_is_written_goes_to_a_volume(dockerfile: Dockerfile, image: str) -> None:
    stage = dockerfile.stages[image]
    variables = " ".join(stage.all("ENV"))
    assert "PARLEY_DATA=/var/lib/parley" in variables
    assert "PYTHONDONTWRITEBYTECODE=1" in variables
    assert stage.last("VOLUME") == "/var/lib/parley"


def test_copies_come_from_what_the_build_sees(dockerfile: Dockerfile) -> None:
    for stage in dockerfile.stages.values():
        for copy in stage.own("COPY"):
            if "--from=" in copy:
                assert re.search(r"--from=(\w+)", copy)[1] in dockerfile.stages  # type: ignore[index]
                continue
            for source in copy.split()[:-1]:
                assert (ROOT / source).exists(), source


def test_only_what_every_builder_knows_is_used() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert not text.startswith("# syntax")
    assert "<<" not in code
    assert "--link" not in code
    assert "--mount=type=secret" not in code
