"""The table of who calls whom, from which policies are made, is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from services.frontend.routing import APPLICATION_ROWS
from tests.chart.rendering import CHART, ROOT
from tests.chart.test_network import CALLS

AREAS = {"sip": "frontend"}
"""Packages of protos that are not named after the service; `parley.sip.v1.Edge` is the front end."""
APPLICATIONS = {"search": "addressbook"}
"""Applications that are not named after the service that has them."""
EDGES = "parley.platform.applications.edges"
LOOKUPS = "parley.platform.applications.registrations"
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/main.py"))


def _called_by(service: str) -> set[str]:
    """Services whose gRPC a service has a channel to, as its modules say."""
    found: set[str] = set()
    for path in (ROOT / "services" / service).rglob("*.py"):
        text = path.read_text()
        constants = dict(re.findall(r'^(_[A-Z]+)(?:: Final)? = "(parley\.\w+\.v1\.\w+)"', text, re.MULTILINE))
        for argument in re.findall(r"\.channel\(\s*([^,)\s]+)", text):
            name = constants.get(argument, argument.strip('"'))
            area = re.match(r"parley\.(\w+)\.v1\.", name)
            if area is not None:
                found.add(AREAS.get(area[1], area[1]))
        if EDGES in text:
            found |= {"registrar", "frontend"}  # their addresses, and what is sent to them
        if LOOKUPS in text:
            found.add("registrar")
    if service == "frontend":
        found |= {APPLICATIONS.get(row.application, row.application) for row in APPLICATION_ROWS}
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_the_table_of_calls_is_what_the_code_does(service: str) -> None:
    assert CALLS.get(service, set()) == _called_by(service)


def test_the_chart_has_the_same_table() -> None:
    text = Path(CHART / "templates" / "_edges.tpl").read_text()
    table = text.split('{{- define "parley.calls" -}}')[1].split("{{- end }}")[0]
    calls = {caller: set(called) for caller, called in yaml.safe_load(table).items()}
    calls.pop("selftest")
    assert calls == CALLS


def test_the_chart_runs_every_service_there_is() -> None:
    text = Path(CHART / "templates" / "_processes.tpl").read_text()
    known = yaml.safe_load(text.split('{{- define "parley.allServices" -}}')[1].split("{{- end }}")[0])
    assert sorted(known) == SERVICES
    assert sorted(yaml.safe_load((CHART / "values.yaml").read_text())["services"]) == SERVICES
