"""What commands share: configuration, the connection to a running Parley, output as table or JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message as ProtoMessage
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from parley.cli.errors import Exit, errors, fail, rpc_failure
from parley.platform.config import ConfigError, PlatformConfig, Settings
from parley.platform.installed import RUN_FILE, load_settings
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import MutualTls, RpcHost

ResultT = TypeVar("ResultT")

console = Console(highlight=False)


@dataclass
class Options:
    """What was given before the command."""

    config: Path | None = None
    target: str = ""
    as_json: bool = False


def settings_of(options: Options) -> Settings:
    """The configuration; ends the command when it is wrong."""
    try:
        return load_settings(options.config, os.environ)
    except ConfigError as error:
        for problem in error.problems[:-1]:
            fail(problem, Exit.CONFIGURATION)
        raise fail(
            error.problems[-1],
            Exit.CONFIGURATION,
            "docs/configuration.md lists every key; `parley config check` checks",
        ) from None


def run_file(platform: PlatformConfig) -> dict[str, Any]:
    """What the running process wrote of itself; empty when none runs with this data folder."""
    try:
        content = json.loads((platform.data_folder / RUN_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of a coroutine. Raises KeyboardInterrupt after the first Ctrl-C, once it has cleaned up.

    The handler of ``asyncio.run`` does not wake a loop that is just about to wait, so what waits for long might not hear of
    it; one of the loop itself does.
    """
    interrupted = False

    async def main() -> ResultT:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            loop.remove_signal_handler(signal.SIGINT)  # the second one ends it at once
            task.cancel()

        if threading.current_thread() is threading.main_thread():  # signals are heard there alone
            loop.add_signal_handler(signal.SIGINT, interrupt)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise


def call(options: Options, work: Callable[[RpcHost, str | None], Awaitable[ResultT]]) -> ResultT:
    """Runs a coroutine with a connection to Parley; ends the command when a call fails.

    The target is the one given, else that of the process which runs with the configured data folder, else what the
    configuration names for each service (then the work gets None).
    """
    platform = settings_of(options).section("platform", PlatformConfig)
    target: str | None = options.target or next(iter(run_file(platform).get("rpc", [])), None)
    if target is None and not platform.rpc.targets:
        raise fail(
            "no running Parley was found", Exit.UNAVAILABLE,
            f"start one with `parley run` (data folder {platform.data_folder}), or name one with --target",
        )  # fmt: skip

    # What went wrong is said once, by the command itself.
    logging.getLogger("parley").addHandler(logging.NullHandler())

    async def main() -> ResultT:
        host = RpcHost(targets=platform.rpc.targets, tls=MutualTls.of(platform.rpc.tls))
        try:
            return await work(host, target)
        finally:
            await host.stop()

    try:
        return run(main())
    except RpcError as error:
        raise rpc_failure(error) from None


def trust_of(ca: Path | None, data: Path) -> ssl.SSLContext:
    """The system's authorities, the one that is named, and the development CA of the configured data folder."""
    context = ssl.create_default_context()
    own = data / "tls" / "ca.pem"
    for path in (ca, own if own.exists() else None):
        if path is not None:
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise fail(f"cannot use {path}: {error}", Exit.USAGE) from None
    return context


def show_json(value: Any) -> None:
    """Prints a value, or a protobuf message, as JSON."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """A value that JSON can hold."""
    if isinstance(value, ProtoMessage):
        return MessageToDict(value, preserving_proto_field_name=True)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str = "none") -> None:
    """Prints rows as a table."""
    if not rows:
        console.print(f"[dim]{empty}[/dim]")
        return
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def progress_bar(options: Options) -> Progress:
    """Progress of long work, on standard error while it goes on; not with JSON."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=errors, transient=True,
        disable=options.as_json,
    )  # fmt: skip
