"""``parley``: runs the server, and talks to a running one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

# Forked children would otherwise inherit gRPC's threads; Parley starts its children with exec only.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from parley.cli import (
    book_files,
    calls,
    config,
    contacts,
    devices,
    directory,
    doctor,
    drain,
    edge,
    init,
    presence,
    registrations,
    run,
    selftest,
    users,
)
from parley.cli.errors import EXIT_HELP
from parley.cli.session import Options

app = typer.Typer(
    help="Parley, a unified-communications server.", epilog=EXIT_HELP, no_args_is_help=True,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

app.add_typer(users.app, name="user")
app.add_typer(presence.app, name="presence")
app.add_typer(contacts.app, name="contacts")
app.add_typer(config.app, name="config")
app.add_typer(directory.app, name="directory")
app.add_typer(book_files.app, name="book-files")
app.add_typer(devices.app, name="devices")
app.add_typer(edge.app, name="edge")
app.add_typer(init.app, name="init")
app.command("run")(run.run)
app.command("registrations")(registrations.registrations)
app.command("calls")(calls.calls)
app.command("drain")(drain.drain)
app.command("undrain")(drain.undrain)
app.command("doctor")(doctor.doctor)
app.command("selftest")(selftest.selftest)


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file (YAML).")] = None,
    target: Annotated[str, typer.Option(help="gRPC address of a Parley, as host:port or unix:/path.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Keeps what all commands share."""
    context.obj = Options(config, target, as_json)


def main() -> None:
    """The entry point of the ``parley`` command."""
    app()


if __name__ == "__main__":
    main()
