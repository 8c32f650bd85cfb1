"""``parley selftest``: does this installation work, as its clients see it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from parley.cli.errors import Exit, fail
from parley.cli.session import Options, call, console, run_file, settings_of, show_json, trust_of
from parley.platform.addresses import is_wildcard
from parley.platform.config import PlatformConfig, Settings
from parley.platform.installed import config_models
from parley.platform.rpc.host import RpcHost
from parley.selftest.directory import Directory
from parley.selftest.phone import Place
from parley.selftest.report import StepResult
from parley.selftest.sequence import MAY_SKIP, NEEDS, Plan, run_selftest
from parley.selftest.traces import PATIENCE_S, Jaeger
from parley.selftest.web import WebPlace

_PORTS: Final = {"UDP": 5060, "TCP": 5060, "TLS": 5061}
_COLOURS: Final = {"ok": "green", "failed": "bold red", "skipped": "dim"}


def selftest(
    context: typer.Context,
    sip: Annotated[str, typer.Option(help="HOST:PORT of SIP over UDP and TCP; by default the running Parley's.")] = "",
    sip_tcp: Annotated[str, typer.Option(help="HOST:PORT of SIP over TCP, where it is another one.")] = "",
    sips: Annotated[str, typer.Option(help="HOST:PORT of SIP over TLS; by default the running Parley's.")] = "",
    https: Annotated[str, typer.Option(help="HOST:PORT of HTTPS; by default the running Parley's.")] = "",
    domain: Annotated[str, typer.Option(help="SIP domain of the two users; the first one configured unless given.")] = "",
    turn: Annotated[str, typer.Option(help="HOST:PORT of the relay over UDP; by default where clients are sent.")] = "",
    jaeger: Annotated[str, typer.Option(help="URL of Jaeger, as http://host:16686: traces must be whole there.")] = "",
    expect_edges: Annotated[int, typer.Option(min=1, max=2, help="Front ends that the call has to cross.")] = 1,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the CA to trust, besides the system's.")] = None,
    tls_name: Annotated[str, typer.Option(help="Name in the certificate for SIP; the domain unless given.")] = "",
    https_name: Annotated[str, typer.Option(help="Name in the certificate for HTTPS; its host unless given.")] = "",
    skip: Annotated[list[str] | None, typer.Option(help=f"Steps to leave out: {', '.join(MAY_SKIP)}; repeatable.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 10.0,
    trace_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a whole trace.")] = PATIENCE_S,
) -> None:
    """Try the whole installation: two users sign in, see each other, write, call, relay and search; then they are removed.

    Needs the gRPC addresses of the address book, the A/V edge and, for two front ends, the registrar.
    """
    options: Options = context.obj
    settings = settings_of(options)
    platform = settings.section("platform", PlatformConfig)
    domain = domain or _first_domain(settings)
    running, trust = run_file(platform), trust_of(ca, platform.data_folder)
    given = {"UDP": sip, "TCP": sip_tcp or sip, "TLS": sips}
    places = _places(given, running, trust, tls_name or domain)
    alone = any(given.values())
    web = _web_place(https, "" if alone else str(running.get("https", "")), trust, https_name)
    relay = _host_and_port(turn, 3478, "--turn") if turn else None
    traces = Jaeger(_url(jaeger), patience_s=trace_timeout) if jaeger else None
    left_out = _skipped(skip)

    async def work(host: RpcHost, target: str | None) -> list[StepResult]:
        _end_by_signal()
        say = (lambda result: None) if options.as_json else _show
        absent = _absent(platform) if target is None else {}
        plan = Plan(places, web, relay, traces, expect_edges, absent | left_out, timeout)
        return await run_selftest(plan, Directory(host, target, domain, timeout), say)

    try:
        results = call(options, work)
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise fail("told to end; what had been made is removed", Exit.FAILURE) from None
    failed = sum(result.state == "failed" for result in results)
    if options.as_json:
        show_json([asdict(result) for result in results])
    elif failed:
        console.print(f"[bold red]{failed} of {len(results)} steps failed[/bold red]")
    else:
        console.print("[bold green]all is well[/bold green]")
    if failed:
        raise typer.Exit(int(Exit.FAILURE))


def _end_by_signal() -> None:
    """SIGTERM ends the test as Ctrl-C does, so that the users are removed."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _show(result: StepResult) -> None:
    """One line; of a failure also what was expected, what came, and what to do."""
    colour = _COLOURS[result.state]
    time = f"{result.milliseconds:.0f} ms" if result.state != "skipped" else ""
    console.print(f"[{colour}]{result.state:8}[/{colour}]{result.name:20} {time:>9}  ", end="")
    console.print(result.detail, markup=False, soft_wrap=True)
    if result.state == "failed":
        for title, text in (("expected", result.expected), ("came", result.came), ("look at", result.look_at)):
            console.print(f"        {title + ':':10}{text}", markup=False, soft_wrap=True)


def _first_domain(settings: Settings) -> str:
    frontend: Any = settings.section("frontend", config_models()["frontend"])
    return str(frontend.domains[0])


def _places(given: Mapping[str, str], running: Mapping[str, Any], trust: ssl.SSLContext, tls_name: str) -> dict[str, Place]:
    """Where SIP is taken, by transport: what was given; if nothing was, what the running Parley listens on."""
    known = {name.upper(): str(address) for name, address in running.get("sip", {}).items()}
    places = {}
    for transport, port in _PORTS.items():
        text = given[transport] if any(given.values()) else known.get(transport, "")
        if text:
            host, number = _host_and_port(text, port, "--sips" if transport == "TLS" else "--sip")
            name = tls_name if transport == "TLS" else ""
            places[transport] = Place(transport, "127.0.0.1" if is_wildcard(host) else host, number, trust, name)
    if not places:
        raise fail("where is SIP taken?", Exit.USAGE, "name it with --sip and --sips, or start Parley with `parley run`")
    return places


def _web_place(given: str, running: str, trust: ssl.SSLContext, name: str) -> WebPlace | None:
    """Where HTTPS is: what was given, or the URL of the running Parley."""
    url = running
    if given:
        host, number = _host_and_port(given, 8443, "--https")
        url = f"https://{f'[{host}]' if ':' in host else host}:{number}"
    return WebPlace(url.rstrip("/"), trust, name) if url else None


def _host_and_port(text: str, port: int, option: str) -> tuple[str, int]:
    """ "host", "host:port", "[::1]:port". Ends the command for what is none."""
    host, colon, number = text.rpartition(":")
    if not colon or number.endswith("]"):
        host, number = text, str(port)
    bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not host or bare or not number.isdigit() or not 0 < int(number) < 65536:
        raise fail(f"{option} {text} is not HOST:PORT", Exit.USAGE)
    return host.strip("[]"), int(number)


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise fail(f"--jaeger {text} is no URL", Exit.USAGE, "write http://host:16686")
    return text


def _skipped(names: list[str] | None) -> dict[str, str]:
    skipped = {part.strip() for name in names or () for part in name.split(",") if part.strip()}
    for name in skipped:
        if name not in MAY_SKIP:
            raise fail(f"there is no step {name} to skip", Exit.USAGE, f"there are: {', '.join(MAY_SKIP)}")
    return dict.fromkeys(skipped, "not wanted")


def _absent(platform: PlatformConfig) -> dict[str, str]:
    """Steps of services that an installation of several processes is configured without."""
    return {
        step: f"platform.rpc.targets names no {service}"
        for step, service in NEEDS.items()
        if service not in platform.rpc.targets
    }
