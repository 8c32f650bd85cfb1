"""The dashboards: whole, readable, and asking for nothing that no process tells."""

from __future__ import annotations

import functools
import importlib
import json
import pkgutil
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

import parley.platform
import services
from tests.chart.expressions import FROM_OTHERS, TARGET_LABELS, family, labels_by_metric, named_in
from tests.chart.rendering import CHART, render_with
from tests.chart.test_alerts import plain_groups, promtool, rules_of
from tests.support.parley_server import ParleyServer
from tools.write_dashboards import FOLDER, stale

BOARDS: Final = sorted(FOLDER.glob("*.json"))
UNITS: Final = frozenset({"short", "s", "percentunit", "reqps", "cps", "pps", "Bps", "bytes"})
NO_LABELS: Final = {
    "parley_tls_certificate_expires_timestamp_seconds": {"file"},
    "parley_events_lag": {"topic", "group"},
    "parley_relay_receive_buffer_errors_total": {"family"},
}
"""Of collectors that know their labels only when there is something to tell."""


@functools.cache
def board_of(path: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(path.read_text())
    return board


def panels_of(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in board_of(path)["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """Every query of every dashboard, as Grafana would send it."""
    found = [target["expr"] for path in BOARDS for panel in panels_of(path) for target in panel["targets"]]
    return [query.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$release", ".*") for query in found]


def rule_expressions() -> list[str]:
    return [rule["expr"] for rule in rules_of(plain_groups())]


@pytest.fixture(params=BOARDS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    wanted: Path = request.param
    return wanted


def test_they_are_what_their_source_says() -> None:
    assert stale() == [], "run python -m tools.write_dashboards"
    assert len(BOARDS) == 9


def test_each_has_a_name_of_its_own() -> None:
    boards = [board_of(path) for path in BOARDS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards)
    assert all(board["uid"] == f"parley-{path.stem}" for board, path in zip(boards, BOARDS, strict=True))


def test_a_dashboard_can_be_chosen_and_read(path: Path) -> None:
    board = board_of(path)
    assert board["description"].endswith(".")
    assert board["tags"] == ["parley"]
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "namespace", "release"]
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    assert len(rows) >= 3
    assert not any(row["panels"] for row in rows), "panels stand below their row, not in it"
    numbers = Counter(panel["id"] for panel in board["panels"])
    assert max(numbers.values()) == 1


def test_every_panel_says_what_it_shows(path: Path) -> None:
    for panel in panels_of(path):
        title = panel["title"]
        assert title, panel
        assert panel["description"].endswith("."), title
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, title
        assert panel["targets"], title
        assert panel["datasource"]["uid"] == "${datasource}", title
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None, title
        assert [step["value"] for step in steps[1:]] == sorted(step["value"] for step in steps[1:]), title
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references)), title
        for target in panel["targets"]:
            assert target["legendFormat"], title
            named = named_in(target["expr"])
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= named.groupings, f"{title} shows labels that its query does not have"


def test_titles_of_panels_are_told_apart_within_a_row(path: Path) -> None:
    row, seen = "", set()
    for panel in board_of(path)["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            assert (row, panel["title"]) not in seen
            seen.add((row, panel["title"]))


def test_panels_do_not_lie_on_each_other(path: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in board_of(path)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_queries_are_of_one_installation() -> None:
    for query in queries():
        for name, labels in named_in(query).selectors:
            assert {"job", "namespace", "release"} <= labels, f"{name} in {query}"


def test_queries_can_be_read(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", str(file))


async def test_every_metric_that_is_asked_for_is_told_by_a_running_server(parley_server: ParleyServer) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"http://{parley_server.metrics}/metrics") as response:
        text = await response.text()
    told = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    asked = {
        family(metric)
        for expression in [*queries(), *rule_expressions()]
        for metric in named_in(expression).metrics
        if not metric.startswith(("kube_", "parley:"))
    }
    assert len(asked) > 50
    assert asked - told - FROM_OTHERS == set()


def test_every_label_that_is_asked_for_is_one_of_its_metric() -> None:
    for package in (parley.platform, services):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    known = labels_by_metric()
    for expression in [*queries(), *rule_expressions()]:
        named = named_in(expression)
        possible = set(TARGET_LABELS) | named.made | {"le", "sli"}
        for metric, matched in named.selectors:
            name = family(metric)
            if not name.startswith("parley_"):
                continue
            labels = NO_LABELS.get(name) or known[name]
            possible |= labels
            assert matched <= labels | TARGET_LABELS | ({"le"} if metric.endswith("_bucket") else set()), expression
        if not any(metric.startswith("kube_") for metric in named.metrics):
            assert named.groupings <= possible, expression


def test_without_being_asked_there_are_no_dashboards() -> None:
    assert not [name for name in render_with().of("ConfigMap") if "dashboard" in name]


def test_grafana_finds_them_by_their_label() -> None:
    release = render_with(
        "monitoring.dashboards.enabled=true", 'monitoring.dashboards.namespace="grafana"',
        'monitoring.dashboards.labels={"show": "yes"}',
    )  # fmt: skip
    maps = {name: each for name, each in release.of("ConfigMap").items() if "-dashboard-" in name}
    assert len(maps) == len(BOARDS)
    keys = set()
    for path in BOARDS:
        made = maps[f"parley-dashboard-{path.stem}"]
        assert made["metadata"]["namespace"] == "grafana"
        assert made["metadata"]["labels"]["show"] == "yes"
        assert made["metadata"]["annotations"]["grafana_folder"] == "Parley"
        ((key, content),) = made["data"].items()
        assert json.loads(content) == board_of(path)
        keys.add(key)
    assert len(keys) == len(BOARDS), "files of one folder need names of their own"
    assert sum(len(str(made)) for made in maps.values()) < 900_000, "a release of Helm is kept in a Secret of 1 MB"


def test_the_folder_holds_nothing_else() -> None:
    assert {path.suffix for path in (CHART / "files" / "dashboards").iterdir()} == {".json"}
