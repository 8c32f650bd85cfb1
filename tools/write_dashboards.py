"""Writes the dashboards of Grafana that the chart brings: charts/parley/files/dashboards/*.json.

    python -m tools.write_dashboards [--check]

They are in tools/dashboards; ``--check`` writes nothing and fails when a file is not what is said there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from tools.dashboards.content import DASHBOARDS

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "charts" / "parley" / "files" / "dashboards"


def files() -> dict[Path, str]:
    """What is to be in which file."""
    texts = {board.name: json.dumps(board.as_json(), indent=1, ensure_ascii=False) + "\n" for board in DASHBOARDS}
    return {FOLDER / f"{name}.json": text for name, text in texts.items()}


def stale() -> list[Path]:
    """Files that are missing, out of date, or too many."""
    wanted = files()
    wrong = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    return sorted({*wrong, *(path for path in FOLDER.glob("*.json") if path not in wanted)})


def main(arguments: list[str]) -> int:
    """The exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    if arguments:
        for path in stale():
            print(f"{path.relative_to(ROOT)} is out of date; run python -m tools.write_dashboards")
        return 1 if stale() else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in stale():
        path.unlink(missing_ok=True)
    for path, text in files().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
