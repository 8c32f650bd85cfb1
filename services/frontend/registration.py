"""REGISTER (RFC 3261 section 10.3, with RFC 3327, 3608, 5626 and 5627): from the wire to the registrar and back.

This is the hottest path of the front end: no task and no transaction object for a request. What was answered over UDP is
remembered for the time that retransmissions may come; what is under way absorbs them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from email.utils import formatdate
from typing import Final

from grpc import StatusCode

from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError, sip_status
from parley.platform.telemetry.counters import Cell
from parley.platform.telemetry.tracing import NO_SPAN, Span, Tracer
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response, make_response
from parley.sip.nameaddr import NameAddr
from parley.sip.outbound import FLOW_TIMER_S, instance_of, option_tags, reg_id_of
from parley.sip.uri import aor
from services.frontend.answers import REFUSED, REGISTER_SECONDS, REGISTERED, answered, register_outcome
from services.frontend.associations import Gate
from services.frontend.authentication import Accepted
from services.frontend.communicator import CATEGORIES, CommunicatorDialect, speaks_it
from services.frontend.communicator import SUPPORTED as COMMUNICATOR_TAGS
from services.frontend.flows import Flow
from services.frontend.proxying.tracing import traceparent_of
from services.frontend.proxying.wiring import Addresses, Refusal
from services.frontend.removal import BindingRemoval, UpdateClient

logger = logging.getLogger(__name__)


_SUPPORTED: Final = frozenset({"path", "outbound", "gruu"}) | COMMUNICATOR_TAGS
_NO_TAGS: Final[frozenset[str]] = frozenset()
_PENDING: Final = b""


class Registration:
    """Takes REGISTER requests of clients."""

    def __init__(
        self,
        *,
        domains: frozenset[str],
        authenticator: Gate,
        registrar: UpdateClient,
        addresses: Addresses,
        edge_uid: str,
        clock: Clock,
        tracer: Tracer,
        timeout_s: float,
        flow_grace_s: float,
        edge_grace_s: float,
        dialect: CommunicatorDialect,
    ) -> None:
        self._dialect = dialect
        self._domains = domains
        self._authenticator = authenticator
        self._registrar = registrar
        self._removal = BindingRemoval(registrar, timeout_s=timeout_s)
        self._addresses = addresses
        self._edge_uid = edge_uid
        self._clock = clock
        self._tracer = tracer
        self._timeout_s = timeout_s
        self._flow_grace_s = flow_grace_s
        self._edge_grace_s = edge_grace_s
        self._answers = AnswerMemory()
        self._date = ("", 0)

    def handle(self, request: Request, flow: Flow) -> None:
        """Answers a REGISTER, now or when the registrar has answered."""
        key: Hashable = None
        now = self._clock.monotonic()
        if not flow.reliable:
            key = (flow.key, request.call_id, request.cseq.number, request.via.branch)
            before = self._answers.get(key, now)
            if before is not None:
                if before:
                    flow.send(before)
                return
        span = NO_SPAN
        if self._tracer.enabled:
            span = self._tracer.start(
                "sip.server REGISTER", kind="server", parent=traceparent_of(request) or "",
                attributes={"sip.method": "REGISTER", "sip.call_id": request.call_id, "parley.edge": self._edge_uid,
                            "network.transport": flow.transport},
            )  # fmt: skip
        exchange = _Exchange(request, flow, key, span, self, now)
        refusal = self._check(request)
        if refusal is not None:
            exchange.refuse(refusal)
            return
        if key is not None:
            self._answers.put(key, _PENDING)
        self._authenticator.judge(request, flow, proxy=False, done=exchange.on_judged, traceparent=span.traceparent)

    def _check(self, request: Request) -> Refusal | None:
        """What can be said without knowing who asks."""
        try:
            uri = request.uri
            if not uri.is_sip:
                return Refusal(416)
            if uri.host.lower() not in self._domains and uri.host.lower() not in self._addresses.hosts:
                return Refusal(404, "Not This Domain")
            if request.cseq.method != "REGISTER":
                return Refusal(400, "CSeq Method Does Not Match")
            _ = request.via, request.call_id, request.max_forwards
            if not request.to.uri.is_sip:
                return Refusal(400, "To Is No SIP Address")
            if "Require" in request:
                unknown = sorted(option_tags(request, "Require") - _SUPPORTED)
                if unknown:
                    return Refusal(420, None, (("Unsupported", ", ".join(unknown)),))
            if speaks_it(request):
                return self._dialect.check(request)
            if "Path" in request and "path" not in option_tags(request, "Supported"):
                return Refusal(421, None, (("Require", "path"),))
        except SipParseError as error:
            return Refusal(error.status, error.reason)
        return None

    def update(self, exchange: _Exchange, accepted: Accepted) -> None:
        """Sends the bindings of an authenticated REGISTER to the registrar."""
        request, flow = exchange.request, exchange.flow
        try:
            address = aor(request.to.uri)
            if address != accepted.identity.aor:
                exchange.refuse(Refusal(403, "To Is Not You"))
                return
            item = self._item(request, flow, address)
        except SipParseError as error:
            exchange.refuse(Refusal(error.status, error.reason))
            return
        except UnicodeEncodeError:
            exchange.refuse(Refusal(400, "Not UTF-8"))
            return
        item.traceparent = exchange.span.traceparent
        exchange.accepted = accepted
        exchange.outbound = any(contact.reg_id for contact in item.contacts)
        exchange.gruu = item.gruu
        exchange.communicator = speaks_it(request)
        exchange.path = list(item.common.path)
        if item.contacts:
            flow.aors.add(address)
        self._registrar.submit(item, timeout=self._timeout_s).add_done_callback(exchange.on_updated)

    def _item(self, request: Request, flow: Flow, address: str) -> pb.BindingUpdate:
        contacts = request.contacts
        expires = request.expires
        cseq = request.cseq.number
        item = pb.BindingUpdate(aor=address, call_id=request.call_id, cseq=cseq)
        common = item.common
        common.flow.edge_uid = self._edge_uid
        common.flow.connection_id = flow.connection_id
        common.received = flow.source
        common.transport = flow.transport
        common.user_agent = (request.get("User-Agent") or "")[:200].encode("utf-8", "replace").decode()
        if "Path" in request:
            common.path.extend(request.values("Path"))
        if contacts == "*":
            if expires != 0:
                raise SipParseError(400, "Contact * Without Expires: 0")
            item.remove_all = True
            return item
        if not contacts:
            return item
        supported = option_tags(request, "Supported") if "Supported" in request else _NO_TAGS
        item.gruu = "gruu" in supported or "gruu-10" in supported
        epid = (request.from_.params.get("epid") or "")[:64]
        for contact in contacts:
            self._add_contact(item, contact, expires, "outbound" in supported, epid)
        if len(contacts) == 1 and not flow.reliable and not item.contacts[0].reg_id:
            uri = contacts[0].uri
            common.flow.connection_id = flow.towards(uri.host, uri.port or 5060)
        return item

    @staticmethod
    def _add_contact(item: pb.BindingUpdate, contact: NameAddr, expires: int | None, outbound: bool, epid: str) -> None:
        params = contact.params
        update = item.contacts.add(contact=contact.uri_text, q_milli=1000, epid=epid)
        if not contact.uri.is_sip and contact.uri.scheme != "tel":
            raise SipParseError(400, "Contact Cannot Be Called")
        if len(params):
            asked = params.get("expires")
            if asked is not None and asked.isascii() and asked.isdigit():
                expires = min(int(asked[:10]), 2**32 - 1)
            quality = params.get("q")
            if quality is not None:
                update.q_milli = _q_milli(quality)
            update.instance = instance_of(contact)
            if outbound and update.instance:
                update.reg_id = reg_id_of(contact)
            methods = params.get("methods")
            if methods:
                update.methods = methods.strip('"')
            params = params.copy()
            for name in ("expires", "gruu", "pub-gruu", "temp-gruu"):
                params.remove(name)
            update.contact_header = str(NameAddr(contact.display_name, contact.uri_text, params))
        else:
            update.contact_header = str(contact)
        if expires is not None:
            update.expires = expires

    def answer(self, exchange: _Exchange, result: pb.BindingUpdateResult) -> None:
        """The answer to a REGISTER that the registrar has dealt with."""
        outcome = result.outcome
        if outcome == pb.BindingUpdateResult.OUTCOME_OK:
            headers = self._ok_headers(exchange, result)
            response = make_response(exchange.request, 200, to_tag=exchange.flow.new_tag(), headers=headers)
            exchange.succeed(response, self._clock.monotonic())
        elif outcome == pb.BindingUpdateResult.OUTCOME_INTERVAL_TOO_BRIEF:
            exchange.refuse(Refusal(423, None, (("Min-Expires", str(result.min_expires)),)))
        elif outcome == pb.BindingUpdateResult.OUTCOME_TOO_MANY_BINDINGS:
            exchange.refuse(Refusal(403, "Too Many Bindings"))
        else:
            exchange.refuse(Refusal(500, "Out of Order", (("Retry-After", "1"),)), REFUSED)

    def _ok_headers(self, exchange: _Exchange, result: pb.BindingUpdateResult) -> list[tuple[str, str]]:
        headers: list[tuple[str, str]] = []
        longest = 0
        bindings = [(binding, max(0, (binding.expires_at_ms - result.now_ms + 999) // 1000)) for binding in result.bindings]
        if exchange.communicator and exchange.accepted is not None:
            request = exchange.request
            categories = "Supported" in request and CATEGORIES in option_tags(request, "Supported")
            return self._dialect.ok_headers(request, exchange.accepted.identity.aor, bindings, categories)
        for binding, left in bindings:
            longest = max(longest, left)
            value = f"{binding.contact_header};expires={left}"
            if exchange.gruu and binding.pub_gruu:
                value += f';pub-gruu="{binding.pub_gruu}";temp-gruu="{binding.temp_gruu}"'
            headers.append(("Contact", value))
        if longest:
            headers.append(("Expires", str(longest)))
        headers.append(("Date", self._now_text()))
        if exchange.path:
            headers.append(("Path", ", ".join(exchange.path)))
        headers.append(("Service-Route", f"<{self._addresses.service_route(exchange.flow)}>"))
        if exchange.outbound:
            headers += [("Require", "outbound"), ("Flow-Timer", str(FLOW_TIMER_S))]
        headers.append(("Supported", "path, outbound, gruu"))
        if exchange.accepted is not None and exchange.accepted.authentication_info:
            headers.append(("Authentication-Info", exchange.accepted.authentication_info))
        return headers

    def _now_text(self) -> str:
        """The Date header, made once a second."""
        second = int(self._clock.wall())
        if self._date[1] != second:
            self._date = (formatdate(second, usegmt=True), second)
        return self._date[0]

    def remember(self, key: Hashable, data: bytes) -> None:
        """Keeps an answer for retransmissions."""
        self._answers.put(key, data)

    def on_flow_closed(self, flow: Flow, later: Callable[..., object], *, sent_away: bool) -> None:
        """Takes the bindings of a connection away, unless the client is back within the grace.

        ``sent_away``: this front end drains, and will hardly be there then; bindings of one that has ended are swept.
        """
        if flow.aors:
            later(self._edge_grace_s if sent_away else self._flow_grace_s, self._remove_flow, flow)

    def _remove_flow(self, flow: Flow) -> None:
        for address in flow.aors:
            self._removal.begin(address, self._edge_uid, flow.connection_id)
        flow.aors.clear()


class _Exchange:
    """One REGISTER under way."""

    __slots__ = (
        "_begun", "_key", "_owner", "accepted", "communicator", "flow", "gruu", "outbound", "path", "request", "span",
    )  # fmt: skip

    def __init__(self, request: Request, flow: Flow, key: Hashable, span: Span, owner: Registration, begun: float) -> None:
        """``begun``: when the request came (monotonic seconds)."""
        self.request = request
        self.flow = flow
        self.span = span
        self.accepted: Accepted | None = None
        self.outbound = False
        self.gruu = False
        self.path: list[str] = []
        self.communicator = False
        self._key = key
        self._owner = owner
        self._begun = begun

    def on_judged(self, who: Accepted | Refusal) -> None:
        """The authenticator has decided."""
        if isinstance(who, Refusal):
            self.refuse(who)
        else:
            self._owner.update(self, who)

    def on_updated(self, future: asyncio.Future[pb.BindingUpdateResult]) -> None:
        """The registrar has answered, or not."""
        if future.cancelled():
            self._unavailable(StatusCode.CANCELLED)
            return
        error = future.exception()
        if error is not None:
            self._unavailable(error.code if isinstance(error, RpcError) else StatusCode.INTERNAL)
            return
        result = future.result()
        if result.status.code:
            self._unavailable(RpcError.from_number(result.status.code, "").code)
        else:
            self._owner.answer(self, result)

    def _unavailable(self, code: StatusCode) -> None:
        status, retry_after = sip_status(code)
        self.refuse(Refusal(status, None, (("Retry-After", str(retry_after or 5)),)))

    def refuse(self, refusal: Refusal, outcome: Cell | None = None) -> None:
        """Answers without a registration. ``outcome``: what it counts as, when its status does not say."""
        self._respond(
            make_response(
                self.request,
                refusal.status,
                refusal.reason,
                to_tag=self.flow.new_tag(),
                headers=refusal.headers,
            ),
            outcome or register_outcome(refusal.status, limited=refusal.limited),
        )

    def succeed(self, response: Response, now: float) -> None:
        """Answers that the registration is made."""
        REGISTER_SECONDS.observe(max(0.0, now - self._begun))
        self._respond(response, REGISTERED)

    def _respond(self, response: Response, outcome: Cell) -> None:
        """Sends the answer and keeps it."""
        outcome.inc()
        answered("REGISTER", response.status)
        data = bytes(response)
        self.flow.send(data)
        if self._key is not None:
            self._owner.remember(self._key, data)
        if self.span is not NO_SPAN:
            self.span.set("sip.status_code", response.status)
            self.span.end("error" if response.status >= 500 else "ok")


class AnswerMemory:
    """Answers by request, for 32 to 64 seconds (Timer J of RFC 3261, kept in two generations)."""

    _SECONDS: Final = 32.0
    _LIMIT: Final = 100_000

    def __init__(self) -> None:
        self._new: dict[Hashable, bytes] = {}
        self._old: dict[Hashable, bytes] = {}
        self._turn_at = 0.0

    def get(self, key: Hashable, now: float) -> bytes | None:
        """The answer; b"" while it is under way, None when the request is new."""
        if now >= self._turn_at or len(self._new) >= self._LIMIT:
            self._old, self._new = self._new, {}
            self._turn_at = now + self._SECONDS
        found = self._new.get(key)
        return found if found is not None else self._old.get(key)

    def put(self, key: Hashable, answer: bytes) -> None:
        """Keeps an answer."""
        self._new[key] = answer


def _q_milli(text: str) -> int:
    """A q value in thousandths. Raises SipParseError 400."""
    try:
        value = float(text)
    except ValueError:
        raise SipParseError(400, "Bad q") from None
    if not 0 <= value <= 1:
        raise SipParseError(400, "Bad q")
    return round(value * 1000)
