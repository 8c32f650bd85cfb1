"""What the pages for operators tell them to type and to look for: commands, files, log lines, exit codes, keys."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parley.cli.errors import Exit
from parley.platform.installed import config_models
from tests.chart.rendering import CHART, ROOT

DOCS = ROOT / "docs"
RUNBOOKS = sorted((DOCS / "runbooks").glob("*.md"))
PAGES = [*RUNBOOKS, *(DOCS / f"{name}.md" for name in ("troubleshooting", "upgrade", "install", "backup"))]
_ON_A_RELEASE = re.compile(
    r"\bhelm [^`\n]*?\b(?:upgrade|rollback|test|history|install) (?:parley|\.\.\.)[^`\n]*(?:\\\n[^`\n]*)*"
)
_IN_A_NAMESPACE = re.compile(
    r"\bkubectl [^`\n]*?\b(?:logs|exec|describe|rollout|delete) [^`\n]*|\bparley (?:un)?drain POD[^`\n]*"
)
_GREP = re.compile(r"\blogs [^\n|]*\| grep (?:-\w+ )*'([^']+)'")
_QUOTED = re.compile(r"`([^`]+)` in (?:the|its) log")
_VARIABLE = re.compile(r"\.\.\.|\.\*|%[-.\d]*[a-z]|\b[NX]\b|-?\d+")


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request: pytest.FixtureRequest) -> str:
    """The text of each page."""
    path: Path = request.param
    return path.read_text()


def _texts(tree: ast.AST) -> Iterator[str]:
    """Every string of a module that is no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    skipped = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


@functools.cache
def _said() -> list[list[str]]:
    """What Parley may say, cut where something is filled in."""
    files = [path for name in ("parley", "services") for path in (ROOT / name).rglob("*.py") if "_pb2" not in path.name]
    texts = {
        text for path in files for text in _texts(ast.parse(path.read_text())) if " " in text or "redis" in text.lower()
    }
    return [_parts(text) for text in texts]


def _parts(text: str) -> list[str]:
    return [part.strip().lower() for part in _VARIABLE.split(text) if part.strip()]


def _may_be_said(line: str) -> bool:
    """Whether all parts of a quoted line are in one of Parley's own."""
    return any(all(any(part in own for own in said) for part in _parts(line)) for said in _said())


def test_helm_is_told_the_namespace(page: str) -> None:
    for command in _ON_A_RELEASE.findall(page):
        assert " -n parley" in command or " --namespace parley" in command, command


def test_kubectl_and_drains_are_told_the_namespace(page: str) -> None:
    for command in _IN_A_NAMESPACE.findall(page):
        assert re.search(r" (-n|--namespace) (parley|NAMESPACE)\b", command), command


def test_log_lines_to_look_for_are_written_by_somebody(page: str) -> None:
    quoted = [line for line in _QUOTED.findall(page) if " " in line]
    for pattern in _GREP.findall(page):
        if not pattern.startswith('"level"'):
            quoted += pattern.split("|")
    for line in quoted:
        assert _may_be_said(line), line


def test_lines_that_nobody_writes_are_noticed() -> None:
    assert _may_be_said("worker 3 of the relay ended with code -9")
    assert not _may_be_said("stored data have version ...")


def test_exit_codes_are_those_of_the_command() -> None:
    wrong = f"exit code {Exit.CONFIGURATION}"
    for path in (DOCS / "troubleshooting.md", DOCS / "upgrade.md", DOCS / "runbooks" / "ParleyPodRestarts.md"):
        about = [line for line in path.read_text().splitlines() if "newer version" in line or "too new for it" in line]
        assert any(wrong in line for line in about), path


def test_files_that_are_named_exist() -> None:
    named = set(re.findall(r"`([a-z-]+\.yaml)`", (DOCS / "install.md").read_text()))
    there = {path.name for path in (*CHART.glob("*.yaml"), *(CHART / "examples").glob("*.yaml"))}
    assert named <= there
    assert {path.name for path in (CHART / "examples").glob("*.yaml")} <= named


def test_keys_that_the_self_test_names_exist() -> None:
    models = config_models()
    named = re.compile(rf"(?<![.\w])({'|'.join(models)})\.([a-z_]+(?:\.[a-z_]+)*)")
    found = set()
    for path in (ROOT / "parley" / "selftest").glob("*.py"):
        for text in _texts(ast.parse(path.read_text())):
            found |= set(named.findall(text)) if " " in text else set()  # others are names of spans
    assert ("avedge", "relay") in found
    for section, key in found:
        model: Any = models[section]
        for part in key.split("."):
            if not hasattr(model, "model_fields"):
                break  # below are names that people give
            assert part in model.model_fields, f"{section}.{key}"
            model = model.model_fields[part].annotation
