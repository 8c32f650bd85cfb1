"""What an image is made of, and a short name for exactly that."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
HERE: Final = Path(__file__).resolve().parent
_TIME: Final = 1577836800
"""Of files in a build, in seconds since 1970: the first day of 2020. Archives of Python cannot hold times before 1980."""


def cache() -> Path:
    """Where built things are kept between checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("PARLEY_CACHE") or Path(base) / "parley")


class Snapshot:
    """Files as they are now: what is named and what is built stay the same while somebody edits."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = {path.relative_to(ROOT): (os.access(path, os.X_OK), path.read_bytes()) for path in sorted(files)}

    def key(self, *facts: str) -> str:
        """A name for the contents of the files (with their names and whether they are programs), and for facts beside."""
        digest = hashlib.sha256()
        for path, (is_program, content) in self._files.items():
            digest.update(f"{path} {is_program} {hashlib.sha256(content).hexdigest()}\n".encode())
        for fact in facts:
            digest.update(f"{fact}\n".encode())
        return digest.hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Puts the files into a folder, all of one time, which would else be a difference between builds of the same."""
        for path, (is_program, content) in self._files.items():
            destination = folder / path
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(content)
            destination.chmod(0o755 if is_program else 0o644)
            os.utime(destination, (_TIME, _TIME))


def fingerprint(files: Iterable[Path], *facts: str) -> str:
    """A name for files and facts."""
    return Snapshot(files).key(*facts)


def program() -> list[Path]:
    """What decides how images are built, of which these modules are a part."""
    return sorted(HERE.glob("*.py"))


def files_below(folder: Path) -> list[Path]:
    """All files of a folder."""
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def context_files(root: Path = ROOT) -> list[Path]:
    """The files that a build of docker/Dockerfile sees: what .dockerignore lets in by name, less what it keeps out."""
    lines = [line.strip() for line in (root / ".dockerignore").read_text().splitlines()]
    refused = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    found = (path for line in lines if line.startswith("!") for path in _matching(root, line[1:]))
    return sorted({path for path in found if not _is_refused(path.relative_to(root), refused)})


def _matching(root: Path, pattern: str) -> Iterator[Path]:
    for path in root.glob(pattern):
        if path.is_dir():
            yield from (below for below in path.rglob("*") if below.is_file())
        else:
            yield path


def _is_refused(path: Path, refused: list[str]) -> bool:
    return any(fnmatch(part, pattern) for part in path.parts for pattern in refused)
