"""What a forking context remembers of each branch, and its settings (RFC 3261 sections 16.6 to 16.8)."""

from __future__ import annotations

from dataclasses import dataclass

from parley.sip.proxy.targets import Target

REASON_ELSEWHERE = 'SIP ;cause=200 ;text="Call completed elsewhere"'
"""Why the other phones stop ringing when one was answered (RFC 3326 section 3.1)."""
REASON_TIMEOUT = 'SIP ;cause=408 ;text="Request Timeout"'
"""Why a phone stops ringing that was not answered in time."""


@dataclass(frozen=True, slots=True)
class ForkSettings:
    """The waits of a forking context (seconds) and its one choice."""

    timer_c: float = 185.0
    """How long an INVITE branch may go without a response; above three minutes (RFC 3261 16.6 item 11)."""
    answer_wait: float = 40.0
    """The same for other methods; above 64*T1, as their transaction ends first as a rule."""
    cancel_wait: float = 33.0
    """How long a cancelled branch may take to end; above 64*T1 (section 9.1)."""
    group_wait: float | None = None
    """How long an INVITE rings at one group of targets before the next is tried; None: until Timer C."""
    absorb_late_answers: bool = False
    """Abandon a 2xx of a branch that was told to stop, instead of forwarding it (RFC 3261 section 16.7).

    Some clients do not answer CANCEL and send their 200 all the same.
    """


DEFAULT_FORK_SETTINGS = ForkSettings()
"""The values of the RFC."""


class Branch:
    """One client transaction, as its context sees it."""

    __slots__ = (
        "answers",
        "breadth",
        "cancel_reason",
        "cancel_sent",
        "cancelling",
        "closed",
        "deadline",
        "ended",
        "id",
        "provisional",
        "ringing",
        "target",
        "timed_out",
    )

    def __init__(self, branch_id: int, target: Target, breadth: int, deadline: float) -> None:
        self.id: int = branch_id
        self.target: Target = target
        self.breadth: int = breadth
        self.deadline: float = deadline
        self.provisional: bool = False  # any provisional response came: CANCEL may be sent
        self.ringing: bool = False  # one above 100 came
        self.cancelling: bool = False
        self.cancel_sent: bool = False
        self.cancel_reason: str | None = None
        self.timed_out: bool = False  # it is cancelled because nobody answered in time
        self.ended: bool = False  # nothing more is awaited
        self.closed: bool = False  # its transaction is over: a final response came, or it failed
        self.answers: dict[str | None, bool] = {}  # To tag of each 2xx -> was it forwarded
