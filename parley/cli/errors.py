"""How the command ends: exit codes, and errors that say what to do next."""

from __future__ import annotations

from enum import IntEnum

import typer
from grpc import StatusCode
from rich.console import Console
from rich.markup import escape

from parley.platform.rpc.errors import RpcError


class Exit(IntEnum):
    """Exit codes of ``parley``."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    CONFIGURATION = 5
    REFUSED = 6


EXIT_HELP = """Exit codes: 0 done; 1 failed; 2 wrong usage; 3 not found; 4 a server is away; 5 wrong configuration;
6 refused (invalid value, or it exists already)."""

_CODES = {
    StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    StatusCode.UNAVAILABLE: Exit.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: Exit.UNAVAILABLE,
    StatusCode.INVALID_ARGUMENT: Exit.REFUSED,
    StatusCode.ALREADY_EXISTS: Exit.REFUSED,
    StatusCode.PERMISSION_DENIED: Exit.REFUSED,
    StatusCode.ABORTED: Exit.FAILURE,
}

errors = Console(stderr=True, highlight=False)


def fail(message: str, code: Exit, hint: str = "") -> typer.Exit:
    """Prints what went wrong and what to do; raise what is returned."""
    errors.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True)
    if hint:
        errors.print(f"[dim]hint:[/dim] {escape(hint)}", soft_wrap=True)
    return typer.Exit(int(code))


def rpc_failure(error: RpcError) -> typer.Exit:
    """The end of a command whose call failed."""
    code = _CODES.get(error.code, Exit.FAILURE)
    hint = ""
    if code is Exit.UNAVAILABLE:
        hint = "is Parley running? start it with `parley run`, or name another with --target; `parley doctor` looks closer"
    return fail(error.message or error.code.name, code, hint)
