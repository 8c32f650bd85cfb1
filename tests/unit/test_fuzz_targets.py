"""The fuzz targets hold for their seeds and for what Hypothesis makes up, without a fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.run import run
from fuzz.targets import DICTIONARY, TARGETS, load, seeds

WORDS = [
    line[1:-1].encode("latin-1").decode("unicode_escape").encode("latin-1")
    for line in DICTIONARY.read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    files = sorted(seeds(name).iterdir())
    assert files
    for file in files:
        load(name)(file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=3))).map(b"".join)))
def test_made_up_bytes(name: str, data: bytes) -> None:
    load(name)(data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_altered_seeds(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(sorted(seeds(name).iterdir()))).read_bytes()
    at = data.draw(st.integers(0, len(seed)))
    gone = data.draw(st.integers(0, 8))
    word = data.draw(st.one_of(st.sampled_from(WORDS), st.binary(max_size=3)))
    load(name)(seed[:at] + word + seed[at + gone :])


def test_a_fault_is_reported_with_the_file_of_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("atheris")
    broken = tmp_path / "fuzz_broken.py"
    broken.write_text("def fuzz_one(data):\n    assert data[:1] != b'\\n', 'found it'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    problem = run("message", 60, tmp_path / "build", module="fuzz_broken")
    assert "found it" in problem
    (crash,) = (tmp_path / "build" / "crashes").iterdir()
    assert str(crash) in problem
    assert crash.read_bytes().startswith(b"\n")
