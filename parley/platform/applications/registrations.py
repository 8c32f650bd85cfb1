"""Where clients are connected now, as the registrar knows."""

from __future__ import annotations

from typing import Final

from grpc import StatusCode

from parley.platform.rpc.batch import BatchClient
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.sip.v1.message_pb2 import Flow

_TIMEOUT_S: Final = 3.0

LookupClient = BatchClient[pb.BindingLookup, pb.BindingLookupResult]


def lookup_client(rpc: RpcHost) -> LookupClient:
    """The way to the registrations."""
    return BatchClient(
        rpc.channel("parley.registrar.v1.Registrar"), "/parley.registrar.v1.Registrar/Lookup",
        pb.LookupRequest, pb.LookupResponse,
    )  # fmt: skip


class Registrations:
    """Looks at the registrations of clients."""

    def __init__(self, registrar: LookupClient) -> None:
        self._registrar = registrar

    async def bindings(self, aor: str, traceparent: str = "") -> list[pb.Binding]:
        """The live bindings of a user. Raises RpcError."""
        result = await self._registrar.call(pb.BindingLookup(aor=aor, traceparent=traceparent), timeout=_TIMEOUT_S)
        if result.status.code:
            raise RpcError.from_number(result.status.code, result.status.message)
        return list(result.bindings)

    async def find(self, aor: str, endpoint: str, contact: str, gone: Flow) -> Flow | None:
        """The flow of a client's present binding other than the one that is gone; None when the client has no binding.

        ``endpoint``: its epid; "" for a standard phone, which is known by its ``contact``. Raises RpcError, UNAVAILABLE when
        the only binding is still the one of the flow that is gone: the client may be back before that is taken away.
        """
        flows = [
            one.flow
            for one in await self.bindings(aor)
            if (one.epid == endpoint if endpoint else one.contact == contact)
        ]  # fmt: skip
        found = next((flow for flow in flows if flow != gone), None)
        if found is None and flows:
            raise RpcError(StatusCode.UNAVAILABLE, "the client is between two connections")
        return found
