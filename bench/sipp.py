"""SIPp as the load: runs a scenario and reads what came of it."""

from __future__ import annotations

import asyncio
import csv
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCENARIOS = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one SIPp run saw; times in milliseconds."""

    successful: int
    failed: int
    retransmissions: int
    seconds: float
    p50_ms: float
    p99_ms: float
    complaint: str = ""

    @property
    def rate(self) -> float:
        """Successful calls in a second."""
        return self.successful / self.seconds if self.seconds else 0.0


def write_users(path: Path, names: Sequence[str], password: str) -> Path:
    """A file of fields for the scenarios: user name, credentials, the user called."""
    lines = ["SEQUENTIAL"]
    for name in names:
        lines.append(f"{name};[authentication username={name} password={password}];{name};")
    path.write_text("\n".join(lines) + "\n")
    return path


async def run_sipp(
    scenario: str,
    target: str,
    *,
    users: Path,
    rate: float,
    calls: int,
    port: int,
    contact_port: int | None = None,
    extra: Sequence[str] = (),
    timeout: float = 120,
    source: str = "127.0.0.1",
) -> LoadResult:
    """Runs a scenario to its end and reads its statistics and response times.

    ``source`` is the address it sends from.
    ``contact_port`` is where the users of a REGISTER want to be called; by default the port it is sent from.
    """
    with tempfile.TemporaryDirectory() as work:
        arguments = [
            "sipp", target, "-sf", str(SCENARIOS / scenario), "-inf", str(users),
            "-i", source, "-p", str(port), "-r", str(rate), "-m", str(calls), "-l", str(max(100, int(rate * 4))),
            "-key", "contact_port", str(contact_port or port), "-nostdin",
            "-trace_stat", "-stf", "stat.csv", "-fd", "1", "-trace_rtt", "-rtt_freq", "1",
            "-trace_err", "-error_file", "errors.log", "-timeout", str(int(timeout)), "-buff_size", "4194304", *extra,
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=work,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(process.wait(), timeout + 10)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return _read(Path(work))


def _read(work: Path) -> LoadResult:
    with (work / "stat.csv").open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    last = rows[-1]
    times: list[float] = []
    for path in work.glob("*rtt.csv"):
        with path.open() as file:
            next(file)
            times += [float(line.split(";")[1]) for line in file if line.count(";") >= 2]
    times.sort()
    errors = work / "errors.log"
    return LoadResult(
        successful=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        retransmissions=int(last["Retransmissions(C)"]),
        seconds=_elapsed(last["ElapsedTime(C)"]),
        p50_ms=times[len(times) // 2] if times else 0.0,
        p99_ms=times[min(len(times) - 1, len(times) * 99 // 100)] if times else 0.0,
        complaint=errors.read_text()[:400] if errors.exists() else "",
    )


def _elapsed(text: str) -> float:
    hours, minutes, seconds = (float(part) for part in text.split(":")[:3])
    return hours * 3600 + minutes * 60 + seconds
