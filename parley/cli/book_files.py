"""``parley book-files``: address-book files, as clients fetch them."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from grpc import StatusCode
from rich.markup import escape

from parley.addressbook.errors import BookFileError
from parley.addressbook.files.dump import dump
from parley.addressbook.files.layout import layout
from parley.addressbook.files.names import date_of_day
from parley.addressbook.files.reading import BookFile
from parley.cli.errors import Exit, fail
from parley.cli.session import Options, call, console, show_json, show_table
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.addressbook.v1 import book_files_pb2 as pb
from parley.proto.addressbook.v1.book_files_pb2_grpc import AddressBookFilesStub

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.book_files_pb2_grpc import AddressBookFilesAsyncStub

app = typer.Typer(help="Address-book files, which clients fetch to search without a server.", no_args_is_help=True)

_SERVICE = "parley.addressbook.v1.AddressBookFiles"
_LOOK_S = 0.5
_LONG_S = 3600.0


def stub_of(host: RpcHost, target: str | None) -> AddressBookFilesAsyncStub:
    """A stub of address-book files."""
    stub: AddressBookFilesAsyncStub = host.channel(_SERVICE, target).stub(AddressBookFilesStub)
    return stub


@app.command("list")
def list_files(context: typer.Context) -> None:
    """List the files there are."""
    options: Options = context.obj
    request = pb.ListFilesRequest()
    files = sorted(
        call(options, lambda host, target: stub_of(host, target).ListFiles(request)).files, key=lambda file: file.name
    )
    if options.as_json:
        show_json(files)
        return
    rows = [(file.name, str(file.size), str(file.contacts), _time(file.made_at_ms)) for file in files]
    show_table(f"{len(rows)} files", ("file", "bytes", "contacts", "made"), rows, empty="there are no files")


@app.command()
def status(context: typer.Context) -> None:
    """Show when the files were made, and what came of it."""
    options: Options = context.obj
    request = pb.GetFilesStatusRequest()
    found = call(options, lambda host, target: stub_of(host, target).GetFilesStatus(request))
    if options.as_json:
        show_json(found)
        return
    if not found.enabled:
        console.print("no address-book files are made; see addressbook.files.layout", soft_wrap=True)
        return
    day = date_of_day(found.day).isoformat() if found.made_at_ms else "none"
    rows = [
        ("made", f"{_time(found.made_at_ms)}{', and being made now' if found.running else ''}"), ("of", day),
        ("entries", str(found.entries)), ("files", f"{found.files}, {found.bytes} bytes"),
    ]  # fmt: skip
    if found.problem:
        rows.append(("last problem", f"{escape(found.problem)} ({_time(found.problem_at_ms)})"))
    show_table("address-book files", ("", ""), rows)


@app.command()
def make(
    context: typer.Context,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Only when there are none of today.")] = False,
) -> None:
    """Make the files of today now, and wait for them."""
    options: Options = context.obj

    async def work(host: RpcHost, target: str | None) -> pb.GetFilesStatusResponse | None:
        stub = stub_of(host, target)
        before = await stub.GetFilesStatus(pb.GetFilesStatusRequest())
        if if_missing and before.made_at_ms and date_of_day(before.day) == datetime.now(UTC).date():
            return None
        try:
            await stub.MakeFiles(pb.MakeFilesRequest())
        except RpcError as error:
            if error.code is not StatusCode.ABORTED:  # it is being done
                raise
        return await _done(stub, before)

    after = call(options, work)
    if options.as_json:
        show_json(after if after is not None else {"made": False})
    elif after is None:
        console.print("there are files of today")
    elif not after.problem:
        console.print(f"{after.files} files of {after.entries} entries, {after.bytes} bytes")
    if after is not None and after.problem:
        raise fail(f"the files were not made: {after.problem}", Exit.FAILURE)


async def _done(stub: AddressBookFilesAsyncStub, before: pb.GetFilesStatusResponse) -> pb.GetFilesStatusResponse:
    """How it is once a run that began after ``before`` has ended."""
    deadline = time.monotonic() + _LONG_S
    while time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_S)
        now = await stub.GetFilesStatus(pb.GetFilesStatusRequest())
        ended = now.made_at_ms != before.made_at_ms or now.problem_at_ms > before.problem_at_ms
        if ended and not now.running:
            return now
    raise RpcError(StatusCode.DEADLINE_EXCEEDED, "the files are not made yet")


@app.command()
def fetch(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="As F-0B8B.lsabs.")],
    file: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Write one of the files."""
    options: Options = context.obj

    async def work(host: RpcHost, target: str | None) -> bytes:
        parts = stub_of(host, target).ReadFile(pb.ReadFileRequest(name=name), timeout=_LONG_S)
        return b"".join([part.data async for part in parts])

    data = call(options, work)
    try:
        file.write_bytes(data)
    except OSError as error:
        raise fail(f"cannot write {file}: {error.strerror}", Exit.USAGE) from None
    if options.as_json:
        show_json({"bytes": len(data)})
    else:
        console.print(f"{len(data)} bytes written to {file}", soft_wrap=True)


@app.command()
def show(file: Annotated[Path, typer.Argument(help="An address-book file.")]) -> None:
    """Print what is in a file; no running Parley is needed."""
    try:
        book = BookFile(file.read_bytes(), layout(unconfirmed=True))
        book.verify()
        for line in dump(book):
            print(line)
    except OSError as error:
        raise fail(f"cannot read {file}: {error.strerror}", Exit.USAGE) from None
    except BookFileError as error:
        raise fail(f"{file}: {error}", Exit.FAILURE) from None


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if at_ms else "never"
