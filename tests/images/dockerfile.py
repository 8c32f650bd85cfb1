"""Reads a Dockerfile: its stages, and what holds in each with what it is built from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Stage:
    """From one FROM to the next."""

    name: str
    base: str
    parent: Stage | None = None
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def own(self, *words: str) -> list[str]:
        """What follows some instructions in this stage alone."""
        return [rest for word, rest in self.instructions if word in words]

    def all(self, *words: str) -> list[str]:
        """What follows some instructions in this stage, after what it is built from."""
        return [*(self.parent.all(*words) if self.parent else ()), *self.own(*words)]

    def last(self, word: str) -> str:
        """What holds at the end, as of USER and CMD."""
        return self.all(word)[-1]

    def command(self, word: str) -> list[str]:
        """CMD or ENTRYPOINT in its form without a shell."""
        return list(json.loads(self.last(word)))

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels."""
        return {name: value for text in self.all("LABEL") for name, value in re.findall(r'([\w.]+)=("[^"]*"|\S+)', text)}

    @property
    def ports(self) -> set[str]:
        """What the image exposes."""
        return {port for text in self.all("EXPOSE") for port in text.split()}


@dataclass
class Dockerfile:
    """All of it."""

    arguments: dict[str, str]
    """ARGs before the first stage, with their defaults."""
    stages: dict[str, Stage]


def read(path: Path = ROOT / "docker" / "Dockerfile") -> Dockerfile:
    """Reads one; comments are left out, and lines that go on are joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(None, 1)
        if word == "FROM":
            base, name = re.fullmatch(r"(\S+)(?: AS (\S+))?", rest).groups()  # type: ignore[union-attr]
            stage = Stage(name or base, base, stages.get(base))
            stages[stage.name] = stage
        elif stage is None:
            name, _, default = rest.partition("=")
            arguments[name] = default
        else:
            stage.instructions.append((word, rest))
    return Dockerfile(arguments, stages)
