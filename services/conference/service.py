"""The gRPC surface for conferencing servers (proto parley.conference.v1)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from grpc import StatusCode

from parley.conference.roster import join_server, leave_server, participant
from parley.conference.uris import ConferenceName
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.platform.telemetry.tracing import current_span
from parley.proto.conference.v1 import focus_pb2 as rpc
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.conference.v1.focus_pb2_grpc import FocusServicer
from parley.proto.events.v1.conference_pb2 import ConferenceChanged
from services.conference.repository import ConferenceRepository, Fact, Outcome

T = TypeVar("T")


class FocusSurface(FocusServicer):
    """Tells conferencing servers who takes part; is told who came to them."""

    def __init__(self, repository: ConferenceRepository) -> None:
        self._repository = repository

    async def Join(self, request: rpc.JoinRequest, context: Any) -> rpc.JoinResponse:
        """See the proto."""
        now_ms = self._repository.now_ms()

        def apply(conference: pb.Conference) -> Outcome[rpc.JoinResponse]:
            found = participant(conference, request.user)
            if found is None or request.session_type not in conference.mcu_types:
                raise RpcError(StatusCode.PERMISSION_DENIED, "takes no part in the conference")
            answer = rpc.JoinResponse(display_name=found.display_name, presenter=found.presenter)
            if not join_server(found, request.session_type, request.endpoint, now_ms, connected=request.connected):
                return answer, None
            # Who is only let in is nothing to tell: its own client would not know yet what that is about.
            return answer, [Fact(ConferenceChanged.KIND_ROSTER, (request.user,))] if request.connected else ()

        name = ConferenceName(request.organizer, request.conference_id)
        joined = await _stored(self._repository.change(name, apply, current_span().traceparent))
        if joined is None:
            raise RpcError(StatusCode.NOT_FOUND, "there is no such conference")
        return joined

    async def Leave(self, request: rpc.LeaveRequest, context: Any) -> rpc.LeaveResponse:
        """See the proto."""

        def apply(conference: pb.Conference) -> Outcome[bool]:
            if not leave_server(conference, request.user, request.session_type, request.endpoint):
                return False, None
            return True, [Fact(ConferenceChanged.KIND_ROSTER, (request.user,))]

        name = ConferenceName(request.organizer, request.conference_id)
        await _stored(self._repository.change(name, apply, current_span().traceparent))
        return rpc.LeaveResponse()


async def _stored(work: Awaitable[T]) -> T:
    try:
        return await work
    except StoreError as error:
        raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
