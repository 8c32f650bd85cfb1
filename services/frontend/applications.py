"""SIP applications behind the front end (proto parley.sip.v1.Application): requests go out, responses come back.

All requests to one application share a stream. When it breaks, what was under way is answered 503 with Retry-After; what an
application does not answer in time is answered 504. An INVITE may ring for as long as the application lets it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from grpc import StatusCode

from parley.platform.applications.messages import sip_message
from parley.platform.rpc.duplex import DuplexClient
from parley.platform.rpc.errors import RpcError, sip_status
from parley.proto.sip.v1.application_pb2 import ApplicationRequest, ApplicationResponse, Proceed
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, parse_message
from services.frontend.flows import Flow
from services.frontend.proxying.context import ProxiedRequest
from services.frontend.proxying.tracing import traceparent_of
from services.frontend.proxying.wiring import Identity

logger = logging.getLogger(__name__)

_ANSWER_S: Final = 30.0
"""Below Timer F (RFC 3261 section 17.1.2.2): nothing else ends a request other than INVITE that has no answer."""

ApplicationClient = DuplexClient[ApplicationRequest, ApplicationResponse]


class Applications:
    """See `services.frontend.proxying.wiring.ApplicationSender`."""

    def __init__(self, connect: Callable[[str], ApplicationClient], edge_uid: str, *, answer_s: float = _ANSWER_S) -> None:
        """``connect``: a stream client for an application by name; raises ValueError for one that is not configured.

        ``answer_s``: longest wait for the final answer to a request other than INVITE.
        """
        self._answer_s = answer_s
        self._connect = connect
        self._edge_uid = edge_uid
        self._clients: dict[str, ApplicationClient] = {}

    async def send(
        self, proxied: ProxiedRequest, application: str, who: Identity, proceed: Callable[[Proceed], None],
        *, refused_with: int = 0,
    ) -> None:  # fmt: skip
        """Sends a request; its responses go back as they come. Raises RpcError.

        ``proceed``: told when the application leaves it to the front end; ``refused_with``: what the endpoints then said.
        """
        client = self._client(application)
        item = self._item(proxied.request, proxied.flow, application, who)
        item.traceparent = proxied.span.traceparent
        item.refused_with = refused_with
        exchange = _Exchange(proxied, client, application, proceed)
        exchange.id = client.open(item, exchange.on_event)
        if not proxied.is_invite():
            exchange.expect_answer(self._answer_s)
        proxied.on_cancelled = exchange.cancel

    def pass_on(self, ack: Request, flow: Flow, application: str) -> None:
        """Sends an ACK; see `services.frontend.proxying.wiring.ApplicationSender`."""
        try:
            client = self._client(application)
        except RpcError as error:
            logger.info("an ACK could not be passed on: %s", error)
            return
        item = self._item(ack, flow, application, Identity(flow.seal.address() if flow.seal is not None else ""))
        item.traceparent = traceparent_of(ack) or ""
        client.close(client.open(item, _ignore))

    def _client(self, application: str) -> ApplicationClient:
        client = self._clients.get(application)
        if client is None:
            try:
                client = self._clients[application] = self._connect(application)
            except ValueError as error:
                logger.error("%s", error)
                raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None
        return client

    def _item(self, request: Request, flow: Flow, application: str, who: Identity) -> ApplicationRequest:
        item = ApplicationRequest(application=application, user_aor=who.aor, user_name=who.display_name)
        item.message.CopyFrom(sip_message(request))
        item.flow.edge_uid = self._edge_uid
        item.flow.connection_id = flow.connection_id
        return item

    async def stop(self) -> None:
        """Closes all streams."""
        for client in self._clients.values():
            await client.stop()


def _ignore(event: Any) -> None:
    """What has no answer has no events of interest."""


class _Exchange:
    """One request at an application."""

    def __init__(
        self, proxied: ProxiedRequest, client: ApplicationClient, application: str, proceed: Callable[[Proceed], None]
    ) -> None:
        self.id = 0
        self._proceed = proceed
        self._application = application
        self._proxied = proxied
        self._client = client
        self._timer: asyncio.TimerHandle | None = None

    def expect_answer(self, seconds: float) -> None:
        """Fails unless the final answer comes in time."""
        error = RpcError(StatusCode.DEADLINE_EXCEEDED, "no answer in time")
        self._timer = asyncio.get_running_loop().call_later(seconds, self._fail, error)

    def on_event(self, event: Any) -> None:
        """A response, or the end of hope for one."""
        if isinstance(event, RpcError):
            self._fail(event)
        elif event.WhichOneof("kind") == "failure":
            self._fail(RpcError.from_number(event.failure.code, event.failure.message))
        elif event.WhichOneof("kind") == "proceed":
            self._end()
            self._proxied.on_cancelled = None
            self._proceed(event.proceed)
        else:
            self._respond(event.response.raw)

    def _respond(self, raw: bytes) -> None:
        try:
            response = parse_message(raw)
        except SipParseError as error:
            logger.error("an application answered with what is no SIP: %s", error)
            self._end()
            self._proxied.refuse(500)
            return
        if isinstance(response, Response):
            self._proxied.respond(response)
            if response.status >= 300 or (response.status >= 200 and not self._proxied.is_invite()):
                self._end()

    def _end(self) -> None:
        """Wants nothing more of the application."""
        if self._timer is not None:
            self._timer.cancel()
        self._client.close(self.id)

    def _fail(self, error: RpcError) -> None:
        self._end()
        status, retry_after = sip_status(error.code)
        headers = (("Retry-After", str(retry_after)),) if retry_after else ()
        self._proxied.refuse(status, headers=headers)

    def cancel(self, cancel: Any) -> None:
        """The caller gave up; the application answers the request 487."""
        item = ApplicationRequest(id=self.id, application=self._application, cancel=True)
        item.message.CopyFrom(sip_message(cancel))
        self._client.send(item)
