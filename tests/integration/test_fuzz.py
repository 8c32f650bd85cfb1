"""The fuzzer itself: it starts, knows every target and finds nothing in a few seconds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_target_runs(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.run", "--seconds", "3", "--jobs", "2", "--build", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    inputs = dict(re.findall(r"^(\w+): (\d+) inputs, nothing found$", done.stdout, re.MULTILINE))
    assert set(inputs) == set(TARGETS)
    assert all(int(count) > 100 for count in inputs.values()), inputs
    assert all(any((tmp_path / name).iterdir()) for name in TARGETS)
