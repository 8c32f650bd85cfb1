"""An agent of libnice in a process of its own, built from ``tests/interop/libnice`` when a test needs it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from parley.ice.candidates import Candidate, CandidateTransport, CandidateType
from parley.ice.credentials import Credentials
from parley.stun.addresses import Address

SOURCE = Path(__file__).parents[1] / "interop" / "libnice" / "agent.c"


def libnice_missing() -> str | None:
    """Why none can be built here; None when it can."""
    for program in ("gcc", "pkg-config"):
        if not shutil.which(program):
            return f"libnice: {program} is not installed"
    if subprocess.run(["pkg-config", "--exists", "nice"], check=False).returncode:
        return "libnice: the library nice is not installed"
    return None


def build(folder: Path) -> Path:
    """The program."""
    program = folder / "agent"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "nice"], capture_output=True, text=True, check=True)
    subprocess.run(["gcc", "-Wall", "-O1", "-o", str(program), str(SOURCE), *flags.stdout.split()], check=True)
    return program


def _filled(text: str) -> str:
    """Base64 as libnice reads it."""
    return text + "=" * (-len(text) % 4)


class LibniceAgent:
    """One running agent; ``lines`` is what it has said since it told its candidates."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.credentials = Credentials("none", "none")
        self.candidates: list[Candidate] = []
        self.lines: list[str] = []
        self._process = process
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, program: Path, mode: str, *, controlling: bool, components: int) -> LibniceAgent:
        """``mode``: rfc5245, oc2007r2 or oc2007. Its candidates are known when this returns."""
        process = await asyncio.create_subprocess_exec(
            str(program), mode, "controlling" if controlling else "controlled", str(components), "127.0.0.1",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        agent = cls(process)
        await asyncio.wait_for(agent._read_description(), 10)
        agent._reader = asyncio.create_task(agent._read())
        return agent

    async def _line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def _read_description(self) -> None:
        while (line := await self._line()) != "end":
            assert line, "libnice has ended"
            words = line.split()
            if words[0] == "credentials":
                self.credentials = Credentials(words[1], words[2])
            elif words[0] == "candidate":
                _, component, foundation, priority, host, port, kind, username, password = words
                self.candidates.append(
                    Candidate(
                        foundation, int(component), CandidateTransport.UDP, int(priority), Address(host, int(port)),
                        CandidateType(kind), username=username.strip("=-"), password=password.strip("=-"),
                    )
                )  # fmt: skip

    async def _read(self) -> None:
        while line := await self._line():
            self.lines.append(line)

    def tell(self, credentials: Credentials | None, candidates: Iterable[Candidate]) -> None:
        """Gives it the other side's description."""
        lines = [] if credentials is None else [f"credentials {credentials.ufrag} {credentials.password}"]
        for each in candidates:
            host, port = each.address
            lines.append(
                f"candidate {each.component} {each.foundation[:32]} {each.priority} {host} {port} {each.type} "
                f"{_filled(each.username) or '-'} {_filled(each.password) or '-'}"
            )
        assert self._process.stdin is not None
        self._process.stdin.write("\n".join([*lines, "end", ""]).encode())

    def pair(self, component: int) -> tuple[Address, Address] | None:
        """Its own and our address of the pair it uses now."""
        for line in reversed(self.lines):
            words = line.split()
            if words[:2] == ["pair", str(component)]:
                return Address(words[2], int(words[3])), Address(words[4], int(words[5]))
        return None

    def is_ready(self, component: int) -> bool:
        """Whether it takes a component to be established."""
        return f"state {component} ready" in self.lines

    async def stop(self) -> None:
        """Ends it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            if self._reader is not None:
                await self._reader
