"""Stray responses: those that come to a front end which has no transaction for them.

A client answers to the address in our Via. That is the address of all front ends: a phone that has moved answers over its
new connection, and a balancer that has forgotten a phone on UDP gives its answer to any of them. Who made the branch has
the transaction, and is given the response. One whose transaction is over is dropped (RFC 6026 section 7.3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from prometheus_client import Counter

from parley.platform.rpc.errors import RpcError
from parley.sip.message import Response
from parley.sip.nonce import issuer_id
from services.frontend.proxying.peers import PeerEdges
from services.frontend.proxying.vias import maker_of
from services.frontend.proxying.wiring import Directory

logger = logging.getLogger(__name__)

_STRAYS = Counter(
    "parley_frontend_stray_responses_total",
    "Responses without a transaction here: 'given' to another front end, or 'dropped'",
    ["outcome"],
)  # fmt: skip
_MOST: Final = 256
"""So many may wait to be told where their front end is: more are dropped, as clients repeat what matters."""


class StrayResponses:
    """Finds the front ends that responses are for."""

    def __init__(
        self, edge_uid: str, directory: Directory, peers: PeerEdges,
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:  # fmt: skip
        self._own = issuer_id(edge_uid)
        self._directory = directory
        self._peers = peers
        self._spawn = spawn
        self._waiting = 0

    def pass_on(self, response: Response) -> None:
        """Gives a response to the front end whose request it answers, if there is one. Raises SipParseError."""
        maker = maker_of(response.via.branch or "")
        if maker is None or maker == self._own or self._waiting >= _MOST:
            self._drop(response)
            return
        self._waiting += 1
        self._spawn("stray-response", self._find(response, maker))

    async def _find(self, response: Response, maker: bytes) -> None:
        try:
            address = await self._directory.address_of_issuer(maker)
        except RpcError as error:
            logger.info("the front end of a response could not be looked up: %s", error)
            address = ""
        finally:
            self._waiting -= 1
        if address and self._peers.give(response, address):
            _STRAYS.labels("given").inc()
        else:
            self._drop(response)

    @staticmethod
    def _drop(response: Response) -> None:
        _STRAYS.labels("dropped").inc()
        logger.debug("a response belongs to no transaction", extra={"call_id": response.get("Call-ID")})
