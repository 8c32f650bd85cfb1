"""The SIP application: each request to whom it concerns, each refusal with the protocol's own answer."""

from __future__ import annotations

from prometheus_client import Counter

from parley.messaging.errors import MessagingError
from parley.platform.applications.host import Incoming
from services.messaging.config import MessagingConfig
from services.messaging.pages import Pages
from services.messaging.sessions import SessionRequests, names_endpoint, session_id_of

_REFUSED = Counter("parley_messaging_refused_total", "Requests refused, by method and status", ["method", "status"])


class MessagingApplication:
    """See `parley.platform.applications.host.Handler`."""

    def __init__(self, config: MessagingConfig, pages: Pages, sessions: SessionRequests) -> None:
        self._config = config
        self._pages = pages
        self._sessions = sessions

    async def handle(self, incoming: Incoming) -> None:
        """Answers one request; SipParseError, StoreError and RpcError are answered by the host."""
        try:
            await self._handle(incoming)
        except MessagingError as error:
            _REFUSED.labels(incoming.request.method, str(error.status)).inc()
            incoming.reply(error.status, error.reason, error.headers)

    async def _handle(self, incoming: Incoming) -> None:
        request = incoming.request
        if request.method == "ACK":
            return  # a session is there when its 200 was sent
        if len(request.body) > self._config.max_message_bytes:
            raise MessagingError(413, "Request Entity Too Large")
        session_id = session_id_of(request.uri)
        if session_id:
            if request.to_tag is None:
                raise MessagingError(481, "Call/Transaction Does Not Exist")
            await self._sessions.in_session(incoming, session_id)
        elif request.to_tag is not None or (request.method == "MESSAGE" and names_endpoint(request.uri)):
            incoming.proceed()  # of a dialog between others, or for one endpoint alone
        elif request.method == "MESSAGE":
            await self._pages.handle(incoming)
        elif request.method == "INVITE":
            await self._sessions.invite(incoming)
        else:
            raise MessagingError(405, "Method Not Allowed", ("Allow", "INVITE, MESSAGE"))
