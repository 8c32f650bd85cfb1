"""The ACK of a 2xx: it has no transaction and no answer, so nobody would learn that it went to a flow that is gone.

A device may have come back over another flow, or at another front end, since the dialog was made, or be on its way: what
acknowledges its answer is held for it as its requests are (see `services.frontend.proxying.returning`). It cannot be left to
the device to answer again, which makes the ACK come again too: the front end that has the transaction may have ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from parley.platform.rpc.errors import RpcError
from parley.sip.errors import SipError
from parley.sip.message import Request
from parley.sip.proxy.forwarding import OutgoingVia, prepare_request
from parley.sip.proxy.targets import Target
from services.frontend.flows import Flow, Flows
from services.frontend.limits import refused
from services.frontend.proxying.branches import FlowRef
from services.frontend.proxying.peers import PeerEdges
from services.frontend.proxying.returning import ReturningDevices
from services.frontend.proxying.tracing import traceparent_of
from services.frontend.proxying.wiring import Directory

logger = logging.getLogger(__name__)

_MOST: Final = 256
"""So many are held at a time; more are sent to where their device is now, or dropped."""


class AckSender:
    """Sends ACKs to the flows of devices, here and at other front ends."""

    def __init__(
        self, edge_uid: str, flows: Flows, peers: PeerEdges, directory: Directory, devices: ReturningDevices,
        via: Callable[[str, Request, Flow | None], OutgoingVia],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:  # fmt: skip
        self._edge_uid = edge_uid
        self._flows = flows
        self._peers = peers
        self._directory = directory
        self._devices = devices
        self._via = via
        self._spawn = spawn
        self._held: set[tuple[str, str | None, str | None, int]] = set()

    def send(self, ack: Request, edge_uid: str, connection_id: int) -> None:
        """Sends it to that flow, or to the one that the device has by now, or soon."""
        target = FlowRef(edge_uid, connection_id)
        if not self._sent_here(ack, target):
            self._spawn("ack", self._find(ack, target))

    def _sent_here(self, ack: Request, target: FlowRef) -> bool:
        flow = self._flows.get(target.connection_id) if target.edge_uid == self._edge_uid else None
        return flow is not None and flow.send(bytes(prepare_request(ack, via=self._via(flow.transport, ack, flow)).request))

    async def _find(self, ack: Request, target: FlowRef) -> None:
        name = (ack.call_id, ack.from_tag, ack.to_tag, ack.cseq.number)
        if name in self._held:
            return  # it is a repetition
        may_wait = len(self._held) < _MOST
        self._held.add(name)
        try:
            if target.edge_uid != self._edge_uid:
                address = await self._directory.edge_address(target.edge_uid, target.connection_id)
                target = FlowRef(target.edge_uid, target.connection_id, address)
                if address and await self._sent_there(ack, target):
                    return
            gone = Target(ack.uri_text, flow=target)
            async for _ in self._devices.rounds_of_dialog(gone):
                if await self._sent_elsewhere(ack, gone):
                    return
                if not may_wait:
                    refused("acks")
                    break
            logger.info("an ACK found nobody", extra={"call_id": ack.call_id})
        except (RpcError, SipError) as error:
            logger.info("an ACK could not be passed on: %s", error)
        finally:
            self._held.discard(name)

    async def _sent_elsewhere(self, ack: Request, gone: Target) -> bool:
        """Whether the device has another flow that took it. Raises RpcError, SipError."""
        for other in await self._devices.flows_of_device(ack, gone, traceparent_of(ack) or ""):
            assert isinstance(other.flow, FlowRef)
            if self._sent_here(ack, other.flow) or await self._sent_there(ack, other.flow):
                return True
        return False

    async def _sent_there(self, ack: Request, target: FlowRef) -> bool:
        if target.edge_uid == self._edge_uid:
            return False
        prepared = prepare_request(ack, via=self._via("TCP", ack, None))
        return await self._peers.send_raw(prepared.request, target, traceparent_of(ack) or "")
