"""What phones did and what became of it, so that a test can say at its end what was lost."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from parley.sip.message import Response


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that a person would have noticed."""

    kind: str
    who: str
    why: str
    seconds: float
    at: float

    def __str__(self) -> str:
        return f"{self.at:7.2f} s: {self.kind} of {self.who}: {self.why} (after {self.seconds:.1f} s)"


@dataclass
class Ledger:
    """The books of all phones of a test. Times are seconds since it began."""

    begun: float = field(default_factory=time.monotonic)
    failures: list[Failure] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """How long what was done took, by kind."""
    notes: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Messages that a server took, by text: recipient and status."""
    arrived: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Messages that a phone took: recipient and text."""

    def done(self, kind: str, who: str, seconds: float) -> None:
        """Something went well."""
        self.seconds[kind].append(seconds)

    def failed(self, kind: str, who: str, why: str, seconds: float) -> None:
        """Something did not."""
        self.failures.append(Failure(kind, who, why, seconds, time.monotonic() - self.begun))

    def note(self, what: str) -> None:
        """Something that is no failure."""
        self.notes[what] += 1

    def sent_away(self, method: str, answer: Response) -> None:
        """A server told a phone to go elsewhere; with 503 it must say for how long."""
        self.notes[f"{method} sent away with {answer.status}"] += 1
        if answer.status in (503, 504) and answer.get("Retry-After") is None:
            self.failed("503", method, f"{answer.status} without Retry-After", 0.0)

    def sent(self, to: str, text: str, status: int) -> None:
        """A message was acknowledged."""
        self.acknowledged[text] = (to, status)

    def heard(self, user: str, text: str) -> None:
        """A message arrived."""
        self.arrived[user, text] += 1

    def count(self, kind: str) -> int:
        """How often something went well."""
        return len(self.seconds[kind])

    def lost(self) -> list[str]:
        """Messages that were acknowledged and have not arrived."""
        return [
            f"{text} to {to}, acknowledged with {status}"
            for text, (to, status) in self.acknowledged.items()
            if not self.arrived[to, text]
        ]

    def repeated(self) -> int:
        """Messages that arrived more than once."""
        return sum(1 for times in self.arrived.values() if times > 1)

    def longest(self, kind: str) -> float:
        """Seconds; 0 when it never happened."""
        return max(self.seconds[kind], default=0.0)

    def percentile(self, kind: str, part: float) -> float:
        """Seconds within which that part of all was done."""
        times = sorted(self.seconds[kind])
        return times[min(len(times) - 1, int(len(times) * part))] if times else 0.0

    def summary(self) -> str:
        """What was done, in one paragraph."""
        done = ", ".join(
            f"{len(times)} {kind} (longest {max(times):.2f} s)" for kind, times in sorted(self.seconds.items()) if times
        )
        noted = ", ".join(f"{count} × {what}" for what, count in sorted(self.notes.items()))
        rows = [f"done: {done}; noted: {noted or 'nothing'}; {len(self.acknowledged)} messages acknowledged"]
        rows += [str(failure) for failure in self.failures[:20]]
        return "\n".join(rows)
