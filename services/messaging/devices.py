"""Which devices users have now, as the registrar knows them."""

from __future__ import annotations

from parley.messaging.devices import Device, devices_of, mode_of
from parley.platform.applications.registrations import Registrations


class Devices(Registrations):
    """Look-ups of devices."""

    async def devices(self, aor: str, traceparent: str = "") -> list[Device]:
        """The devices of a user that take messages and can be reached. Raises RpcError."""
        return devices_of(await self.bindings(aor, traceparent))

    async def awaited(self, aor: str) -> bool:
        """Whether there is a device that cannot be reached: its front end is gone, or away for a moment. Raises RpcError."""
        return any(mode_of(binding) is not None for binding in await self.bindings(aor))
