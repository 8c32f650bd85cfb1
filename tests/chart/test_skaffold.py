"""The developer's loop installs what the chart takes: skaffold.yaml as skaffold hands it to helm, with each profile."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, RELEASE, ROOT, Rendered, helm, template

IMAGE = "parley/parley:built-now"
PROFILES = ("", "debug", "separate")


def configured(profile: str) -> dict[str, Any]:
    """skaffold.yaml with a profile; "": none. Its patches are those of RFC 6902, of which it uses ``add``."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    assert {item["name"] for item in config["profiles"]} == set(PROFILES) - {""}
    patches = [patch for item in config["profiles"] if item["name"] == profile for patch in item["patches"]]
    for patch in patches:
        assert patch["op"] == "add"
        *path, last = patch["path"].strip("/").split("/")
        place: Any = config
        for name in path:
            place = place[int(name) if isinstance(place, list) else name]
        if isinstance(place, list):
            assert last == "-"
            place.append(copy.deepcopy(patch["value"]))
        else:
            place[last] = patch["value"]
    return config


def settings_of(release: Mapping[str, Any]) -> list[str]:
    """What skaffold gives to ``--set``, templates of images filled in."""
    filled = {name: value.replace("{{.IMAGE_FULLY_QUALIFIED_parley_parley}}", IMAGE)
              for name, value in release["setValueTemplates"].items()}  # fmt: skip
    assert all("{{" not in value for value in filled.values())
    return [f"{name}={value}" for name, value in {**release["setValues"], **filled}.items()]


def installed(profile: str) -> Rendered:
    """What ends in the cluster."""
    (release,) = configured(profile)["deploy"]["helm"]["releases"]
    assert (release["name"], ROOT / release["chartPath"]) == (RELEASE, CHART)
    values = [ROOT / path for path in release["valuesFiles"]]
    return Rendered(template(helm(3), values, options=[f"--set={setting}" for setting in settings_of(release)]))


@pytest.mark.parametrize("profile", PROFILES)
def test_chart_runs_the_image_that_was_built(profile: str) -> None:
    (artifact,) = configured(profile)["build"]["artifacts"]
    assert IMAGE.startswith(artifact["image"] + ":")
    images = {
        container["image"] for pod in installed(profile).pods for container in pod.containers
        if container["image"].startswith("parley/")
    }  # fmt: skip
    assert images == {IMAGE}


@pytest.mark.parametrize("profile", PROFILES)
def test_forwarded_ports_are_those_of_services(profile: str) -> None:
    release = installed(profile)
    forwarded = configured(profile)["portForward"]
    assert forwarded
    for port in forwarded:
        service = release.of("Service")[port["resourceName"]]
        assert port["port"] in [each["port"] for each in service["spec"]["ports"]], port
        assert release.selected(service["spec"]["selector"])


def test_image_is_a_stage_of_the_dockerfile() -> None:
    (artifact,) = configured("")["build"]["artifacts"]
    stages = [
        line.rpartition(" ")[2] for line in (ROOT / artifact["docker"]["dockerfile"]).read_text().splitlines()
        if line.upper().startswith("FROM ") and " AS " in line.upper()
    ]  # fmt: skip
    assert artifact["docker"]["target"] in stages


def test_profiles_do_what_their_names_say() -> None:
    assert len(installed("separate").processes) > len(installed("").processes)
    debug = installed("debug")
    assert "parley-jaeger" in debug.of("Deployment")
    assert all("DEBUG" in debug.configuration(pod) for pod in debug.processes.values())
