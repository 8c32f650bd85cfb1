"""Look-ups of the front end: bindings and front ends at the registrar, users at the address book."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from parley.platform.rpc.batch import BatchClient
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.sip.v1.edge_pb2 import CheckNonceRequest
from parley.proto.sip.v1.edge_pb2_grpc import EdgeStub
from parley.sip.nonce import issued_by, issuer_id
from services.frontend.credentials import CredentialCache

if TYPE_CHECKING:
    from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarAsyncStub
    from parley.proto.sip.v1.edge_pb2_grpc import EdgeAsyncStub

logger = logging.getLogger(__name__)

LookupClient = BatchClient[pb.BindingLookup, pb.BindingLookupResult]

_EDGES_S = 2.0
_AGAIN_S = 0.5
"""Pause after a registrar did not tell the leases, while those that are known may serve."""


class BackendDirectory:
    """See `services.frontend.proxying.wiring.Directory`."""

    def __init__(
        self,
        lookups: LookupClient,
        registrar: RegistrarAsyncStub,
        cache: CredentialCache,
        rpc: RpcHost,
        *,
        timeout_s: float,
    ) -> None:
        self._lookups = lookups
        self._registrar = registrar
        self._cache = cache
        self._rpc = rpc
        self._timeout_s = timeout_s
        self._edges: dict[str, str] = {}
        self._first_connections: dict[str, int] = {}
        self._issuers: dict[bytes, str] = {}
        self._read_at = self._ask_at = float("-inf")
        self._now = asyncio.get_running_loop().time
        self._stubs: dict[str, EdgeAsyncStub] = {}

    async def lookup(self, aor: str, traceparent: str) -> list[pb.Binding]:
        """Live bindings of an address of record. Raises RpcError."""
        item = pb.BindingLookup(aor=aor, traceparent=traceparent)
        result = await self._lookups.call(item, timeout=self._timeout_s)
        return list(result.bindings)

    def exists(self, aor: str, traceparent: str) -> Awaitable[bool]:
        """Whether there is such a user, enabled. Raises RpcError."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        user, _, domain = aor.removeprefix("sip:").partition("@")

        def done(answer: object) -> None:
            if future.done():
                return
            if isinstance(answer, RpcError):
                future.set_exception(answer)
            else:
                future.set_result(answer is not None and bool(getattr(answer, "enabled", False)))

        self._cache.get(user, domain, traceparent, done)
        return future

    async def edge_address(self, edge_uid: str, connection_id: int) -> str:
        """gRPC address of the front end that holds a flow; "" when none does. Raises RpcError."""
        await self._refresh(edge_uid not in self._edges)
        if connection_id < self._first_connections.get(edge_uid, 0):
            return ""
        return self._edges.get(edge_uid, "")

    async def address_of_issuer(self, issuer: bytes) -> str:
        """gRPC address of the front end that an `issuer_id` stands for; "" when it is gone. Raises RpcError."""
        await self._refresh(issuer not in self._issuers)
        return self._edges.get(self._issuers.get(issuer, ""), "")

    async def check_nonce(self, nonce: str, count: int) -> bool:
        """Asks the front end that issued a nonce whether this count is new; False when it is gone. Raises RpcError."""
        issuer = issued_by(nonce)
        address = await self.address_of_issuer(issuer) if issuer is not None else ""
        if not address:
            return False
        stub = self._stubs.get(address)
        if stub is None:
            stub = self._stubs[address] = self._rpc.channel("parley.sip.v1.Edge", address).stub(EdgeStub)
        answer = await stub.CheckNonce(CheckNonceRequest(nonce=nonce, nonce_count=count), timeout=self._timeout_s)
        return bool(answer.accepted)

    async def _refresh(self, unknown: bool) -> None:
        """Reads the leases again when they are old, or when what is looked for is not among them."""
        now = self._now()
        if now - self._read_at < (0.2 if unknown else _EDGES_S) or (now < self._ask_at and not unknown):
            return
        self._ask_at = now + self._timeout_s  # others do not wait for the same answer
        try:
            answer = await self._registrar.ListEdges(pb.ListEdgesRequest(), timeout=self._timeout_s)
        except RpcError as error:
            self._ask_at = self._now() + _AGAIN_S
            if not unknown:  # where it was is better than nowhere
                logger.info("the front ends are not known anew: %s", error)
                return
            raise
        self._read_at, self._ask_at = now, float("-inf")
        self._edges = {edge.edge_uid: edge.address for edge in answer.edges}
        self._first_connections = {edge.edge_uid: edge.first_connection for edge in answer.edges}
        self._issuers = {issuer_id(uid): uid for uid in self._edges}
