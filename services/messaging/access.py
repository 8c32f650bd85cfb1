"""Who is blocked, as the presence service knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from parley.proto.presence.v1.access_pb2 import CheckRequest

if TYPE_CHECKING:
    from parley.proto.presence.v1.access_pb2_grpc import AccessAsyncStub

_TIMEOUT_S: Final = 3.0


class AccessRules:
    """Asks for every message: whoever blocks somebody wants it to count at once."""

    def __init__(self, presence: AccessAsyncStub | None) -> None:
        """``presence``: None in an installation without a presence service, where nobody can block anybody."""
        self._presence = presence

    async def blocked(self, user: str, sender: str) -> bool:
        """Whether a user has blocked a sender; both addresses of record. Raises RpcError."""
        if self._presence is None or user == sender:
            return False
        answer = await self._presence.Check(CheckRequest(presentity=user, watcher=sender), timeout=_TIMEOUT_S)
        return answer.blocked
