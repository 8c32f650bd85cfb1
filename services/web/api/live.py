"""What goes on now: who has signed in, calls, presence, and how sources of the directory were read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.presence.aggregation import level_name
from parley.proto.addressbook.v1 import directory_pb2 as book
from parley.proto.presence.v1.presence_pb2 import ShowPresenceRequest
from parley.proto.registrar.v1 import registrar_pb2 as registrar
from parley.proto.sip.v1 import edge_pb2 as edge
from parley.proto.sip.v1.edge_pb2_grpc import EdgeStub
from services.web.api.models import (
    API,
    Call,
    Calls,
    Presence,
    Registration,
    Registrations,
    RegistrationsQuery,
    SyncReport,
    SyncReports,
)
from services.web.bodies import json_answer, read_query
from services.web.errors import HttpError
from services.web.openapi import Operation, rows_of
from services.web.routes import Access, Route, caller_of, parameter

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryAsyncStub
    from parley.proto.presence.v1.presence_pb2_grpc import PresenceAsyncStub
    from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarAsyncStub
    from parley.proto.sip.v1.edge_pb2_grpc import EdgeAsyncStub

_EDGE: Final = "parley.sip.v1.Edge"
_EDGE_S: Final = 2.0
_MAX_CALLS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Backends:
    """Whom it asks."""

    directory: DirectoryAsyncStub
    registrar: RegistrarAsyncStub
    presence: PresenceAsyncStub
    rpc: RpcHost


class LiveRoutes:
    """Handlers."""

    def __init__(self, backends: Backends, *, timeout_s: float) -> None:
        self._to = backends
        self._timeout_s = timeout_s
        self._edges: dict[str, EdgeAsyncStub] = {}

    def routes(self) -> list[Route]:
        """Their rows."""
        row = rows_of("live")
        return [
            row("GET", f"{API}/registrations", self.registrations,
                Operation("Endpoints that have signed in", RegistrationsQuery, result=Registrations)),
            row("GET", f"{API}/calls", self.calls, Operation("Calls that go on", result=Calls)),
            row("GET", f"{API}/users/{{address}}/presence", self.presence,
                Operation("How available a user is; everybody may ask for their own", result=Presence, failures=(404,)),
                Access.USER),
            row("GET", f"{API}/directory/sync", self.sync, Operation("How directory servers were read", result=SyncReports)),
        ]  # fmt: skip

    async def registrations(self, request: web.Request) -> web.Response:
        """A page of bindings."""
        query = read_query(request, RegistrationsQuery)
        address = query.address.lower()
        asked = registrar.ListBindingsRequest(
            aor=f"sip:{address.removeprefix('sip:')}" if address else "", page_size=query.page_size,
            page_token=query.page_token,
        )  # fmt: skip
        try:
            page = await self._to.registrar.ListBindings(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        found = [
            Registration(
                address=entry.aor.removeprefix("sip:"), contact=entry.binding.contact, transport=entry.binding.transport,
                received=entry.binding.received, user_agent=entry.binding.user_agent,
                registered_at_ms=entry.binding.registered_at_ms, expires_at_ms=entry.binding.expires_at_ms,
                reachable=bool(entry.binding.edge_address),
            )
            for entry in page.entries
        ]  # fmt: skip
        return json_answer(Registrations(registrations=found, next_page_token=page.next_page_token))

    async def calls(self, request: web.Request) -> web.Response:
        """The calls of every front end that holds a lease."""
        try:
            edges = (await self._to.registrar.ListEdges(registrar.ListEdgesRequest(), timeout=self._timeout_s)).edges
        except RpcError as error:
            raise HttpError.of(error) from None
        addresses = [found.address for found in edges]
        self._edges = {address: stub for address, stub in self._edges.items() if address in addresses}
        answers = await asyncio.gather(*(self._calls_of(address) for address in addresses))
        calls = sorted((call for answer in answers for call in answer or ()), key=lambda call: call.started_at_ms)
        silent = sum(answer is None for answer in answers)
        return json_answer(Calls(calls=calls[:_MAX_CALLS], front_ends=len(addresses), silent_front_ends=silent))

    async def _calls_of(self, address: str) -> Sequence[Call] | None:
        """None when the front end does not answer."""
        stub = self._edges.get(address)
        if stub is None:
            stub = self._edges[address] = self._to.rpc.channel(_EDGE, address).stub(EdgeStub)
        try:
            found = (await stub.ListCalls(edge.ListCallsRequest(), timeout=_EDGE_S)).calls
        except RpcError:
            return None
        return [
            Call(
                call_id=call.call_id, caller=call.from_aor.removeprefix("sip:"), called=call.to_aor.removeprefix("sip:"),
                state=call.state, started_at_ms=call.started_at_ms, answered_at_ms=call.answered_at_ms,
            )
            for call in found
        ]  # fmt: skip

    async def presence(self, request: web.Request) -> web.Response:
        """The state of a user, to administrators and that user; who else may see it is decided in SIP."""
        address, caller = parameter(request, "address").lower().removeprefix("sip:"), caller_of(request)
        if not caller.is_admin and f"sip:{address}" != caller.address:
            raise HttpError(403, "only administrators may read the presence of others")
        try:
            shown = await self._to.presence.ShowPresence(ShowPresenceRequest(address=address), timeout=self._timeout_s)
        except RpcError as error:
            if error.code is StatusCode.INVALID_ARGUMENT:
                raise HttpError(404, "there is no such user") from None
            raise HttpError.of(error) from None
        state = shown.state
        return json_answer(
            Presence(
                address=state.address.removeprefix("sip:"), display_name=state.display_name,
                state=level_name(state.availability), availability=state.availability, activity=state.activity,
                note=state.note, in_call=state.in_call, since_ms=state.since_ms,
            )
        )  # fmt: skip

    async def sync(self, request: web.Request) -> web.Response:
        """How each source was read."""
        try:
            said = await self._to.directory.SyncStatus(book.SyncStatusRequest(), timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        return json_answer(SyncReports(sources=[_report(report) for report in said.reports]))


def _report(report: book.SyncReport) -> SyncReport:
    names = ("source", "full", "read", "added", "changed", "removed", "bad", "failure", "failures", "entries")
    times = ("started_at_ms", "finished_at_ms", "last_success_at_ms")
    return SyncReport(
        state=book.JobState.Name(report.state).removeprefix("JOB_STATE_").lower(),
        problems=[f"{row.key}: {row.problem}" for row in report.problems],
        **{name: getattr(report, name) for name in (*names, *times)},
    )
