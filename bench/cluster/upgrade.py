"""`helm upgrade` of every process while 200 calls go on and 50 people a second sign in, with messages and durable writes.

A call is lost when it cannot be renewed or ended; a sign-in when it fails for good within Timer F; a message when it was
acknowledged and never arrives. Durable writes are messages to users who are not there: 202 says that they are on disk, and
they count as lost unless the users get them when they sign in at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from itertools import cycle

from bench.cluster.site import Site
from bench.tables import Result
from tests.support.cluster_install import SERVICES, aside
from tests.support.cluster_line import PhoneError
from tests.support.cluster_people import People
from tests.support.cluster_phone import Phone
from tests.support.cluster_traffic import Load, Traffic
from tests.support.waiting import until

CALLS = 200
SIGN_INS = 50.0
"""A second."""
MESSAGES = 10.0
DURABLE = 5.0
_BEFORE_S, _AFTER_S = 15.0, 15.0
_CALLERS, _CALLEES, _ABSENT, _WHO_SIGN_IN = 40, 40, 10, 401
"""An odd number sign in: each over UDP and TCP in turn, so that what they leave behind stays below the most bindings."""


async def measure(site: Site) -> Result:
    """Upgrades, rolls back, and says what was lost."""
    people = site.people()
    traffic = _traffic(people)
    ledger = people.ledger
    absent = [people.phone("tcp", number) for number in range(_ABSENT)]
    first = await aside(site.parley.revision)
    took: dict[str, float] = {}
    async with traffic:
        stop = asyncio.Event()
        background = [
            asyncio.create_task(_sign_ins(people, stop)),
            asyncio.create_task(_durable_writes(traffic.callers, absent, stop)),
        ]
        await asyncio.sleep(_BEFORE_S)
        for name, change in (
            ("upgrade", lambda: site.parley.upgrade("--set", "log.level=WARNING")),
            ("rollback", lambda: site.parley.rollback(first)),
        ):
            begun = time.monotonic()
            await aside(change)
            await aside(site.parley.sound)
            took[name] = time.monotonic() - begun
        await asyncio.sleep(_AFTER_S)
        stop.set()
        await asyncio.gather(*background)
        await asyncio.gather(*(phone.start() for phone in absent))
        with contextlib.suppress(AssertionError):
            await until(lambda: not ledger.lost(), timeout=60)
        await asyncio.gather(*(phone.end() for phone in absent))
    return _told(site, traffic, took)


def _traffic(people: People) -> Traffic:
    load = Load(calls=1.0, messages=MESSAGES, long_calls=CALLS, renew=20.0)
    callers = [people.phone(("tcp", "udp")[n % 2], n // 2, refresh=60) for n in range(_CALLERS)]
    callees = [people.phone(("tcp", "tls")[n % 2], n // 2, refresh=60) for n in range(_CALLEES)]
    return Traffic(callers, callees, [], people.ledger, load)


async def _sign_ins(people: People, stop: asyncio.Event) -> None:
    """New connections and registrations at a steady rate; each stays for a while and goes without a word."""
    users = cycle([next(people.names) for _ in range(_WHO_SIGN_IN)])
    going: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    number = 0
    while not stop.is_set():
        number += 1
        phone = people.phone(("tcp", "udp")[number % 2], number // 2, user=next(users), refresh=600, expires=60)
        task = asyncio.create_task(_sign_in(phone))
        going.add(task)
        task.add_done_callback(going.discard)
        due += 1 / SIGN_INS
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    await asyncio.gather(*going)


async def _sign_in(phone: Phone) -> None:
    with contextlib.suppress(PhoneError):
        await phone.start("sign-in", keep=False)
        await asyncio.sleep(3.0)
    await phone.abort()


async def _durable_writes(senders: Sequence[Phone], absent: Sequence[Phone], stop: asyncio.Event) -> None:
    """Messages to who is not there."""
    writers, readers = cycle(senders), cycle(absent)
    going: set[asyncio.Task[None]] = set()
    number = 0
    while not stop.is_set():
        number += 1
        task = asyncio.create_task(_write(next(writers), next(readers).user, f"durable {number}"))
        going.add(task)
        task.add_done_callback(going.discard)
        await asyncio.sleep(1 / DURABLE)
    await asyncio.gather(*going)


async def _write(sender: Phone, to: str, text: str) -> None:
    with contextlib.suppress(PhoneError):
        await sender.say(to, f"{text} for {to}")


def _told(site: Site, traffic: Traffic, took: dict[str, float]) -> Result:
    ledger = traffic.ledger
    failed = {kind: sum(1 for failure in ledger.failures if failure.kind == kind) for kind in
              ("call", "INVITE in a call", "BYE in a call", "sign-in", "message")}  # fmt: skip
    lost_calls = failed["INVITE in a call"] + failed["BYE in a call"]
    lost = ledger.lost()
    durable = [text for text in ledger.acknowledged if text.startswith("durable")]
    result = Result(
        f"`helm upgrade` and rollback of {len(SERVICES)} services, {CALLS} calls going on, {SIGN_INS:.0f} sign-ins/s",
        ["what", "done", "failed or lost", "p99", "longest"],
    )

    def row(label: str, kind: str, bad: int) -> None:
        result.rows.append(
            [label, str(ledger.count(kind)), str(bad), f"{ledger.percentile(kind, 0.99):.2f} s",
             f"{ledger.longest(kind):.2f} s"]
        )  # fmt: skip

    row("sign-ins", "sign-in", failed["sign-in"])
    row("new calls", "call", failed["call"])
    row("renewals of calls that go on", "INVITE in a call", failed["INVITE in a call"])
    row("calls ended", "BYE in a call", failed["BYE in a call"])
    row("messages", "message", failed["message"])
    result.rows.append(["acknowledged messages", str(len(ledger.acknowledged)), str(len(lost)), "", ""])
    durable_lost = sum(text.startswith("durable") for text in lost)
    result.rows.append(["of them durable (to who was not there)", str(len(durable)), str(durable_lost), "", ""])
    result.notes += [f"{name}: all pods were ready after {seconds:.0f} s" for name, seconds in took.items()]
    result.notes += [f"{count} × {what}" for what, count in sorted(ledger.notes.items())]
    result.notes += [str(failure) for failure in ledger.failures[:10]]
    site.figures["upgrade"] = {
        "live_calls": CALLS, "sign_ins_per_second": SIGN_INS, "sign_ins": ledger.count("sign-in"),
        "sign_ins_failed": failed["sign-in"], "calls_lost": lost_calls, "new_calls": ledger.count("call"),
        "new_calls_failed": failed["call"], "messages_acknowledged": len(ledger.acknowledged), "messages_lost": len(lost),
        "durable_writes": len(durable), "durable_writes_lost": durable_lost, "messages_repeated": ledger.repeated(),
        **{f"{name}_seconds": round(seconds, 1) for name, seconds in took.items()},
    }  # fmt: skip
    return result
