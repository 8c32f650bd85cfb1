"""The checklist of a stream: its pairs, their states, and which is checked next (RFC 8445 sections 6.1.2 and 6.1.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from parley.ice.candidates import Candidate, CandidateType, pair_priority
from parley.stun.addresses import Address

MAX_PAIRS: Final = 100


class PairState(Enum):
    """What is known of a pair."""

    FROZEN = auto()
    WAITING = auto()
    IN_PROGRESS = auto()
    SUCCEEDED = auto()
    FAILED = auto()


_UNFINISHED: Final = (PairState.FROZEN, PairState.WAITING, PairState.IN_PROGRESS)


@dataclass(slots=True, eq=False)
class Pair:
    """A local and a remote candidate.

    ``local``: what packets leave from, a host or relayed candidate; ``mapped``: the local candidate as the peer sees it,
    known once a check has succeeded, which makes the pair valid; ``priority`` counts with it then. ``nominate``: the next
    check says USE-CANDIDATE; ``nominated_by_peer``: its success nominates.
    """

    local: Candidate
    remote: Candidate
    priority: int = 0
    state: PairState = PairState.FROZEN
    mapped: Candidate | None = None
    nominate: bool = False
    nominated_by_peer: bool = False
    nominated: bool = False

    @property
    def component(self) -> int:
        """Of both candidates."""
        return self.local.component

    @property
    def foundation(self) -> tuple[str, str]:
        """Pairs of the same are likely to work, or not, together."""
        return self.local.foundation, self.remote.foundation

    @property
    def is_unfinished(self) -> bool:
        """Whether it may still succeed without being asked for anew."""
        return self.state in _UNFINISHED

    def rank(self, controlling: bool) -> None:
        """Computes its priority for a role."""
        ours, theirs = (self.mapped or self.local).priority, self.remote.priority
        self.priority = pair_priority(ours, theirs) if controlling else pair_priority(theirs, ours)


class Checklist:
    """Pairs by falling priority."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self._triggered: deque[Pair] = deque()

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def add(self, local: Candidate, remote: Candidate, controlling: bool) -> Pair | None:
        """Pairs two candidates if they can be, and are not yet; None when there is no new pair.

        Reflexive candidates are left to the pairs of their bases (section 6.1.2.4).
        """
        if (
            local.component != remote.component
            or not local.transport.reaches(remote.transport)
            or local.type not in (CandidateType.HOST, CandidateType.RELAYED)
            or not remote.is_usable
            or local.address.family is not remote.address.family
            or self.find(local.address, remote.address) is not None
        ):
            return None
        pair = Pair(local, remote)
        pair.rank(controlling)
        if len(self.pairs) >= MAX_PAIRS and not self._make_room(pair):
            return None
        self.pairs.append(pair)
        self._sort()
        return pair

    def _make_room(self, pair: Pair) -> bool:
        """Gives up the least pair nothing is known of, if it is less than that one."""
        for other in reversed(self.pairs):
            if other.state is PairState.FAILED or (
                other.state in (PairState.FROZEN, PairState.WAITING) and other.priority < pair.priority
            ):
                self.remove(other)
                return True
        return False

    def remove(self, pair: Pair) -> None:
        """Takes a pair away."""
        self.pairs.remove(pair)
        self.untrigger(pair)

    def find(self, base: Address, remote: Address) -> Pair | None:
        """The pair of these addresses."""
        return next((pair for pair in self.pairs if pair.remote.address == remote and pair.local.address == base), None)

    def rank_again(self, controlling: bool) -> None:
        """The role or the candidates of pairs have changed."""
        for pair in self.pairs:
            pair.rank(controlling)
        self._sort()

    def _sort(self) -> None:
        self.pairs.sort(key=lambda pair: pair.priority, reverse=True)

    def trigger(self, pair: Pair) -> None:
        """Has a pair checked before all ordinary ones (section 6.1.4.1)."""
        pair.state = PairState.WAITING
        if pair not in self._triggered:
            self._triggered.append(pair)

    def untrigger(self, pair: Pair) -> None:
        """The pair need not be checked any more."""
        if pair in self._triggered:
            self._triggered.remove(pair)

    def next(self) -> Pair | None:
        """The pair to check now; it is taken out of the queue it was in."""
        if self._triggered:
            return self._triggered.popleft()
        self._thaw()
        return next((pair for pair in self.pairs if pair.state is PairState.WAITING), None)

    @property
    def has_work(self) -> bool:
        """Whether `next` would give a pair."""
        self._thaw()
        return bool(self._triggered) or any(pair.state is PairState.WAITING for pair in self.pairs)

    def _thaw(self) -> None:
        """One pair of each foundation is checked first, and once it has succeeded all others of it."""
        working, busy = set(), set()
        for pair in self.pairs:
            if pair.state is PairState.SUCCEEDED:
                working.add(pair.foundation)
            elif pair.state in (PairState.WAITING, PairState.IN_PROGRESS):
                busy.add(pair.foundation)
        frozen = [pair for pair in self.pairs if pair.state is PairState.FROZEN]
        for pair in sorted(frozen, key=lambda each: (each.component, -each.priority)):
            if pair.foundation in working or pair.foundation not in busy:
                pair.state = PairState.WAITING
                busy.add(pair.foundation)

    def settle(self, component: int, priority: int) -> list[Pair]:
        """Checks no pairs of lesser priority any more, as one is selected (section 8.1.2); gives those in progress."""
        stopped = []
        for pair in list(self.pairs):
            if pair.component != component or pair.priority >= priority:
                continue
            if pair.state in (PairState.FROZEN, PairState.WAITING):
                self.remove(pair)
            elif pair.state is PairState.IN_PROGRESS:
                stopped.append(pair)
        return stopped
