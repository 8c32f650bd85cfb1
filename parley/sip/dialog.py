"""Dialogs, for applications that are a user agent (RFC 3261 section 12).

A dialog is made from the request and the response that form it, on either side; it orders the CSeq numbers of
both directions, keeps the route set and the remote target, and builds requests within the dialog. It owns no
transaction and no timer. Invariants: the route set and both tags never change once the dialog is confirmed;
local CSeq numbers rise by one with every request built.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from parley.sip.errors import SipError
from parley.sip.message import Request, Response
from parley.sip.nameaddr import parse_name_addr

TARGET_REFRESHING = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"})
"""Methods whose Contact replaces the remote target (RFC 3261 12.2, RFC 3311, RFC 6665 section 4.4.1, RFC
3515).
"""


class DialogError(SipError):
    """A dialog cannot be made from these messages, or not be used so in its state."""


class DialogState(Enum):
    """How far a dialog is."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class DialogId:
    """What names a dialog at one end (RFC 3261 section 12): Call-ID, own tag, peer's tag ("" for an RFC 2543
    peer).
    """

    call_id: str
    local_tag: str
    remote_tag: str


def dialog_id_of_request(request: Request) -> DialogId:
    """The dialog a received request is for; its ``local_tag`` is empty when it is outside any dialog."""
    return DialogId(request.call_id, request.to_tag or "", request.from_tag or "")


def dialog_id_of_response(response: Response) -> DialogId:
    """The dialog a response to a request of ours belongs to."""
    return DialogId(response.call_id, response.from_tag or "", response.to_tag or "")


class Dialog:
    """One end of a dialog. Make it with ``from_response`` (caller) or ``from_request`` (callee)."""

    __slots__ = (
        "_invite_cseq",
        "id",
        "local_contact",
        "local_cseq",
        "local_party",
        "remote_cseq",
        "remote_party",
        "remote_target",
        "route_set",
        "secure",
        "state",
    )

    def __init__(
        self,
        dialog_id: DialogId,
        *,
        state: DialogState,
        local_party: str,
        remote_party: str,
        remote_target: str,
        route_set: tuple[str, ...],
        local_contact: str,
        local_cseq: int | None,
        remote_cseq: int | None,
        secure: bool,
    ) -> None:
        self.id: DialogId = dialog_id
        self.state: DialogState = state
        self.local_party: str = local_party
        self.remote_party: str = remote_party
        self.remote_target: str = remote_target
        self.route_set: tuple[str, ...] = route_set
        self.local_contact: str = local_contact
        self.local_cseq: int | None = local_cseq
        self.remote_cseq: int | None = remote_cseq
        self.secure: bool = secure
        self._invite_cseq: int | None = local_cseq

    @classmethod
    def from_response(cls, request: Request, response: Response) -> Dialog:
        """The caller's end, from a 101-299 response to a request of ours (section 12.1.2).

        Raises DialogError when the response makes no dialog, and SipParseError for unreadable headers.
        """
        if not 100 < response.status < 300:
            raise DialogError(f"a {response.status} makes no dialog")
        if response.status < 200 and not response.to_tag:
            raise DialogError("a provisional response without To tag makes no dialog")
        return cls(
            dialog_id_of_response(response),
            state=DialogState.EARLY if response.status < 200 else DialogState.CONFIRMED,
            local_party=request.get("From") or "",
            remote_party=response.get("To") or "",
            remote_target=_contact_uri(response) or request.uri_text,
            route_set=tuple(reversed(response.values("Record-Route"))),
            local_contact=request.get("Contact") or "",
            local_cseq=request.cseq.number,
            remote_cseq=None,
            secure=request.uri_text[:5].lower() == "sips:",
        )

    @classmethod
    def from_request(cls, request: Request, response: Response) -> Dialog:
        """The callee's end, from the 101-299 response we send to a request (section 12.1.1).

        The response must have a To tag and, for the peer to reach us, a Contact. Raises DialogError when it
        makes no dialog, and SipParseError for unreadable headers.
        """
        if not 100 < response.status < 300:
            raise DialogError(f"a {response.status} makes no dialog")
        if not response.to_tag:
            raise DialogError("the response to a dialog-forming request needs a To tag")
        target = _contact_uri(request)
        if target is None:
            raise DialogError("the request has no Contact")
        return cls(
            DialogId(request.call_id, response.to_tag, request.from_tag or ""),
            state=DialogState.EARLY if response.status < 200 else DialogState.CONFIRMED,
            local_party=response.get("To") or "",
            remote_party=request.get("From") or "",
            remote_target=target,
            route_set=tuple(request.values("Record-Route")),
            local_contact=response.get("Contact") or "",
            local_cseq=None,
            remote_cseq=request.cseq.number,
            secure=request.uri_text[:5].lower() == "sips:",
        )

    def create_request(
        self,
        method: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Request:
        """The next request within the dialog (section 12.2.1.1), without Via: whoever sends it puts that on.

        ACK and CANCEL are not made here (see ``create_ack``). ``headers`` are appended; a Contact of ours is
        added for methods that refresh the target unless they have one. Raises DialogError when the dialog is
        over.
        """
        if self.state is DialogState.TERMINATED:
            raise DialogError("the dialog is over")
        if method in ("ACK", "CANCEL"):
            raise DialogError(f"an {method} takes no new CSeq")
        self.local_cseq = 1 if self.local_cseq is None else self.local_cseq + 1
        if method == "INVITE":
            self._invite_cseq = self.local_cseq
        return self._request(method, self.local_cseq, headers, body, content_type)

    def create_ack(
        self,
        cseq: int | None = None,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Request:
        """The ACK for a 2xx to an INVITE of ours (section 13.2.2.4), without Via.

        ``cseq`` is that INVITE's number, by default that of the last INVITE sent. Raises DialogError when
        there is none.
        """
        number = cseq if cseq is not None else self._invite_cseq
        if number is None:
            raise DialogError("no INVITE was sent in this dialog")
        return self._request("ACK", number, headers, body, content_type)

    def receive_request(self, request: Request) -> int | None:
        """Take note of a request within the dialog: its CSeq, its Contact, its end (section 12.2.2).

        Returns the status to answer with when it may not be handled: 481 when the dialog is over, 500 when
        its CSeq is lower than one before. ACK and CANCEL carry the INVITE's number and are always accepted. A
        BYE ends the dialog. Raises SipParseError for unreadable headers.
        """
        method = request.method
        if method in ("ACK", "CANCEL"):
            return None
        if self.state is DialogState.TERMINATED:
            return 481
        number = request.cseq.number
        if self.remote_cseq is not None and number < self.remote_cseq:
            return 500
        self.remote_cseq = number
        if method in TARGET_REFRESHING:
            self.remote_target = _contact_uri(request) or self.remote_target
        elif method == "BYE":
            self.state = DialogState.TERMINATED
        return None

    def receive_response(self, request: Request, response: Response) -> None:
        """Take note of a response to a request of ours, the one that formed the dialog included.

        A 2xx confirms an early dialog and sets its route set anew (section 13.2.2.4); a 2xx to a
        target-refreshing request moves the remote target (12.2.1.2). 481 and 408 end the dialog, as does any
        final response to BYE; a failure ends an early dialog.
        """
        status = response.status
        method = request.method
        if self.state is DialogState.TERMINATED or status == 100:
            return
        if status >= 200 and (method == "BYE" or status in (408, 481)):
            self.state = DialogState.TERMINATED
            return
        forming = self.state is DialogState.EARLY and method == "INVITE" and request.cseq.number == self._invite_cseq
        if status >= 300:
            if forming:
                self.state = DialogState.TERMINATED
            return
        if status >= 200 and forming:
            self.state = DialogState.CONFIRMED
            self.route_set = tuple(reversed(response.values("Record-Route")))
        if method in TARGET_REFRESHING:
            self.remote_target = _contact_uri(response) or self.remote_target

    def confirm(self) -> None:
        """Tell that we sent the 2xx (callee's end of an early dialog)."""
        if self.state is DialogState.EARLY:
            self.state = DialogState.CONFIRMED

    def terminate(self) -> None:
        """End the dialog; later requests of the peer get 481."""
        self.state = DialogState.TERMINATED

    def _request(
        self,
        method: str,
        cseq: int,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        content_type: str | None,
    ) -> Request:
        uri, routes = self._way()
        lines: list[tuple[str, str]] = [("Route", value) for value in routes]
        lines += [
            ("Max-Forwards", "70"),
            ("From", self.local_party),
            ("To", self.remote_party),
            ("Call-ID", self.id.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        extra = list(headers)
        if method in TARGET_REFRESHING and self.local_contact:
            named = {name.lower() for name, _ in extra}
            if not named & {"contact", "m"}:
                lines.append(("Contact", self.local_contact))
        if content_type is not None:
            extra.append(("Content-Type", content_type))
        return Request.create(method, uri, headers=[*lines, *extra], body=body)

    def _way(self) -> tuple[str, tuple[str, ...]]:
        """Request-URI and Route values; a strict router in front gets the Request-URI (section 12.2.1.1)."""
        if not self.route_set:
            return self.remote_target, ()
        first = parse_name_addr(self.route_set[0])
        if "lr" in first.uri.params:
            return self.remote_target, self.route_set
        return first.uri_text, (*self.route_set[1:], f"<{self.remote_target}>")


def _contact_uri(message: Request | Response) -> str | None:
    """The URI of the first Contact, None when there is none (or only ``*``)."""
    contacts = message.contacts
    return contacts[0].uri_text if isinstance(contacts, list) and contacts else None
