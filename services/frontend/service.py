"""The gRPC surface of the front end (proto parley.sip.v1.Edge)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parley.platform.rpc.duplex import duplex_handler
from parley.proto.sip.v1 import edge_pb2 as pb
from parley.proto.sip.v1.edge_pb2_grpc import EdgeServicer
from services.frontend.authentication import DigestAuthenticator
from services.frontend.calls import CallTracker
from services.frontend.proxying.delivery import Deliveries


class EdgeSurface(EdgeServicer):
    """What this front end does for others."""

    def __init__(
        self, authenticator: DigestAuthenticator, calls: CallTracker, new_deliveries: Callable[[], Deliveries]
    ) -> None:
        self._authenticator = authenticator
        self._calls = calls
        self.Deliver: Any = duplex_handler(new_deliveries, pb.DeliverResponse)

    async def CheckNonce(self, request: pb.CheckNonceRequest, context: Any) -> pb.CheckNonceResponse:
        """Whether a use of one of our nonces, shown to another front end, is new."""
        return pb.CheckNonceResponse(accepted=self._authenticator.check_own(request.nonce, request.nonce_count))

    async def ListCalls(self, request: pb.ListCallsRequest, context: Any) -> pb.ListCallsResponse:
        """The calls that began here and go on."""
        return pb.ListCallsResponse(
            calls=[
                pb.Call(
                    call_id=call.key.call_id,
                    from_aor=call.from_aor,
                    to_aor=call.to_aor,
                    state=call.state,
                    started_at_ms=round(call.started_at * 1000),
                    answered_at_ms=round((call.answered_at or 0) * 1000),
                )
                for call in self._calls
            ]
        )
