"""Devices whose connection has just ended: a request waits for them to come back, for as long as their binding does.

A connection ends when a front end is drained, a phone changes its network or a middlebox forgets it, and a moment later the
device registers again, here or at another front end. A branch that finds its flow gone (430, RFC 5626 section 5.3) is held
meanwhile, and then the new flow is tried in its place.

A device that ended its connection may be gone for good, so it is waited for shortly. One whose front end has ended, or was
started again since, was sent away by us: it will be back, and when many are, they take their time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from parley.platform.applications.messages import aor_of
from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.errors import SipError
from parley.sip.message import Request
from parley.sip.proxy.targets import Target
from services.frontend.proxying.branches import FlowRef
from services.frontend.proxying.context import STOPPING, ProxiedRequest
from services.frontend.proxying.peers import PeerEdges
from services.frontend.proxying.targets import flow_of
from services.frontend.proxying.wiring import Directory

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.2
_PAUSE_GROWS: Final = 1.5
_LONGEST_PAUSE_S: Final = 1.0
"""Between two looks whether a device is back: many may be waited for, while registrars are busy with those who come back."""
_MOST_FLOWS: Final = 4
"""So many flows of one device are tried: who comes and goes is not followed for ever."""

MoreTargets = Callable[[ProxiedRequest, Target, int], bool]
Look = Callable[[], Awaitable[list[Target]]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a device that has gone is waited for, in seconds."""

    flow_s: float
    """When only its connection has ended."""
    edge_s: float
    """When its front end has."""
    dialog_s: float
    """When its front end has, for a request in a dialog: what goes on is worth more, and nobody listens to silence."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """How far this front end is on its way out."""

    is_draining: Callable[[], bool]
    """It sends its own clients away."""
    is_ending: Callable[[], bool]
    """It closes their connections, and will hardly be there to give an answer."""


class ReturningDevices:
    """Looks for the new flows of devices."""

    def __init__(
        self, edge_uid: str, directory: Directory, peers: PeerEdges,
        spawn: Callable[[str, Coroutine[Any, Any, None]], object], patience: Patience, leaving: Leaving,
    ) -> None:  # fmt: skip
        self._leaving = leaving
        self._edge_uid = edge_uid
        self._directory = directory
        self._peers = peers
        self._spawn = spawn
        self._patience = patience

    def of_dialog(self) -> MoreTargets:
        """The device of a dialog, which is the one that has the contact; see `Plan.more_targets`."""
        tried: set[object] = set()

        def more_targets(proxied: ProxiedRequest, target: Target, branch_id: int) -> bool:
            tried.add(target.flow)
            if len(tried) > _MOST_FLOWS:
                return False

            async def look() -> list[Target]:
                found = await self.flows_of_device(proxied.request, target, proxied.span.traceparent)
                return [other for other in found if other.flow not in tried][:1]

            self._spawn("new-flow", self._wait(proxied, target, branch_id, look, self._patience.dialog_s))
            return True

        return more_targets

    async def flows_of_device(self, request: Request, target: Target, traceparent: str) -> list[Target]:
        """Where the device of a dialog is reached by now, besides the flow that it had. Raises RpcError, SipError."""
        bindings = await self._directory.lookup(aor_of(request.to), traceparent)
        return [
            Target(target.uri, flow=flow_of(binding), route=tuple(binding.path))
            for binding in bindings
            if binding.edge_address and flow_of(binding) != target.flow and _has(binding, target.uri)
        ]

    def rounds_of_dialog(self, target: Target) -> AsyncIterator[None]:
        """When to look whether the device of a dialog is back: at once, then until the patience is over. Raises RpcError."""
        return self._rounds(target, self._patience.dialog_s)

    def of_user(self, targets_now: Look, tried: Iterable[Target]) -> MoreTargets:
        """Any device of a user that was not tried; ``targets_now``: where the user is reached by now. Raises RpcError."""
        known = {flow for target in tried for flow in (target.flow, *(other.flow for other in target.alternatives))}

        async def look() -> list[Target]:
            new = [target for target in await targets_now() if _is_held(target) and target.flow not in known]
            known.update(target.flow for target in new)
            return new

        def more_targets(proxied: ProxiedRequest, target: Target, branch_id: int) -> bool:
            if target.alternatives:
                return False  # other flows of the same device come first
            self._spawn("new-flow", self._wait(proxied, target, branch_id, look, self._patience.edge_s))
            return True

        return more_targets

    async def _wait(self, proxied: ProxiedRequest, target: Target, branch_id: int, look: Look, edge_s: float) -> None:
        """Holds a branch until a device is back, the patience is over, or nobody wants to know any more.

        ``edge_s``: the patience with one whose front end has gone.
        """
        found: list[Target] = []
        failure: RpcError | None = None
        try:
            async for _ in self._rounds(target, edge_s):
                found = await look()
                if found or proxied.is_over or self._has_no_time(proxied):
                    break
        except RpcError as error:  # who waits would only add to what registrars have no time for
            logger.info("no other flow could be looked up: %s", error)
            failure = error
        except SipError as error:
            logger.info("no other flow can be looked up: %s", error)
        finally:
            if not found and self._has_no_time(proxied):
                proxied.refuse(*STOPPING)
            elif failure is not None and proxied.hangs_on(branch_id):
                proxied.refuse_for(failure)  # nobody knows where the device is: that is no reason to say that it is nowhere
            proxied.flow_failed(branch_id, found)

    def _has_no_time(self, proxied: ProxiedRequest) -> bool:
        """Whether this front end may be gone before a call is answered, which is not sent again; another one can wait."""
        return proxied.is_invite() and self._leaving.is_ending()

    async def _rounds(self, target: Target, edge_s: float) -> AsyncIterator[None]:
        """At once, and again for as long as the device of a flow that is gone may still come back. Raises RpcError."""
        begun = asyncio.get_running_loop().time()
        pause = _FIRST_PAUSE_S
        while True:
            yield
            if not await self._is_awaited(target, begun, edge_s):
                return
            await asyncio.sleep(pause)
            pause = min(pause * _PAUSE_GROWS, _LONGEST_PAUSE_S)

    async def _is_awaited(self, target: Target, begun: float, edge_s: float) -> bool:
        """Whether it is worth to look again. Raises RpcError."""
        waited = asyncio.get_running_loop().time() - begun
        if waited < self._patience.flow_s:
            return True
        return waited < edge_s and await self._is_edge_gone(target)

    async def _is_edge_gone(self, target: Target) -> bool:
        flow = target.flow
        if not isinstance(flow, FlowRef):
            return False
        if flow.edge_uid == self._edge_uid:
            if self._leaving.is_draining():
                return True
        elif not flow.edge_address or self._peers.is_away(flow.edge_address):
            return True
        return not await self._directory.edge_address(flow.edge_uid, flow.connection_id)


def _is_held(target: Target) -> bool:
    """Whether there is a front end that holds the flow."""
    return isinstance(target.flow, FlowRef) and bool(target.flow.edge_address)


def _has(binding: Binding, uri: str) -> bool:
    return uri in (binding.contact, binding.pub_gruu, binding.temp_gruu)
