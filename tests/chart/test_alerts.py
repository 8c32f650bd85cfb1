"""The alerts: their rules hold, each fires at what it is for and at nothing else, and each has a page."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.chart.alert_cases import TARGET, Case, all_cases
from tests.chart.rendering import CHART, ROOT, render_with
from tests.support.programs import cache

RULES: Final = CHART / "files" / "alerts.yaml"
RUNBOOKS: Final = ROOT / "docs" / "runbooks"
PROMTOOL: Final = cache() / "promtool" / "promtool"
WINDOWS: Final = ("5m", "30m", "1h", "6h", "3d")
HEADINGS: Final = ("## What it means", "## Look first", "## Causes", "## What to do", "## When that does not help")


def rules_of(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for group in groups for rule in group["rules"]]


@functools.cache
def plain_groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return groups


def plain_alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules_of(plain_groups()) if "alert" in rule]


def promtool(*arguments: str) -> str:
    """What promtool says; it fails the test when it is not content."""
    if not PROMTOOL.exists():
        pytest.skip("promtool is missing: run tools/install-promtool.sh")
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_rules() -> None:
    assert f"{len(rules_of(plain_groups()))} rules found" in promtool("check", "rules", str(RULES))


def test_every_objective_is_recorded_over_every_window() -> None:
    recorded = defaultdict(set)
    for rule in rules_of(plain_groups()):
        if "record" in rule:
            recorded[rule["labels"]["sli"]].add(rule["record"].removeprefix("parley:sli_errors:ratio_rate"))
            (window,) = set(re.findall(r"\[(\w+)\]", rule["expr"]))
            assert rule["record"].endswith(window), rule
    assert len(recorded) == 5
    assert set(map(frozenset, recorded.values())) == {frozenset(WINDOWS)}


def test_every_alert_says_what_it_is() -> None:
    for rule in plain_alerts():
        name = rule["alert"]
        assert re.fullmatch(r"Parley[A-Z][A-Za-z0-9]+", name)
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name
        annotations = rule["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url"}, name
        assert annotations["runbook_url"] == f"docs/runbooks/{name}.md"
        assert len(annotations["summary"]) < 100, name
        shown = set(re.findall(r"\$labels\.(\w+)", annotations["summary"] + annotations["description"]))
        for label in shown:
            assert re.search(rf"\bby \([^)]*\b{label}\b|\"{label}\"", rule["expr"]), f"{name} shows {label}, and has it not"


# promtool


def _written(folder: Path, cases: list[Case]) -> Path:
    """Cases of one alert and one step as a file of promtool, with the rules that they need.

    Without annotations, which it would have to be told word by word.
    """
    (alert,), (step,) = {case.alert for case in cases}, {case.step for case in cases}
    rules = [
        {key: value for key, value in rule.items() if key != "annotations"}
        for rule in rules_of(plain_groups())
        if rule.get("alert") == alert or "record" in rule
    ]
    wanted = " ".join(rule["expr"] for rule in rules if "alert" in rule)
    used = [rule for rule in rules if "alert" in rule or (rule["record"] in wanted and rule["labels"]["sli"] in wanted)]
    name = f"{alert}-{step}"
    groups = [{"name": name, "interval": step, "rules": used}]
    (folder / f"{name}.rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    target = ",".join(f'{key}="{value}"' for key, value in TARGET.items())
    tests = [
        {
            "name": f"{case.alert} {case.what}",
            "interval": step,
            "input_series": [
                {"series": series.replace("@", target), "values": values} for series, values in case.series.items()
            ],
            "alert_rule_test": [
                {
                    "eval_time": f"{case.minutes}m",
                    "alertname": case.alert,
                    "exp_alerts": [{"exp_labels": labels} for labels in case.fires],
                }
            ],
        }
        for case in cases
    ]
    path = folder / f"{name}.tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [f"{name}.rules.yaml"], "evaluation_interval": step, "tests": tests}))
    return path


def test_alerts_fire_at_what_they_are_for_and_at_nothing_else(tmp_path: Path) -> None:
    together = defaultdict(list)
    for case in all_cases():
        together[case.alert, case.step].append(case)
    files = [str(_written(tmp_path, cases)) for cases in together.values()]
    assert promtool("test", "rules", *files).count("SUCCESS") == len(files)


def test_a_case_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    right = next(case for case in all_cases() if case.alert == "ParleyLeaseLost" and case.fires)
    wrong = Case(right.alert, "is said not to fire", right.series, (), right.minutes)
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", str(_written(tmp_path, [wrong])))


def test_every_alert_is_tried_both_ways_in_every_severity() -> None:
    fired = {(case.alert, labels["severity"]) for case in all_cases() for labels in case.fires}
    assert fired == {(rule["alert"], rule["labels"]["severity"]) for rule in plain_alerts()}
    quiet = {case.alert for case in all_cases() if not case.fires}
    assert quiet == {rule["alert"] for rule in plain_alerts()}


# Runbooks


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == {rule["alert"] for rule in plain_alerts()}
    linked = re.findall(r"\]\((\w+)\.md\)", (RUNBOOKS / "README.md").read_text())
    assert sorted(linked) == sorted(pages), "the index names each page once"


@pytest.mark.parametrize("alert", sorted({rule["alert"] for rule in plain_alerts()}))
def test_a_page_says_what_to_do(alert: str) -> None:
    text = (RUNBOOKS / f"{alert}.md").read_text()
    assert text.startswith(f"# {alert}\n\n")
    places = [text.index(heading) for heading in HEADINGS]
    assert places == sorted(places)
    first_look = text[places[1] : places[2]]
    assert re.search(r"^(kubectl|parley) ", first_look, re.MULTILINE), "no command to look with"
    for metric in re.findall(r"`(parley_[a-z0-9_]+)", text):
        assert metric in (ROOT / "docs" / "telemetry.md").read_text(), metric


# The chart


def test_without_being_asked_there_are_no_rules() -> None:
    assert render_with().of("PrometheusRule") == {}


def test_rules_of_a_release_look_at_that_release_alone() -> None:
    (rule,) = render_with("monitoring.rules.enabled=true").of("PrometheusRule").values()
    rules = rules_of(rule["spec"]["groups"])
    assert len(rules) == len(rules_of(plain_groups()))
    for each in rules:
        for selector in re.findall(r"\{([^}]*)\}", each["expr"]):
            if "kube" in each["expr"]:
                assert 'namespace="voice"' in selector, selector
                assert '"parley-.*"' in selector, selector
            else:
                assert selector.startswith('job="parley",namespace="voice",release="parley"'), selector


def test_what_is_rendered_are_rules(tmp_path: Path) -> None:
    (rule,) = render_with('fullnameOverride="uc"', "monitoring.rules.enabled=true").of("PrometheusRule").values()
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rule["spec"]))
    promtool("check", "rules", str(path))
    assert '"uc-.*"' in path.read_text()
    assert '"parley-.*"' not in path.read_text()


def test_labels_runbooks_and_alerts_left_out() -> None:
    release = render_with(
        "monitoring.rules.enabled=true", 'monitoring.rules.labels={"prometheus": "main"}',
        'monitoring.rules.alertLabels={"team": "voice"}',
        'monitoring.rules.disabled=["ParleyVersionsMixed", "ParleySignInsFail"]',
        'monitoring.rules.runbookUrl="https://runbooks.example.com/{alert}"',
    )  # fmt: skip
    (rule,) = release.of("PrometheusRule").values()
    assert rule["metadata"]["labels"]["prometheus"] == "main"
    alerts = [each for each in rules_of(rule["spec"]["groups"]) if "alert" in each]
    left_out = {each["alert"] for each in plain_alerts()} - {each["alert"] for each in alerts}
    assert left_out == {"ParleyVersionsMixed", "ParleySignInsFail"}
    for each in alerts:
        assert each["labels"]["team"] == "voice"
        assert each["annotations"]["runbook_url"] == f"https://runbooks.example.com/{each['alert']}"


def test_with_all_alerts_of_a_group_left_out_the_group_is_gone() -> None:
    names = [rule["alert"] for group in plain_groups() if group["name"] == "parley-kubernetes" for rule in group["rules"]]
    disabled = f"monitoring.rules.disabled={json.dumps(names)}"
    (rule,) = render_with("monitoring.rules.enabled=true", disabled).of("PrometheusRule").values()
    assert "parley-kubernetes" not in [group["name"] for group in rule["spec"]["groups"]]
