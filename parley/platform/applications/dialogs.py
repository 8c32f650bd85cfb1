"""Requests of an application in dialogs that clients opened (RFC 3261 section 12.2), wherever these are connected now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from secrets import token_hex
from typing import Final, TypeVar

from grpc import StatusCode

from parley.platform.applications.edges import TIMEOUT_S, EdgeSender, FlowGone
from parley.platform.applications.host import Incoming
from parley.platform.applications.registrations import Registrations
from parley.platform.rpc.errors import RpcError
from parley.proto.sip.v1.dialog_pb2 import Dialog
from parley.sip.message import Request, Response

_MOST_MOVES: Final = 2
"""How often a client is looked for to send one request."""

T = TypeVar("T")


def dialog_of(incoming: Incoming, local_target: str) -> Dialog:
    """The dialog that a request opens, when it is answered with the tag of `tag_of`. ``local_target``: our Contact's URI."""
    request = incoming.request
    contacts = request.contacts
    to = request.get("To") or ""
    dialog = Dialog(
        call_id=request.call_id, local_party=to if request.to_tag else f"{to};tag={token_hex(8)}",
        remote_party=request.get("From") or "",
        remote_target=contacts[0].uri_text if isinstance(contacts, list) and contacts else request.from_.uri_text,
        routes=request.values("Record-Route"), local_target=local_target, aor=incoming.user_aor,
        endpoint=(request.from_.params.get("epid") or "")[:64],
    )  # fmt: skip
    dialog.flow.CopyFrom(incoming.flow)
    return dialog


def tag_of(dialog: Dialog) -> str:
    """Our tag in a dialog."""
    return dialog.local_party.rpartition(";tag=")[2]


def request_in(
    dialog: Dialog, method: str, number: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> Request:
    """A request of ours in a dialog. ``number``: of CSeq, greater than any before."""
    lines = [
        ("Max-Forwards", "70"), ("From", dialog.local_party), ("To", dialog.remote_party), ("Call-ID", dialog.call_id),
        ("CSeq", f"{number} {method}"), ("Contact", f"<{dialog.local_target}>;isfocus"),
    ]  # fmt: skip
    lines += [("Route", route) for route in dialog.routes]
    return Request.create(method, dialog.remote_target, headers=[*lines, *headers], body=body)


class DialogSender:
    """Sends in dialogs."""

    def __init__(self, sender: EdgeSender, finder: Registrations) -> None:
        self._sender = sender
        self._finder = finder

    async def request(
        self, dialog: Dialog, request: Request, *, traceparent: str = "", timeout_s: float = TIMEOUT_S
    ) -> Response:
        """The final response of the client. Raises FlowGone when it is not registered any more, RpcError.

        ``dialog.flow`` is where the client was found.
        """

        async def send() -> Response:
            return await self._sender.request(request, dialog.flow, traceparent=traceparent, timeout_s=timeout_s)

        answer = await self._following(dialog, send)
        if answer.status == 408 and await self._is_elsewhere(dialog):
            answer = await self._following(dialog, send)
        return answer

    async def send(self, dialog: Dialog, request: Request, *, traceparent: str = "") -> None:
        """Sends what has no answer (BENOTIFY). Raises FlowGone, RpcError."""

        async def send() -> None:
            await self._sender.send(request, dialog.flow, traceparent=traceparent)

        await self._following(dialog, send)

    async def stop(self) -> None:
        """Closes all streams."""
        await self._sender.stop()

    async def _following(self, dialog: Dialog, send: Callable[[], Awaitable[T]]) -> T:
        for _ in range(_MOST_MOVES):
            try:
                return await send()
            except FlowGone:
                await self._find(dialog)
        raise RpcError(StatusCode.UNAVAILABLE, "the client is between two connections")

    async def _is_elsewhere(self, dialog: Dialog) -> bool:
        """Whether a client that does not answer has another connection: the one before may have broken unnoticed."""
        try:
            await self._find(dialog)
        except RpcError:
            return False
        return True

    async def _find(self, dialog: Dialog) -> None:
        flow = await self._finder.find(dialog.aor, dialog.endpoint, dialog.remote_target, dialog.flow)
        if flow is None:
            raise FlowGone("the client is not registered")
        dialog.flow.CopyFrom(flow)
