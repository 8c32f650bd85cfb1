"""Renders the chart, once for each program and values file of a test run, and looks at what comes out."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "parley"
CACHE: Final = Path(
    os.environ.get("PARLEY_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parley"
)  # fmt: skip
KUBERNETES: Final = "1.34.0"
RELEASE: Final = "parley"
NAMESPACE: Final = "voice"
DEFAULT: Final = CHART / "values.yaml"
VALUES: Final = {
    path.stem: path
    for path in (
        DEFAULT, CHART / "values-small.yaml", CHART / "values-ha.yaml", *sorted((CHART / "examples").glob("*.yaml")),
        *sorted((ROOT / "tests" / "chart" / "variants").glob("*.yaml")),
    )
}  # fmt: skip
"""What an operator may begin with, and variants that reach the rest of the templates."""

_WORKLOADS: Final = ("Deployment", "StatefulSet", "Job")


class RenderError(Exception):
    """What helm said."""


def helm(major: int) -> str:
    """The path of helm 3 or 4, as tools/install-helm.sh builds it; skips the test where it is not there."""
    found = sorted(CACHE.glob(f"helm-{major}.*/helm"))
    if not found:
        pytest.skip(f"helm {major} is missing: run tools/install-helm.sh")
    return str(found[-1])


@dataclass(frozen=True)
class Pod:
    """A pod, or the template of one."""

    owner: Mapping[str, Any]
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Kind and name of what makes it."""
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        labels: Mapping[str, str] = self.metadata["labels"]
        return labels

    @property
    def containers(self) -> Sequence[Mapping[str, Any]]:
        """All of them."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def component(self) -> str:
        """Which part of Parley it is."""
        return self.labels["app.kubernetes.io/component"]

    @property
    def services(self) -> list[str]:
        """The services it runs."""
        return [name.removeprefix("parley-service-") for name in self.labels if name.startswith("parley-service-")]

    @property
    def is_process(self) -> bool:
        """Whether it runs services."""
        return self.owner["kind"] == "Deployment" and "parley-process" in self.labels

    def ports(self) -> Iterator[tuple[str, int, str]]:
        """Name, number and protocol of every port."""
        for container in self.containers:
            for port in container.get("ports", ()):
                yield port["name"], port["containerPort"], port.get("protocol", "TCP")


class Rendered:
    """All objects of one release."""

    def __init__(self, text: str) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.text = text
        self.objects: list[dict[str, Any]] = [item for item in yaml.load_all(text, loader) if item]
        self.pods = list(self._pods())

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Objects of a kind by name."""
        return {item["metadata"]["name"]: item for item in self.objects if item["kind"] == kind}

    def _pods(self) -> Iterator[Pod]:
        for item in self.objects:
            if item["kind"] in _WORKLOADS:
                template = item["spec"]["template"]
                yield Pod(item, template["metadata"], template["spec"])
            elif item["kind"] == "Pod":
                yield Pod(item, item["metadata"], item["spec"])

    @property
    def processes(self) -> dict[str, Pod]:
        """Pods that run services, by process."""
        return {pod.component: pod for pod in self.pods if pod.is_process}

    def configuration(self, pod: Pod) -> str:
        """The parley.yaml that a pod has."""
        name = next(volume["configMap"]["name"] for volume in pod.spec["volumes"] if volume["name"] == "config")
        text: str = self.of("ConfigMap")[name]["data"]["parley.yaml"]
        return text

    def selected(self, selector: Mapping[str, str]) -> list[Pod]:
        """Pods that have all of these labels."""
        return [pod for pod in self.pods if selector.items() <= pod.labels.items()]


def template(
    program: str, values: Sequence[Path] = (), settings: Sequence[str] = (), *, kubernetes: str = KUBERNETES,
    options: Sequence[str] = (),
) -> str:  # fmt: skip
    """What ``helm template`` prints. Raises RenderError with what it says when it refuses."""
    command = [program, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", kubernetes]
    command += [*(f"--values={path}" for path in values), *(f"--set-json={setting}" for setting in settings), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if result.returncode:
        raise RenderError(result.stderr)
    return result.stdout


@functools.cache
def _contents() -> bytes:
    """A digest of all that the chart is made of."""
    digest = hashlib.sha256()
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(CHART)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.digest()


@functools.cache
def rendered(name: str, major: int = 3) -> Rendered:
    """The release with a values file of `VALUES`; processes of a test run share what one of them rendered."""
    program, values = helm(major), VALUES[name]
    key = hashlib.sha256(b"\0".join([_contents(), program.encode(), name.encode(), values.read_bytes()])).hexdigest()
    kept = ROOT / "build" / "chart" / f"{name}-{major}-{key[:16]}.yaml"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        for old in kept.parent.glob(f"{name}-{major}-*.yaml"):
            old.unlink(missing_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_text(template(program, [values]))
        fresh.replace(kept)
    return Rendered(kept.read_text())


def render_with(*settings: str, values: str | None = None, major: int = 3) -> Rendered:
    """The release with single values, as ``services.frontend.replicas=2`` (what is right of = is JSON)."""
    return Rendered(template(helm(major), [VALUES[values]] if values else (), settings))
