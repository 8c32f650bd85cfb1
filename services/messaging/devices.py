"""Which devices users have now, as the registrar knows them."""

from __future__ import annotations

from parley.messaging.devices import Device, devices_of
from parley.platform.applications.registrations import Registrations


class Devices(Registrations):
    """Look-ups of devices."""

    async def devices(self, aor: str, traceparent: str = "") -> list[Device]:
        """The devices of a user that take messages and can be reached. Raises RpcError."""
        return devices_of(await self.bindings(aor, traceparent))
