"""Running programs, and waiting for what they bring about."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.cluster.settings import ClusterError

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Prints how far it is, after the seconds since the command began."""
    print(f"{time.monotonic() - _BEGAN:6.1f}s  {text}", flush=True)


def run(*command: str | Path, stdin: str | None = None, timeout: float = 120) -> str:
    """What a program printed. Raises ClusterError with its complaint when it fails."""
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    except FileNotFoundError:
        raise ClusterError(f"{arguments[0]} is not installed; run tools/cluster/cluster.sh install-tools") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{' '.join(arguments)} did not end within {timeout:g} s") from None
    if done.returncode:
        raise ClusterError(f"{' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def succeeds(*command: str | Path, timeout: float = 30) -> bool:
    """Whether a program is there and ends well."""
    try:
        run(*command, timeout=timeout)
    except ClusterError:
        return False
    return True


def start(command: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """A process that outlives this one, with its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


class Program:
    """A program that was started, until it serves."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path) -> None:
        self.name = name
        self._log = log
        self._process = start(command, log)

    def wait_until(self, serves: Callable[[], bool], timeout: float = 120) -> None:
        """Returns once it serves. Raises ClusterError with the end of its log when it ends before, or takes too long."""
        deadline = time.monotonic() + timeout
        while not serves():
            if self._process.poll() is not None:
                raise ClusterError(
                    f"{self.name} ended with {self._process.returncode}:\n{tail(self._log)}\nAll of it: {self._log}"
                )
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{self.name} does not serve after {timeout:g} s:\n{tail(self._log)}\nAll of it: {self._log}"
                )
            time.sleep(0.1)


def wait_for(what: str, holds: Callable[[], bool], timeout: float = 120, pause: float = 0.2) -> None:
    """Returns once something holds. Raises ClusterError."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not happen within {timeout:g} s")
        time.sleep(pause)


def tail(log: Path, lines: int = 8) -> str:
    """The end of a log, indented."""
    if not log.exists():
        return "    (no log)"
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line[:400]}" for line in text)
