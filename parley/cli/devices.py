"""``parley devices``: updates of devices, who tests them, and what devices tell."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, TaskID

from parley.cli.errors import Exit, fail
from parley.cli.session import Options, call, console, progress_bar, show_json, show_table
from parley.platform.rpc.host import RpcHost
from parley.proto.addressbook.v1 import device_updates_pb2 as pb
from parley.proto.addressbook.v1.device_updates_pb2_grpc import DeviceUpdatesStub

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.device_updates_pb2_grpc import DeviceUpdatesAsyncStub

app = typer.Typer(help="Updates of devices, as desk phones.", no_args_is_help=True)
tests = typer.Typer(help="Devices that get what is pending.", no_args_is_help=True)
logs = typer.Typer(help="Logs that devices sent.", no_args_is_help=True)
app.add_typer(tests, name="tests")
app.add_typer(logs, name="logs")

_SERVICE = "parley.addressbook.v1.DeviceUpdates"
_PART = 262_144
_LONG_S = 3600.0

Rule = Annotated[str, typer.Argument(help="Id of the rule, as `parley devices list` shows it.")]
Meant = Annotated[str, typer.Option("--version", help="Only if this is the version; else whatever there is.")]
Type = Annotated[str, typer.Option("--type", help="Only devices of this type: UCPhone, RoundTable.")]
Vendor = Annotated[str, typer.Option(help="Only devices of this vendor.")]
Model = Annotated[str, typer.Option(help="Only devices of this model.")]
Revision = Annotated[str, typer.Option(help="Only devices of this revision.")]
Locale = Annotated[str, typer.Option(help="Only devices of this locale; en is for en-US too.")]
Mac = Annotated[str, typer.Option(help="Its MAC address, as 00:04:F2:12:34:56.")]
Serial = Annotated[str, typer.Option(help="Its serial number.")]


def stub_of(host: RpcHost, target: str | None) -> DeviceUpdatesAsyncStub:
    """A stub of device updates."""
    stub: DeviceUpdatesAsyncStub = host.channel(_SERVICE, target).stub(DeviceUpdatesStub)
    return stub


@app.command("list")
def list_rules(context: typer.Context) -> None:
    """List the rules with their updates."""
    options: Options = context.obj
    request = pb.ListUpdateRulesRequest()
    rules = call(options, lambda host, target: stub_of(host, target).ListUpdateRules(request)).rules
    if options.as_json:
        show_json(list(rules))
        return
    rows = [
        (escape(rule.id), escape(_devices(rule)), _version(rule.pending), _version(rule.approved), _version(rule.previous))
        for rule in rules
    ]
    columns = ("rule", "devices", "pending", "approved", "previous")
    show_table(f"{len(rows)} rules", columns, rows, empty="no update was uploaded")


@app.command()
def upload(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="The files of the update.")],
    version: Annotated[str, typer.Option("--version", help="Version of the update and its files.")],
    signature: Annotated[
        list[str] | None, typer.Option(help="FILE=SIGNATURE: the file with the signature of one of them.")
    ] = None,
    id: Annotated[str, typer.Option("--id", help="Of the rule; else one is made of the fields below.")] = "",
    type: Type = "", vendor: Vendor = "", model: Model = "", revision: Revision = "", locale: Locale = "",
) -> None:  # fmt: skip
    """Upload an update; test devices get it, others once it is approved."""
    options: Options = context.obj
    signatures = _signatures(signature or [], files)
    sums = {path: _sum(path) for path in (*files, *signatures.values())}
    stamp = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    modules = [
        pb.DeviceModule(
            file=path.name, version=version, timestamp=stamp, sha256=sums[path],
            signature=signatures[path.name].name if path.name in signatures else "",
        )
        for path in files
    ]  # fmt: skip
    request = pb.AddUpdateRequest(
        rule=pb.UpdateRule(id=id, type=type, vendor=vendor, model=model, revision=revision, locale=locale),
        update=pb.DeviceUpdate(version=version, modules=modules),
        signatures=[pb.SignatureFile(file=path.name, sha256=sums[path]) for path in signatures.values()],
    )

    async def work(host: RpcHost, target: str | None) -> pb.UpdateRule:
        stub = stub_of(host, target)
        with progress_bar(options) as progress:
            for path, checksum in sums.items():
                task = progress.add_task(path.name, total=path.stat().st_size)
                await stub.UploadUpdateFile(_parts(path, checksum, progress, task), timeout=_LONG_S)
        return (await stub.AddUpdate(request)).rule

    _show_rule(options, call(options, work), f"version {version} is pending")


@app.command()
def approve(context: typer.Context, rule: Rule, version: Meant = "") -> None:
    """All devices get what is pending."""
    _decide(context.obj, rule, pb.UPDATE_DECISION_APPROVE, version, "approved")


@app.command()
def reject(context: typer.Context, rule: Rule, version: Meant = "") -> None:
    """What is pending is dropped; test devices go back."""
    _decide(context.obj, rule, pb.UPDATE_DECISION_REJECT, version, "rejected")


@app.command()
def rollback(context: typer.Context, rule: Rule, version: Meant = "") -> None:
    """All devices go back to what was approved before."""
    _decide(context.obj, rule, pb.UPDATE_DECISION_ROLL_BACK, version, "rolled back")


@app.command()
def remove(
    context: typer.Context, rule: Rule, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Remove a rule with its updates."""
    options: Options = context.obj
    if not yes and not typer.confirm(f"Remove {rule}?"):
        raise typer.Exit(int(Exit.FAILURE))
    request = pb.DeleteUpdateRuleRequest(rule=rule)
    call(options, lambda host, target: stub_of(host, target).DeleteUpdateRule(request))
    _said(options, {"removed": rule}, f"{rule} removed")


@app.command()
def check(
    context: typer.Context,
    type: Type = "UCPhone", vendor: Vendor = "", model: Model = "", revision: Revision = "", locale: Locale = "",
    mac: Mac = "", serial: Serial = "",
    has: Annotated[list[str] | None, typer.Option(help="FILE=VERSION: what it has.")] = None,
) -> None:  # fmt: skip
    """Show what a device would get; nothing is noted."""
    options: Options = context.obj
    device = pb.Device(
        type=type, vendor=vendor, model=model, revision=revision, locale=locale, mac=mac, serial=serial,
        modules=[pb.DeviceModule(file=file, version=version) for file, version in map(_pair, has or [])],
    )  # fmt: skip
    request = pb.CheckDeviceRequest(device=device, dry_run=True)
    answer = call(options, lambda host, target: stub_of(host, target).CheckDevice(request))
    if options.as_json:
        show_json(answer)
        return
    rows = [(escape(module.file), escape(module.version), str(module.size)) for module in answer.modules]
    show_table(answer.reason, ("file", "version", "bytes"), rows, empty=f"nothing: {answer.reason}")


@app.command()
def audit(
    context: typer.Context, day: Annotated[str, typer.Option(help="As 2026-01-31 (UTC); else today.")] = ""
) -> None:  # fmt: skip
    """Print what devices asked and were answered on one day."""
    options: Options = context.obj

    async def work(host: RpcHost, target: str | None) -> list[str]:
        stub, lines = stub_of(host, target), list[str]()
        while True:
            request = pb.ReadDeviceAuditRequest(day=day, first=len(lines), count=5_000)
            page = await stub.ReadDeviceAudit(request)
            lines += page.lines
            if not page.lines or len(lines) >= page.total:
                return lines

    lines = call(options, work)
    if options.as_json:
        show_json(lines)
        return
    for line in lines:
        print(line)


@tests.command("list")
def list_tests(context: typer.Context) -> None:
    """List the test devices."""
    options: Options = context.obj
    request = pb.ListTestDevicesRequest()
    found = call(options, lambda host, target: stub_of(host, target).ListTestDevices(request)).devices
    if options.as_json:
        show_json(list(found))
        return
    rows = [(device.mac, escape(device.serial), escape(device.note)) for device in found]
    show_table(f"{len(rows)} test devices", ("MAC address", "serial number", "note"), rows, empty="no test devices")


@tests.command("add")
def add_test(
    context: typer.Context, mac: Mac = "", serial: Serial = "", note: Annotated[str, typer.Option(help="For people.")] = ""
) -> None:
    """Add a test device, by one of both."""
    options: Options = context.obj
    request = pb.AddTestDeviceRequest(device=pb.TestDevice(mac=mac, serial=serial, note=note))
    device = call(options, lambda host, target: stub_of(host, target).AddTestDevice(request)).device
    _said(options, device, f"{device.mac or device.serial} is a test device")


@tests.command("remove")
def remove_test(context: typer.Context, mac: Mac = "", serial: Serial = "") -> None:
    """Remove a test device."""
    options: Options = context.obj
    request = pb.RemoveTestDeviceRequest(mac=mac, serial=serial)
    call(options, lambda host, target: stub_of(host, target).RemoveTestDevice(request))
    _said(options, {"removed": mac or serial}, f"{mac or serial} is no test device any more")


@logs.command("list")
def list_logs(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, max=1000, help="Most logs.")] = 100
) -> None:  # fmt: skip
    """List the logs that devices sent, the latest first."""
    options: Options = context.obj
    request = pb.ListDeviceLogsRequest(page_size=limit)
    found = call(options, lambda host, target: stub_of(host, target).ListDeviceLogs(request)).logs
    if options.as_json:
        show_json(list(found))
        return
    rows = [
        (log.id, escape(log.name), str(log.size), _time(log.uploaded_at_ms), escape(log.user.removeprefix("sip:")))
        for log in found
    ]
    show_table(f"{len(rows)} logs", ("id", "name", "bytes", "sent", "by"), rows, empty="no device has sent a log")


@logs.command()
def fetch(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="Id of the log.")],
    file: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Write a log to a file."""
    options: Options = context.obj

    async def work(host: RpcHost, target: str | None) -> bytes:
        parts = stub_of(host, target).ReadDeviceLog(pb.ReadDeviceLogRequest(id=id), timeout=_LONG_S)
        return b"".join([part.data async for part in parts])

    data = call(options, work)
    try:
        file.write_bytes(data)
    except OSError as error:
        raise fail(f"cannot write {file}: {error.strerror}", Exit.USAGE) from None
    _said(options, {"bytes": len(data)}, f"{len(data)} bytes written to {file}")


@logs.command("remove")
def remove_log(context: typer.Context, id: Annotated[str, typer.Argument(help="Id of the log.")]) -> None:
    """Remove a log."""
    options: Options = context.obj
    call(options, lambda host, target: stub_of(host, target).DeleteDeviceLog(pb.DeleteDeviceLogRequest(id=id)))
    _said(options, {"removed": id}, f"{id} removed")


def _decide(options: Options, rule: str, decision: pb.UpdateDecision.ValueType, version: str, done: str) -> None:
    request = pb.DecideUpdateRequest(rule=rule, decision=decision, version=version)
    _show_rule(options, call(options, lambda host, target: stub_of(host, target).DecideUpdate(request)).rule, done)


async def _parts(
    path: Path, checksum: bytes, progress: Progress, task: TaskID
) -> AsyncIterator[pb.UploadUpdateFileRequest]:  # fmt: skip
    yield pb.UploadUpdateFileRequest(size=path.stat().st_size, sha256=checksum)
    with path.open("rb") as file:
        while data := file.read(_PART):
            progress.advance(task, len(data))
            yield pb.UploadUpdateFileRequest(data=data)


def _sum(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise fail(f"cannot read {path}: {error.strerror}", Exit.USAGE) from None


def _signatures(texts: Sequence[str], files: Sequence[Path]) -> dict[str, Path]:
    """Files of signatures by the names of what they sign."""
    found = {name: Path(path) for name, path in map(_pair, texts)}
    for name in found.keys() - {path.name for path in files}:
        raise fail(f"{name} is none of the files", Exit.USAGE)
    return found


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise fail(f"write {text!r} as NAME=VALUE", Exit.USAGE)
    return name, value


def _devices(rule: pb.UpdateRule) -> str:
    return " ".join(filter(None, (rule.type, rule.vendor, rule.model, rule.revision, rule.locale))) or "all"


def _version(update: pb.DeviceUpdate) -> str:
    """Empty for one that is not there."""
    return escape(update.version)


def _show_rule(options: Options, rule: pb.UpdateRule, done: str) -> None:
    _said(options, rule, f"{rule.id}: {done}")


def _said(options: Options, value: Any, text: str) -> None:
    if options.as_json:
        show_json(value)
    else:
        console.print(escape(text), soft_wrap=True)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if at_ms else "never"
