"""Running other programs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

_BEGAN = time.monotonic()


class ImageError(Exception):
    """Something that whoever called can put right; the text is a sentence that says how."""


def say(text: str) -> None:
    """Prints how far it is to standard error, after the seconds since the command began."""
    print(f"{time.monotonic() - _BEGAN:6.1f}s  {text}", file=sys.stderr, flush=True)


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a program printed. Raises ImageError with the end of its complaint when it fails."""
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=env, cwd=cwd)
    except FileNotFoundError:
        raise ImageError(f"{arguments[0]} is not installed; run tools/images/install.sh") from None
    if done.returncode:
        complaint = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-30:])
        raise ImageError(f"{' '.join(arguments)} failed:\n{complaint}")
    return done.stdout
