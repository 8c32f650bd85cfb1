"""One answer for the sender of what several devices answered."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

UNREACHABLE: Final = frozenset({408, 410, 430, 480, 481, 500, 502, 503, 504})
"""Answers that mean: not now."""

NO_SESSIONS: Final = frozenset({405, 406, 415, 488, 501, 606})
"""Answers to an INVITE of a client that takes no session of messages."""

FALLBACK: Final = UNREACHABLE | NO_SESSIONS
"""Answers to an INVITE after which single messages are tried."""


class Outcome(Enum):
    """What became of a message."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


def outcome_of(statuses: Iterable[int]) -> tuple[Outcome, int]:
    """What several devices answered, as one: a device that took it is enough, one that may take it later comes next.

    A refusal for the user as a whole (6xx) outweighs both of the others. The status is one that a sender can be answered
    with: a device's challenge or redirection is not passed on.
    """
    answers = list(statuses)
    taken = [status for status in answers if 200 <= status < 300]
    if taken:
        return Outcome.DELIVERED, min(taken)
    final = [status for status in answers if status >= 600]
    if final:
        return Outcome.REFUSED, min(final)
    if not answers or any(status in UNREACHABLE for status in answers):
        return Outcome.UNREACHABLE, 480
    refusals = [403 if status in (401, 407) else 480 if status < 400 else status for status in answers]
    return Outcome.REFUSED, 415 if 415 in refusals else min(refusals)
