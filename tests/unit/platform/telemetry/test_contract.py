"""The contract is what the code does, and what the documentation says."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

import parley.platform
import services
from parley.platform.telemetry.contract import SPANS, as_markdown, rule_of

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "telemetry.md").read_text()
STARTS = re.compile(r'\.start\(\s*f?"([^"]+)"')


def sources() -> Iterator[Path]:
    for folder in ("parley/platform", "services"):
        yield from (ROOT / folder).rglob("*.py")


def test_documentation_shows_the_spans() -> None:
    assert as_markdown() in PAGE


def test_names_are_unique() -> None:
    names = [rule.name for rule in SPANS]
    assert len(names) == len(set(names))


def test_every_span_of_the_code_is_in_the_contract() -> None:
    started = {name for path in sources() for name in STARTS.findall(path.read_text())}
    assert "sip.server REGISTER" in started
    unknown = {name for name in started if rule_of(re.sub(r"\{[^}]*\}", "X", name)) is None}
    assert not unknown


def test_parents_are_in_the_contract() -> None:
    names = {rule.name for rule in SPANS} | {""}
    assert all(set(rule.parents) <= names for rule in SPANS)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("sip.server REGISTER", "sip.server <METHOD>"),
        ("events.consume parley.users", "events.consume <topic>"),
        ("registrar.update", "registrar.update"),
        ("registrar.updates", None),
        ("sip.server ", None),
        ("something else", None),
    ],
)
def test_rule_of(name: str, rule: str | None) -> None:
    found = rule_of(name)
    assert (found.name if found is not None else None) == rule


def test_every_metric_is_documented_and_named_alike() -> None:
    for package in (parley.platform, services):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    names = {metric.name + ("_total" if metric.type == "counter" else "") for metric in REGISTRY.collect()}
    ours = {name for name in names if name.startswith("parley_")}
    assert len(ours) > 10
    documented = set(re.findall(r"parley_[a-z0-9_]+", PAGE))
    assert not ours - documented, "metrics that docs/telemetry.md does not name"
    assert not documented - ours - {"parley_"}, "metrics that docs/telemetry.md names and nobody makes"
