"""The SIP application: requests to focus factories and to foci, and the answers to what cannot be done."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from parley.c3p.errors import C3pError, CommandFailed, Reason
from parley.conference.uris import FOCUS, is_factory, parse_name
from parley.platform.applications.host import Incoming
from parley.sip.diagnostics import ms_diagnostics
from services.conference.config import ConferenceConfig
from services.conference.factory import Factory
from services.conference.focus import Focus
from services.conference.subscriptions import Subscriptions

_REFUSED = Counter("parley_conference_refused_total", "Requests refused, by method and status", ["method", "status"])

_STATUS: Final = {
    Reason.CONFERENCE_DOES_NOT_EXIST: (404, 3012),
    Reason.MAXIMUM_MEETING_SIZE_EXCEEDED: (486, 3014),
    Reason.INVALID_USER_ENTITY: (400, 3002),
    Reason.INVALID_ROLE: (400, 3016),
    Reason.NOT_SUPPORTED: (501, 3004),
}
"""Status and ms-diagnostics for a join that fails: clients show nothing of a failure in a 200."""
_FORBIDDEN: Final = (403, 3014)
_ALLOW: Final = "INVITE, ACK, BYE, INFO, SUBSCRIBE, OPTIONS"


class ConferenceApplication:
    """See `parley.platform.applications.host.Handler`."""

    def __init__(self, config: ConferenceConfig, factory: Factory, focus: Focus, subscriptions: Subscriptions) -> None:
        self._config = config
        self._factory = factory
        self._focus = focus
        self._subscriptions = subscriptions

    async def handle(self, incoming: Incoming) -> None:
        """Answers one request; StoreError and RpcError are answered by the host."""
        try:
            await self._dispatch(incoming)
        except C3pError as error:
            self._refuse(incoming, error.status, error.error_id, str(error))
        except CommandFailed as error:
            status, error_id = _STATUS.get(error.reason, _FORBIDDEN)
            self._refuse(incoming, status, error_id, str(error))

    async def _dispatch(self, incoming: Incoming) -> None:
        request = incoming.request
        if is_factory(request.uri):
            await self._factory.handle(incoming)
            return
        named = parse_name(request.uri)
        if named is None:
            raise C3pError("that is the name of no conference", 3012, 404)
        name, kind = named
        if kind != FOCUS:
            raise C3pError(f"there is no conferencing server for {kind}", 3013, 404)
        match request.method:
            case "INVITE":
                await self._focus.invite(incoming, name)
            case "BYE":
                await self._focus.bye(incoming, name)
            case "INFO":
                await self._focus.info(incoming, name)
            case "SUBSCRIBE":
                await self._subscriptions.handle(incoming, name)
            case "ACK":
                pass
            case "OPTIONS":
                incoming.reply(200, None, (("Allow", _ALLOW), ("Accept", "application/cccp+xml")))
            case _:
                incoming.reply(405, None, (("Allow", _ALLOW),))

    def _refuse(self, incoming: Incoming, status: int, error_id: int, text: str) -> None:
        _REFUSED.labels(incoming.request.method, str(status)).inc()
        source = self._config.server_name or incoming.user_aor.rpartition("@")[2]
        incoming.reply(status, None, (ms_diagnostics(error_id, text, source),))
