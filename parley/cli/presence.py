"""``parley presence``: how available users are, now or as it changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from parley.cli.errors import errors
from parley.cli.session import Options, call, console, plain, show_json, show_table
from parley.platform.rpc.duplex import DuplexClient
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.presence.aggregation import level_name
from parley.proto.presence.v1 import presence_pb2 as pb
from parley.proto.presence.v1 import state_pb2 as kept
from parley.proto.presence.v1.presence_pb2_grpc import PresenceStub

if TYPE_CHECKING:
    from parley.proto.presence.v1.presence_pb2_grpc import PresenceAsyncStub

app = typer.Typer(help="Show how available users are.", no_args_is_help=True)

SERVICE = "parley.presence.v1.Presence"


def stub_of(host: RpcHost, target: str | None) -> PresenceAsyncStub:
    """A stub of the presence service."""
    stub: PresenceAsyncStub = host.channel(SERVICE, target).stub(PresenceStub)
    return stub


@app.command()
def show(
    context: typer.Context, user: Annotated[str, typer.Argument(help="user@domain, or a login name.")]
) -> None:  # fmt: skip
    """Show a user's state, and what it is made of: endpoints, publications, calls."""
    options: Options = context.obj
    request = pb.ShowPresenceRequest(address=user)
    shown = call(options, lambda host, target: stub_of(host, target).ShowPresence(request))
    if options.as_json:
        show_json(shown)
        return
    state = shown.state
    rows = [
        ("state", escape(_said(state))),
        ("since", _date(state.since_ms)),
        ("note", escape(state.note)),
        ("in a call", ", ".join(_call_text(item) for item in shown.calls) or "no"),
        ("endpoints", str(len(shown.endpoints))),
        ("watched by", f"{shown.watchers} subscriptions"),
        ("watches with", f"{shown.subscriptions} subscriptions"),
        ("contacts", str(shown.contacts)),
    ]
    name = f" ({state.display_name})" if state.display_name else ""
    show_table(escape(_user(state.address) + name), ("", ""), rows)
    if shown.endpoints:
        endpoints = [(item.contact, item.epid or item.instance) for item in shown.endpoints]
        show_table("endpoints", ("contact", "id"), [_escaped(row) for row in endpoints])
    if shown.publications or shown.phones:
        columns = ("what", "instance", "container", "says", "version", "lives until", "published", "by")
        publications = [_publication(item) for item in shown.publications] + [_phone(item) for item in shown.phones]
        show_table("publications", columns, [_escaped(row) for row in publications])


@app.command()
def watch(
    context: typer.Context,
    users: Annotated[list[str] | None, typer.Argument(help="Addresses or login names; everybody unless given.")] = None,
) -> None:
    """Print the state of users, and go on as it changes; Ctrl-C ends it."""
    options: Options = context.obj
    with contextlib.suppress(KeyboardInterrupt):
        call(options, lambda host, target: _watch(options, host, target, users or []))


async def _watch(options: Options, host: RpcHost, target: str | None, users: list[str]) -> None:
    """Prints until the watch ends. Raises RpcError."""
    channel = host.channel(SERVICE, target)
    client: DuplexClient[pb.PresenceWatch, pb.PresenceChange] = DuplexClient(
        channel, f"/{SERVICE}/WatchPresence", pb.WatchPresenceRequest, pb.WatchPresenceResponse
    )
    changes: asyncio.Queue[pb.PresenceChange | RpcError] = asyncio.Queue()
    number = client.open(pb.PresenceWatch(addresses=users), changes.put_nowait)
    begun = False
    try:
        while True:
            change = await changes.get()
            if isinstance(change, RpcError):
                raise change
            if change.status.code:
                raise RpcError.from_number(change.status.code, change.status.message)
            if not begun and not options.as_json:
                errors.print("[dim]watching; Ctrl-C ends it[/dim]")
            begun = True
            for state in change.states:
                _print(options, state)
            client.send(pb.PresenceWatch(id=number, taken=True))
    finally:
        await client.stop()


def _print(options: Options, state: pb.UserState) -> None:
    if options.as_json:
        print(json.dumps(plain(state), ensure_ascii=False), flush=True)
        return
    text = f"{datetime.now().strftime('%H:%M:%S')}  {_user(state.address):<32} {_said(state)}"
    if state.in_call:
        text += "  in a call"
    if state.note:
        text += f"  “{' '.join(state.note.split())}”"
    console.print(escape(text), soft_wrap=True)


def _said(state: pb.UserState) -> str:
    activity = f", {state.activity}" if state.activity else ""
    return f"{level_name(state.availability)} ({state.availability}){activity}"


def _call_text(item: pb.ShowPresenceResponse.OngoingCall) -> str:
    way = "to" if item.outgoing else "from"
    return escape(f"{way} {_user(item.remote)} since {_date(item.since_ms)}")


def _publication(item: pb.ShowPresenceResponse.PublishedItem) -> tuple[str, ...]:
    says = f"{item.kind} {item.availability or ''}".strip()
    lives = kept.ExpireType.Name(item.expire_type).removeprefix("EXPIRE_TYPE_").lower()
    until = {"static": "deleted", "user": "the user leaves", "endpoint": "the endpoint leaves", "time": "a time"}
    end = _date(item.expires_at_ms) if item.expires_at_ms else until.get(lives, "")
    return (
        item.category, str(item.instance), str(item.container), says, str(item.version), end, _date(item.published_at_ms),
        item.endpoint or "server",
    )  # fmt: skip


def _phone(item: pb.ShowPresenceResponse.PhonePublication) -> tuple[str, ...]:
    says = " ".join(part for part in (level_name(item.availability), item.activity, item.note) if part)
    return "phone", "", "", says, "", _date(item.expires_at_ms), _date(item.published_at_ms), "phone"


def _escaped(row: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(escape(cell) for cell in row)


def _user(address: str) -> str:
    return address.removeprefix("sip:")


def _date(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M:%S") if ms else "-"
