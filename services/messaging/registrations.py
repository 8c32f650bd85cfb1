"""Which devices users have now, as the registrar knows them."""

from __future__ import annotations

from typing import Final

from parley.messaging.devices import Device, devices_of
from parley.platform.rpc.batch import BatchClient
from parley.platform.rpc.errors import RpcError
from parley.proto.registrar.v1.registrar_pb2 import Binding, BindingLookup, BindingLookupResult

_TIMEOUT_S: Final = 3.0

LookupClient = BatchClient[BindingLookup, BindingLookupResult]


class Registrations:
    """Look-ups at the registrar."""

    def __init__(self, registrar: LookupClient) -> None:
        self._registrar = registrar

    async def bindings(self, aor: str, traceparent: str = "") -> list[Binding]:
        """The live bindings of a user. Raises RpcError."""
        result = await self._registrar.call(BindingLookup(aor=aor, traceparent=traceparent), timeout=_TIMEOUT_S)
        if result.status.code:
            raise RpcError.from_number(result.status.code, result.status.message)
        return list(result.bindings)

    async def devices(self, aor: str, traceparent: str = "") -> list[Device]:
        """The devices of a user that take messages and can be reached. Raises RpcError."""
        return devices_of(await self.bindings(aor, traceparent))
