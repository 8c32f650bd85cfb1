"""``parley``: runs the server, and talks to a running one."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

# Forked children would otherwise inherit gRPC's threads; Parley starts its children with exec only.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from parley.cli.errors import EXIT_HELP
from parley.cli.session import Options

_COMMANDS: Final = {
    "user": "users:app",
    "presence": "presence:app",
    "contacts": "contacts:app",
    "config": "config:app",
    "directory": "directory:app",
    "book-files": "book_files:app",
    "devices": "devices:app",
    "edge": "edge:app",
    "init": "init:app",
    "run": "run:run",
    "registrations": "registrations:registrations",
    "calls": "calls:calls",
    "drain": "drain:drain",
    "undrain": "drain:undrain",
    "doctor": "doctor:doctor",
    "selftest": "selftest:selftest",
}
"""Where each command is, below this package: the Typer application of a group, or the function of a command."""


class Commands(TyperGroup):
    """Loads the code of a command when it is asked for: a server that starts needs that of one."""

    def __init__(self, **attributes: Any) -> None:
        """See `typer.core.TyperGroup`, which lists the names, and looks among them for what was meant by a wrong one."""
        super().__init__(**attributes)
        names: dict[str, Any] = dict.fromkeys(_COMMANDS)
        self.commands = names

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | TyperGroup | None:
        """One of them; None when there is no such command."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name].split(":")
        found = getattr(import_module(f"parley.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            command: TyperCommand | TyperGroup = get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(found)
            command = cast(TyperCommand, get_command(alone))
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=Commands, help="Parley, a unified-communications server.", epilog=EXIT_HELP, no_args_is_help=True,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


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
