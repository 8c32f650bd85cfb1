"""A standard phone that subscribes: it answers every NOTIFY, and keeps those of each subscription for the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from parley.sip.message import Request, Response
from parley.sip.nameaddr import NameAddr
from tests.support.sip_client import DOMAIN, SipClient


@dataclass
class Subscription:
    """One dialog of a `Subscriber`."""

    phone: Subscriber
    event: str
    target: str
    call_id: str
    answer: Response
    headers: tuple[tuple[str, str], ...]
    told: asyncio.Queue[Request]
    numbers: list[int] = field(default_factory=list)

    @property
    def contact(self) -> NameAddr:
        """The Contact of the server's side."""
        contacts = self.answer.contacts
        assert isinstance(contacts, list)
        return contacts[0]

    async def notify(self, where: Callable[[Request], bool] = lambda _: True, timeout: float = 8.0) -> Request:
        """The next NOTIFY for which that holds; those before it are passed over."""
        async with asyncio.timeout(timeout):
            while True:
                request = await self.told.get()
                self.numbers.append(request.cseq.number)
                assert (request.get("Event") or "").partition(";")[0] == self.event
                if where(request):
                    return request

    async def refresh(self, *, expires: int = 600, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> Response:
        """A SUBSCRIBE in the dialog; 0 ends it."""
        fields = [*self.headers, ("Expires", str(expires)), *headers]
        request = self.phone.request(
            "SUBSCRIBE", self.contact.uri_text, to=self.target, call_id=self.call_id, to_tag=self.answer.to_tag,
            headers=fields, body=body,
        )  # fmt: skip
        return await self.phone.ask(request)


class _Sorted(asyncio.Queue[Request | Response]):
    """Takes NOTIFY requests aside."""

    def __init__(self, phone: Subscriber) -> None:
        super().__init__()
        self._phone = phone

    def put_nowait(self, item: Request | Response) -> None:
        if isinstance(item, Request) and item.method == "NOTIFY":
            self._phone.take(item)
        else:
            super().put_nowait(item)


class Subscriber(SipClient):
    """One user on one socket."""

    def __init__(self, user: str, password: str = "Secret-1", *, transport: str = "udp") -> None:
        super().__init__(user, password, transport=transport)
        self.received = _Sorted(self)
        self.answers = 200
        """What NOTIFY requests are answered."""
        self._told: dict[str, asyncio.Queue[Request]] = {}
        self._last: dict[str, int] = {}

    def take(self, notify: Request) -> None:
        """A NOTIFY came: refused when a later one overtook it (RFC 3261 section 12.2.2), answered again when sent again."""
        number, last = notify.cseq.number, self._last.get(notify.call_id, 0)
        self.answer(notify, self.answers if number >= last else 500)
        if number > last:
            self._last[notify.call_id] = number
            self.told(notify.call_id).put_nowait(notify)

    def told(self, call_id: str) -> asyncio.Queue[Request]:
        """The notifications of a dialog."""
        return self._told.setdefault(call_id, asyncio.Queue())

    async def subscribe(
        self, event: str, user: str = "", *, target: str = "", expires: int = 600, body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (), call_id: str | None = None,
    ) -> Subscription:  # fmt: skip
        """Subscribes; what the server answered is in the result."""
        address = target or f"sip:{user or self.user}@{DOMAIN}"
        own = (("Event", event), *headers)
        request = self.request("SUBSCRIBE", address, headers=[*own, ("Expires", str(expires))], body=body, call_id=call_id)
        answer = await self.ask(request)
        return Subscription(self, event.partition(";")[0], address, request.call_id, answer, own, self.told(request.call_id))
