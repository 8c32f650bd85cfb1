"""A Communicator client in a conference: it signs what it sends, answers what it is asked, and keeps what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import count

from parley.c3p.envelope import CCCP, CONFERENCE_INFO, MSCI
from parley.sip.message import Request, Response, make_response
from parley.xml import child, children, parse_xml, text_of
from tests.support.ocs_client import OcsClient
from tests.support.sip_client import DOMAIN

_numbers = count(1)


class Attendee(OcsClient):
    """One endpoint of a user."""

    def __init__(self, user: str, *, epid: str = "0123456789ab") -> None:
        super().__init__(user, epid=epid)
        self.address = f"sip:{user}@{DOMAIN}"
        self.asked: list[Request] = []
        """Requests of the server, in order."""
        self.answers = {"MESSAGE": 200}
        """Status by method, where it is not 200; 0: none is sent."""
        self._answered: dict[tuple[str, str], Response] = {}
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def join_in(self, port: int, host: str = "127.0.0.1") -> Attendee:
        """Connects and signs in."""
        await self.connect(port, host)
        assert (await self.sign_in(domain="")).status == 200
        self._reader = asyncio.create_task(self._read())
        return self

    async def leave_out(self) -> None:
        """Stops to read."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            message = await self.received.get()
            if isinstance(message, Response):
                if message.status >= 200:
                    assert self.is_signed(message)
                    self._answered[message.call_id, str(message.cseq)] = message
            else:
                assert self.is_signed(message), message
                self.asked.append(message)
                status = self.answers.get(message.method, 200)
                if message.method not in ("ACK", "BENOTIFY") and status:
                    self.send(bytes(self.sign(make_response(message, status, to_tag="t"))))
            self._changed.set()

    async def until(self, what: str, found: object, timeout: float = 10.0) -> None:
        """Waits until a condition holds."""
        assert callable(found)
        async with asyncio.timeout(timeout):
            while not found():
                self._changed.clear()
                try:
                    await self._changed.wait()
                except asyncio.CancelledError:
                    raise AssertionError(f"{self.user} never had {what}: {[str(one) for one in self.asked]}") from None

    async def tell(self, request: Request, timeout: float = 10.0) -> Response:
        """Sends a request; its final response."""
        self.send(bytes(self.sign(request)))
        key = (request.call_id, str(request.cseq))
        await self.until(f"an answer to {request.method}", lambda: key in self._answered, timeout)
        return self._answered[key]

    # Conferences

    def c3p(self, to: str, command: str) -> bytes:
        """A C3P request of ours."""
        return (
            f'<request xmlns="{CCCP}" xmlns:mscp="http://schemas.microsoft.com/rtc/2005/08/cccpextensions" C3PVersion="1" '
            f'requestId="{next(_numbers)}" from="{self.address}" to="{to}">{command}</request>'
        ).encode()

    async def factory(self, command: str, *, of: str = "", body: bytes = b"") -> Response:
        """Asks a focus factory, our own unless told."""
        uri = f"{of or self.address};gruu;opaque=app:conf:focusfactory"
        headers = [("Content-Type", "application/cccp+xml")]
        return await self.tell(self.ocs_request("SERVICE", uri, headers=headers, body=body or self.c3p(uri, command)))

    async def create(self, conference_id: str, *, description: str = "", rest: str = "") -> str:
        """Makes a conference; the URI of its focus."""
        answer = await self.factory(add_conference(conference_id, description, rest))
        assert answer.status == 200
        root = parse_xml(answer.body)
        assert root.get("code") == "success", answer.body
        added = child(root, "addConference")
        assert added is not None
        return str(children(added, "conference-info")[0].get("entity"))

    async def join(self, focus: str, *, endpoint: str = "", user: str = "") -> Response:
        """Joins a conference."""
        command = (
            f'<addUser><conferenceKeys confEntity="{focus}"/><ci:user xmlns:ci="{CONFERENCE_INFO}" '
            f'entity="{user or self.address}"><ci:roles><ci:entry>attendee</ci:entry></ci:roles>'
            f'<ci:endpoint entity="{endpoint or f"{{{self.user}-{self.epid}}}"}"/></ci:user></addUser>'
        )
        headers = [("Content-Type", "application/cccp+xml"), ("Supported", "ms-sender")]
        request = self.ocs_request("INVITE", focus, headers=headers, body=self.c3p(focus, command))
        answer = await self.tell(request)
        if answer.status == 200:
            self.focus_dialog = (request, answer)
            self.send(bytes(self.sign(self.within(self.focus_dialog, "ACK"))))
        return answer

    async def watch(self, focus: str) -> Response:
        """Subscribes to a conference."""
        headers = [
            ("Event", "conference"), ("Accept", "application/conference-info+xml"),
            ("Supported", "com.microsoft.autoextend, ms-benotify, ms-piggyback-first-notify"),
            ("Proxy-Require", "ms-benotify"),
        ]  # fmt: skip
        return await self.tell(self.ocs_request("SUBSCRIBE", focus, headers=headers))

    async def chat(self, focus: str, *, supported: str = "ms-sender") -> Response:
        """Goes into the chat of a conference."""
        sdp = b"v=0\r\nm=message 5060 sip null\r\na=accept-types:text/plain text/html\r\n"
        headers = [("Content-Type", "application/sdp"), ("Supported", supported)]
        request = self.ocs_request("INVITE", focus.replace(":focus:", ":chat:"), headers=headers, body=sdp)
        answer = await self.tell(request)
        if answer.status == 200:
            self.chat_dialog = (request, answer)
            self.send(bytes(self.sign(self.within(self.chat_dialog, "ACK"))))
        return answer

    async def say(self, text: str) -> Response:
        """Says something in the chat."""
        return await self.tell(
            self.within(self.chat_dialog, "MESSAGE", (("Content-Type", "text/plain; charset=UTF-8"),), text.encode())
        )

    async def command(self, focus: str, command: str) -> Response:
        """A command to the focus."""
        headers = (("Content-Type", "application/cccp+xml"),)
        return await self.tell(self.within(self.focus_dialog, "INFO", headers, self.c3p(focus, command)))

    def within(
        self, dialog: tuple[Request, Response], method: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Request:
        """A request in a dialog that we opened."""
        request, answer = dialog
        contacts = answer.contacts
        assert isinstance(contacts, list)
        made = self.ocs_request(method, contacts[0].uri_text, headers=headers, body=body, call_id=request.call_id)
        made.set("To", answer.get("To") or "")
        if method == "ACK":
            made.set("CSeq", f"{request.cseq.number} ACK")
        return made

    # What we were told

    def heard(self) -> list[tuple[str, str]]:
        """Who said what, in order."""
        return [(one.get("Ms-Sender") or "", one.body.decode()) for one in self.asked if one.method == "MESSAGE"]

    def outcomes(self) -> list[str]:
        """The codes of our commands, with the reason of those that failed."""
        found = []
        for one in self.asked:
            if one.method == "INFO" and one.body:
                root = parse_xml(one.body)
                found.append(f"{root.get('code')} {root[0].get('reason') or ''}".strip())
        return found

    def notified(self, focus: str | None) -> list[Request]:
        """Notifications of a conference, None: of all; those of conferences that we were in before go on meanwhile."""
        found = [one for one in self.asked if one.method == "BENOTIFY" and one.get("Event") == "conference" and one.body]
        return [one for one in found if focus is None or parse_xml(one.body).get("entity") == focus]

    def roster(self, first: bytes) -> dict[str, set[str]]:
        """Users and the kinds of their endpoints, from the first document and all that came after it."""
        users: dict[str, set[str]] = {}
        entity = parse_xml(first).get("entity") if first else None
        documents = [first, *(one.body for one in self.notified(entity))]
        for document in documents:
            found = child(parse_xml(document), "users") if document else None
            if found is not None and found.get("state") == "full":
                users.clear()
            for user in found if found is not None else ():
                address = str(user.get("entity"))
                users.pop(address, None)
                if user.get("state") != "deleted":
                    users[address] = {str(one.get(f"{{{MSCI}}}session-type")) for one in children(user, "endpoint")}
        return users

    def is_locked(self) -> bool:
        """Whether the last view of the conference says so."""
        locked = False
        for one in self.asked:
            root = parse_xml(one.body) if one.method == "BENOTIFY" and one.body else None
            view = child(root, "conference-view") if root is not None else None
            for entity in view if view is not None else ():
                locked = text_of(child(children(entity, "entity-state")[0], "locked")) == "true"
        return locked


def add_conference(conference_id: str, description: str = "", rest: str = "") -> str:
    """The command that makes a conference."""
    return (
        f'<addConference><ci:conference-info xmlns:ci="{CONFERENCE_INFO}" xmlns:msci="{MSCI}" entity="">'
        f"<ci:conference-description><ci:subject>Plans</ci:subject><msci:conference-id>{conference_id}</msci:conference-id>"
        f"{description}</ci:conference-description>{rest}"
        '<msci:conference-view><msci:entity-view entity="chat"/></msci:conference-view>'
        "</ci:conference-info></addConference>"
    )
