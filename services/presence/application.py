"""The SIP application: each request to whom it concerns, each refusal with the protocol's own answer."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from parley.platform.applications.host import Incoming
from parley.presence.documents.publications import FAULT_TYPE, fault
from parley.presence.errors import PresenceError, VersionConflict
from parley.sip.diagnostics import ms_diagnostics
from services.presence.config import PresenceConfig
from services.presence.packages import EVENTS
from services.presence.phone_publications import PhonePublications
from services.presence.service_requests import ServiceRequests
from services.presence.subscriptions import Subscriptions
from services.presence.wishes import event_of

_REFUSED = Counter("parley_presence_refused_total", "Requests refused, by method and status", ["method", "status"])

_NO_NUMBER: Final = 1000


class PresenceApplication:
    """See `parley.platform.applications.host.Handler`."""

    def __init__(
        self, config: PresenceConfig, subscriptions: Subscriptions, requests: ServiceRequests, publishing: PhonePublications
    ) -> None:
        self._config = config
        self._subscriptions = subscriptions
        self._requests = requests
        self._publishing = publishing

    async def handle(self, incoming: Incoming) -> None:
        """Answers one request; StoreError and RpcError are answered by the host."""
        request = incoming.request
        try:
            if len(request.body) > self._config.max_body_bytes:
                raise PresenceError("the document is too large", 413)
            if request.method == "SUBSCRIBE":
                if event_of(request) not in EVENTS:
                    incoming.reply(489, None, (("Allow-Events", ", ".join(sorted(EVENTS))),))
                else:
                    await self._subscriptions.handle(incoming)
            elif request.method == "SERVICE":
                await self._requests.handle(incoming)
            elif request.method == "PUBLISH":
                await self._publishing.handle(incoming)
            else:
                incoming.reply(405, None, (("Allow", "SUBSCRIBE, PUBLISH, SERVICE"),))
        except PresenceError as error:
            self._refuse(incoming, error)

    def _refuse(self, incoming: Incoming, error: PresenceError) -> None:
        _REFUSED.labels(incoming.request.method, str(error.status)).inc()
        source = self._config.server_name or incoming.user_aor.rpartition("@")[2]
        headers = [ms_diagnostics(error.error_id or _NO_NUMBER, str(error), source)]
        body = b""
        if isinstance(error, VersionConflict):
            headers.append(("Content-Type", FAULT_TYPE))
            body = fault(error)
        incoming.reply(error.status, None, headers, body)
