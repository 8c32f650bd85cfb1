"""Programs that tests start: where they are, and that they end with the test run."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1


def program_missing(name: str) -> str | None:
    """Why a program cannot be started; None when it can."""
    return None if shutil.which(name) else f"{name} is not installed"


def cache() -> Path:
    """Where tools that take long to build are kept."""
    root = os.environ.get("PARLEY_CACHE")
    if root:
        return Path(root)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "parley"


def start(
    arguments: list[str], log: IO[bytes], *, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A process that the kernel ends when the test run is gone."""
    return subprocess.Popen(
        arguments, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_end_with_parent
    )


def stop(process: subprocess.Popen[bytes], timeout: float = 10) -> None:
    """Asks it to end, then makes it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
