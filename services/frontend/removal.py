"""Taking the bindings of closed connections away, from a registrar that may be away for a while."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1 import registrar_pb2 as pb

logger = logging.getLogger(__name__)

_PAUSE_S: Final = 1.0
_MOST_TRIES: Final = 60


class UpdateClient(Protocol):
    """The registrar's Update; see `parley.platform.rpc.batch.BatchClient`."""

    def submit(self, item: pb.BindingUpdate, *, timeout: float) -> asyncio.Future[pb.BindingUpdateResult]:
        """The result of one item, later."""


class BindingRemoval:
    """Asks again until the registrar has done it; a binding that is left is online until it expires."""

    def __init__(self, registrar: UpdateClient, *, timeout_s: float, pause_s: float = _PAUSE_S) -> None:
        self._registrar = registrar
        self._timeout_s = timeout_s
        self._pause_s = pause_s

    def begin(self, aor: str, edge_uid: str, connection_id: int) -> None:
        """Removes what a user has registered over a connection; numbers of connections are never used again."""
        self._ask(aor, edge_uid, connection_id, 1)

    def _ask(self, aor: str, edge_uid: str, connection_id: int, attempt: int) -> None:
        def done(future: asyncio.Future[pb.BindingUpdateResult]) -> None:
            error = _error_of(future)
            if error is None:
                return
            if attempt >= _MOST_TRIES:
                logger.warning("the bindings of a closed connection could not be removed: %s", error)
                return
            if attempt == 1:
                logger.info("the bindings of a closed connection are not removed yet: %s", error)
            loop = asyncio.get_running_loop()
            loop.call_later(self._pause_s, self._ask, aor, edge_uid, connection_id, attempt + 1)

        # A new item each time: one that was handed over belongs to the other side.
        item = pb.BindingUpdate(aor=aor, flow_closed=True)
        item.common.flow.edge_uid = edge_uid
        item.common.flow.connection_id = connection_id
        self._registrar.submit(item, timeout=self._timeout_s).add_done_callback(done)


def _error_of(future: asyncio.Future[pb.BindingUpdateResult]) -> BaseException | None:
    """Why it was not done; None also when the front end stops."""
    if future.cancelled():
        return None
    error = future.exception()
    if error is not None:
        return error
    status = future.result().status
    return RpcError.from_number(status.code, status.message) if status.code else None
