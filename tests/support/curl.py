"""curl against the web services: what a client outside of Python sends and takes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """The last answer of an exchange."""

    status: int
    headers: Mapping[str, list[str]]
    """By their names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Curl:
    """Runs it with the CA of a server."""

    def __init__(self, base: str, ca: Path, *, at: str = "", env: Mapping[str, str] | None = None) -> None:
        """``at``: where the name in ``base`` is, as "web.example.test:8443:127.0.0.1"."""
        self.base = base
        self._usual = ["--silent", "--dump-header", "/dev/stderr", "--path-as-is", "--cacert", str(ca)]
        self._usual += ["--resolve", at] if at else []
        self._env = {**os.environ, **(env or {})}

    async def __call__(self, path: str, *options: str, method: str = "", body: Any = None) -> Answer:
        """``body``: JSON of any value but bytes, which go as they are."""
        command = ["curl", *self._usual, *options, self.base + path]
        command += ["--request", method] if method else []
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None:
            command += ["--data-binary", "@-"]
            if not any(option.lower().startswith("content-type:") for option in options):
                command += ["--header", "Content-Type: application/json"]
        done = await asyncio.to_thread(subprocess.run, command, input=data, capture_output=True, timeout=60, env=self._env)
        assert done.returncode == 0, f"curl ends with {done.returncode}: {done.stderr.decode()}"
        return _parse(done.stderr, done.stdout)


def _parse(heads: bytes, body: bytes) -> Answer:
    """``heads``: those of all answers, one after the other."""
    lines = heads.decode("latin-1").strip().split("\r\n\r\n")[-1].split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return Answer(int(lines[0].split()[1]), headers, body)
