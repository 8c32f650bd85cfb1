"""tools/images: what archives are called, what is in them, and which stay."""

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.images.dockerfile import ROOT, read
from tests.support.images import Image
from tools.images import archive, groups
from tools.images import inputs as inputs_module
from tools.images.inputs import Snapshot
from tools.images.shell import ImageError, run


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "program").write_text("#!/bin/sh\n")
    (root / "folder" / "program").chmod(0o755)
    (root / "text").write_text("text")
    monkeypatch.setattr(inputs_module, "ROOT", root)
    return root


def snapshot(root: Path) -> Snapshot:
    return Snapshot(path for path in root.rglob("*") if path.is_file())


def test_a_key_stays_while_contents_stay(sources: Path) -> None:
    before = snapshot(sources).key("fact")
    os.utime(sources / "text", (1, 1))
    assert snapshot(sources).key("fact") == before
    assert len(before) == 16


@pytest.mark.parametrize("change", ["content", "name", "mode", "fact", "more"])
def test_a_key_changes_with_whatever_goes_into_an_image(change: str, sources: Path) -> None:
    before = snapshot(sources).key("fact")
    match change:
        case "content":
            (sources / "text").write_text("other")
        case "name":
            (sources / "text").rename(sources / "other")
        case "mode":
            (sources / "folder" / "program").chmod(0o644)
        case "more":
            (sources / "more").touch()
    assert snapshot(sources).key("other" if change == "fact" else "fact") != before


def test_what_is_built_is_what_was_there_when_it_was_named(sources: Path, tmp_path: Path) -> None:
    taken = snapshot(sources)
    (sources / "text").write_text("changed while it is built")
    taken.write(tmp_path / "context")
    assert (tmp_path / "context" / "text").read_text() == "text"
    program = tmp_path / "context" / "folder" / "program"
    assert os.access(program, os.X_OK)
    times = {path.stat().st_mtime for path in (program, tmp_path / "context" / "text")}
    assert len(times) == 1, "times of files make other layers"


class StoredImages:
    """Stands in for buildah's storage: images are lists of layers."""

    def __init__(self, images: dict[str, list[bytes]]) -> None:
        self._images = images
        self.exported: list[str] = []

    def facts(self, ref: str) -> tuple[dict[str, Any], bytes]:
        layers = [{"digest": f"sha256:{hashlib.sha256(layer).hexdigest()}"} for layer in self._images[ref]]
        return {"layers": layers}, json.dumps({"config": {"Cmd": [ref]}}).encode()

    def export(self, ref: str, folder: Path) -> None:
        self.exported.append(ref)
        folder.mkdir(exist_ok=True)
        for layer in self._images[ref]:
            (folder / hashlib.sha256(layer).hexdigest()).write_bytes(layer)


def write(images: dict[str, list[bytes]], path: Path, refs: Sequence[str]) -> StoredImages:
    stored = StoredImages(images)
    archive.write(stored, refs, path)  # type: ignore[arg-type]
    return stored


def test_an_archive_has_each_layer_once(tmp_path: Path) -> None:
    path = tmp_path / "some-1.tar"
    images = {"localhost/a:1": [b"base", b"more"], "localhost/b:1": [b"base", b"more"], "localhost/c:1": [b"base", b"own"]}
    stored = write(images, path, list(images))
    assert stored.exported == ["localhost/a:1", "localhost/c:1"]
    with tarfile.open(path) as tar:
        names = tar.getnames()
    assert len([name for name in names if name.endswith(".tar")]) == 3
    assert len(names) == len(set(names))
    found = {ref: Image(ref, path) for ref in images}
    assert found["localhost/a:1"].layers == found["localhost/b:1"].layers != found["localhost/c:1"].layers
    assert found["localhost/b:1"].config == {"Cmd": ["localhost/b:1"]}
    assert found["localhost/c:1"].size == len(b"baseown")
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_that_was_not_finished_is_none(tmp_path: Path) -> None:
    class Broken(StoredImages):
        def export(self, ref: str, folder: Path) -> None:
            folder.mkdir()

    with pytest.raises(ImageError, match="remove its storage in the cache"):
        archive.write(Broken({"localhost/a:1": [b"base"]}), ["localhost/a:1"], tmp_path / "a-1.tar")  # type: ignore[arg-type]
    assert not (tmp_path / "a-1.tar").exists()


def test_the_last_archives_of_each_group_stay(tmp_path: Path) -> None:
    for age in range(5):
        for group in ("parley", "kafka"):
            path = tmp_path / f"{group}-{age}.tar"
            path.touch()
            os.utime(path, (1000 - age, 1000 - age))
    archive.prune(tmp_path, "parley")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert [name for name in left if name.startswith("parley")] == ["parley-0.tar", "parley-1.tar", "parley-2.tar"]
    assert len([name for name in left if name.startswith("kafka")]) == 5


def test_a_service_s_stage_is_built_as_the_dockerfile_has_it() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text()
    for name in groups.services():
        alone = groups.stage(text, name, "localhost/base:1")
        first, *rest = alone.splitlines()
        assert first == f"FROM localhost/base:1 AS {name}"
        assert f'CMD ["run", "--services", "{name}"]' in rest
        assert len([line for line in rest if line.startswith("LABEL")]) == 1
        assert not [line for line in rest if line.startswith("FROM")]


def test_a_stage_that_is_not_there_is_told_of() -> None:
    with pytest.raises(ImageError, match="has no stage nobody"):
        groups.stage("FROM runtime AS web\nCMD []\n", "nobody", "localhost/base:1")


def test_images_have_the_names_that_the_chart_asks_for() -> None:
    values = yaml.safe_load((ROOT / "charts" / "parley" / "values.yaml").read_text())
    parley, *engines = groups.all_groups()
    for name, ref in parley.refs.items():
        assert ref == f"{values['image']['registry']}/{values['image']['repository']}/{name}:{parley.key}"
    wanted = (values["redis"]["embedded"], values["events"]["kafka"]["embedded"], values["tracing"]["jaeger"])
    assert [ref for group in engines for ref in group.refs.values()] == [engine["image"] for engine in wanted]


def test_every_image_of_the_dockerfile_is_built() -> None:
    assert sorted(groups.Parley().refs) == sorted(name for name, stage in read().stages.items() if stage.base == "runtime")


def test_stand_ins_have_the_names_of_the_dockerfile_s_bases() -> None:
    from tools.images import bases

    assert {bases.official(name) for name in ("PYTHON_IMAGE", "RUST_IMAGE")} == set(read().arguments.values())


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://example.com/parley.git", "https://example.com/parley.git"),
        ("https://somebody:secret@example.com/parley", "https://example.com/parley"),
        ("git@example.com:parley.git", ""),
        ("/srv/parley", ""),
    ],
)
def test_labels_hold_no_password_and_no_path(url: str, public: str) -> None:
    assert groups.public_url(url) == public


def test_a_program_that_is_missing_is_told_of() -> None:
    with pytest.raises(ImageError, match=r"no-such-program is not installed; run tools/images/install\.sh"):
        run("no-such-program")


def test_a_program_that_fails_is_told_of_with_its_complaint() -> None:
    with pytest.raises(ImageError, match="failed:\nno room"):
        run("sh", "-c", "echo no room >&2; exit 3")
