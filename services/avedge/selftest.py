"""Whether the edge is reached by the address that it tells others: asked once after the start, over UDP.

A Binding shows that packets to the advertised address come here; an allocation with credentials of our own that is given
back at once shows that a client would get one. The outcome is in the log, in a metric and in `parley edge test`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import Gauge

from parley.platform.clock import Clock
from parley.proto.avedge.v1.relay_pb2 import GetStatusResponse
from parley.stun.addresses import Address
from parley.stun.probe import Probe, ProbeError
from parley.stun.turn.credentials import TimeLimitedCredentials
from services.avedge.sockets import BoundSocket

logger = logging.getLogger(__name__)

_LIFETIME: Final = 60
_REACHED = Gauge("parley_relay_self_test", "Whether the edge reached itself by its advertised address", ["host"])


class SelfTest:
    """One run for each advertised address."""

    def __init__(self, sockets: Sequence[BoundSocket], advertised: Mapping[str, str], secret: bytes, clock: Clock) -> None:
        self._ports = [bound.local for bound in sockets if bound.kind == "udp"]
        self._advertised = advertised
        self._credentials = TimeLimitedCredentials([secret])
        self._clock = clock
        self.outcomes: list[GetStatusResponse.SelfTest] = []

    async def run(self) -> None:
        """Tries every address."""
        for local, host in self._advertised.items():
            port = next((port for port in self._ports if port.family is Address(local, 0).family), None)
            if port is None:
                continue
            problem = await self._try(Address(host, port.port))
            outcome = GetStatusResponse.SelfTest(
                host=host, reached=not problem, problem=problem, at_ms=round(self._clock.wall() * 1000)
            )
            self.outcomes.append(outcome)
            _REACHED.labels(host).set(not problem)
            if problem:
                logger.warning("clients may not reach the edge by %s: %s", host, problem)
            else:
                logger.info("the edge reaches itself by %s", host)

    async def _try(self, server: Address) -> str:
        """What is wrong, "" for nothing."""
        username, password = self._credentials.issue("self-test", self._clock.wall(), _LIFETIME)
        try:
            async with asyncio.timeout(10), Probe.open(server) as probe:
                await probe.binding()
                await probe.allocate(username, password)
                await probe.release()
        except ProbeError as error:
            return str(error)
        except (OSError, TimeoutError) as error:
            return str(error) or "no answer"
        return ""
