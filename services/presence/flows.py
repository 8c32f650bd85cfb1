"""Where the client of a subscription is now, when the connection it came by is gone."""

from __future__ import annotations

from typing import Final

from parley.platform.rpc.batch import BatchClient
from parley.platform.rpc.errors import RpcError
from parley.proto.presence.v1 import state_pb2 as pb
from parley.proto.registrar.v1.registrar_pb2 import Binding, BindingLookup, BindingLookupResult
from parley.proto.sip.v1.message_pb2 import Flow

_TIMEOUT_S: Final = 3.0

LookupClient = BatchClient[BindingLookup, BindingLookupResult]


class FlowFinder:
    """Looks at the registrations of the subscriber."""

    def __init__(self, registrar: LookupClient) -> None:
        self._registrar = registrar

    async def find(self, subscription: pb.Subscription) -> Flow | None:
        """The flow of the endpoint's present binding; None when it has none. Raises RpcError."""
        result = await self._registrar.call(BindingLookup(aor=subscription.watcher), timeout=_TIMEOUT_S)
        if result.status.code:
            raise RpcError.from_number(result.status.code, result.status.message)
        for binding in result.bindings:
            if _is_its(binding, subscription) and binding.flow != subscription.flow:
                return binding.flow
        return None


def _is_its(binding: Binding, subscription: pb.Subscription) -> bool:
    if subscription.endpoint:
        return binding.epid == subscription.endpoint
    return binding.contact == subscription.remote_target
