"""``parley directory``: entries, imports, directory servers, groups and the search index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from parley.addressbook.csvfiles import MAX_FILE, to_csv
from parley.addressbook.entries import Entry, Kind
from parley.addressbook.entry_proto import from_proto
from parley.cli.errors import Exit, errors, fail
from parley.cli.session import Options, call, console, progress_bar, show_json, show_table
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.addressbook.v1 import directory_pb2 as pb
from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryStub

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryAsyncStub

app = typer.Typer(help="The directory: entries, imports, directory servers.", no_args_is_help=True)
groups = typer.Typer(help="Groups and who is in them.", no_args_is_help=True)
app.add_typer(groups, name="groups")

_SERVICE = "parley.addressbook.v1.Directory"
_PART = 262_144
_LOOK_S = 0.5
_LONG_S = 3600.0
_KINDS = {"user": pb.ENTRY_KIND_USER, "contact": pb.ENTRY_KIND_CONTACT, "group": pb.ENTRY_KIND_GROUP}

Name = Annotated[str, typer.Argument(help="An address, a mail address, a nickname or a UUID.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]


def stub_of(host: RpcHost, target: str | None) -> DirectoryAsyncStub:
    """A stub of the directory."""
    stub: DirectoryAsyncStub = host.channel(_SERVICE, target).stub(DirectoryStub)
    return stub


@app.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV file; docs/directory.md says what its columns may be called.")],
    dry_run: DryRun = False,
    remove_absent: Annotated[
        bool, typer.Option("--remove-absent", help="Remove what came from a CSV file once and is not in this one.")
    ] = False,
) -> None:
    """Import users, contacts and groups from a CSV file."""
    options: Options = context.obj
    try:
        data = file.read_bytes()
    except OSError as error:
        raise fail(f"cannot read {file}: {error.strerror}", Exit.USAGE) from None
    if len(data) > MAX_FILE:
        raise fail(f"{file} is larger than {MAX_FILE // 1024 // 1024} MB; split it", Exit.USAGE)

    async def parts() -> AsyncIterator[pb.StartImportRequest]:
        wanted = pb.ImportOptions(name=file.name, dry_run=dry_run, remove_absent=remove_absent)
        yield pb.StartImportRequest(options=wanted)
        for begin in range(0, len(data), _PART):
            yield pb.StartImportRequest(data=data[begin : begin + _PART])

    async def work(host: RpcHost, target: str | None) -> pb.ImportReport:
        stub = stub_of(host, target)
        report = (await stub.StartImport(parts(), timeout=_LONG_S)).report
        with progress_bar(options) as progress:
            task = progress.add_task("rows", total=None)
            while report.state == pb.JOB_STATE_RUNNING:
                progress.update(task, completed=report.rows)
                await asyncio.sleep(_LOOK_S)
                report = (await stub.ImportStatus(pb.ImportStatusRequest(id=report.id))).report
        return report

    report = call(options, work)
    if options.as_json:
        show_json(report)
    else:
        _show_changes(report.differences, report.problems)
        console.print(
            f"{'dry run: ' if dry_run else ''}{report.added} added, {report.changed} changed, {report.unchanged} unchanged, "
            f"{report.removed} removed, {report.bad} rows could not be taken"
        )
    _end(report.failure, report.bad)


@app.command()
def sync(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="Name of the directory server in the configuration.")],
    dry_run: DryRun = False,
    full: Annotated[bool, typer.Option("--full", help="Read everything, not only what changed.")] = False,
) -> None:
    """Read a directory server now."""
    options: Options = context.obj

    async def work(host: RpcHost, target: str | None) -> pb.SyncReport:
        stub = stub_of(host, target)
        report = (await stub.SyncNow(pb.SyncNowRequest(source=source, dry_run=dry_run, full=full))).report
        with progress_bar(options) as progress:
            task = progress.add_task("entries", total=None)
            while report.state == pb.JOB_STATE_RUNNING:
                await asyncio.sleep(_LOOK_S)
                report = (await stub.SyncStatus(pb.SyncStatusRequest(source=source))).reports[0]
                progress.update(task, completed=report.read)
        return report

    report = call(options, work)
    if options.as_json:
        show_json(report)
    else:
        _show_changes(report.differences, report.problems)
        console.print(
            f"{'dry run: ' if dry_run else ''}{report.read} read, {report.added} added, {report.changed} changed, "
            f"{report.removed} removed, {report.bad} could not be taken"
        )
    _end(report.failure, report.bad)


@app.command("sync-status")
def sync_status(context: typer.Context, source: Annotated[str, typer.Argument(help="Only this one.")] = "") -> None:
    """Show when the directory servers were read, and what came of it."""
    options: Options = context.obj
    request = pb.SyncStatusRequest(source=source)
    reports = call(options, lambda host, target: stub_of(host, target).SyncStatus(request)).reports
    if options.as_json:
        show_json(list(reports))
        return
    rows = [
        (
            report.source, pb.JobState.Name(report.state).removeprefix("JOB_STATE_").lower(), str(report.entries),
            _time(report.last_success_at_ms), str(report.failures), str(report.bad), report.failure,
        )
        for report in reports
    ]  # fmt: skip
    columns = ("source", "state", "entries", "last read", "failures", "not taken", "problem")
    show_table(f"{len(rows)} directory servers", columns, rows, empty="no directory server is configured")


@app.command()
def search(
    context: typer.Context,
    text: Annotated[list[str], typer.Argument(help="Words, an address or a number.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most entries.")] = 20,
    kind: Annotated[str, typer.Option(help="Only users, contacts or groups: user, contact, group.")] = "",
) -> None:
    """Search the directory, as clients do."""
    options: Options = context.obj
    request = pb.SearchRequest(text=" ".join(text), limit=limit, kind=_kind(kind))
    answer = call(options, lambda host, target: stub_of(host, target).Search(request))
    _show_entries(options, answer.entries, more=bool(answer.token))


@app.command()
def show(context: typer.Context, name: Name) -> None:
    """Show an entry."""
    options: Options = context.obj
    request = pb.GetEntryRequest(name=name)
    message = call(options, lambda host, target: stub_of(host, target).GetEntry(request)).entry
    if options.as_json:
        show_json(_plain(message))
        return
    entry = from_proto(message)
    rows = [(field, text) for field, text in _fields(entry) if text]
    show_table(entry.name, ("", ""), rows)


@app.command("list")
def list_entries(
    context: typer.Context,
    kind: Annotated[str, typer.Option(help="user, contact or group.")] = "",
    domain: Annotated[str, typer.Option(help="Only addresses of this domain.")] = "",
    source: Annotated[str, typer.Option(help="local, csv, scim or ldap:name.")] = "",
) -> None:
    """List entries, also those that are hidden."""
    options: Options = context.obj
    wanted = _kind(kind)
    found = call(options, lambda host, target: _all(stub_of(host, target), wanted, domain, source))
    _show_entries(options, found, more=False)


@app.command("export")
def export(context: typer.Context, file: Annotated[Path, typer.Argument(help="File to write.")]) -> None:
    """Write all entries to a CSV file that `import` reads."""
    options: Options = context.obj
    entries = [from_proto(message) for message in call(options, lambda host, target: _exported(stub_of(host, target)))]
    names = {entry.id: entry.address_text or entry.mail or str(entry.id) for entry in entries}
    try:
        with file.open("w", encoding="utf-8", newline="") as output:
            output.writelines(to_csv(entries, lambda id: names.get(id, str(id))))
    except OSError as error:
        raise fail(f"cannot write {file}: {error.strerror}", Exit.USAGE) from None
    if options.as_json:
        show_json({"exported": len(entries)})
    else:
        console.print(f"{len(entries)} entries written to {file}")


@app.command("rebuild-index")
def rebuild_index(context: typer.Context) -> None:
    """Make the search index anew, while searches go on."""
    options: Options = context.obj

    async def work(host: RpcHost, target: str | None) -> int:
        indexed = 0
        with progress_bar(options) as progress:
            task = progress.add_task("entries", total=None)
            async for step in stub_of(host, target).RebuildIndex(pb.RebuildIndexRequest(), timeout=_LONG_S):
                indexed = step.indexed
                progress.update(task, completed=step.indexed, total=step.total)
        return indexed

    indexed = call(options, work)
    if options.as_json:
        show_json({"indexed": indexed})
    else:
        console.print(f"{indexed} entries indexed")


@groups.command("list")
def list_groups(context: typer.Context) -> None:
    """List the groups."""
    options: Options = context.obj
    found = call(options, lambda host, target: _all(stub_of(host, target), pb.ENTRY_KIND_GROUP, "", ""))
    _show_entries(options, found, more=False)


@groups.command()
def members(
    context: typer.Context,
    name: Name,
    nested: Annotated[bool, typer.Option("--nested", help="Also who is in groups within it.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most members.")] = 1000,
) -> None:
    """Show who is in a group, also hidden members."""
    options: Options = context.obj
    request = pb.ExpandRequest(name=name, nested=nested, limit=limit, reveal=True)
    answer = call(options, lambda host, target: stub_of(host, target).Expand(request, timeout=60.0))
    if answer.result == pb.EXPAND_RESULT_NOT_FOUND:
        raise fail(answer.problem, Exit.NOT_FOUND)
    if answer.result != pb.EXPAND_RESULT_OK:
        raise fail(answer.problem, Exit.REFUSED)
    _show_entries(options, answer.members, more=False)


@groups.command()
def create(
    context: typer.Context,
    display_name: Annotated[str, typer.Argument(help="Display name.")],
    mail: Annotated[str, typer.Option(help="Its mail address.")] = "",
    rule: Annotated[str, typer.Option(help='Rule of a dynamic group: department = "Sales".')] = "",
    hidden: Annotated[bool, typer.Option("--hidden-members", help="Clients are not shown who is in it.")] = False,
) -> None:
    """Make a group."""
    options: Options = context.obj
    entry = pb.Entry(kind=pb.ENTRY_KIND_GROUP, display_name=display_name, mail=mail)
    entry.membership.rule, entry.membership.hidden = rule, hidden
    made = call(options, lambda host, target: stub_of(host, target).PutEntry(pb.PutEntryRequest(entry=entry))).entry
    _done(options, made, "made")


@groups.command()
def add(
    context: typer.Context, name: Name, member: Annotated[list[str], typer.Argument(help="Who is to be in it.")]
) -> None:
    """Put somebody into a group."""
    _change_members(context.obj, name, member, joining=True)


@groups.command()
def remove(context: typer.Context, name: Name, member: Annotated[list[str], typer.Argument(help="Who leaves.")]) -> None:
    """Take somebody out of a group."""
    _change_members(context.obj, name, member, joining=False)


@app.command()
def delete(
    context: typer.Context, name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Remove an entry; a user cannot sign in any more then."""
    options: Options = context.obj
    if not yes and not typer.confirm(f"Remove {name}?"):
        raise typer.Exit(int(Exit.FAILURE))

    async def work(host: RpcHost, target: str | None) -> pb.Entry:
        stub = stub_of(host, target)
        entry = (await stub.GetEntry(pb.GetEntryRequest(name=name))).entry
        await stub.DeleteEntry(pb.DeleteEntryRequest(id=entry.id, expected_version=entry.version))
        return entry

    _done(options, call(options, work), "removed")


def _change_members(options: Options, name: str, names: Sequence[str], *, joining: bool) -> None:
    async def work(host: RpcHost, target: str | None) -> pb.Entry:
        stub = stub_of(host, target)
        group = (await stub.GetEntry(pb.GetEntryRequest(name=name))).entry
        if group.kind != pb.ENTRY_KIND_GROUP:
            raise fail(f"{name} is no group", Exit.REFUSED)
        version = group.version
        for member in names:
            try:
                id = (await stub.GetEntry(pb.GetEntryRequest(name=member))).entry.id
            except RpcError as error:
                raise RpcError(error.code, f"{member}: {error.message}") from None
            if joining:
                group.membership.members.append(id)
            elif id in group.membership.members:
                group.membership.members.remove(id)
        return (await stub.PutEntry(pb.PutEntryRequest(entry=group, expected_version=version))).entry

    _done(options, call(options, work), "changed")


async def _all(stub: DirectoryAsyncStub, kind: Any, domain: str, source: str) -> list[pb.Entry]:
    found: list[pb.Entry] = []
    token = ""
    while True:
        request = pb.ListEntriesRequest(kind=kind, domain=domain, source=source, page_size=500, page_token=token)
        page = await stub.ListEntries(request)
        found += page.entries
        token = page.next_page_token
        if not token:
            return found


async def _exported(stub: DirectoryAsyncStub) -> list[pb.Entry]:
    parts = stub.ExportEntries(pb.ExportEntriesRequest(), timeout=_LONG_S)
    return [entry async for part in parts for entry in part.entries]


def _kind(text: str) -> Any:
    if text and text not in _KINDS:
        raise fail(f"{text!r} is no kind of entry; write {', '.join(_KINDS)}", Exit.USAGE)
    return _KINDS.get(text, pb.ENTRY_KIND_UNSPECIFIED)


def _show_changes(differences: Sequence[str], problems: Sequence[pb.RowProblem]) -> None:
    for line in differences:
        console.print(escape(line), soft_wrap=True)
    for problem in problems:
        where = f"line {problem.line}" if problem.line else problem.key
        column = f"{problem.column}: " if problem.column else ""
        errors.print(f"[red]{escape(where)}:[/red] {escape(column + problem.problem)}", soft_wrap=True)


def _end(failure: str, bad: int) -> None:
    if failure:
        raise fail(failure, Exit.FAILURE)
    if bad:
        raise typer.Exit(int(Exit.FAILURE))


def _done(options: Options, entry: pb.Entry, done: str) -> None:
    if options.as_json:
        show_json(_plain(entry))
    else:
        console.print(f"{escape(entry.display_name or entry.address)} {done}")


def _show_entries(options: Options, messages: Sequence[pb.Entry], *, more: bool) -> None:
    if options.as_json:
        show_json([_plain(message) for message in messages])
        return
    rows = []
    for entry in map(from_proto, messages):
        number = next((item.normalised.removeprefix("tel:") or item.raw for item in entry.numbers), "")
        rows.append((escape(entry.name), entry.kind.value, entry.address_text, entry.mail, number, entry.origin.source))
    title = f"{len(rows)} entries{' and more' if more else ''}"
    show_table(title, ("name", "kind", "address", "mail", "number", "source"), rows, empty="nothing was found")


def _plain(message: pb.Entry) -> dict[str, Any]:
    """An entry for JSON; UUIDs as people write them."""
    entry = from_proto(message)
    content: dict[str, Any] = {"id": str(entry.id), "kind": entry.kind.value}
    content |= {field: text for field, text in _fields(entry) if text}
    content["numbers"] = [[item.kind.value, item.raw, item.normalised] for item in entry.numbers]
    if entry.membership is not None:
        content["members"] = [str(id) for id in entry.membership.members]
        content["unresolved"] = list(entry.membership.unresolved)
    return content


def _fields(entry: Entry) -> list[tuple[str, str]]:
    names = ("given_name", "surname", "mail", "mail_nickname", "title", "department", "company", "office", "city", "state")
    found = [("id", str(entry.id)), ("kind", entry.kind.value), ("address", entry.address_text), ("name", entry.name)]
    found += [(name, getattr(entry, name)) for name in (*names, "country", "manager")]
    found += [(item.kind.value, f"{item.raw}  {item.normalised}".strip()) for item in entry.numbers]
    found += [("proxy", proxy) for proxy in entry.proxies]
    found += [("hidden", "yes" if entry.hidden else ""), ("disabled", "" if entry.enabled else "yes")]
    if entry.kind is Kind.GROUP and entry.membership is not None:
        found += [("members", str(len(entry.membership.members))), ("rule", entry.membership.rule)]
        found += [
            ("unresolved", str(len(entry.membership.unresolved) or "")),
        ]
    found += [("source", entry.origin.source), ("source key", entry.origin.key), ("version", str(entry.version))]
    return found


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if at_ms else "never"
