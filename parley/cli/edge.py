"""``parley edge``: the relay of voice and video, seen from inside and tried from outside."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from parley.cli.errors import Exit, fail
from parley.cli.session import Options, call, console, settings_of, show_json, show_table, trust_of
from parley.platform.config import PlatformConfig
from parley.platform.rpc.host import RpcHost
from parley.proto.avedge.v1 import credentials_pb2, relay_pb2
from parley.proto.avedge.v1.credentials_pb2_grpc import CredentialsStub
from parley.proto.avedge.v1.relay_pb2_grpc import RelayStub
from parley.stun.addresses import Address
from parley.stun.probe import ProbeError
from parley.stun.trial import INTERVAL_S, Trial, there_and_back
from parley.stun.turn.allocations import Transport

app = typer.Typer(help="Look at the relay of voice and video, and try it.", no_args_is_help=True)

_RELAY = "parley.avedge.v1.Relay"
_CREDENTIALS = "parley.avedge.v1.Credentials"
_LIMIT_S = 20.0


@app.command("allocations")
def allocations(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, help="Most allocations shown.")] = 1000
) -> None:
    """Show who uses the relay, and how much."""
    options: Options = context.obj

    async def work(host: RpcHost, target: str | None) -> relay_pb2.ListAllocationsResponse:
        stub = host.channel(_RELAY, target).stub(RelayStub)
        response: relay_pb2.ListAllocationsResponse = await stub.ListAllocations(
            relay_pb2.ListAllocationsRequest(limit=limit)
        )
        return response

    response = call(options, work)
    if options.as_json:
        show_json(list(response.allocations))
        return
    rows = [
        (
            item.username, f"{item.dialect} {item.transport}", item.client, " ".join(item.relays),
            f"{max(0, response.now_ms - item.opened_at_ms) // 1000} s",
            _amount(item.traffic.sent_packets, item.traffic.sent_bytes),
            _amount(item.traffic.received_packets, item.traffic.received_bytes), str(item.traffic.dropped_packets),
        )
        for item in response.allocations
    ]  # fmt: skip
    columns = ("user", "over", "client", "relay", "since", "sent", "received", "lost")
    show_table(f"{response.total} allocations", columns, rows, empty="nobody uses the relay")
    if response.total > len(rows):
        console.print(f"[dim]there are more; --limit {limit * 10} shows them[/dim]")


def _amount(packets: int, size: int) -> str:
    return f"{packets}, {size // 1000} kB"


@app.command("credentials")
def credentials(
    context: typer.Context,
    user: Annotated[str, typer.Argument(help="For whom, as user@domain.")],
    seconds: Annotated[int, typer.Option(min=0, help="Validity; 0: the longest there is.")] = 0,
) -> None:
    """Print iceServers for a browser or another WebRTC client. Whoever has them can use the relay."""
    response = call(context.obj, lambda host, target: _issue(host, target, user, seconds))
    servers = [
        {"urls": list(item.urls), **({"username": item.username, "credential": item.credential} if item.username else {})}
        for item in response.ice_servers
    ]
    show_json({"iceServers": servers, "expires_at_ms": response.expires_at_ms})


async def _issue(host: RpcHost, target: str | None, user: str, seconds: int) -> credentials_pb2.IssueIceServersResponse:
    stub = host.channel(_CREDENTIALS, target).stub(CredentialsStub)
    response: credentials_pb2.IssueIceServersResponse = await stub.IssueIceServers(
        credentials_pb2.IssueIceServersRequest(user=user, seconds=seconds)
    )
    return response


@app.command("test")
def try_relay(
    context: typer.Context,
    host: Annotated[str, typer.Argument(help="Name or address of the relay; the running one's unless given.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for UDP and TCP.")] = 3478,
    tls_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for TLS and DTLS.")] = 5349,
    user: Annotated[str, typer.Option(help="User name; without one the running Parley issues credentials.")] = "",
    password: Annotated[str, typer.Option(help="Password of that user name.", envvar="TURN_PASSWORD")] = "",
    packets: Annotated[int, typer.Option(min=1, max=10_000, help="Packets through the relay over each transport.")] = 50,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the CA to trust, besides the system's.")] = None,
) -> None:
    """Try the relay as a client would: addresses, allocations, packets there and back over UDP, TCP, TLS and DTLS.

    Best run from where the users are. MS-TURN is not tried. Of the running relay it shows, too, whether that
    reached itself after its start.
    """
    options: Options = context.obj
    itself: list[Trial] = []
    places = {Transport.UDP: port, Transport.TCP: port, Transport.TLS: tls_port, Transport.DTLS: tls_port}
    if not host:
        status = call(options, _status)
        if not status.advertised:
            raise fail("the relay has no address", Exit.FAILURE, "see its log")
        host = status.advertised[0]
        itself = [
            Trial("self-test", test.host, "" if test.reached else test.problem or "not reached")
            for test in status.self_tests
        ]
        udp, tcp = ([item.port for item in status.listeners if item.kind == kind] for kind in ("udp", "tcp"))
        places = {
            Transport.UDP: [*udp, 0][0], Transport.TCP: [*tcp, 0][0], Transport.TLS: [0, *tcp][-1],
            Transport.DTLS: [0, *udp][-1],
        }  # fmt: skip
    if not user:
        servers = call(options, lambda rpc, target: _issue(rpc, target, "edge-test", 600)).ice_servers
        user, password = next(((item.username, item.credential) for item in servers if item.username), ("", ""))
    trust = trust_of(ca, settings_of(options).section("platform", PlatformConfig).data_folder)
    trials = itself + asyncio.run(_try_all(host, places, user, password, packets, trust))
    if options.as_json:
        show_json([asdict(trial) for trial in trials])
    else:
        _show(trials)
    if any(trial.problem or trial.lost for trial in trials):
        raise typer.Exit(int(Exit.FAILURE))


async def _status(host: RpcHost, target: str | None) -> relay_pb2.GetStatusResponse:
    response: relay_pb2.GetStatusResponse = (
        await host.channel(_RELAY, target).stub(RelayStub).GetStatus(relay_pb2.GetStatusRequest())
    )
    return response


async def _try_all(
    host: str, places: dict[Transport, int], user: str, password: str, packets: int, trust: ssl.SSLContext
) -> list[Trial]:
    """One trial after the other, so that they do not disturb each other."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise fail(f"{host} cannot be found: {error}", Exit.NOT_FOUND) from None
    address = str(found[0][4][0])
    trials = []
    for transport, port in places.items():
        if not port:
            trials.append(Trial(str(transport), host, "the relay has no such port"))
            continue
        server = Address(address, port)
        try:
            async with asyncio.timeout(_LIMIT_S + packets * INTERVAL_S):
                trials.append(await there_and_back(server, transport, host, user, password, packets, trust))
        except ProbeError as error:
            trials.append(Trial(str(transport), str(server), str(error)))
        except ssl.SSLError as error:
            trials.append(Trial(str(transport), str(server), f"TLS failed: {getattr(error, 'reason', None) or error}"))
        except (OSError, TimeoutError) as error:
            trials.append(Trial(str(transport), str(server), _reason(error)))
    return trials


def _reason(error: OSError) -> str:
    """What the system says, without what asyncio says about it."""
    return os.strerror(error.errno) if error.errno else "no answer in time"


def _show(trials: list[Trial]) -> None:
    rows = [
        (trial.transport, trial.server, f"[red]{trial.problem}[/red]", "", "", "", "")
        if trial.problem
        else (
            trial.transport, trial.server, "[green]works[/green]" if not trial.lost else "[yellow]loses packets[/yellow]",
            trial.mapped, trial.relayed, f"{trial.lost} of {trial.sent}" if trial.sent else "",
            f"{trial.median_ms:.1f}, {trial.worst_ms:.1f} ms" if trial.sent else "",
        )
        for trial in trials
    ]  # fmt: skip
    columns = ("over", "server", "", "seen as", "relay", "lost", "delay, worst")
    show_table("The relay, tried as a client", columns, rows)
