"""An ICE-lite agent: it answers checks and follows the peer's nominations, from a reachable address (RFC 8445 section 2.5).

It is for peers of RFC 8445 only; [MS-ICE2] and [MS-ICE] know no lite agents.
"""

from __future__ import annotations

from dataclasses import replace

from parley.ice.candidates import Candidate, CandidateTransport, CandidateType, Dialect, candidate_priority
from parley.ice.credentials import Credentials
from parley.ice.events import Completed, Datagram, Event, Selected
from parley.ice.responder import Role, answer
from parley.ice.security import StreamSecurity
from parley.ice.wire import Packet, looks_like_check
from parley.stun.addresses import Address
from parley.stun.codes import MessageClass
from parley.stun.errors import StunParseError


class LiteAgent:
    """One stream's; its description says ``a=ice-lite``."""

    def __init__(self, *, components: int = 1, credentials: Credentials | None = None) -> None:
        self.components = components
        self.local_candidates: list[Candidate] = []
        self.datagrams: list[Datagram] = []
        self.events: list[Event] = []
        self.refused = 0
        self._security = StreamSecurity(credentials or Credentials.random())
        self._selected: dict[int, Selected] = {}
        self._priorities: dict[int, int] = {}

    @property
    def credentials(self) -> Credentials:
        """Ours, for ``ice-ufrag`` and ``ice-pwd``."""
        return self._security.local

    def selected(self, component: int = 1) -> Selected | None:
        """The pair over which media goes, once there is one."""
        return self._selected.get(component)

    def add_local(self, component: int, address: Address) -> Candidate:
        """A socket's address, which must be reachable: a lite agent has host candidates only."""
        candidate = Candidate(
            "1", component, CandidateTransport.UDP, candidate_priority(CandidateType.HOST, component), address,
            CandidateType.HOST, base=address,
        )  # fmt: skip
        if any(known.address.host != address.host for known in self.local_candidates):
            candidate = replace(candidate, foundation=str(len(self.local_candidates) + 1))
        self.local_candidates.append(candidate)
        return candidate

    def receive(self, data: bytes, base: Address, source: Address) -> bool:
        """A datagram that came to a base of ours; False when it is none of ICE, but media."""
        if not looks_like_check(data, Dialect.RFC):
            return False
        local = next((known for known in self.local_candidates if known.address == base), None)
        try:
            packet = Packet.parse(data, Dialect.RFC)
        except StunParseError:
            self.refused += 1
            return True
        if local is None or packet.message_class is not MessageClass.REQUEST:
            return True
        reply, incoming = answer(packet, source, self._security, Role(False, 0, is_lite=True))
        self.datagrams.append(Datagram(base, source, reply))
        if incoming is None:
            self.refused += 1
        elif incoming.check.nominated and not self._security.is_previous(incoming.check.username):
            self._nominate(local, source, incoming.check.priority)
        return True

    def _nominate(self, local: Candidate, source: Address, priority: int) -> None:
        """A peer that nominates with every check means the best of them."""
        component = local.component
        selected = self._selected.get(component)
        same = selected is not None and (selected.base, selected.remote.address) == (local.address, source)
        if priority < self._priorities.get(component, 0):
            return
        self._priorities[component] = priority
        if same:
            return
        remote = Candidate("prflx1", component, CandidateTransport.UDP, priority, source, CandidateType.PEER_REFLEXIVE)
        was_complete = len(self._selected) == self.components
        self._selected[component] = Selected(component, local.address, local, remote)
        self.events.append(self._selected[component])
        if not was_complete and len(self._selected) == self.components:
            self.events.append(Completed())

    def restart(self, credentials: Credentials | None = None) -> None:
        """Begins anew with other credentials; the old pair carries media until the peer nominates another."""
        self._security.previous = self._security.local
        self._security.local = credentials or Credentials.random()
        self._priorities.clear()
