"""Requests for other domains (RFC 3261 section 16.6, RFC 3263), behind a policy that is closed unless opened.

Users who authenticated may call the domains that the configuration names; nobody else is relayed for anyone. The next hop
is found by NAPTR, SRV and address records, and tried in their order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

from parley.platform.resolver import Resolver, ResolverAway
from parley.sip.location import Endpoint
from parley.sip.location import Target as Place
from parley.sip.proxy.recordroute import DIALOG_FORMING
from parley.sip.proxy.targets import Target
from services.frontend.flows import Flow
from services.frontend.proxying.branches import FlowRef
from services.frontend.proxying.context import Plan, ProxiedRequest
from services.frontend.proxying.wiring import Addresses, Identity

logger = logging.getLogger(__name__)


class Connector(Protocol):
    """Reaches servers."""

    async def connect(self, endpoint: Endpoint) -> Flow:
        """A flow to a server, an open one if there is one. Raises OSError."""


class Outside:
    """See `services.frontend.proxying.wiring.OutsideSender`."""

    def __init__(
        self,
        allowed: frozenset[str],
        resolver: Resolver,
        connector: Connector,
        edge_uid: str,
        addresses: Addresses,
        *,
        connect_s: float,
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
    ) -> None:
        """``allowed``: domains in lower case; "*" allows all. ``connect_s``: seconds to connect to one server."""
        self._allowed = allowed
        self._resolver = resolver
        self._connector = connector
        self._edge_uid = edge_uid
        self._addresses = addresses
        self._connect_s = connect_s
        self._spawn = spawn

    def permits(self, domain: str) -> bool:
        """Whether users may call a domain."""
        return "*" in self._allowed or domain.lower() in self._allowed

    async def send(self, proxied: ProxiedRequest, who: Identity, plan: Plan) -> None:
        """Forwards a request, or answers 403, 404 or 503."""
        uri = proxied.request.uri
        if not uri.is_sip or not self.permits(uri.host):
            proxied.refuse(403, "Calls to That Domain Are Not Allowed")
            return
        try:
            endpoints = await self._resolver.locate(Place.of(uri))
        except ResolverAway as error:
            logger.warning("%s cannot be looked up: %s", uri.host, error)
            proxied.refuse(503, "Name Servers Do Not Answer", (("Retry-After", "30"),))
            return
        if not endpoints:
            proxied.refuse(404, "No Server Found for That Domain")
            return
        servers = iter(endpoints)
        target = await self._next(servers, str(uri))
        if target is None:
            proxied.refuse(503, "No Server of That Domain Answers", (("Retry-After", "30"),))
            return
        record = proxied.request.method in DIALOG_FORMING
        plan.record_route = record
        plan.inbound_route = self._addresses.route(proxied.flow) if record else ""
        plan.retried = frozenset({408, 430, 503})
        plan.more_targets = lambda proxied, target, branch_id: self._fail_over(proxied, servers, branch_id)
        proxied.plan = plan
        proxied.fork([[target]])

    def _fail_over(self, proxied: ProxiedRequest, servers: Iterator[Endpoint], branch_id: int) -> bool:
        """A server failed: the next one is tried (RFC 3263 section 4.3)."""

        async def go_on() -> None:
            target = await self._next(servers, proxied.request.uri_text)
            proxied.flow_failed(branch_id, [target] if target is not None else [], 503)

        self._spawn("fail-over", go_on())
        return True

    async def _next(self, servers: Iterator[Endpoint], uri: str) -> Target | None:
        """The next server that takes a connection, as a target."""
        for endpoint in servers:
            try:
                async with asyncio.timeout(self._connect_s):
                    flow = await self._connector.connect(endpoint)
            except (OSError, TimeoutError) as error:
                logger.info("%s:%d cannot be reached: %s", endpoint.address, endpoint.port, error or "no answer")
                continue
            return Target(uri, flow=FlowRef(self._edge_uid, flow.connection_id))
        return None
