"""``parley run``: the server in the foreground."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.table import Table

from parley.cli.errors import Exit, fail
from parley.cli.session import Options, console, settings_of
from parley.platform.addresses import is_wildcard
from parley.platform.config import ConfigError, PlatformConfig, Settings, is_local
from parley.platform.host import Process
from parley.platform.installed import service_names
from parley.platform.running import EndedEarly
from parley.platform.store.errors import StoreError

DEFAULT_ORDER = ("addressbook", "registrar", "presence", "messaging", "conference", "immcu", "avedge", "frontend")


def run(
    context: typer.Context,
    services: Annotated[str, typer.Option(help="Services to run, separated by commas; all of them unless given.")] = "",
) -> None:
    """Run Parley: everything on this machine, or some services of a larger installation.

    Without a configuration it starts a bundled Valkey, makes certificates and demo users, and prints how to sign in.
    """
    options: Options = context.obj
    if options.config is None and not services and "PARLEY_CONFIG" not in os.environ:
        for_a_first_try(os.environ)
    settings = settings_of(options)
    names = _names(services)
    raise typer.Exit(_run(settings, names))


def for_a_first_try(environ: MutableMapping[str, str]) -> None:
    """Demo users; where only this machine gets in, alice administers over HTTPS. What is set stays."""
    environ.setdefault("PARLEY_ADDRESSBOOK_DEMO", "true")
    if is_local(f"{environ.get('PARLEY_BIND') or '127.0.0.1'}:0"):
        environ.setdefault("PARLEY_WEB_ADMINISTRATORS", '["alice@example.test"]')


def _names(text: str) -> list[str]:
    known = service_names()
    if not text:
        return [*DEFAULT_ORDER, *(name for name in known if name not in DEFAULT_ORDER)]
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise fail(f"there is no service {name}", Exit.USAGE, f"services are: {', '.join(known)}")
    return sorted(names, key=lambda name: DEFAULT_ORDER.index(name) if name in DEFAULT_ORDER else 99)


def _run(settings: Settings, names: list[str]) -> int:
    import uvloop

    async def main() -> int:
        process = Process(settings, names)
        try:
            await process.start()
        except EndedEarly as end:
            return end.code
        try:
            show_up(process)
            return await process.run()
        finally:
            await process.stop()

    try:
        return uvloop.run(main())
    except ConfigError as error:
        raise fail("; ".join(error.problems), Exit.CONFIGURATION) from None
    except (OSError, StoreError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise fail(text, Exit.FAILURE, "`parley doctor` looks at ports, Redis and certificates") from None
    except KeyboardInterrupt:
        return 0


def show_up(process: Process) -> None:
    """Prints the addresses, the demo users and what to type into a phone; last, the line that all is up."""
    frontend = _service(process, "frontend")
    addressbook = _service(process, "addressbook")
    if frontend is not None:
        table = Table(show_header=False, box=None, padding=(0, 2))
        for transport, (host, port) in frontend.listeners.by_transport.items():
            name = transport.replace("6", " over IPv6").replace("PEERS", "trusted servers")
            table.add_row(
                name if "servers" in name else f"SIP {name}", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            )
        web = _service(process, "web")
        if web is not None:
            table.add_row("HTTPS", web.url)
            if web.config.administrators:
                who = ", ".join(address.removeprefix("sip:") for address in web.config.administrators)
                table.add_row("admin page", f"{web.url}/admin, for {who}")
        relay = _service(process, "avedge")
        if relay is not None:
            ports = [f"{item.kind.upper()} {item.host}:{item.port}" for item in relay.status().listeners]
            table.add_row("TURN", ", ".join(ports))
        table.add_row("metrics", f"http://{process.platform.bind}:{process.metrics_port}/metrics")
        console.print(Panel(table, title="Parley listens on", title_align="left", expand=False))
    if addressbook is not None and addressbook.config.demo:
        show_demo(process.platform, addressbook.config.domains[0], frontend)
    console.print(f"[bold green]Parley is up:[/bold green] {', '.join(process.names)}. Ctrl-C ends it.")


def show_demo(platform: PlatformConfig, domain: str, frontend: Any) -> None:
    """Prints the demo users, and the lines to paste into a softphone."""
    password = (platform.data_folder / "demo-password").read_text().strip()
    table = Table(show_header=True, box=None, padding=(0, 2), header_style="bold")
    for column in ("address", "user name", "password"):
        table.add_column(column)
    for name in ("alice", "bob", "carol"):
        table.add_row(f"{name}@{domain}", name, password)
    console.print(Panel(table, title="Demo users", title_align="left", expand=False))
    if frontend is None or "TLS" not in frontend.listeners.by_transport:
        return
    host, port = frontend.listeners.by_transport["TLS"]
    server = "127.0.0.1" if is_wildcard(host) else host
    ca = platform.data_folder / "tls" / "ca.pem"
    console.print("[bold]Paste into baresip[/bold] (~/.baresip/accounts; sip_cafile in ~/.baresip/config):")
    for name in ("alice", "bob"):
        line = (
            f"<sip:{name}@{domain}>;auth_user={name};auth_pass={password};"
            f'outbound="sip:{server}:{port};transport=tls";mediaenc=srtp-mand'
        )
        console.print(f"  {line}", soft_wrap=True, markup=False)
    console.print(f"  sip_cafile {ca}", soft_wrap=True, markup=False)
    console.print(
        f"[bold]Any other softphone:[/bold] user alice, domain {domain}, server (outbound proxy) {server}:{port}, "
        f"transport TLS, SRTP on.",
        soft_wrap=True,
    )


def _service(process: Process, name: str) -> Any:
    return next((service for service in process.services if service.name == name), None)
