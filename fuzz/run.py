"""``python -m fuzz.run``: fuzzes the parsers for a while; what is found is in a file, and the exit status is 1."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.targets import DICTIONARY, ROOT, TARGETS, seeds

_GRACE_S = 60
_CRASH = re.compile(r"Test unit written to (\S+)")
_DONE = re.compile(r"Done (\d+) runs")
_USUAL = 2048
_LONGEST = {
    "uri": 512, "values": 512, "framing": 1024, "digest": 1024, "ntlm": 512, "kerberos": 512, "webticket": 4096,
    "directory_queries": 4096, "directory": 1024,
}  # fmt: skip
"""Bytes of an input, where they are others than usual."""


def run(name: str, seconds: int, build: Path, *, module: str = "") -> str:
    """Fuzzes one target, or another module with its seeds; what went wrong, "" when nothing did."""
    corpus = build / name
    crashes = build / "crashes"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "fuzz.child", module or f"fuzz.{name}", str(corpus), str(seeds(name)), f"-dict={DICTIONARY}",
        f"-max_total_time={seconds}", f"-max_len={_LONGEST.get(name, _USUAL)}", f"-artifact_prefix={crashes}/{name}-",
        "-timeout=10", "-rss_limit_mb=1024", "-verbosity=1",
    ]  # fmt: skip
    log = build / f"{name}.log"
    with log.open("wb") as output:
        try:
            code = subprocess.run(
                command, cwd=ROOT.parent, stdout=output, stderr=output, timeout=seconds + _GRACE_S, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return f"{name}: did not end in time; see {log}"
    text = log.read_text(errors="replace")
    found = _CRASH.search(text)
    if found is not None:
        return f"{name}: {_why(text)}\n  input: {found[1]}\n  log: {log}"
    done = _DONE.search(text)
    if code != 0 or done is None:
        return f"{name}: the fuzzer ended with {code}; see {log}"
    print(f"{name}: {done[1]} inputs, nothing found", flush=True)
    return ""


def _why(log: str) -> str:
    """The exception, or what libFuzzer says of the input."""
    lines = log.splitlines()
    for index, line in enumerate(lines):
        if "Uncaught Python exception" in line and index + 1 < len(lines):
            return lines[index + 1]
    return next((line for line in lines if "ERROR: libFuzzer" in line), "something was found")


def main(arguments: list[str] | None = None) -> int:
    """Runs the wanted targets."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description="Fuzz the parsers.")
    parser.add_argument("--seconds", type=int, default=30, help="how long, for each target (default: 30)")
    parser.add_argument("--target", action="append", choices=TARGETS, metavar="NAME", help=f"one of {', '.join(TARGETS)}")
    parser.add_argument("--jobs", type=int, default=1, help="how many targets at a time (default: 1)")
    parser.add_argument("--build", type=Path, default=ROOT.parent / "build" / "fuzz", help="where the corpus grows")
    options = parser.parse_args(arguments)
    with ThreadPoolExecutor(options.jobs) as pool:
        told = pool.map(lambda name: run(name, options.seconds, options.build), options.target or TARGETS)
        problems = [problem for problem in told if problem]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
