"""``parley calls``: the calls that go on, and with --follow what happens to them."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from typing import Annotated

import typer

from parley.cli.errors import Exit, fail
from parley.cli.session import Options, call, console, plain, run, run_file, settings_of, show_json, show_table
from parley.platform.clock import SystemClock
from parley.platform.config import PlatformConfig
from parley.platform.events.api import Event
from parley.platform.events.factory import make_event_bus
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.platform.store.client import Store
from parley.platform.telemetry.tracing import NO_TRACER
from parley.proto.events.v1.call_pb2 import CallChanged
from parley.proto.registrar.v1.registrar_pb2 import ListEdgesRequest
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub
from parley.proto.sip.v1 import edge_pb2 as pb
from parley.proto.sip.v1.edge_pb2_grpc import EdgeStub

_EDGE = "parley.sip.v1.Edge"


def calls(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and print what happens.")] = False,
) -> None:
    """Show calls; with --follow, each call as it starts, rings, is answered and ends."""
    options: Options = context.obj
    going_on = call(options, _list_calls)
    if options.as_json and not follow:
        show_json(going_on)
        return
    if not options.as_json:
        rows = [
            (_name(item.from_aor), _name(item.to_aor), item.state, _time(item.started_at_ms), item.call_id)
            for item in going_on
        ]
        show_table(f"{len(going_on)} calls", ("from", "to", "state", "since", "Call-ID"), rows, empty="no calls now")
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            run(_follow(options))


async def _list_calls(host: RpcHost, target: str | None) -> list[pb.Call]:
    """The calls of every front end that holds a lease."""
    registrar = host.channel("parley.registrar.v1.Registrar", target).stub(RegistrarStub)
    found: list[pb.Call] = []
    for edge in (await registrar.ListEdges(ListEdgesRequest())).edges:
        address = edge.address if not edge.address.startswith("local:") else target
        try:
            stub = host.channel(_EDGE, address).stub(EdgeStub)
            found.extend((await stub.ListCalls(pb.ListCallsRequest(), timeout=2.0)).calls)
        except RpcError as error:
            console.print(f"[yellow]front end {edge.edge_uid} does not answer: {error.message}[/yellow]")
    return sorted(found, key=lambda item: item.started_at_ms)


async def _follow(options: Options) -> None:
    platform = settings_of(options).section("platform", PlatformConfig)
    redis = platform.redis
    if not redis.url and not redis.sentinels:
        if not run_file(platform):
            raise fail("no running Parley was found", Exit.UNAVAILABLE, "start one with `parley run`")
        redis = redis.model_copy(update={"url": f"unix://{platform.data_folder}/valkey/valkey.sock"})
    store = Store(redis)
    bus = make_event_bus(platform.events, store, SystemClock(), NO_TRACER)

    async def show(event: Event) -> None:
        if options.as_json:
            import json

            print(json.dumps(plain(event.message)), flush=True)
        else:
            console.print(_line(event.message))

    await bus.start()
    subscription = bus.subscribe("parley.calls", CallChanged, show)
    try:
        await asyncio.Event().wait()
    finally:
        await subscription.stop()
        await bus.stop()
        await store.close()


def _line(fact: CallChanged) -> str:
    kind = CallChanged.Kind.Name(fact.kind).removeprefix("KIND_").lower()
    text = f"{_time(fact.at_ms)}  {kind:<9} {_name(fact.from_aor)} -> {_name(fact.to_aor)}"
    if fact.kind == CallChanged.KIND_ENDED:
        text += f"  {fact.cause} by {fact.ended_by}"
        if fact.duration_ms:
            text += f" after {fact.duration_ms / 1000:.1f} s"
    return text


def _name(aor: str) -> str:
    return aor.removeprefix("sip:")


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).strftime("%H:%M:%S")
