"""What a build sees, by .dockerignore."""

from pathlib import Path

import pytest

from tests.images.dockerfile import ROOT
from tools.images.inputs import context_files

SEEN = {path.relative_to(ROOT).as_posix() for path in context_files()}


def test_the_sources_are_seen() -> None:
    assert {"pyproject.toml", "requirements.lock", "requirements-kerberos.lock", "docker/requirements-build.lock"} <= SEEN
    assert {"parley/cli/main.py", "services/frontend/main.py", "native/relay/Cargo.lock", "LICENSE"} <= SEEN
    assert "services/registrar/bindings.lua" in SEEN or any(name.endswith(".lua") for name in SEEN)


@pytest.mark.parametrize("folder", [".git", ".venv", "tests", "docs", "build", "charts", "bench"])
def test_what_an_image_does_not_need_is_not(folder: str) -> None:
    assert not [name for name in SEEN if name.startswith(f"{folder}/")]


def test_everything_is_kept_out_unless_it_is_let_in() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert [line for line in lines[1:] if not line.startswith(("!", "**/"))] == []


@pytest.mark.parametrize(
    "name",
    ["parley/__pycache__/a.pyc", "native/relay/target/release/a", "parley/a.so", "services/tls/key.pem", "parley/.env",
     "parley/ca.key", "parley.egg-info/PKG-INFO", ".git/config", "secret.txt"],
)  # fmt: skip
def test_caches_and_secrets_are_kept_out(name: str, tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text((ROOT / ".dockerignore").read_text())
    for path in (name, "parley/kept.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in context_files(tmp_path)] == ["parley/kept.py"]
