"""A full ICE agent for one stream: its components are checked, chosen and kept together (RFC 8445, RFC 8838, RFC 7675).

It is driven from outside: `receive` takes datagrams, `handle_timer` the time at which `deadline` is due; afterwards
`datagrams` are to be sent and `events` to be looked at. Which datagrams are STUN the caller tells (RFC 7983), or `receive`
does. Candidates of the caller's own (host, relayed) are given to it; the reflexive ones it finds. Streams of one session
have an agent each, so pairs of one stream do not unfreeze those of another.

[MS-ICE2]: the form of integrity that a peer uses shows in its first check and is used from then on (`parley.ice.wire`).
[MS-ICE]: nothing is nominated; some seconds after the first pair worked the best one is taken, and `choose` follows the
peer's choice. Neither knows consent: indications keep their pairs alive.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from parley.ice.candidates import (
    Candidate,
    CandidateTransport,
    CandidateType,
    Dialect,
    Foundations,
    candidate_priority,
    legacy_priority,
)
from parley.ice.checker import Checker
from parley.ice.checklist import Pair
from parley.ice.credentials import Credentials, random_candidate_credentials
from parley.ice.errors import IceError
from parley.ice.events import CandidateFound, Datagram, Event, GatheringDone, Selected
from parley.ice.gathering import MAX_SERVERS, Gatherer, Reflexive
from parley.ice.relays import Relayed, Relays
from parley.ice.responder import Incoming, answer
from parley.ice.security import CandidateSecurity, Security, StreamSecurity
from parley.ice.transactions import Timing
from parley.ice.wire import Packet, looks_like_check
from parley.stun.addresses import Address
from parley.stun.codes import MAGIC_COOKIE, MessageClass
from parley.stun.errors import StunParseError

MAX_REMOTE: Final = 64
MAX_EARLY: Final = 32
MAX_SOURCES: Final = 64


class Agent:
    """One stream's.

    ``refused`` counts datagrams that looked like checks and were wrong; ``media``: what came over relays and is no check,
    with its component and who sent it.
    """

    def __init__(
        self,
        dialect: Dialect = Dialect.RFC,
        *,
        controlling: bool,
        components: int = 1,
        credentials: Credentials | None = None,
        aggressive: bool = False,
        relay_only: bool = False,
        timing: Timing | None = None,
    ) -> None:
        """``components``: 1, or 2 with RTCP of its own; ``aggressive``: as controlling agent, nominate with every check;
        ``relay_only``: all packets go over relays, and the peer is told of no other candidates (`offered`)."""
        self.dialect = dialect
        self.components = components
        self.local_candidates: list[Candidate] = []
        self.remote_candidates: list[Candidate] = []
        self.datagrams: list[Datagram] = []
        self.events: list[Event] = []
        self.media: list[tuple[int, bytes, Address]] = []
        self.refused = 0
        self._timing = timing or Timing()
        self._stream = StreamSecurity(credentials or Credentials.random())
        security: Security = self._stream
        if dialect is Dialect.MS_ICE:
            security = CandidateSecurity(self.local_candidates, self.remote_candidates)
        self._security = security
        self._checker = Checker(
            dialect, security, self._timing, self.datagrams, self.events, components,
            controlling=controlling, aggressive=aggressive, tie_breaker=secrets.randbits(64), learn=self._learn_mapped,
        )  # fmt: skip
        self._foundations = Foundations()
        self._legacy: dict[str, tuple[str, str]] = {}
        self._gatherer = Gatherer(self._timing)
        self._relays = Relays()
        self._relay_only = relay_only
        self._gathering = False
        self._early: list[tuple[Incoming, Address, Address]] = []
        self._bases: dict[Address, Candidate] = {}
        self._last: dict[Address, bytes] = {}
        self._prflx = 0

    @property
    def credentials(self) -> Credentials:
        """Ours, for ``ice-ufrag`` and ``ice-pwd``."""
        return self._stream.local

    @property
    def offered(self) -> list[Candidate]:
        """The local candidates to tell the peer of; those that checks have shown it knows already."""
        learnt = CandidateType.PEER_REFLEXIVE
        return [each for each in self.local_candidates if each.type is not learnt and self._may_use(each)]

    @property
    def controlling(self) -> bool:
        """Our role; conflicts may change it."""
        return self._checker.controlling

    def selected(self, component: int = 1) -> Selected | None:
        """The pair over which media goes, once there is one."""
        return self._checker.selected.get(component)

    # ---------------------------------------------------------------- candidates

    def add_local(
        self, component: int, address: Address, *, kind: CandidateType = CandidateType.HOST, related: Address | None = None,
        local_preference: int | None = None,
    ) -> Candidate:  # fmt: skip
        """A base of ours: a UDP socket's address, or with ``RELAYED`` that of a relay, with ``related`` behind it.

        ``local_preference``: at most 65535; None: less than that of those before, so that no two are the same.
        """
        if local_preference is None:
            local_preference = 65535 - sum(base.component == component for base in self._bases.values())
        return self._add(component, address, address, kind, related, local_preference)

    def _add(
        self, component: int, address: Address, base: Address, kind: CandidateType, related: Address | None,
        local_preference: int = 65535, server: str = "",
    ) -> Candidate:  # fmt: skip
        foundation = self._foundations.of(kind, CandidateTransport.UDP, base.host, server)
        priority = candidate_priority(kind, component, local_preference)
        username = password = ""
        if self.dialect is Dialect.MS_ICE:
            username, password = self._legacy.setdefault(foundation, random_candidate_credentials())
            foundation, priority = username, legacy_priority(kind)
        candidate = Candidate(
            foundation, component, CandidateTransport.UDP, priority, address, kind,
            related=related, base=base, username=username, password=password,
        )  # fmt: skip
        self.local_candidates.append(candidate)
        if base == address:
            self._bases[base] = candidate
            for remote in self.remote_candidates if self._may_use(candidate) else ():
                self._pair(candidate, remote)
        return candidate

    def _pair(self, local: Candidate, remote: Candidate) -> Pair | None:
        pair = self._checker.checklist.add(local, remote, self.controlling)
        if pair is not None and local.type is CandidateType.RELAYED:
            # Now and not with the first check: ours may wait for an answer to another pair, while the peer already checks
            # this one and waits for an answer too.
            self._relays.expect(local.address, remote.address.host)
        return pair

    def gather(self, servers: Iterable[Address], now: float) -> None:
        """Asks STUN servers what our host candidates look like; `GatheringDone` follows."""
        self._gathering = True
        for server in list(servers)[:MAX_SERVERS]:
            for base, candidate in self._bases.items():
                if candidate.type is CandidateType.HOST and base.family is server.family:
                    self._gatherer.ask(base, server, now)
        self.handle_timer(now)

    def allocate(self, server: Address, username: str, password: str, now: float) -> None:
        """Asks a TURN server for a relay of each host candidate of its family; `GatheringDone` follows."""
        self._gathering = True
        for base, candidate in list(self._bases.items()):
            if candidate.type is CandidateType.HOST and base.family is server.family:
                self._relays.ask(base, server, username, password, now)
        self.handle_timer(now)

    def set_remote(
        self, credentials: Credentials | None, candidates: Iterable[Candidate], now: float, *, more: bool = False,
        lite: bool = False,
    ) -> None:  # fmt: skip
        """What the peer's description says, and checks begin. ``credentials``: None with [MS-ICE]; ``more``: candidates
        trickle in with `add_remote`; ``lite``: the peer only answers, so that we control."""
        self._stream.remote = credentials
        self._checker.expect_more = more
        if lite:
            self._checker.be(controlling=True)
        self._checker.start(now)
        for candidate in candidates:
            self._take_remote(candidate)
        early, self._early = self._early, []
        for incoming, base, source in early:
            self._react(incoming, base, source, now, repeated=False)
        self.handle_timer(now)

    def add_remote(self, candidate: Candidate | None, now: float) -> None:
        """One candidate of the peer, or None for the end of them (RFC 8838 section 8.2)."""
        if candidate is None:
            self._checker.expect_more = False
        else:
            self._take_remote(candidate)
        self.handle_timer(now)

    def _may_use(self, local: Candidate) -> bool:
        return local.type is CandidateType.RELAYED or not self._relay_only

    def _is_named(self, candidate: Candidate) -> bool:
        return self.dialect is not Dialect.MS_ICE or bool(candidate.username and candidate.password)

    def _take_remote(self, candidate: Candidate) -> None:
        if candidate.component > self.components or not candidate.is_usable or not self._is_named(candidate):
            return
        for at, known in enumerate(self.remote_candidates):
            if known.address == candidate.address and known.component == candidate.component:
                if known.type is CandidateType.PEER_REFLEXIVE:
                    # What a check taught goes on with the name and priority that the peer signals.
                    self.remote_candidates[at] = candidate
                    self._checker.rename(known, candidate)
                return
        if len(self.remote_candidates) < MAX_REMOTE:
            self.remote_candidates.append(candidate)
            for local in filter(self._may_use, self._bases.values()):
                self._pair(local, candidate)

    # ---------------------------------------------------------------- what comes in

    def receive(self, data: bytes, base: Address, source: Address, now: float) -> bool:
        """A datagram that came to a base of ours; False when it is none of ICE, but media."""
        if data[4:8] == MAGIC_COOKIE and self._gatherer.is_busy:
            found = self._gatherer.receive(data, base, source)
            if found:
                if isinstance(found, Reflexive):
                    self._learn_reflexive(found)
                self.handle_timer(now)
                return True
        carried = self._relays.receive(data, base, source, now)
        if carried is None:
            return self._receive(data, base, source, now)
        for relayed in self._relays.take_found():
            self._learn_relayed(relayed)
        for packet in carried:
            if not self._receive(packet.data, packet.relay, packet.peer, now) and packet.relay in self._bases:
                self.media.append((self._bases[packet.relay].component, packet.data, packet.peer))
        self.handle_timer(now)
        return True

    def _receive(self, data: bytes, base: Address, source: Address, now: float) -> bool:
        if not looks_like_check(data, self.dialect):
            return False
        local = self._bases.get(base)
        try:
            packet = Packet.parse(data, self.dialect)
        except StunParseError:
            self.refused += 1
            return True
        if local is None:
            return True
        if packet.message_class is MessageClass.REQUEST:
            self._receive_request(packet, local, base, source, now)
        elif packet.message_class is not MessageClass.INDICATION and not self._checker.receive(packet, base, source, now):
            self.refused += 1
        self.handle_timer(now)
        return True

    def _receive_request(self, packet: Packet, local: Candidate, base: Address, source: Address, now: float) -> None:
        reply, incoming = answer(packet, source, self._security, self._checker.role)
        if reply:
            self.datagrams.append(Datagram(base, source, reply))
        if incoming is None:
            self.refused += 1
            return
        if incoming.role_changes:
            self._checker.switch_role(now)
        if self.dialect is not Dialect.MS_ICE and self._stream.is_previous(incoming.check.username):
            return
        self._checker.heard(incoming.form, now)
        if not self._security.is_complete or not self._checker.has_started:
            if len(self._early) < MAX_EARLY:
                self._early.append((incoming, base, source))
            return
        repeated = packet.transaction_id == self._last.get(source)
        if source in self._last or len(self._last) < MAX_SOURCES:
            self._last[source] = packet.transaction_id
        self._react(incoming, base, source, now, repeated=repeated)

    def _react(self, incoming: Incoming, base: Address, source: Address, now: float, *, repeated: bool) -> None:
        """A right check asks for one back, and may nominate (RFC 8445 section 7.3.1)."""
        local = self._bases.get(base)
        if local is None or not self._may_use(local):
            return
        pair = self._checker.checklist.find(base, source)
        if pair is None:
            remote = self._remote_at(source, local.component, incoming)
            pair = None if remote is None else self._pair(local, remote)
        if pair is not None:
            self._checker.triggered_by_peer(pair, incoming.check, now, repeated=repeated)

    def _remote_at(self, source: Address, component: int, incoming: Incoming) -> Candidate | None:
        """The candidate at an address, if need be a peer-reflexive one learnt now (section 7.3.1.3)."""
        for candidate in self.remote_candidates:
            if candidate.address == source and candidate.component == component:
                return candidate
        sender = self._security.sender(incoming.check.username)
        if len(self.remote_candidates) >= MAX_REMOTE or (sender is None and self.dialect is Dialect.MS_ICE):
            return None
        self._prflx += 1
        priority = incoming.check.priority
        learnt = Candidate(
            f"prflx{self._prflx}", component, CandidateTransport.UDP, priority, source, CandidateType.PEER_REFLEXIVE
        )
        if sender is not None:
            priority = min(sender.priority, legacy_priority(CandidateType.PEER_REFLEXIVE))
            learnt = replace(learnt, priority=priority, username=sender.username, password=sender.password)
        self.remote_candidates.append(learnt)
        return learnt

    def _learn_reflexive(self, found: Reflexive) -> None:
        base = self._bases[found.base]
        if any(known.address == found.address and known.component == base.component for known in self.local_candidates):
            return
        candidate = self._add(
            base.component, found.address, found.base, CandidateType.SERVER_REFLEXIVE, found.base, server=found.server.host
        )
        self.events.append(CandidateFound(candidate))

    def _learn_relayed(self, found: Relayed) -> None:
        base = self._bases[found.base]
        if found.mapped is not None and found.mapped != found.base:
            self._learn_reflexive(Reflexive(found.base, found.server, found.mapped))
        candidate = self._add(
            base.component, found.address, found.address, CandidateType.RELAYED, found.mapped or found.base,
            base.priority >> 8 & 0xFFFF, found.server.host,
        )  # fmt: skip
        self.events.append(CandidateFound(candidate))

    def _learn_mapped(self, local: Candidate, mapped: Address, priority: int) -> Candidate:
        """The local candidate that a peer sees us at (section 7.2.5.3.1)."""
        for candidate in self.local_candidates:
            if candidate.address == mapped and candidate.component == local.component:
                return candidate
        learnt = replace(
            local, foundation=f"{local.foundation}p"[:32] if self.dialect is not Dialect.MS_ICE else local.foundation,
            priority=priority, address=mapped, type=CandidateType.PEER_REFLEXIVE, related=local.address,
        )  # fmt: skip
        self.local_candidates.append(learnt)
        return learnt

    # ---------------------------------------------------------------- choice, time, restart

    def choose(self, component: int, remote: Address, now: float) -> bool:
        """The peer's description names our counterpart at that address as chosen; whether a pair to it works."""
        return self._checker.choose(component, remote, now)

    @property
    def deadline(self) -> float | None:
        """When `handle_timer` is to be called, or None while nothing is due."""
        parts = (self._checker.deadline, self._gatherer.deadline, self._relays.deadline)
        return min((at for at in parts if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Does what is due."""
        self.datagrams += self._gatherer.due(now)
        self._checker.handle_timer(now)
        self.datagrams[:] = [self._relays.wrap(datagram, now) for datagram in self.datagrams]
        self.datagrams[:0] = self._relays.due(now)
        if self._gathering and not self._gatherer.is_busy and not self._relays.is_busy:
            self._gathering = False
            self.events.append(GatheringDone())

    def send(self, component: int, data: bytes, now: float) -> bool:
        """Media, over the selected pair; False while there is none."""
        selected = self.selected(component)
        if selected is None:
            return False
        self.datagrams.append(self._relays.wrap(Datagram(selected.base, selected.remote.address, data), now, media=True))
        self.datagrams[:0] = self._relays.due(now)
        return True

    def release(self, now: float) -> None:
        """Gives its relays back, at its end."""
        self._relays.release(now)
        self.datagrams += self._relays.due(now)

    def restart(self, credentials: Credentials | None = None) -> None:
        """Begins anew with other credentials; the old pairs carry media until new ones are selected (RFC 8445 section 9).

        Raises IceError with [MS-ICE], which knows no restart: there a new agent takes over.
        """
        if self.dialect is Dialect.MS_ICE:
            raise IceError("a session of [MS-ICE] cannot restart")
        self._stream.previous = self._stream.local
        self._stream.local = credentials or Credentials.random()
        self._stream.remote = None
        self.remote_candidates.clear()
        self._early.clear()
        self._last.clear()
        self._checker.restart()
