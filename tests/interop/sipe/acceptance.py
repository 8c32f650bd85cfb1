#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What SIPE 1.25 can do with a server, scenario by scenario.

    acceptance.py --server 127.0.0.1:5061                 all scenarios
    acceptance.py --server ... --only im,call             some
    acceptance.py --list                                  what they are

Prints one line a scenario, then "N passed, N failed", and leaves each client's log, with every SIP message, under --logs.
The exit status is 0 when all passed, 1 when some failed, 2 when nothing could be tried.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # to be run from anywhere

from tests.interop.sipe.harness import Client, Missing, Record, build, out

PROMPT = 10
"""Seconds: the longest wait for something that a server does at once."""

CALL = 30
"""Seconds for setting up a call with ICE, and then a second of sound."""


AVAILABILITIES = {"available": 3500, "busy": 6500, "do-not-disturb": 9500, "away": 15500}
"""What the client publishes for the statuses that a user chooses, as its messages have them."""


class Bench:
    """Makes clients of the test users for the server under test."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.logs = Path(args.logs)
        self.logs.mkdir(parents=True, exist_ok=True)
        self.scenario = ""
        self._open: list[Client] = []

    def uri(self, user: str) -> str:
        """The address of a user."""
        return f"sip:{user}@{self.args.domain}"

    def client(self, user: str, **config: Any) -> Client:
        """A client that signs in."""
        args = self.args
        number = sum(client.name == user for client in self._open)
        if args.seed is not None:
            config["seed"] = args.seed
        client = Client(
            user,
            args.server,
            domain=args.domain,
            login=f"{args.netbios}\\{user}" if args.netbios else user,
            password=config.pop("password", args.password),
            log=self.logs / f"{self.scenario}-{user}{number or ''}.log",
            transport=args.transport,
            authentication=args.authentication,
            **config,
        )
        self._open.append(client)
        return client

    def signed_on(self, *users: str, **config: Any) -> list[Client]:
        """Clients that have signed in."""
        clients = [self.client(user, **config) for user in users]
        for client in clients:
            client.expect("signed-on", PROMPT)
        time.sleep(1)  # the contact list, provisioning and own presence follow the sign-on
        return clients

    def close(self) -> None:
        """Ends the clients of a scenario."""
        for client in self._open:
            client.stop()
        self._open = []


def befriend(watcher: Client, other: Client) -> None:
    """Puts other on watcher's contact list unless it is there already."""
    if not watcher.buddy(other.uri):
        watcher.command("add_buddy", buddy=other.uri, group="Friends")
        time.sleep(1)


def change_status(client: Client, status: str, **members: Any) -> None:
    """Returns when the client has been notified of its own new status.

    It compares the next one with what it was told last, and takes what it is told for what its user wants: a status that is
    chosen between the answer to a publication and the notification after it is lost.
    """
    assert client.log is not None
    before = client.log.stat().st_size
    client.command("set_status", status=status, **members)
    chosen = re.compile(rb'xsi:type="userState"[^>]*><availability>%d<' % AVAILABILITIES[status])

    def told() -> bool:
        assert client.log is not None
        with client.log.open("rb") as log:
            log.seek(before)
            notifications = log.read().split(b"\nBENOTIFY ")[1:]
        return any(chosen.search(each) and b"sipe_private->our_publications size" in each for each in notifications)

    client.eventually(f"its own status {status}", told, PROMPT)


def online_as(watcher: Client, other: Client, status: str) -> None:
    """Returns when watcher is shown other with that status."""
    shown_as(watcher, other.uri, status, PROMPT)


def shown_as(watcher: Client, uri: str, status: str, seconds: float) -> None:
    """Returns when watcher is shown a contact with that status."""

    def probe() -> bool:
        entry = watcher.buddy(uri)
        return entry is not None and entry["status"] == status

    watcher.eventually(f"{uri} shown as {status}", probe, seconds)


def heard(listener: Client, tone: int) -> None:
    """Returns after a second of sound whose dominant tone is that of the speaker."""
    listener.expect("media-audio", CALL, level=lambda level: level > 50, hz=lambda hz: abs(hz - tone) < tone * 0.05)


# Scenarios: each raises Missing when SIPE is let down.


def sign_in(bench: Bench) -> None:
    """Signs in, gets the contact list, stays for a while, signs out."""
    alice = bench.client("alice")
    alice.expect("signed-on", PROMPT)
    # SIPE adds its first group when it has understood the contact list
    alice.expect("group-added", PROMPT)
    for record in alice.drain(3):
        if record["event"] in ("connection-error", "signed-off"):
            raise Missing(f"did not stay signed on: {record}")
    alice.command("logout")
    alice.expect("signed-off", PROMPT)


def wrong_password(bench: Bench) -> None:
    """Is told that the password is wrong, and nothing else."""
    alice = bench.client("alice", password="not-the-password")
    error = alice.expect("connection-error", PROMPT)
    if error["reason"] != "authentication-failed":
        raise Missing(f"expected an authentication failure, got {error}")


def contacts(bench: Bench) -> None:
    """A contact added and moved is there again after a new sign-in."""
    (alice,) = bench.signed_on("alice")
    carol = bench.uri("carol")
    if alice.buddy(carol):
        alice.command("remove_buddy", buddy=carol)
        time.sleep(1)
    alice.command("add_buddy", buddy=carol, group="Colleagues")
    time.sleep(1)
    alice.command("move_buddy", buddy=carol, group="Family")
    time.sleep(1)
    alice.stop()

    (again,) = bench.signed_on("alice")
    entry = again.buddy(carol)
    if not entry or entry["group"] != "Family":
        raise Missing(f"the contact is not in its group after sign-in: {entry}")
    again.command("remove_buddy", buddy=carol)
    time.sleep(1)
    again.stop()

    (last,) = bench.signed_on("alice")
    if last.buddy(carol):
        raise Missing("a removed contact came back")


def presence(bench: Bench) -> None:
    """Status and note reach the other user; signing out shows as offline."""
    alice, bob = bench.signed_on("alice", "bob")
    befriend(alice, bob)
    online_as(alice, bob, "available")
    for status in ("busy", "do-not-disturb", "away", "available"):
        change_status(bob, status, message=f"I am {status}")
        online_as(alice, bob, status)

    def note_is_shown() -> bool:
        entry = alice.buddy(bob.uri)
        return entry is not None and "I am available" in (entry["text"] or "")

    alice.eventually("the note", note_is_shown, PROMPT)
    bob.stop()
    online_as(alice, bob, "offline")


def im(bench: Bench) -> None:
    """Messages both ways, with markup characters and beyond ASCII."""
    alice, bob = bench.signed_on("alice", "bob")
    for sender, receiver, text in (
        (alice, bob, "first"),
        (bob, alice, "and back"),
        (alice, bob, "a < b & c > d"),
        (bob, alice, "žluťoučký kůň 🐎"),
        (alice, bob, "x" * 3000),
    ):
        shown = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        sender.command("send_im", to=receiver.uri, text=shown)
        got = receiver.expect("im", PROMPT, **{"from": sender.uri})
        if got["text"].strip() != text:
            raise Missing(f"sent {text!r}, received {got['text']!r}")


def im_offline(bench: Bench) -> None:
    """A message to someone not signed in is reported as undelivered."""
    (alice,) = bench.signed_on("alice")
    alice.command("send_im", to=bench.uri("carol"), text="anyone there?")
    alice.expect("notice", PROMPT, error=True)


def typing(bench: Bench) -> None:
    """Typing is shown once a conversation is open."""
    alice, bob = bench.signed_on("alice", "bob")
    alice.command("send_im", to=bob.uri, text="hello")
    bob.expect("im", PROMPT)
    time.sleep(1)
    alice.command("send_typing", to=bob.uri)
    bob.expect("typing", PROMPT, state="typing")


def im_phone(bench: Bench) -> None:
    """Messages both ways with bob, whose phone answers each with "got ", the text, and a full stop.

    The phone is not started here.
    """
    (alice,) = bench.signed_on("alice")
    bob = bench.uri("bob")
    for text in ("first", "second", "žluťoučký kůň", "x" * 200):
        alice.command("send_im", to=bob, text=text)
        got = alice.expect("im", PROMPT, **{"from": bob})
        if got["text"].strip() != f"got {text}.":
            raise Missing(f"sent {text[:40]!r}, received {got['text'][:60]!r}")
    alice.command("send_typing", to=bob)
    alice.command("send_im", to=bob, text="last")
    alice.expect("im", PROMPT, **{"from": bob, "text": lambda text: text.strip() == "got last."})
    for record in alice.records:
        if record.get("event") == "notice" and record.get("error"):
            raise Missing(f"a message was reported as undelivered: {record}")
    if sum(record.get("event") == "im" for record in alice.records) != 5:
        raise Missing(f"a message was shown twice: {[r for r in alice.records if r.get('event') == 'im']}")


def im_from_phone(bench: Bench) -> None:
    """Bob's phone writes "one", "two" and "three" before alice signs in, and answers "thanks" with "welcome"."""
    (alice,) = bench.signed_on("alice")
    bob = bench.uri("bob")
    texts = [alice.expect("im", PROMPT, **{"from": bob})["text"].strip() for _ in range(3)]
    if texts != ["one", "two", "three"]:
        raise Missing(f"received {texts}")
    alice.command("send_im", to=bob, text="thanks")
    alice.expect("im", PROMPT, **{"from": bob, "text": lambda text: text.strip() == "welcome"})
    more = [record for record in alice.drain(2) if record.get("event") == "im"]
    if more:
        raise Missing(f"a message was shown twice: {more}")


def presence_phone(bench: Bench) -> None:
    """Alice sees bob's phone come and go, and becomes busy in between.

    The phone is not started here. It leaves when it shows alice as busy.
    """
    (alice,) = bench.signed_on("alice")
    bob = bench.uri("bob")
    if not alice.buddy(bob):
        alice.command("add_buddy", buddy=bob, group="Friends")
    shown_as(alice, bob, "available", CALL)
    alice.command("set_status", status="busy")
    shown_as(alice, bob, "offline", CALL)


def group_im(bench: Bench) -> None:
    """A conference of three: create, invite, talk, leave."""
    alice, bob, carol = bench.signed_on("alice", "bob", "carol")
    alice.command("create_chat", buddy=bob.uri)
    alice.expect("chat-joined", PROMPT)
    bob.expect("chat-joined", PROMPT)
    alice.expect("chat-user-joined", PROMPT, user=bob.uri)
    alice.command("invite", buddy=carol.uri)
    carol.expect("chat-joined", PROMPT)
    alice.expect("chat-user-joined", PROMPT, user=carol.uri)

    for speaker in (alice, bob, carol):
        text = f"{speaker.name} speaks"
        speaker.command("send_chat", text=text)
        for listener in (alice, bob, carol):
            if listener is not speaker:
                got = listener.expect("chat-message", PROMPT, **{"from": speaker.uri})
                if got["text"].strip() != text:
                    raise Missing(f"{listener.name} received {got['text']!r}")
    members = {u["user"] for u in carol.command("chats")["chats"][0]["users"]}
    if members != {alice.uri, bob.uri, carol.uri}:
        raise Missing(f"carol sees {members}")
    carol.command("leave_chat")
    alice.expect("chat-user-left", PROMPT, user=carol.uri)


def two_clients(bench: Bench) -> None:
    """Alice signs in at two machines: messages and calls reach both and one answers; one leaves, the other is left right."""
    bob = bench.client("bob", tone_hz=880)
    first, second = (bench.client("alice", host=host, tone_hz=440) for host in ("alice-desk", "alice-home"))
    for client in (bob, first, second):
        client.expect("signed-on", PROMPT)
    time.sleep(1)
    befriend(bob, first)
    online_as(bob, first, "available")
    change_status(second, "busy")
    online_as(bob, first, "busy")
    change_status(second, "available")
    online_as(bob, first, "available")

    bob.command("send_im", to=first.uri, text="to one of you")
    # A client that knows of another one of its user waits ten seconds before it takes an invitation.
    taken = [one for one, wait in ((first, 14), (second, 2)) if any(r.get("event") == "im" for r in one.drain(wait))]
    if len(taken) != 1:
        raise Missing(f"{len(taken)} clients of alice show a message for her")
    taken[0].command("send_im", to=bob.uri, text="here I am")
    bob.expect("im", PROMPT, **{"from": first.uri, "text": lambda text: text.strip() == "here I am"})

    bob.command("call", to=first.uri)
    for one in (first, second):
        one.expect("incoming-call", CALL, **{"with": bob.uri})
    second.command("accept_call")
    first.expect("call-ended", CALL)
    heard(second, 880)
    heard(bob, 440)
    online_as(bob, first, "busy")
    bob.command("hangup")
    second.expect("call-ended", PROMPT)

    second.stop()
    online_as(bob, first, "available")
    bob.command("call", to=first.uri)
    first.expect("incoming-call", CALL, **{"with": bob.uri})
    first.command("reject_call")
    bob.expect("call-ended", CALL)
    first.stop()
    online_as(bob, first, "offline")


def search(bench: Bench) -> None:
    """Directory search finds a user by name.

    It is SIPE's only directory function: there is no group expansion.
    """
    alice, bob = bench.signed_on("alice", "bob")
    befriend(alice, bob)
    alice.command("search", given="bob")
    found = alice.expect("search-results", PROMPT)
    if not any(bob.uri[4:] in cell for row in found["rows"] for cell in row):
        raise Missing(f"bob is not among {found['rows']}")


def call(bench: Bench) -> None:
    """A voice call: both sides hear the other's tone, hanging up ends both."""
    alice = bench.client("alice", tone_hz=440)
    bob = bench.client("bob", tone_hz=880)
    for client in (alice, bob):
        client.expect("signed-on", PROMPT)
    time.sleep(1)
    alice.command("call", to=bob.uri)
    bob.expect("incoming-call", CALL, **{"with": alice.uri})
    bob.command("accept_call")
    heard(alice, 880)
    heard(bob, 440)
    alice.command("hangup")
    bob.expect("call-ended", PROMPT)


def call_rejected(bench: Bench) -> None:
    """A declined call ends at the caller."""
    alice, bob = bench.signed_on("alice", "bob")
    alice.command("call", to=bob.uri)
    bob.expect("incoming-call", CALL)
    bob.command("reject_call")
    alice.expect("call-ended", CALL)


SCENARIOS: dict[str, Callable[[Bench], None]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        sign_in, wrong_password, contacts, presence, im, im_offline, im_phone, im_from_phone, presence_phone,
        typing, group_im, search, call, call_rejected, two_clients,
    )
}  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--server", metavar="HOST:PORT", help="the server that the clients connect to")
    options.add_argument("--transport", choices=("tls", "tcp"), default="tls")
    options.add_argument("--authentication", default="ntlm", choices=("auto", "ntlm", "krb5", "tls-dsk"))
    options.add_argument("--domain", default="example.test")
    options.add_argument("--netbios", default="EXAMPLE", help="domain of the login, empty for none (%(default)s)")
    options.add_argument("--password", default="Secret-1", help="that of alice, bob and carol")
    options.add_argument(
        "--seed", type=int, help="the random seed of every client: they all use the same Call-IDs, tags and branches"
    )
    options.add_argument("--list", action="store_true", help="list the scenarios and end")
    options.add_argument("--only", metavar="A,B", help="scenarios: " + ",".join(SCENARIOS))
    options.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML too")
    options.add_argument("--logs", default=out() / "logs", help="folder for the logs (%(default)s)")
    options.add_argument("--json", action="store_true", help="one JSON record a scenario instead of text")
    args = options.parse_args()
    if not args.server and not args.list:
        options.error("--server is needed")
    args.only = args.only.split(",") if args.only else list(SCENARIOS)
    if unknown := set(args.only) - set(SCENARIOS):
        options.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return args


def run(bench: Bench, name: str) -> Record:
    """Runs a scenario; its result."""
    bench.scenario = name
    start = time.monotonic()
    error = None
    try:
        SCENARIOS[name](bench)
    except Missing as failure:
        error = str(failure)
    except Exception as failure:  # the other scenarios are still to be run
        error = repr(failure)
    finally:
        bench.close()
    return {"scenario": name, "ok": error is None, "error": error, "seconds": round(time.monotonic() - start, 1)}


def show(result: Record, as_json: bool) -> None:
    """Prints a result."""
    if as_json:
        print(json.dumps(result), flush=True)
        return
    verdict = "ok    " if result["ok"] else "FAILED"
    error = f": {result['error']}" if result["error"] else ""
    print(f"{verdict} {result['scenario']} ({result['seconds']} s){error}", flush=True)


def write_junit(path: str, results: list[Record]) -> None:
    """Writes the results as JUnit XML."""
    failures = sum(not result["ok"] for result in results)
    suite = ElementTree.Element("testsuite", name="sipe", tests=str(len(results)), failures=str(failures))
    for result in results:
        case = ElementTree.SubElement(
            suite, "testcase", classname="sipe", name=result["scenario"], time=str(result["seconds"])
        )
        if result["error"]:
            ElementTree.SubElement(case, "failure", message=result["error"])
    ElementTree.ElementTree(suite).write(path, "utf-8", xml_declaration=True)


def main() -> int:
    """Runs what the command line says; the exit status."""
    args = arguments()
    if args.list:
        for name, scenario in SCENARIOS.items():
            print(f"{name:15} {(scenario.__doc__ or '').splitlines()[0]}")
        return 0
    try:
        build()
        bench = Bench(args)
    except (CalledProcessError, OSError) as failure:
        print(f"cannot start: {failure}", file=sys.stderr)
        return 2
    results = []
    for name in args.only:
        results.append(run(bench, name))
        show(results[-1], args.json)
    if args.junit:
        write_junit(args.junit, results)
    passed = sum(result["ok"] for result in results)
    print(f"{passed} passed, {len(results) - passed} failed")
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
