"""The proxy: what becomes of a request that is not for the front end itself (RFC 3261 section 16).

A request whose Route holds tokens of ours belongs to a dialog that was set up through us: it goes to the flow that the
last token names, on this front end or another. Any other request is authenticated, looked up in the routing table, and
sent to the user's endpoints, to an application, or (if policy allows) to another domain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from parley.messaging.sdp import offers_messages
from parley.platform.applications.messages import aor_of, event_of
from parley.platform.clock import Clock
from parley.platform.events.publisher import FactPublisher
from parley.platform.rpc.errors import RpcError
from parley.platform.telemetry.tracing import Tracer
from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.errors import SipParseError
from parley.sip.flowtoken import FlowToken
from parley.sip.gruu import endpoint_of, endpoint_token, gruu_instance, instance_of_epid
from parley.sip.message import Request, Response, make_response
from parley.sip.proxy.branch import ForkSettings
from parley.sip.proxy.forwarding import OutgoingVia, prepare_request
from parley.sip.proxy.loops import LoopDetector
from parley.sip.proxy.recordroute import DIALOG_FORMING, preprocess_routes
from parley.sip.proxy.targets import Target, group_targets
from parley.sip.proxy.validation import validate_request
from parley.sip.transaction import server_transaction
from services.frontend.calls import TOPIC, CallKey, CallTracker, offers_media
from services.frontend.flows import Flow, Flows
from services.frontend.limits import refused
from services.frontend.proxying.acks import AckSender
from services.frontend.proxying.branches import Branch, DeadBranch, FlowRef, LocalBranch, LocalBranches
from services.frontend.proxying.context import Plan, ProxiedRequest
from services.frontend.proxying.driver import Driver
from services.frontend.proxying.handover import Handover
from services.frontend.proxying.identity import assert_identity
from services.frontend.proxying.peers import PeerEdges
from services.frontend.proxying.returning import Leaving, Patience, ReturningDevices
from services.frontend.proxying.strays import StrayResponses
from services.frontend.proxying.targets import targets_of
from services.frontend.proxying.tracing import TracedUser, traceparent_of
from services.frontend.proxying.vias import Branches
from services.frontend.proxying.wiring import (
    Addresses,
    ApplicationSender,
    Authenticator,
    Directory,
    Identity,
    OutsideSender,
    Refusal,
)
from services.frontend.routing import Destination, Route, RoutingTable

logger = logging.getLogger(__name__)

SUPPORTED_BY_PROXY: Final = frozenset({"path", "outbound", "gruu", "ms-benotify"})
"""Option tags a Proxy-Require may name."""


class ProxyCore:
    """Takes every request that is not REGISTER and not for the front end itself."""

    def __init__(
        self,
        *,
        edge_uid: str,
        driver: Driver,
        clock: Clock,
        flows: Flows,
        local: LocalBranches,
        peers: PeerEdges,
        addresses: Addresses,
        authenticator: Authenticator,
        directory: Directory,
        table: RoutingTable,
        loops: LoopDetector,
        calls: CallTracker,
        facts: FactPublisher,
        tracer: Tracer,
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
        applications: ApplicationSender,
        outside: OutsideSender,
        answer_here: Callable[[Request, Flow], Response],
        timer_c: float = 185.0,
        patience: Patience,
        leaving: Leaving,
    ) -> None:
        """``patience``: how long a request waits for a device whose connection has just ended."""
        self._edge_uid = edge_uid
        self._driver = driver
        self._clock = clock
        self._flows = flows
        self._local = local
        self._peers = peers
        self._addresses = addresses
        self._authenticator = authenticator
        self._directory = directory
        self._table = table
        self._loops = loops
        self._calls = calls
        self._facts = facts
        self._tracer = tracer
        self._spawn = spawn
        self._applications = applications
        self._handover = Handover(applications, self._in_background, self._past_applications)
        self._outside = outside
        self._answer_here = answer_here
        self._returning = ReturningDevices(edge_uid, directory, peers, spawn, patience, leaving)
        self._acks = AckSender(edge_uid, flows, peers, directory, self._returning, self._via, spawn)
        self._strays = StrayResponses(edge_uid, directory, peers, spawn)
        self._names = Branches(loops, edge_uid)
        self._fork_settings = ForkSettings(timer_c=timer_c, absorb_late_answers=True)

    # Entry

    def handle(self, request: Request, flow: Flow, traceparent: str | None = None) -> None:
        """One request from a client; whatever happens it is answered, unless it is an ACK."""
        method = request.method
        if method == "ACK":
            self._handle_ack(request, flow)
            return
        known = self._driver.table.find_server(request, flow.key)
        if known is not None:
            known.receive_request(request, self._driver.now())
            self._driver.pump(known)
            return
        transaction = server_transaction(
            request, flow.key, self._driver.now(), reliable=flow.reliable, timers=self._driver.timers
        )
        span = self._tracer.start(
            f"sip.server {method}", kind="server", parent=traceparent or traceparent_of(request),
            attributes={"sip.method": method, "sip.call_id": request.call_id, "parley.edge": self._edge_uid,
                        "network.transport": flow.transport},
        )  # fmt: skip
        proxied = ProxiedRequest(transaction, flow, self._driver, span, self._fork_settings)
        if not self._driver.add(transaction, proxied):
            refused("transactions")
            flow.send(bytes(make_response(request, 503, to_tag=flow.new_tag(), headers=(("Retry-After", "5"),))))
            span.end("error")
            return
        self._driver.pump(transaction)
        if method == "CANCEL":
            self._handle_cancel(request, flow, proxied)
        else:
            self._route(proxied)

    def receive_response(self, response: Response, flow: Flow) -> None:
        """A response of a client, to a transaction of this front end or of another one."""
        if not self._local.receive(response):
            self._strays.pass_on(response)

    def on_flow_closed(self, flow: Flow) -> None:
        """A connection ended; see `LocalBranches.on_flow_closed`."""
        self._local.on_flow_closed(flow)

    def _handle_cancel(self, cancel: Request, flow: Flow, proxied: ProxiedRequest) -> None:
        invite = self._driver.table.find_cancelled(cancel, flow.key)
        if invite is None:
            proxied.refuse(481)
            return
        proxied.refuse(200)
        invite.receive_cancel(cancel, self._driver.now())
        self._driver.pump(invite)

    def _handle_ack(self, ack: Request, flow: Flow) -> None:
        """An ACK belongs to a transaction (of a failure), or to a dialog (of a 2xx) and is passed on."""
        transaction = self._driver.table.find_server(ack, flow.key)
        if transaction is not None:
            transaction.receive_request(ack, self._driver.now())
            self._driver.pump(transaction)
            if transaction.last_response is None or transaction.last_response.status >= 300:
                return
        plan = preprocess_routes(ack, self._addresses.is_own)
        token = self._exit_token(plan.own)
        if (ack.max_forwards or 70) <= 0:
            return
        if token is not None:
            self._acks.send(ack, token.edge_uid, token.connection_id)
            return
        route = self._table.route("ACK", "", ack.uri, self._addresses.hosts)
        if route.destination is Destination.APPLICATION:
            self._applications.pass_on(ack, flow, route.application)

    # Routing

    def _route(self, proxied: ProxiedRequest) -> None:
        request = proxied.request
        try:
            refusal = validate_request(request, loops=self._loops, supported=SUPPORTED_BY_PROXY)
            if refusal is not None:
                proxied.refuse(refusal.status, refusal.reason, refusal.headers)
                return
            plan = preprocess_routes(request, self._addresses.is_own)
        except SipParseError as error:
            proxied.refuse(error.status, error.reason)
            return
        token = self._exit_token(plan.own)
        if token is not None:
            self._spawn("in-dialog", self._guarded(proxied, self._in_dialog(proxied, token)))
        elif request.to_tag is not None and request.get("Route") is None and self._is_here(request):
            proxied.refuse(481)
        else:
            self._authenticator.authenticate(request, proxied.flow, lambda who: self._identified(proxied, who))

    def _exit_token(self, own: tuple[Any, ...]) -> FlowToken | None:
        """The last token among our Route values: the side the request leaves by."""
        for value in reversed(own):
            token = self._addresses.token(value.uri)
            if token is not None:
                return token
        return None

    def _is_here(self, request: Request) -> bool:
        """Whether the Request-URI is this server and no user of it."""
        return not request.uri.user and request.uri.host.lower() in self._addresses.hosts

    def _identified(self, proxied: ProxiedRequest, who: Identity | Refusal) -> None:
        if proxied.answered:
            return
        if isinstance(who, Refusal):
            proxied.refuse(who.status, who.reason, who.headers)
            return
        request = proxied.request
        try:
            assert_identity(request, who)
            content_type = (request.get("Content-Type") or "").partition(";")[0].strip().lower()
            messages = request.method == "INVITE" and offers_messages(request.body)
            route = self._table.route(
                request.method, event_of(request), request.uri, self._addresses.hosts, content_type, messages=messages
            )
        except SipParseError as error:
            proxied.refuse(error.status, error.reason)
            return
        self._spawn("route", self._guarded(proxied, self._go(proxied, route, who)))

    async def _guarded(self, proxied: ProxiedRequest, work: Coroutine[Any, Any, None]) -> None:
        """Whatever goes wrong on the way is answered."""
        try:
            await work
        except RpcError as error:
            proxied.refuse_for(error)
        except SipParseError as error:
            proxied.refuse(error.status, error.reason)
        except asyncio.CancelledError:
            proxied.refuse(503, headers=(("Retry-After", "2"),))
            raise
        except Exception:
            logger.exception("a request failed", extra={"call_id": proxied.request.call_id})
            proxied.refuse(500)

    def _in_background(self, name: str, proxied: ProxiedRequest, work: Coroutine[Any, Any, None]) -> None:
        self._spawn(name, self._guarded(proxied, work))

    async def _past_applications(self, proxied: ProxiedRequest, who: Identity, contacts: frozenset[str]) -> None:
        route = self._table.past_applications(proxied.request.uri)
        if route.destination is Destination.USER:
            await self._to_user(proxied, route.aor, contacts)
        else:
            await self._go(proxied, route, who)

    async def _go(self, proxied: ProxiedRequest, route: Route, who: Identity) -> None:
        destination = route.destination
        if destination is Destination.SERVER:
            proxied.respond(self._answer_here(proxied.request, proxied.flow))
        elif destination is Destination.APPLICATION:
            await self._handover.send(proxied, route.application, who)
        elif destination is Destination.OUTSIDE:
            await self._outside.send(proxied, who, self._plan(proxied, record=False))
        else:
            await self._to_user(proxied, route.aor)

    # To a user

    async def _to_user(self, proxied: ProxiedRequest, aor: str, contacts: frozenset[str] = frozenset()) -> None:
        """``contacts``: those that may be tried; none: all."""
        request = proxied.request
        traceparent = proxied.span.traceparent
        invite = request.method == "INVITE"
        if invite:
            self._call_started(proxied)

        async def targets_now() -> list[Target]:
            bindings = _of_endpoint(request, await self._directory.lookup(aor, traceparent))
            return targets_of((b for b in bindings if not contacts or b.contact in contacts), request.method)

        targets = await targets_now()
        if not targets:
            known = await self._directory.exists(aor, traceparent)
            proxied.refuse(480 if known else 404)
            return
        proxied.plan = self._plan(proxied, record=request.method in DIALOG_FORMING)
        proxied.plan.more_targets = self._returning.of_user(targets_now, targets)
        proxied.fork(group_targets(targets))

    def _plan(self, proxied: ProxiedRequest, *, record: bool) -> Plan:
        key = self._call_key(proxied.request)
        return Plan(
            opener=self,
            record_route=record,
            inbound_route=self._addresses.route(proxied.flow) if record else "",
            on_forwarded=(lambda response: self._call_progress(key, response)) if key is not None else None,
        )

    def open_branch(self, proxied: ProxiedRequest, target: Target, breadth: int, branch_id: int) -> Branch:
        """Sends a copy to a target, here or through another front end; see `BranchOpener`."""
        plan = proxied.plan
        assert plan is not None
        flow_ref = target.flow
        assert isinstance(flow_ref, FlowRef)
        span = self._tracer.start(
            f"sip.client {proxied.request.method}", kind="client", parent=proxied.span.traceparent,
            attributes={"sip.method": proxied.request.method, "sip.call_id": proxied.request.call_id,
                        "sip.branch": branch_id, "parley.edge": flow_ref.edge_uid},
        )  # fmt: skip
        local = flow_ref.edge_uid == self._edge_uid
        out = self._flows.get(flow_ref.connection_id) if local else None
        inbound = plan.inbound_route
        if local:
            transport = out.transport if out is not None else "TCP"
            record = (inbound, self._addresses.route(out)) if plan.record_route and out is not None else None
        else:
            transport = "TCP"
            record = (inbound, inbound) if plan.record_route else None
        prepared = prepare_request(
            proxied.request, via=self._via(transport, proxied.request, out), uri=target.uri, route=target.route,
            record_routes=record, max_breadth=breadth if len(proxied.request.values("Max-Breadth")) else None,
        )  # fmt: skip
        if span.traceparent:
            prepared.request.set("Traceparent", span.traceparent)
        user = TracedUser(proxied, span)
        if not local and flow_ref.edge_address:
            return self._peers.open(prepared.request, flow_ref, user, span.traceparent)
        if out is None:
            branch = DeadBranch(prepared.request)
            user.on_failure(branch, 430)
            return branch
        if not out.reliable and (key := self._call_key(proxied.request)) is not None:
            self._calls.offered_over_udp(key)
        return self._local.open(prepared.request, out, user)

    def new_via(self, branch: Branch) -> str:
        """A Via for a further request that goes the way of a branch; see `BranchOpener`."""
        if isinstance(branch, LocalBranch):
            return str(self._via(branch.flow.transport, branch.request, branch.flow))
        return str(self._via("TCP", branch.request))

    def _via(self, transport: str, request: Request, flow: Flow | None = None) -> OutgoingVia:
        return OutgoingVia(transport, self._addresses.sent_by(transport, flow), self._names.branch(request))

    # In a dialog

    async def _in_dialog(self, proxied: ProxiedRequest, token: FlowToken) -> None:
        request = proxied.request
        self.note_dialog_request(request)
        target = FlowRef(token.edge_uid, token.connection_id)
        if token.edge_uid != self._edge_uid:
            address = await self._directory.edge_address(token.edge_uid, token.connection_id)
            target = FlowRef(token.edge_uid, token.connection_id, address)
        plan = self._plan(proxied, record=False)
        plan.more_targets = self._returning.of_dialog()
        proxied.plan = plan
        proxied.fork([[Target(request.uri_text, flow=target)]])

    # Calls

    def note_dialog_request(self, request: Request) -> None:
        """A request in a dialog passes, from a client or from another front end: a BYE ends its call."""
        if request.method == "BYE":
            fact = self._calls.hung_up(request.call_id, request.from_tag or "", request.to_tag or "", self._clock.wall())
            if fact is not None:
                self._facts.publish(TOPIC, fact.call_id, fact)

    def _call_key(self, request: Request) -> CallKey | None:
        if request.method != "INVITE" or request.to_tag is not None:
            return None
        return CallKey(request.call_id, request.from_tag or "")

    def _call_started(self, proxied: ProxiedRequest) -> None:
        request = proxied.request
        key = self._call_key(request)
        if key is None:
            return
        fact = self._calls.started(
            key, from_aor=aor_of(request.from_), to_aor=aor_of(request.to), now=self._clock.wall(),
            traceparent=proxied.span.traceparent, voice=offers_media(request.body),
            over_udp=proxied.flow.transport == "UDP",
        )  # fmt: skip
        if fact is not None:
            self._facts.publish(TOPIC, key.call_id, fact, proxied.span.traceparent)
        if proxied.plan is None:
            proxied.plan = self._plan(proxied, record=True)

    def _call_progress(self, key: CallKey, response: Response) -> None:
        call = self._calls.get(key)
        if call is None:
            return
        now = self._clock.wall()
        status = response.status
        if status < 200:
            fact = self._calls.provisional(key, status, now, _tag_of(response))
        elif status < 300:
            fact = self._calls.answered(key, now, _tag_of(response))
        else:
            fact = self._calls.failed(key, status, now)
        if fact is not None:
            self._facts.publish(TOPIC, key.call_id, fact, call.traceparent)


def _tag_of(response: Response) -> str:
    """The callee's tag; "" when there is none to be read."""
    try:
        return response.to_tag or ""
    except SipParseError:
        return ""


def _of_endpoint(request: Request, bindings: list[Binding]) -> list[Binding]:
    """Those of the endpoint that a GRUU in the Request-URI names (RFC 5627 section 5.1, MS-SIPRE section 2.2.3)."""
    instance = gruu_instance(request.uri)
    if instance is not None:
        return [binding for binding in bindings if binding.instance == instance]
    endpoint = endpoint_of(request.uri)
    if endpoint is None:
        return bindings
    return [
        binding for binding in bindings
        if endpoint_token(binding.instance or (instance_of_epid(binding.epid) if binding.epid else "")) == endpoint
    ]  # fmt: skip
