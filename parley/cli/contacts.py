"""``parley contacts``: contact lists out of Parley and into it, as vCard or JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from parley.cli.errors import Exit, errors, fail
from parley.cli.presence import stub_of
from parley.cli.session import Options, call, console, progress_bar, show_json
from parley.platform.rpc.host import RpcHost
from parley.presence.contact_files import (
    MAX_FILE,
    BadRow,
    ContactFile,
    ContactFileError,
    Row,
    json_file,
    to_json,
    vcard_rows,
    vcards,
)
from parley.presence.importing import ContactEntry, GroupEntry
from parley.proto.presence.v1 import presence_pb2 as pb

app = typer.Typer(help="Export and import contact lists.", no_args_is_help=True)

_TIMEOUT_S = 30.0

User = Annotated[str, typer.Argument(help="user@domain, or a login name.")]


class Format(StrEnum):
    """How a file is written."""

    VCARD = "vcard"
    VCARD3 = "vcard3"
    JSON = "json"


@app.command("export")
def export_contacts(
    context: typer.Context,
    user: User,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="vcard (4.0), vcard3 or json; by default as the file is named, else vcard."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else standard output.")] = None,
) -> None:
    """Write a user's contacts as vCard or JSON; only JSON keeps groups that are empty."""
    options: Options = context.obj
    chosen = form or _by_name(output) or (Format.JSON if options.as_json else Format.VCARD)
    request = pb.ExportContactsRequest(address=user)
    found = call(options, lambda host, target: stub_of(host, target).ExportContacts(request, timeout=_TIMEOUT_S))
    entries = [_entry(item) for item in found.contacts]
    if chosen is Format.JSON:
        groups = [GroupEntry(group.name, group.external_uri) for group in found.groups]
        data = to_json(found.address, found.delta, groups, entries)
    else:
        data = vcards(entries, version="3.0" if chosen is Format.VCARD3 else "4.0")
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise fail(f"cannot write {output}: {error.strerror}", Exit.USAGE, "name another file with --output") from None
    errors.print(f"{len(entries)} contacts of {escape(found.address.removeprefix('sip:'))} written to {escape(str(output))}")


@app.command("import")
def import_contacts(
    context: typer.Context,
    user: User,
    file: Annotated[Path, typer.Argument(help="vCard or JSON; '-' reads standard input.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="vcard or json; by default as the file is named, or begins.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Contacts and groups that the file does not have are deleted.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Put contacts of a file into a user's list; clients that are signed in see them at once."""
    options: Options = context.obj
    content = _read(options, file, form)
    request = pb.ImportContactsRequest(
        address=user, replace=replace, dry_run=dry_run,
        contacts=[_message(row.entry) for row in content.rows],
        groups=[pb.ContactGroup(name=group.name, external_uri=group.external_uri) for group in content.groups],
    )  # fmt: skip
    if replace and content.bad:  # what the file means to say is not known, so nothing may be deleted for it
        request.dry_run = True

    async def work(host: RpcHost, target: str | None) -> pb.ImportContactsResponse:
        with progress_bar(options) as progress:
            task = progress.add_task("importing", total=None)
            answer = await stub_of(host, target).ImportContacts(request, timeout=_TIMEOUT_S)
            progress.update(task, total=len(content.rows), completed=len(content.rows))
            return answer

    answer = call(options, work)
    problems = [(row.place, "", row.problem) for row in content.bad]
    problems += [(content.rows[item.index].place, item.address, item.reason) for item in answer.problems]
    _report(options, answer, sorted(problems), unit=content.unit, dry_run=dry_run)
    if problems:
        if replace and not dry_run:
            raise fail(
                "nothing was changed, as the list would lose contacts that cannot be read", Exit.REFUSED,
                "correct them, or import without --replace",
            )  # fmt: skip
        raise typer.Exit(int(Exit.FAILURE))


def _report(
    options: Options,
    answer: pb.ImportContactsResponse,
    problems: Sequence[tuple[int, str, str]],
    *,
    unit: str,
    dry_run: bool,
) -> None:
    counts = {
        "added": answer.added, "changed": answer.changed, "unchanged": answer.unchanged, "deleted": answer.deleted,
        "groups_added": answer.groups_added, "groups_deleted": answer.groups_deleted,
    }  # fmt: skip
    if options.as_json:
        failed = [{unit: place, "address": address, "problem": problem} for place, address, problem in problems]
        show_json({**counts, "applied": answer.applied, "delta": answer.delta, "failed": failed})
        return
    for place, address, problem in problems:
        errors.print(f"[red]{unit} {place}:[/red] {escape(f'{address}: {problem}' if address else problem)}", soft_wrap=True)
    if not (answer.applied or dry_run):
        return
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count or name == "added")
    console.print(f"{'would be: ' if dry_run else ''}{told}, {len(problems)} failed", soft_wrap=True)


def _read(options: Options, file: Path, form: Format | None) -> ContactFile:
    """The contacts of a file; ends the command when it is none of contacts."""
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with file.open("rb") as source:
                data = source.read(MAX_FILE + 1)
    except OSError as error:
        raise fail(f"cannot read {file}: {error.strerror}", Exit.USAGE) from None
    chosen = form or _by_name(file) or _by_content(data)
    if chosen is None:
        raise fail(f"{file} looks like neither vCard nor JSON", Exit.USAGE, "say which with --format vcard or --format json")
    content = ContactFile()
    rows: Iterator[Row | BadRow]
    try:
        if chosen is Format.JSON:
            content.unit = "contact"
            content.groups, rows = json_file(data)
        else:
            rows = vcard_rows(data)
        with progress_bar(options) as progress:
            for row in progress.track(rows, total=None, description="reading"):
                content.add(row)
    except ContactFileError as error:
        other = "vcard" if chosen is Format.JSON else "json"
        hint = f"is it another format? --format {other} reads it as that"
        raise fail(f"{file} cannot be read: {error}", Exit.USAGE, hint) from None
    return content


def _by_name(file: Path | None) -> Format | None:
    if file is None:
        return None
    return {".json": Format.JSON, ".vcf": Format.VCARD, ".vcard": Format.VCARD}.get(file.suffix.lower())


def _by_content(data: bytes) -> Format | None:
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:1] == b"{":
        return Format.JSON
    return Format.VCARD if head[:11].upper() == b"BEGIN:VCARD" else None


def _entry(item: pb.ContactEntry) -> ContactEntry:
    return ContactEntry(
        item.address, item.name, tuple(item.groups), item.subscribed, item.external_uri, item.extension
    )  # fmt: skip


def _message(entry: ContactEntry) -> pb.ContactEntry:
    return pb.ContactEntry(
        address=entry.address, name=entry.name, groups=entry.groups, subscribed=entry.subscribed,
        external_uri=entry.external_uri, extension=entry.extension,
    )  # fmt: skip
