"""``parley init``: what an installation needs before its services start."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from parley.cli.errors import Exit, errors, fail
from parley.cli.session import Options, console, settings_of, show_json
from parley.cli.storage import NotThere, StorageReport, prepare, require_shared_redis
from parley.kubernetes.api import SERVICE_ACCOUNT, Account, ApiError, ApiUnavailable, SecretsApi
from parley.kubernetes.provisioning import KINDS, Report, Wanted, provision
from parley.kubernetes.secrets import SecretRefused
from parley.platform.authority import general_name
from parley.platform.config import ConfigError, PlatformConfig
from parley.platform.events.topics import TopicRefused
from parley.platform.schema import SchemaRefused

app = typer.Typer(help="Make what an installation needs before its services start.", no_args_is_help=True)

_COLOURS = {"made": "green", "completed": "green", "renewed": "yellow", "kept": "dim"}


@app.command("secrets")
def secrets(
    context: typer.Context,
    prefix: Annotated[str, typer.Option(help="What the names of the Secrets begin with; a hyphen follows.")],
    namespace: Annotated[str, typer.Option(help="Namespace; by default the pod's own.")] = "",
    make: Annotated[
        list[str] | None, typer.Option(help=f"Which, separated by commas: {', '.join(KINDS)}; all unless given.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Host name or address by which clients come, for client-tls; repeatable.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE on what is made; repeatable.")] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for an API that does not answer.")] = 60.0,
    service_account: Annotated[Path, typer.Option(hidden=True)] = SERVICE_ACCOUNT,
) -> None:
    """Make the Secrets that are missing, in the cluster that this pod runs in.

    What exists stays as it is; certificates made here are renewed when they near their end or lack a name. Nothing secret is
    printed.
    """
    options: Options = context.obj
    wanted = Wanted(prefix, _kinds(make), _names(name), _labels(label))
    if "client-tls" in wanted.kinds and not wanted.names:
        raise fail("client-tls needs a --name", Exit.USAGE, "clients check the name that they reach a server by")
    try:
        account = Account.of_pod(service_account)
    except ApiError as error:
        raise fail(str(error), Exit.CONFIGURATION) from None
    where = namespace or account.namespace
    if not where:
        raise fail("which namespace? the pod's is not known", Exit.USAGE, "name it with --namespace")
    try:
        reports = asyncio.run(_provision(options, account, where, wanted, timeout))
    except ApiUnavailable as error:
        raise fail(str(error), Exit.UNAVAILABLE) from None
    except (ApiError, SecretRefused) as error:
        raise fail(str(error), Exit.REFUSED) from None
    if options.as_json:
        show_json([asdict(report) for report in reports])


async def _provision(options: Options, account: Account, namespace: str, wanted: Wanted, timeout: float) -> list[Report]:
    reports = []
    async with SecretsApi(account, namespace, patience_s=timeout) as api:
        async for report in provision(api, wanted):
            reports.append(report)
            if not options.as_json:
                colour, remark = _COLOURS[report.outcome], f" ({escape(report.remark)})" if report.remark else ""
                console.print(f"{report.name}: [{colour}]{report.outcome}[/{colour}]{remark}", soft_wrap=True)
    return reports


def _split(values: Sequence[str] | None) -> list[str]:
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def _kinds(values: Sequence[str] | None) -> list[str]:
    kinds = _split(values) or list(KINDS)
    for kind in kinds:
        if kind not in KINDS:
            raise fail(f"there is no Secret {kind} to make", Exit.USAGE, f"there are: {', '.join(KINDS)}")
    return kinds


def _names(values: Sequence[str] | None) -> list[str]:
    names = _split(values)
    for name in names:
        try:
            general_name(name)
        except ValueError:
            raise fail(
                f"{name} is no host name", Exit.USAGE, "write international names in their ASCII form (xn--...)"
            ) from None
    return names


def _labels(values: Sequence[str] | None) -> dict[str, str]:
    labels = {}
    for text in values or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise fail(f"{text} is no label", Exit.USAGE, "write KEY=VALUE")
        labels[key] = value
    return labels


@app.command("storage")
def storage(
    context: typer.Context,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for Redis and Kafka.")] = 300.0,
) -> None:
    """Wait for Redis and Kafka, make all topics, and bring the stored data into the form that this release writes.

    Services that start wait for it. It may be run again at any time.
    """
    options: Options = context.obj
    platform = settings_of(options).section("platform", PlatformConfig)
    try:
        require_shared_redis(platform)
        report = asyncio.run(prepare(platform, timeout, lambda text: errors.print(text, markup=False, soft_wrap=True)))
    except (SchemaRefused, TopicRefused) as error:
        raise fail(str(error), Exit.REFUSED) from None
    except ConfigError as error:
        raise fail("; ".join(error.problems), Exit.CONFIGURATION) from None
    except NotThere as error:
        raise fail(str(error), Exit.UNAVAILABLE, "addresses are in platform.redis and platform.events") from None
    _show_storage(options, report)


def _show_storage(options: Options, report: StorageReport) -> None:
    if options.as_json:
        show_json(asdict(report))
        return
    for remark in report.remarks:
        console.print(f"[yellow]note:[/yellow] {escape(remark)}", soft_wrap=True)
    console.print(f"the storage is ready; the stored data is of version {report.version}")
