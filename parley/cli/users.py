"""``parley user``: the users of the address book."""

from __future__ import annotations

import asyncio
import csv
import getpass
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parley.cli.errors import Exit, errors, fail
from parley.cli.session import Options, call, console, progress_bar, show_json, show_table
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.addressbook.v1 import addressbook_pb2 as pb
from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookStub

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookAsyncStub

app = typer.Typer(help="Add, change and list users.", no_args_is_help=True)

_SERVICE = "parley.addressbook.v1.AddressBook"
_COLUMNS = ("address", "display_name", "password", "login_names")
_AT_ONCE = 64

Address = Annotated[str, typer.Argument(help="user@domain, or a login name.")]
PasswordFile = Annotated[
    str, typer.Option("--password-file", help="File that holds the password; '-' reads standard input.")
]


def stub_of(host: RpcHost, target: str | None) -> AddressBookAsyncStub:
    """A stub of the address book."""
    stub: AddressBookAsyncStub = host.channel(_SERVICE, target).stub(AddressBookStub)
    return stub


@app.command()
def add(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="user@domain.")],
    name: Annotated[str, typer.Option("--name", help="Display name.")] = "",
    login: Annotated[list[str] | None, typer.Option("--login", help="Further login name, as EXAMPLE\\alice.")] = None,
    password_file: PasswordFile = "",
) -> None:
    """Add a user; the password is asked for, or read from a file."""
    options: Options = context.obj
    user = pb.User(address=address, display_name=name, login_names=login or [])
    request = pb.CreateUserRequest(user=user, password=read_password(password_file, confirm=True))
    answer = call(options, lambda host, target: stub_of(host, target).CreateUser(request))
    _show_user(options, answer.user, "added")


@app.command("list")
def list_users(context: typer.Context, domain: Annotated[str, typer.Option(help="Only users of this domain.")] = "") -> None:
    """List users."""
    options: Options = context.obj

    async def work(host: RpcHost, target: str | None) -> list[pb.User]:
        stub = stub_of(host, target)
        users: list[pb.User] = []
        token = ""
        while True:
            request = pb.ListUsersRequest(domain=domain, page_size=500, page_token=token)
            page = await stub.ListUsers(request)
            users.extend(page.users)
            token = page.next_page_token
            if not token:
                return users

    users = call(options, work)
    if options.as_json:
        show_json(users)
        return
    rows = [
        (
            user.address.removeprefix("sip:"),
            user.display_name,
            ", ".join(user.login_names),
            _yes(user.enabled),
        )
        for user in users
    ]
    show_table(f"{len(users)} users", ("address", "name", "logins", "enabled"), rows, empty="there are no users yet")


@app.command()
def show(context: typer.Context, address: Address) -> None:
    """Show one user."""
    options: Options = context.obj
    request = pb.GetUserRequest(address=address)
    _show_user(options, call(options, lambda host, target: stub_of(host, target).GetUser(request)).user, "")


@app.command()
def passwd(context: typer.Context, address: Address, password_file: PasswordFile = "") -> None:
    """Give a user another password."""
    options: Options = context.obj
    request = pb.SetPasswordRequest(address=address, password=read_password(password_file, confirm=True))
    answer = call(options, lambda host, target: stub_of(host, target).SetPassword(request))
    _show_user(options, answer.user, "password changed")


@app.command()
def disable(context: typer.Context, address: Address) -> None:
    """Keep a user out; registrations end when they are due."""
    _set_enabled(context.obj, address, False)


@app.command()
def enable(context: typer.Context, address: Address) -> None:
    """Let a user in again."""
    _set_enabled(context.obj, address, True)


@app.command()
def delete(
    context: typer.Context,
    address: Address,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a user."""
    options: Options = context.obj
    if not yes and not typer.confirm(f"Remove {address}?"):
        raise typer.Exit(int(Exit.FAILURE))
    request = pb.DeleteUserRequest(address=address)
    call(options, lambda host, target: stub_of(host, target).DeleteUser(request))
    if options.as_json:
        show_json({"deleted": address})
    else:
        console.print(f"{address} removed")


@app.command()
def certificates(context: typer.Context, address: Address) -> None:
    """List the certificates by which a user signs in."""
    options: Options = context.obj
    request = pb.ListCertificatesRequest(address=address)
    found = call(options, lambda host, target: stub_of(host, target).ListCertificates(request)).certificates
    if options.as_json:
        show_json([_certificate(certificate) for certificate in found])
        return
    rows = [
        (
            certificate.sha256.hex()[:16],
            certificate.device,
            _time(certificate.issued_at_ms),
            _time(certificate.expires_at_ms),
        )
        for certificate in found
    ]
    show_table(
        f"{len(rows)} certificates", ("certificate", "device", "issued", "expires"), rows, empty="there are no certificates"
    )


@app.command()
def withdraw(
    context: typer.Context,
    address: Address,
    certificate: Annotated[
        str, typer.Option("--certificate", help="Beginning of its name as listed, at least 8 digits; all unless given.")
    ] = "",
) -> None:
    """End certificates of a user at once; the user's devices are disconnected, and need the password again."""
    options: Options = context.obj
    try:
        prefix = bytes.fromhex(certificate)
    except ValueError:
        raise fail(f"{certificate} is no certificate as `parley user certificates` lists it", Exit.USAGE) from None
    request = pb.WithdrawCertificatesRequest(address=address, sha256_prefix=prefix)
    count = call(options, lambda host, target: stub_of(host, target).WithdrawCertificates(request)).withdrawn
    if options.as_json:
        show_json({"withdrawn": count})
    else:
        console.print(f"{count} certificates withdrawn")


def _certificate(certificate: pb.Certificate) -> dict[str, str]:
    return {
        "certificate": certificate.sha256.hex(), "serial": certificate.serial, "device": certificate.device,
        "issued": _time(certificate.issued_at_ms), "expires": _time(certificate.expires_at_ms),
    }  # fmt: skip


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@app.command("import")
def import_users(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV with a heading: address,display_name,password,login_names.")],
) -> None:
    """Add users from a CSV file; several login names are separated by semicolons."""
    options: Options = context.obj
    rows = read_csv(file)
    failures: list[dict[str, Any]] = []

    async def work(host: RpcHost, target: str | None) -> None:
        stub = stub_of(host, target)
        gate = asyncio.Semaphore(_AT_ONCE)
        with progress_bar(options) as progress:
            task = progress.add_task("users", total=len(rows))

            async def one(line: int, request: pb.CreateUserRequest) -> None:
                async with gate:
                    try:
                        await stub.CreateUser(request, timeout=30.0)
                    except RpcError as error:
                        failures.append({"line": line, "address": request.user.address, "problem": error.message})
                    progress.advance(task)

            await asyncio.gather(*(one(line, request) for line, request in rows))

    call(options, work)
    failures.sort(key=lambda failure: failure["line"])
    added = len(rows) - len(failures)
    if options.as_json:
        show_json({"added": added, "failed": failures})
    else:
        for failure in failures:
            errors.print(f"[red]line {failure['line']}:[/red] {failure['address']}: {failure['problem']}")
        console.print(f"{added} users added, {len(failures)} failed")
    if failures:
        raise typer.Exit(int(Exit.FAILURE))


def read_csv(file: Path) -> list[tuple[int, pb.CreateUserRequest]]:
    """The rows of a CSV file with their line numbers; ends the command when the file is not what it should be."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as source:
            reader = csv.DictReader(source)
            missing = [name for name in ("address", "password") if name not in (reader.fieldnames or [])]
            unknown = [name for name in reader.fieldnames or [] if name not in _COLUMNS]
            if missing or unknown:
                problem = f"has no column {missing[0]}" if missing else f"has an unknown column {unknown[0]}"
                raise fail(f"{file} {problem}", Exit.USAGE, f"the heading is: {','.join(_COLUMNS)}")
            return [(reader.line_num, _row(row)) for row in reader]
    except OSError as error:
        raise fail(f"cannot read {file}: {error.strerror}", Exit.USAGE) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise fail(f"{file} is no CSV in UTF-8: {error}", Exit.USAGE) from None


def _row(row: dict[str, str | None]) -> pb.CreateUserRequest:
    logins = [name for name in (row.get("login_names") or "").split(";") if name.strip()]
    user = pb.User(address=row.get("address") or "", display_name=row.get("display_name") or "", login_names=logins)
    return pb.CreateUserRequest(user=user, password=row.get("password") or "")


def read_password(source: str, *, confirm: bool) -> str:
    """A password from a file, from standard input, or typed twice; never from the command line."""
    if source == "-" or (not source and not sys.stdin.isatty()):
        return sys.stdin.readline().rstrip("\n")
    if source:
        try:
            return Path(source).read_text().rstrip("\n")
        except OSError as error:
            raise fail(f"cannot read {source}: {error.strerror}", Exit.USAGE) from None
    password = getpass.getpass("Password: ")
    if confirm and getpass.getpass("Once more: ") != password:
        raise fail("the two passwords differ", Exit.USAGE)
    return password


def _set_enabled(options: Options, address: str, enabled: bool) -> None:
    request = pb.SetEnabledRequest(address=address, enabled=enabled)
    answer = call(options, lambda host, target: stub_of(host, target).SetEnabled(request))
    _show_user(options, answer.user, "enabled" if enabled else "disabled")


def _show_user(options: Options, user: pb.User, done: str) -> None:
    if options.as_json:
        show_json(user)
        return
    if done:
        console.print(f"{user.address.removeprefix('sip:')} {done}")
        return
    rows = [
        ("address", user.address.removeprefix("sip:")),
        ("name", user.display_name),
        ("logins", ", ".join(user.login_names)),
        ("enabled", _yes(user.enabled)),
        ("version", str(user.version)),
    ]
    show_table(user.address.removeprefix("sip:"), ("", ""), rows)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
