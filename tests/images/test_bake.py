"""docker/bake.hcl builds what docker/Dockerfile has."""

import re
import tomllib

from tests.images.dockerfile import ROOT, read

TEXT = re.sub(r"^\s*#.*$", "", (ROOT / "docker" / "bake.hcl").read_text(), flags=re.MULTILINE)


def block(kind: str, name: str) -> str:
    found = re.search(rf'^{kind} "{name}" {{\n(.*?)^}}', TEXT, re.DOTALL | re.MULTILINE)
    assert found is not None, f"no {kind} {name}"
    return found[1]


def strings(text: str, key: str) -> list[str]:
    found = re.search(rf"\b{key}\s*=\s*\[(.*?)\]", text, re.DOTALL)
    assert found is not None, f"no list {key}"
    return re.findall(r'"([^"]*)"', found[1])


def test_it_builds_every_image_by_default() -> None:
    assert strings(block("group", "default"), "targets") == ["image"]
    target = block("target", "image")
    names = strings(target, "name")
    assert sorted(names) == sorted(name for name, stage in read().stages.items() if stage.base == "runtime")
    assert len(names) == len(set(names))
    assert re.search(r"^\s*name\s+= name$", target, re.MULTILINE)
    assert re.search(r"^\s*target\s+= name$", target, re.MULTILINE)


def test_images_are_for_both_architectures_and_attested() -> None:
    target = block("target", "image")
    assert strings(target, "platforms") == ["linux/amd64", "linux/arm64"]
    assert {attestation.split(",")[0] for attestation in strings(target, "attest")} == {"type=sbom", "type=provenance"}


def test_names_are_those_of_the_chart() -> None:
    assert strings(block("target", "image"), "tags") == ["${REGISTRY}/${REPOSITORY}/${name}:${TAG}"]


def test_every_argument_is_one_of_the_dockerfile_s() -> None:
    arguments = re.search(r"args = {(.*?)}", block("target", "image"), re.DOTALL)
    assert arguments is not None
    names = set(re.findall(r"(\w+)\s*=", arguments[1]))
    assert names == {text.split("=")[0] for text in read().stages["runtime"].own("ARG")}
    for name in names:
        block("variable", name)


def test_the_version_is_the_project_s() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f'default = "{version}"' in block("variable", "VERSION")
