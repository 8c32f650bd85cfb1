"""What other services ask of the access that users give (proto parley.presence.v1.Access)."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.presence.access import effective_container
from parley.presence.model import BLOCKED
from parley.proto.presence.v1.access_pb2 import CheckRequest, CheckResponse
from parley.proto.presence.v1.access_pb2_grpc import AccessServicer
from services.presence.repository import PresenceRepository


class AccessSurface(AccessServicer):
    """Judges by the containers as they are now."""

    def __init__(self, repository: PresenceRepository) -> None:
        self._repository = repository

    async def Check(self, request: CheckRequest, context: Any) -> CheckResponse:
        """Whether the presentity has blocked the watcher."""
        try:
            state = await self._repository.presentity(request.presentity)
        except StoreError as error:
            raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        return CheckResponse(blocked=effective_container(state, request.watcher) == BLOCKED)
