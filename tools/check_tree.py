"""Checks the tree itself: module sizes, the generated reference, addresses and paths that must not be there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 600
WANTED_LINES = 450
FORBIDDEN = re.compile(
    r"--(?:extra-)?index-url|--find-links|https?://[^\s/]*(?:pypi|pythonhosted|registry\.npmjs|proxy\.golang)"
)
HOME = re.compile(r"/(?:root|home/\w+)/")


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows."""
    listing = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]


def sizes() -> list[str]:
    """Modules that are too long; those that are merely long are printed."""
    problems = []
    for path in tracked("*.py"):
        relative = path.relative_to(ROOT).as_posix()
        if relative.startswith(("parley/proto/", "tests/")):
            continue
        lines = path.read_text().count("\n")
        if lines > MOST_LINES:
            problems.append(f"{relative}: {lines} lines, at most {MOST_LINES}")
        elif lines > WANTED_LINES:
            print(f"note: {relative} has {lines} lines")
    return problems


def addresses() -> list[str]:
    """Lock files and scripts that name a registry's address, and files that hold a path of one machine."""
    problems = []
    for path in tracked():
        relative = path.relative_to(ROOT).as_posix()
        if path.suffix in (".binpb", ".sum", ".mod", ".dat") or relative == "tools/check_tree.py":
            continue
        text = path.read_text(errors="replace")
        if path.suffix in (".lock", ".sh", ".toml", ".json") and FORBIDDEN.search(text):
            problems.append(f"{relative}: names the address of a package registry")
        if path.name != "Dockerfile" and HOME.search(text):  # a home inside an image is the same everywhere
            problems.append(f"{relative}: holds a path of one machine")
    return problems


def reference() -> list[str]:
    """The configuration reference, when it is not what the models say."""
    from parley.platform.config import describe
    from parley.platform.installed import config_models

    path = ROOT / "docs" / "configuration.md"
    if describe(config_models()).strip() in path.read_text():
        return []
    return ["docs/configuration.md is out of date; run tools/write_reference.py"]


def main() -> int:
    """Prints every problem."""
    problems = sizes() + addresses() + reference()
    for text in problems:
        print(text)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
