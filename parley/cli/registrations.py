"""``parley registrations``: who is signed in, and where."""

from __future__ import annotations

from typing import Annotated

import typer

from parley.cli.session import Options, call, console, show_json, show_table
from parley.platform.rpc.host import RpcHost
from parley.proto.registrar.v1 import registrar_pb2 as pb
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub

_SERVICE = "parley.registrar.v1.Registrar"


def registrations(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="Only this user, as user@domain.")] = "",
    limit: Annotated[int, typer.Option(help="Most bindings shown.")] = 1000,
) -> None:
    """Show which endpoints users are reached at."""
    options: Options = context.obj
    aor = "" if not address else address if address.startswith("sip:") else f"sip:{address}"

    async def work(host: RpcHost, target: str | None) -> tuple[list[pb.ListBindingsResponse.Entry], int, bool]:
        stub = host.channel(_SERVICE, target).stub(RegistrarStub)
        entries: list[pb.ListBindingsResponse.Entry] = []
        token, now_ms = "", 0
        while len(entries) < limit:
            request = pb.ListBindingsRequest(aor=aor, page_size=min(500, limit - len(entries)), page_token=token)
            page = await stub.ListBindings(request)
            entries.extend(page.entries)
            token, now_ms = page.next_page_token, page.now_ms
            if not token:
                break
        return entries, now_ms, bool(token)

    entries, now_ms, more = call(options, work)
    entries.sort(key=lambda entry: entry.aor)
    if options.as_json:
        show_json(entries)
        return
    rows = [
        (
            entry.aor.removeprefix("sip:"),
            entry.binding.transport,
            entry.binding.received,
            entry.binding.user_agent,
            f"{max(0, entry.binding.expires_at_ms - now_ms) // 1000} s",
            "yes" if entry.binding.edge_address else "no",
        )
        for entry in entries
    ]
    columns = ("user", "transport", "from", "user agent", "expires in", "reachable")
    show_table(f"{len(entries)} registrations", columns, rows, empty="nobody is registered")
    if more:
        console.print(f"[dim]there are more; --limit {limit * 10} shows them[/dim]")
