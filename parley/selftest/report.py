"""Steps, one after the other: each ends well, fails with what a person needs to know, or is passed over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from parley.platform.reasons import reason_of
from parley.platform.rpc.errors import RpcError
from parley.selftest.phone import PhoneError
from parley.stun.probe import ProbeError

State = Literal["ok", "failed", "skipped"]


class StepFailed(Exception):
    """Something else came than was expected."""

    def __init__(self, expected: str, came: str, look_at: str) -> None:
        super().__init__(f"expected {expected}; came: {came}")
        self.expected = expected
        self.came = came
        self.look_at = look_at


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step went."""

    name: str
    state: State
    milliseconds: float = 0.0
    detail: str = ""
    """What was seen, or why the step was passed over."""
    expected: str = ""
    came: str = ""
    look_at: str = ""
    """What to do about a failure."""


@contextlib.contextmanager
def expecting(expected: str, look_at: str) -> Iterator[None]:
    """Makes a `StepFailed` of what goes wrong within, unless it is one already."""
    try:
        yield
    except RpcError as error:
        raise StepFailed(expected, f"{error.code.name}: {error.message}", look_at) from None
    except (PhoneError, ProbeError) as error:
        raise StepFailed(expected, str(error), look_at) from None
    except (OSError, TimeoutError) as error:
        raise StepFailed(expected, reason_of(error), look_at) from None


class Steps:
    """Runs steps and keeps how they went."""

    def __init__(self, say: Callable[[StepResult], None], skip: Mapping[str, str] | None = None) -> None:
        """``say``: told of each step when it is over; ``skip``: steps that are not to be taken, by name, and why."""
        self._say = say
        self._skip = dict(skip or {})
        self.results: list[StepResult] = []

    @property
    def passed(self) -> bool:
        """Whether no step failed."""
        return not any(result.state == "failed" for result in self.results)

    def is_ok(self, name: str) -> bool:
        """Whether a step was taken, and went well."""
        return any(result.name == name and result.state == "ok" for result in self.results)

    async def run(self, name: str, work: Callable[[], Awaitable[str]], *, after: Sequence[str] = ()) -> None:
        """One step; the result of ``work`` is what was seen. ``after``: steps without which it makes no sense."""
        missing = [other for other in after if not self.is_ok(other)]
        if name in self._skip:
            self.pass_over(name, "")
        elif missing:
            self.note(StepResult(name, "skipped", detail=f"needs: {', '.join(missing)}"))
        else:
            self.note(await _taken(name, work))

    def pass_over(self, name: str, why: str) -> None:
        """A step that cannot be taken here."""
        self.note(StepResult(name, "skipped", detail=self._skip.get(name, why)))

    def note(self, result: StepResult) -> None:
        """Keeps a result, and tells of it."""
        self.results.append(result)
        self._say(result)


async def _taken(name: str, work: Callable[[], Awaitable[str]]) -> StepResult:
    begun = time.perf_counter()
    try:
        detail = await work()
    except StepFailed as failure:
        return StepResult(
            name, "failed", _since(begun), expected=failure.expected, came=failure.came, look_at=failure.look_at
        )
    return StepResult(name, "ok", _since(begun), detail)


def _since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 1)
