"""``parley doctor``: looks at everything that has to be right, and says what to do where it is not."""

from __future__ import annotations

import asyncio
import datetime
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer
from cryptography import x509

from parley.cli.errors import Exit
from parley.cli.session import Options, run_file, settings_of, show_json, show_table
from parley.platform.config import ConfigError, PlatformConfig, RedisConfig, Settings
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import MutualTls, RpcHost
from parley.platform.store.client import Store
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1.addressbook_pb2 import ListUsersRequest
from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookStub
from parley.proto.registrar.v1.registrar_pb2 import ListEdgesRequest
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub
from parley.sipae.gss import gssapi_missing
from parley.sipae.keytab import service_in
from parley.sipae.principal import KerberosError

OK, WARN, FAIL = "ok", "warn", "fail"
_COLOURS = {OK: "[green]ok[/green]", WARN: "[yellow]warn[/yellow]", FAIL: "[red]fail[/red]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: str
    detail: str
    next_step: str = ""


def doctor(context: typer.Context) -> None:
    """Check configuration, ports, Redis, services, certificates, Kerberos and DNS."""
    options: Options = context.obj
    findings = asyncio.run(examine(options))
    if options.as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        rows = [(f.what, _COLOURS[f.state], f.detail, f.next_step) for f in findings]
        show_table("Parley doctor", ("what", "", "found", "what to do"), rows)
    if any(finding.state == FAIL for finding in findings):
        raise typer.Exit(int(Exit.FAILURE))


async def examine(options: Options) -> list[Finding]:
    """All findings, in the order a person would look."""
    settings = settings_of(options)
    findings = [Finding("configuration", OK, str(settings.path or "defaults and environment"))]
    platform = settings.section("platform", PlatformConfig)
    running = run_file(platform)
    steps: list[Callable[[], Awaitable[list[Finding]]]] = [
        lambda: _data(platform),
        lambda: _ports(settings, running),
        lambda: _redis(platform, running),
        lambda: _services(options, platform, running),
        lambda: _certificates(settings, platform),
        lambda: _kerberos(settings),
        lambda: _certificate_service(settings, running),
        lambda: _dns(settings),
        lambda: _clock(),
    ]
    for step in steps:
        findings += await step()
    return findings


async def _data(platform: PlatformConfig) -> list[Finding]:
    folder = platform.data_folder
    if not folder.exists():
        return [Finding("data folder", WARN, f"{folder} is not there yet", "`parley run` makes it")]
    mode = folder.stat().st_mode & 0o077
    key = folder / "master.key"
    if key.exists() and key.stat().st_mode & 0o077:
        return [Finding("data folder", FAIL, f"others can read {key}", f"chmod 600 {key}")]
    return [Finding("data folder", OK if not mode & 0o022 else WARN, str(folder))]


async def _ports(settings: Settings, running: dict[str, Any]) -> list[Finding]:
    """Ports answer when Parley runs, and are free when it does not."""
    findings = []
    if running:
        for transport, address in running.get("sip", {}).items():
            host, _, port = address.rpartition(":")
            if transport == "udp":
                state = OK if await asyncio.to_thread(_udp_answers, host, int(port)) else FAIL
            else:
                state = OK if await asyncio.to_thread(_tcp_answers, host, int(port)) else FAIL
            findings.append(
                Finding(
                    f"SIP {transport}",
                    state,
                    address,
                    "" if state == OK else "see the log; is a firewall in between?",
                )
            )
        return findings
    frontend = _frontend(settings)
    platform = settings.section("platform", PlatformConfig)
    for transport, port in frontend.ports.model_dump().items():
        if port <= 0:
            continue
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        free = _is_free(platform.bind, port, kind)
        findings.append(
            Finding(
                f"SIP {transport}", OK if free else FAIL, f"port {port} {'is free' if free else 'is taken'}",
                "" if free else f"end what uses it, or set frontend.ports.{transport}",
            )
        )  # fmt: skip
    web = _section(settings, "web").port
    if web:
        free = _is_free(platform.bind, web, socket.SOCK_STREAM)
        text = f"port {web} {'is free' if free else 'is taken'}"
        findings.append(Finding("HTTPS", OK if free else FAIL, text, "" if free else "end what uses it, or set web.port"))
    return findings


async def _redis(platform: PlatformConfig, running: dict[str, Any]) -> list[Finding]:
    config: RedisConfig = platform.redis
    if not config.url and not config.sentinels:
        if not running:
            return [Finding("Redis", OK, "the bundled Valkey starts with `parley run`")]
        config = config.model_copy(update={"url": f"unix://{platform.data_folder}/valkey/valkey.sock"})
    try:
        store = Store(config)
    except ConfigError as error:
        return [Finding("Redis", FAIL, "; ".join(error.problems), "correct it in the configuration")]
    try:
        begun = time.perf_counter()
        await store.execute("PING", key="x")
        delay = (time.perf_counter() - begun) * 1000
        info = (await store.execute("INFO", "server", key="x")).decode()
        lines = dict(line.partition(":")[::2] for line in info.splitlines())
        version = f"Valkey {lines['valkey_version']}" if "valkey_version" in lines else f"Redis {lines['redis_version']}"
        aof = (await store.execute("INFO", "persistence", key="x")).decode()
    except StoreError as error:
        return [Finding("Redis", FAIL, str(error), "is it running, and is platform.redis.url right?")]
    finally:
        await store.close()
    findings = [Finding("Redis", OK, f"{version}, answers in {delay:.1f} ms")]
    if "aof_enabled:1" not in aof:
        findings.append(Finding("Redis AOF", FAIL, "appendonly is off", "set appendonly yes: users would be lost"))
    return findings


async def _services(options: Options, platform: PlatformConfig, running: dict[str, Any]) -> list[Finding]:
    target = options.target or next(iter(running.get("rpc", [])), None)
    if target is None and not platform.rpc.targets:
        return [Finding("services", WARN, "no running Parley was found", "start it with `parley run`")]
    host = RpcHost(targets=platform.rpc.targets, tls=MutualTls.of(platform.rpc.tls))
    findings = []
    try:
        registrar = host.channel("parley.registrar.v1.Registrar", target).stub(RegistrarStub)
        edges = (await registrar.ListEdges(ListEdgesRequest(), timeout=3.0)).edges
        findings.append(Finding("registrar", OK, "answers"))
        state = OK if edges else FAIL
        findings.append(Finding("front ends", state, f"{len(edges)} alive", "" if edges else "start a front end"))
    except RpcError as error:
        findings.append(Finding("registrar", FAIL, error.message, "is it running? see its log"))
    try:
        book = host.channel("parley.addressbook.v1.AddressBook", target).stub(AddressBookStub)
        users = (await book.ListUsers(ListUsersRequest(page_size=1), timeout=3.0)).users
        state = OK if users else WARN
        findings.append(
            Finding(
                "address book",
                state,
                "answers" if users else "has no users",
                "" if users else "parley user add ...",
            )
        )
    except RpcError as error:
        findings.append(Finding("address book", FAIL, error.message, "is it running? see its log"))
    finally:
        await host.stop()
    return findings


async def _certificates(settings: Settings, platform: PlatformConfig) -> list[Finding]:
    frontend = _frontend(settings)
    path: Path = frontend.tls.certificate or platform.data_folder / "tls" / "frontend.pem"
    if not path.exists():
        return [Finding("certificate", WARN, f"{path} is not there yet", "`parley run` makes one for trying out")]
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        return [Finding("certificate", FAIL, f"{path}: {error}", "use a PEM file with a subjectAltName")]
    left = (certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days
    state = FAIL if left < 0 else WARN if left < 14 else OK
    known = {str(name).lower() for name in names.get_values_for_type(x509.DNSName)}
    missing = [domain for domain in frontend.domains if domain.lower() not in known]
    findings = [Finding("certificate", state, f"{left} days left", "renew it" if state != OK else "")]
    if missing:
        findings.append(
            Finding(
                "certificate names",
                WARN,
                f"does not name {', '.join(missing)}",
                "phones check the domain's name",
            )
        )
    return findings


async def _kerberos(settings: Settings) -> list[Finding]:
    frontend = _frontend(settings)
    keytab: Path | None = frontend.communicator.kerberos.keytab
    if not frontend.kerberos_domains or keytab is None:
        return []
    problem = gssapi_missing()
    if problem:
        return [Finding("Kerberos", FAIL, problem, "install it, or offer NTLM alone")]
    try:
        service = service_in(keytab, frontend.kerberos_service)
    except KerberosError as error:
        return [Finding("Kerberos", FAIL, str(error), "see docs/operations.md, Signing in with Kerberos")]
    if keytab.stat().st_mode & 0o077:
        return [Finding("Kerberos", FAIL, f"others can read {keytab}", f"chmod 600 {keytab}")]
    return [Finding("Kerberos", OK, f"tickets for {service}, users of {', '.join(frontend.kerberos_domains)}")]


async def _certificate_service(settings: Settings, running: dict[str, Any]) -> list[Finding]:
    """Clients that are offered TLS-DSK do not sign in while it is away."""
    frontend = _frontend(settings)
    if not frontend.dsk_domains or not running:
        return []
    url = urlsplit(frontend.certificate_url)
    answers = await asyncio.to_thread(_tcp_answers, url.hostname or "", url.port or 443)
    what = f"{frontend.certificate_url}, for users of {', '.join(frontend.dsk_domains)}"
    if answers:
        return [Finding("certificate service", OK, what)]
    next_step = "see docs/operations.md, Signing in with certificates"
    return [Finding("certificate service", FAIL, f"nothing answers at {what}", next_step)]


async def _dns(settings: Settings) -> list[Finding]:
    import dns.asyncresolver
    import dns.exception

    findings = []
    try:
        resolver = dns.asyncresolver.Resolver()
    except dns.exception.DNSException:
        return [Finding("DNS", WARN, "no resolver is configured", "phones then need the server's address typed in")]
    resolver.lifetime = 2.0
    for domain in _frontend(settings).domains:
        if domain.endswith((".test", ".invalid", ".localhost", ".example")):
            findings.append(Finding(f"DNS {domain}", OK, "a name for trying out; phones need the server typed in"))
            continue
        try:
            records = await resolver.resolve(f"_sips._tcp.{domain}", "SRV")
            findings.append(Finding(f"DNS {domain}", OK, f"_sips._tcp names {records[0].target}"))
        except dns.exception.DNSException:
            findings.append(
                Finding(
                    f"DNS {domain}",
                    WARN,
                    "no SRV record _sips._tcp",
                    "add it, or type the server into each phone",
                )
            )
    return findings


async def _clock() -> list[Finding]:
    year = datetime.datetime.now(datetime.UTC).year
    return [Finding("clock", OK if year >= 2025 else FAIL, time.strftime("%Y-%m-%d %H:%M:%S %Z"))]


def _frontend(settings: Settings) -> Any:
    return _section(settings, "frontend")


def _section(settings: Settings, name: str) -> Any:
    from parley.platform.installed import config_models

    return settings.section(name, config_models()[name])


def _is_free(host: str, port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _tcp_answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def _udp_answers(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect((host, port))
            probe.send(b"\r\n\r\n")
            return probe.recv(16) == b"\r\n"
        except OSError:
            return False
