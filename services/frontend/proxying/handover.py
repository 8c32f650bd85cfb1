"""Requests at applications, and past them: an application may leave a request to the endpoints of its user after all.

It says which contacts may be tried, and with which statuses the request is to come back to it, once, when all of them
refused it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from parley.proto.sip.v1.application_pb2 import Proceed
from parley.sip.message import Response
from services.frontend.proxying.context import ProxiedRequest
from services.frontend.proxying.wiring import ApplicationSender, Identity

InBackground = Callable[[str, ProxiedRequest, Coroutine[Any, Any, None]], None]
"""Runs work on a request under a name; whatever goes wrong in it is answered."""

Onward = Callable[[ProxiedRequest, Identity, frozenset[str]], Awaitable[None]]
"""Routes a request as if there were no applications; to bindings with these contacts alone, if any are named."""


class Handover:
    """Hands requests to applications."""

    def __init__(self, applications: ApplicationSender, in_background: InBackground, onward: Onward) -> None:
        self._applications = applications
        self._in_background = in_background
        self._onward = onward

    async def send(self, proxied: ProxiedRequest, application: str, who: Identity, refused_with: int = 0) -> None:
        """Sends a request to an application. Raises RpcError. ``refused_with``: what the endpoints said to it before."""

        def proceed(wish: Proceed) -> None:
            self._in_background("proceed", proxied, self._past(proxied, application, who, wish))

        await self._applications.send(proxied, application, who, proceed, refused_with=refused_with)

    async def _past(self, proxied: ProxiedRequest, application: str, who: Identity, wish: Proceed) -> None:
        def on_refused(response: Response) -> bool:
            if response.status not in wish.fallback:
                return False
            plan = proxied.plan
            if plan is not None and plan.on_forwarded is not None:
                plan.on_forwarded(response)  # as a call it is over: what the application makes of it is none
                plan.on_forwarded = None
            self._in_background("fallback", proxied, self.send(proxied, application, who, response.status))
            return True

        if wish.fallback:
            proxied.on_refused = on_refused
        await self._onward(proxied, who, frozenset(wish.contacts))
