"""Runs the checks of an agent: sends them at their pace, takes their answers, nominates, selects, keeps what was selected.

Sources: RFC 8445 sections 6.1.4, 7.2, 8 and 11, RFC 7675 section 5.1, [MS-ICE] 3.1.6.2.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from parley.ice.candidates import Candidate, CandidateType, Dialect, candidate_priority
from parley.ice.checklist import Checklist, Pair, PairState
from parley.ice.events import Completed, ConsentLost, Datagram, Event, Failed, RoleChanged, Selected
from parley.ice.keeping import Keeper
from parley.ice.responder import Role
from parley.ice.security import Security
from parley.ice.transactions import Purpose, Timing, Transaction
from parley.ice.wire import Check, Packet, WireForm, encode_check, new_transaction_id
from parley.stun.addresses import Address
from parley.stun.codes import ErrorCode, MessageClass
from parley.stun.errors import StunParseError


class Checker:
    """Of one agent. ``learn(local, mapped, priority)`` gives the local candidate at an address that a peer has seen."""

    def __init__(
        self,
        dialect: Dialect,
        security: Security,
        timing: Timing,
        datagrams: list[Datagram],
        events: list[Event],
        components: int,
        *,
        controlling: bool,
        aggressive: bool,
        tie_breaker: int,
        learn: Callable[[Candidate, Address, int], Candidate],
    ) -> None:
        self.checklist = Checklist()
        self.selected: dict[int, Selected] = {}
        self.controlling = controlling
        self.expect_more = False
        self.has_started = False
        self._dialect = dialect
        self._security = security
        self._timing = timing
        self._datagrams = datagrams
        self._events = events
        self._components = range(1, components + 1)
        self._aggressive = aggressive
        self._tie_breaker = tie_breaker
        self._learn = learn
        self._form = WireForm.first_of(dialect)
        self._form_is_known = dialect is Dialect.MS_ICE
        self._transactions: dict[bytes, Transaction] = {}
        self._chosen: dict[int, Pair] = {}
        self._first_valid: dict[int, float] = {}
        self._failed: set[int] = set()
        self._is_complete = False
        self._next_check_at = 0.0
        self._patient_until = 0.0
        self._decide_at: float | None = None
        self._now = 0.0
        self._keeper = Keeper(dialect, timing)

    @property
    def role(self) -> Role:
        """Ours, for incoming checks."""
        return Role(self.controlling, self._tie_breaker)

    # ---------------------------------------------------------------- what others tell

    def start(self, now: float) -> None:
        """The peer is known: checks begin."""
        self.has_started = True
        self._patient_until = now + self._timing.patience
        self._next_check_at = now

    def restart(self) -> None:
        """Forgets all pairs; what was selected stays until something else is."""
        self.checklist = Checklist()
        self._transactions.clear()
        self._chosen.clear()
        self._first_valid.clear()
        self._failed.clear()
        self._is_complete = self.has_started = False
        self._keeper.stop()

    def be(self, *, controlling: bool) -> None:
        """Takes a role."""
        self.controlling = controlling
        self.checklist.rank_again(controlling)

    def switch_role(self, now: float) -> None:
        """A role conflict was settled against us (RFC 8445 section 7.3.1.1)."""
        self.be(controlling=not self.controlling)
        for pair in self.checklist:
            pair.nominate = False
        self._events.append(RoleChanged(self.controlling))
        self._patient_until = max(self._patient_until, now + self._timing.patience)

    def heard(self, form: WireForm, now: float) -> None:
        """A right check came in that form, so ours go out in it; those under way are sent anew."""
        self._form_is_known = True
        if form is not self._form:
            self._form = form
            self._send_anew(now)

    def _send_anew(self, now: float) -> None:
        for transaction in self._transactions.values():
            if not transaction.is_cancelled and transaction.purpose is Purpose.CHECK:
                transaction.is_cancelled = True
                transaction.pair.nominate |= transaction.nominated and not self._aggressive
                self.checklist.trigger(transaction.pair)
        self._next_check_at = min(self._next_check_at, now)

    def rename(self, learnt: Candidate, signalled: Candidate) -> None:
        """A peer-reflexive remote candidate turns out to be one that the peer tells of."""
        for pair in self.checklist:
            if pair.remote is learnt:
                pair.remote = signalled
        self.checklist.rank_again(self.controlling)

    def triggered_by_peer(self, pair: Pair, check: Check, now: float, *, repeated: bool) -> None:
        """A right check came over a pair (sections 7.3.1.4 and 7.3.1.5). ``repeated``: and not for the first time."""
        if check.nominated and not self.controlling and self._dialect is not Dialect.MS_ICE:
            pair.nominated_by_peer = True
            if pair.mapped is not None:
                self._nominated(pair, now)
        chosen = self._chosen.get(pair.component)
        if pair.state is PairState.SUCCEEDED or (chosen is not None and not self._still_matters(pair, chosen)):
            return
        if pair.state is PairState.IN_PROGRESS:
            if repeated:
                return
            for transaction in self._transactions.values():
                if transaction.pair is pair and transaction.purpose is Purpose.CHECK:
                    transaction.is_cancelled = True
                    pair.nominate |= transaction.nominated and not self._aggressive
        self._failed.discard(pair.component)
        self.checklist.trigger(pair)

    def _still_matters(self, pair: Pair, chosen: Pair) -> bool:
        # In [MS-ICE] a peer counts only pairs that it has been checked over.
        return pair.priority > chosen.priority or pair.nominated_by_peer or self._dialect is Dialect.MS_ICE

    # ---------------------------------------------------------------- answers

    def receive(self, packet: Packet, base: Address, source: Address, now: float) -> bool:
        """An answer to a check of ours; False when it is to none, or not right."""
        transaction = self._transactions.get(packet.transaction_id)
        if transaction is None:
            return False
        try:
            code = packet.error_code() if packet.message_class is MessageClass.ERROR else 0
            mapped = packet.mapped_address() if not code else None
        except StunParseError:
            return False
        if packet.form_for(transaction.key) is None:
            return self._refused_unproven(transaction, code, now)
        del self._transactions[packet.transaction_id]
        pair = transaction.pair
        if transaction.purpose is Purpose.CONSENT:
            if not code:
                self._keeper.answered(pair.component, now)
            return True
        if pair not in self.checklist.pairs:
            return True
        same_way = base == transaction.datagram.base and source == transaction.datagram.remote
        if code == ErrorCode.ROLE_CONFLICT and same_way:
            if self.controlling is transaction.controlling:
                self.switch_role(now)
            self.checklist.trigger(pair)
        elif code or mapped is None or not same_way or packet.message_class is not MessageClass.SUCCESS:
            self._fail(pair)
        else:
            self._succeed(pair, transaction, mapped, now)
        return True

    def _refused_unproven(self, transaction: Transaction, code: int, now: float) -> bool:
        """An error without integrity proves nothing, but may say that the peer wants the other form."""
        if self._form_is_known or code not in (ErrorCode.BAD_REQUEST, ErrorCode.UNAUTHENTICATED):
            return False
        if self._form is transaction.form:
            self._form_is_known = True
            self._form = WireForm.MS_ICE2 if self._form is WireForm.RFC else WireForm.RFC
            self._send_anew(now)
        return True

    def _succeed(self, pair: Pair, transaction: Transaction, mapped: Address, now: float) -> None:
        if not pair.nominate:  # else it still has to be checked once more
            self.checklist.untrigger(pair)
            pair.state = PairState.SUCCEEDED
        pair.mapped = self._learn(pair.local, mapped, transaction.priority)
        self.checklist.rank_again(self.controlling)
        self._first_valid.setdefault(pair.component, now)
        self._failed.discard(pair.component)
        nominated = transaction.nominated and transaction.controlling and self.controlling
        if nominated or (pair.nominated_by_peer and not self.controlling):
            self._nominated(pair, now)

    def _fail(self, pair: Pair) -> None:
        pair.state = PairState.FAILED
        pair.nominate = False
        pair.mapped = None

    # ---------------------------------------------------------------- nomination

    def _nominated(self, pair: Pair, now: float) -> None:
        pair.nominated = True
        chosen = self._chosen.get(pair.component)
        if chosen is None or chosen is pair or pair.priority > chosen.priority:
            self._select(pair, now)

    def _select(self, pair: Pair, now: float) -> None:
        component, mapped = pair.component, pair.mapped
        if mapped is None or self._chosen.get(component) is pair:
            return
        self._chosen[component] = pair
        selected = Selected(component, pair.local.address, mapped, pair.remote)
        if self.selected.get(component) != selected:
            self.selected[component] = selected
            self._events.append(selected)
        self._keeper.keep(component, now)
        if self._dialect is not Dialect.MS_ICE:
            stopped = self.checklist.settle(component, pair.priority if self._may_change else 2**64)
            for transaction in self._transactions.values():
                if transaction.pair in stopped:
                    transaction.is_cancelled = True
        if not self._is_complete and all(number in self._chosen for number in self._components):
            self._is_complete = True
            self._events.append(Completed())

    @property
    def _may_change(self) -> bool:
        """Whether a better pair may yet be nominated."""
        return self._aggressive or not self.controlling

    def choose(self, component: int, remote: Address, now: float) -> bool:
        """Takes the best working pair to that address."""
        for pair in self.checklist:
            if pair.component == component and pair.remote.address == remote and pair.mapped is not None:
                self._select(pair, now)
                return True
        return False

    def _decide(self, now: float) -> float | None:
        """Nominates, or in [MS-ICE] selects, where it is time; gives the next time at which it may be."""
        if self._dialect is not Dialect.MS_ICE and (not self.controlling or self._aggressive):
            return None
        delay = self._timing.ms_nomination if self._dialect is Dialect.MS_ICE else self._timing.nomination
        later = []
        for component in self._components:
            if component in self._chosen or component not in self._first_valid:
                continue
            pairs = [pair for pair in self.checklist if pair.component == component]
            best = next((pair for pair in pairs if pair.mapped is not None), None)
            if best is None or any(pair.nominate for pair in pairs) or self._is_nominating(component):
                continue
            at = self._first_valid[component] + delay
            if now < at and any(pair.is_unfinished for pair in pairs[: pairs.index(best)]):
                later.append(at)
            elif self._dialect is Dialect.MS_ICE:
                self._select(best, now)
            else:
                best.nominate = True
                self.checklist.trigger(best)
        return min(later, default=None)

    def _is_nominating(self, component: int) -> bool:
        return any(
            each.nominated and not each.is_cancelled and each.pair.component == component
            for each in self._transactions.values()
        )

    # ---------------------------------------------------------------- time

    def handle_timer(self, now: float) -> None:
        """Sends what is due, and decides."""
        self._now = now
        for transaction in list(self._transactions.values()):
            if transaction.due_at <= now:
                self._repeat(transaction)
        if self.has_started and self._security.is_complete:
            self._decide_at = self._decide(now)
            while self._next_check_at <= now and (pair := self.checklist.next()) is not None:
                self._next_check_at = now + self._timing.pace
                self._send_check(pair, now)
            self._give_up(now)
        for component in self._keeper.expired(now):
            self._lose(component)
        for component in self._keeper.due(now):
            self._keep(component, now)

    def _repeat(self, transaction: Transaction) -> None:
        if transaction.goes_on():
            if not transaction.is_cancelled:
                self._datagrams.append(transaction.datagram)
            return
        del self._transactions[transaction.transaction_id]
        pair = transaction.pair
        others = any(each.pair is pair and each.purpose is Purpose.CHECK for each in self._transactions.values())
        if transaction.purpose is Purpose.CHECK and pair.state is PairState.IN_PROGRESS and not others:
            self._fail(pair)

    def _send_check(self, pair: Pair, now: float) -> None:
        nominated = self.controlling and (pair.nominate or (self._aggressive and pair.mapped is None))
        busy = sum(each.state in (PairState.WAITING, PairState.IN_PROGRESS) for each in self.checklist)
        wait = max(self._timing.first_wait, self._timing.pace * busy)
        pair.nominate = False
        pair.state = PairState.IN_PROGRESS
        self._send(pair, Purpose.CHECK, nominated, wait, now)

    def _send(self, pair: Pair, purpose: Purpose, nominated: bool, wait: float, now: float) -> None:
        username, key = self._security.outgoing(pair.local, pair.remote)
        local_preference = pair.local.priority >> 8 & 0xFFFF
        priority = candidate_priority(CandidateType.PEER_REFLEXIVE, pair.component, local_preference)
        transaction_id = new_transaction_id(self._form)
        check = Check(username, priority, self.controlling, self._tie_breaker, nominated, pair.local.foundation)
        datagram = Datagram(pair.local.address, pair.remote.address, encode_check(check, transaction_id, key, self._form))
        sends = self._timing.sends if purpose is Purpose.CHECK else 1
        last_wait = self._timing.last_wait * wait if purpose is Purpose.CHECK else self._timing.consent_limit
        self._transactions[transaction_id] = Transaction(
            purpose, pair, datagram, transaction_id, key, self._form, priority, self.controlling, nominated, wait,
            now + (wait if sends > 1 else last_wait), sends - 1, last_wait,
        )  # fmt: skip
        self._datagrams.append(datagram)

    def _keep(self, component: int, now: float) -> None:
        pair = self._chosen.get(component)
        if pair is None:
            return
        if self._keeper.asks:
            self._send(pair, Purpose.CONSENT, False, self._timing.first_wait, now)
            self._keeper.asked(component, now + self._timing.consent * secrets.SystemRandom().uniform(0.8, 1.2))
        else:
            datagram = Datagram(pair.local.address, pair.remote.address, self._keeper.indication(self._form))
            self._datagrams.append(datagram)
            self._keeper.asked(component, now + self._timing.keepalive)

    def _lose(self, component: int) -> None:
        """Consent has gone: nothing is sent any more, unless the peer asks or there is a restart."""
        self.selected.pop(component, None)
        self._chosen.pop(component, None)
        self._first_valid.pop(component, None)
        self._failed.add(component)
        self._is_complete = False
        for pair in self.checklist:
            if pair.component == component:
                self.checklist.untrigger(pair)
                self._fail(pair)
        self._events.append(ConsentLost(component))

    def _give_up(self, now: float) -> None:
        """Says of components that nothing works, once it is sure (RFC 8863 section 4)."""
        if self.expect_more or now < self._patient_until:
            return
        for component in self._components:
            pairs = [pair for pair in self.checklist if pair.component == component]
            hopeless = not any(pair.is_unfinished or pair.mapped is not None for pair in pairs)
            if component not in self._chosen and component not in self._failed and hopeless:
                self._failed.add(component)
                self._events.append(Failed(component))

    @property
    def deadline(self) -> float | None:
        """When `handle_timer` has something to do."""
        times = [transaction.due_at for transaction in self._transactions.values()]
        times += self._keeper.deadlines
        if self.has_started and self._security.is_complete:
            if self.checklist.has_work:
                times.append(self._next_check_at)
            if self._decide_at is not None:
                times.append(self._decide_at)
            waits = self._patient_until > self._now and not self.expect_more
            if waits and len(self._chosen.keys() | self._failed) < len(self._components):
                times.append(self._patient_until)
        return min(times, default=None)
