"""``parley presence`` and ``parley contacts`` against a running Parley, beside a Communicator client that is signed in."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from parley.presence.standard.availability import pidf_of
from parley.presence.standard.pidf import build_pidf
from parley.sip.message import Request
from parley.xml import children, parse_xml
from tests.integration.test_bad_input import metric
from tests.integration.test_presence import publication, publish
from tests.integration.test_presence_cluster import contacts_of
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import ParleyServer
from tests.support.sip_client import DOMAIN, SipClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    running = ParleyServer(tmp_path_factory.mktemp("presence-cli"), config={"presence": {"max_contacts": 200}})
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def signed_in(server: ParleyServer, user: str, epid: str) -> OcsClient:
    client = await OcsClient(user, epid=epid).connect(server.ports["tcp"])
    assert (await client.sign_in()).status == 200
    return client


async def shown(server: ParleyServer, user: str) -> dict[str, Any]:
    done = await server.parley("--json", "presence", "show", user)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


async def test_show_says_what_a_state_is_made_of(server: ParleyServer) -> None:
    nothing = await server.parley("presence", "show", "carol@example.test")
    assert "offline (18500)" in nothing.stdout
    assert (await server.parley("presence", "show", "nobody@example.test")).returncode == 3

    carol = await signed_in(server, "carol", "aaaaaaaaaaaa")
    assert (await carol.ask_signed(publish(carol, publication("machineState", 3500)))).status == 200
    found = await shown(server, "EXAMPLE\\carol")
    assert (found["state"]["address"], found["state"]["availability"]) == ("sip:carol@example.test", 3500)
    assert [endpoint["epid"] for endpoint in found["endpoints"]] == ["aaaaaaaaaaaa"]
    kinds = {item.get("kind") for item in found["publications"]}
    assert kinds == {"machineState", "aggregateState", "aggregateMachineState"}
    assert {item.get("endpoint", "server") for item in found["publications"]} == {"aaaaaaaaaaaa", "server"}

    watcher = await signed_in(server, "alice", "bbbbbbbbbbbb")
    before = (await shown(server, "alice")).get("subscriptions", 0)
    await contacts_of(watcher)
    assert (await shown(server, "alice"))["subscriptions"] == before + 1
    pidf = build_pidf(pidf_of("sip:bob@example.test", 6500, "on-the-phone", "back [soon]"))
    bob = await SipClient("bob").connect(server.ports["udp"])
    assert (await bob.register()).status == 200
    headers = [("Event", "presence"), ("Content-Type", "application/pidf+xml"), ("Expires", "600")]
    assert (await bob.ask(bob.request("PUBLISH", "sip:bob@example.test", headers=headers, body=pidf))).status == 200
    table = (await server.parley("presence", "show", "bob")).stdout
    assert "busy (6500), on-the-phone" in table
    assert "back [soon]" in table
    for client in (carol, watcher):
        await client.abort()


@asynccontextmanager
async def watching(server: ParleyServer, *users: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """``parley --json presence watch`` of users, ended by Ctrl-C; it must end well."""
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "parley.cli.main",
        "--config",
        str(server.folder / "parley.yaml"),
        "--json",
    ]
    env = {"PARLEY_DATA": str(server.folder), "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(
        *command, "presence", "watch", *users, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT,
        env=env,
    )  # fmt: skip
    try:
        yield process
        process.send_signal(signal.SIGINT)
        try:
            out, err = await asyncio.wait_for(process.communicate(), 10)
        except TimeoutError:
            process.send_signal(signal.SIGABRT)  # it says where each of its threads is
            out, err = await process.communicate()
        assert (process.returncode, err.decode()) == (0, ""), out
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def told(process: asyncio.subprocess.Process) -> tuple[str, int]:
    """The next line: user and availability."""
    assert process.stdout is not None
    line = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
    return line["address"], line["availability"]


async def test_watch_tells_states_and_changes_until_ctrl_c(server: ParleyServer) -> None:
    await server.create_users(["dora"])
    dora = await signed_in(server, "dora", "cccccccccccc")
    async with watching(server, "dora@example.test") as watch:
        assert await told(watch) == ("sip:dora@example.test", 18500)
        assert (await dora.ask_signed(publish(dora, publication("machineState", 15500)))).status == 200
        while (await told(watch))[1] != 15500:
            pass
        async with watching(server) as everybody:
            version = 0

            async def heard() -> bool:
                """Changes until the other watch, which says nothing when it begins, tells one."""
                nonlocal version
                version += 1
                availability = 3500 if version % 2 else 12500
                change = publish(dora, publication("machineState", availability, version=version))
                assert (await dora.ask_signed(change)).status == 200
                try:
                    return await asyncio.wait_for(told(everybody), 1) == ("sip:dora@example.test", availability)
                except TimeoutError:
                    return False

            await eventually(heard, timeout=15)
        await dora.abort()
        while (await told(watch))[1] != 18500:
            pass
    refused = await server.parley("presence", "watch", "nobody")
    assert (refused.returncode, "there is no user nobody" in refused.stderr) == (3, True)


async def test_watch_says_what_to_do_when_parley_ends(tmp_path: Path) -> None:
    ending = ParleyServer(tmp_path)
    await ending.start()
    watch = asyncio.ensure_future(ending.parley("--json", "presence", "watch", "alice"))

    async def begun() -> bool:
        return await metric(ending, "parley_presence_watches") == 1

    try:
        await eventually(begun)
    finally:
        ending.kill()
    done = await watch
    assert done.returncode == 4
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: is Parley running?")


def card(user: str, *lines: str) -> str:
    return "\r\n".join(["BEGIN:VCARD", "VERSION:4.0", f"FN:{user.title()}", *lines, "END:VCARD", ""])


def contact_of(user: str, *groups: str) -> str:
    return card(user, f"IMPP:sip:{user}@{DOMAIN}", f"CATEGORIES:{','.join(groups)}")


async def delta(client: OcsClient) -> tuple[int, dict[str, list[str]]]:
    """The next change of contacts: its number, and what stands in it by kind."""
    notify: Request = await client.expect("BENOTIFY", 8)
    assert client.is_signed(notify)
    assert notify.get("Event") == "vnd-microsoft-roaming-contacts"
    root = parse_xml(notify.body)
    found = {
        kind: [item.get("uri") or item.get("name") or item.get("id") or "" for item in children(root, kind)]
        for kind in ("addedGroup", "addedContact", "modifiedContact", "deletedContact", "deletedGroup")
    }
    return int(root.get("deltaNum") or 0), {kind: items for kind, items in found.items() if items}


async def test_imported_contacts_arrive_at_a_client_that_is_signed_in(server: ParleyServer, tmp_path: Path) -> None:
    alice = await signed_in(server, "alice", "dddddddddddd")
    number = int(re.findall(rb'deltaNum="(\d+)"', await contacts_of(alice))[0])
    file = tmp_path / "people.vcf"
    file.write_bytes((contact_of("bob", "Friends") + contact_of("carol", "Friends", "Work")).encode())

    tried = await server.parley("contacts", "import", "alice@example.test", str(file), "--dry-run")
    assert (tried.returncode, tried.stdout) == (0, "would be: 2 added, 2 groups added, 0 failed\n")
    done = await server.parley("contacts", "import", "alice@example.test", str(file))
    assert (done.returncode, done.stdout) == (0, "2 added, 2 groups added, 0 failed\n"), done.stderr
    assert await delta(alice) == (number + 1, {"addedGroup": ["Friends", "Work"]})
    assert await delta(alice) == (number + 2, {"addedContact": ["sip:bob@example.test", "sip:carol@example.test"]})

    again = await server.parley("--json", "contacts", "import", "alice", str(file))
    assert json.loads(again.stdout)["unchanged"] == 2
    file.write_bytes(contact_of("bob", "Work").encode())
    replaced = await server.parley("--json", "contacts", "import", "alice", str(file), "--replace")
    assert json.loads(replaced.stdout) == {
        "added": 0, "changed": 1, "unchanged": 0, "deleted": 1, "groups_added": 0, "groups_deleted": 1, "applied": True,
        "delta": number + 5, "failed": [],
    }  # fmt: skip
    assert await delta(alice) == (number + 3, {"modifiedContact": ["sip:bob@example.test"]})
    assert await delta(alice) == (number + 4, {"deletedContact": ["sip:carol@example.test"]})
    assert (await delta(alice))[0] == number + 5
    listed = parse_xml(await contacts_of(alice))
    assert [(item.get("uri"), item.get("name")) for item in children(listed, "contact")] == [("bob@example.test", "Bob")]
    await alice.abort()


async def test_exports_can_be_imported_by_another_user(server: ParleyServer, tmp_path: Path) -> None:
    people = "".join(contact_of(f"user{n}", f"Group {n % 3}") for n in range(150))
    done = await server.parley("contacts", "import", "bob", "-", stdin=people)
    assert (done.returncode, done.stdout) == (0, "150 added, 3 groups added, 0 failed\n"), done.stderr
    for form in ("vcard", "vcard3", "json"):
        file = tmp_path / f"export.{form}"
        written = await server.parley("contacts", "export", "bob@example.test", "--format", form, "--output", str(file))
        assert (written.returncode, "150 contacts of bob@example.test" in written.stderr) == (0, True)
        taken = await server.parley("contacts", "import", "carol", str(file), "--replace")
        assert taken.returncode == 0, taken.stderr
        copies = [
            json.loads((await server.parley("contacts", "export", user, "--format", "json")).stdout)
            for user in ("bob", "carol")
        ]
        assert copies[0]["contacts"] == copies[1]["contacts"]
        assert {group["name"] for group in copies[1]["groups"]} == {"~", "Group 0", "Group 1", "Group 2"}
    plain = (await server.parley("contacts", "export", "bob")).stdout
    assert plain.count("BEGIN:VCARD") == 150
    assert (await server.parley("contacts", "export", "nobody")).returncode == 3
    unwritable = await server.parley("contacts", "export", "bob", "-o", str(tmp_path / "no" / "file"))
    assert (unwritable.returncode, "cannot write" in unwritable.stderr) == (2, True)


async def test_bad_rows_are_told_and_a_list_is_not_replaced_by_half(server: ParleyServer, tmp_path: Path) -> None:
    file = tmp_path / "people.vcf"
    nobody = card("nobody", "EMAIL:nobody@example.test")
    file.write_text(contact_of("bob", "A") + nobody + contact_of("bob", "B") + "BEGIN:VCARD\r\nVERSION:2.1\r\nEND:VCARD\r\n")
    refused = await server.parley("contacts", "import", "carol", str(file), "--replace")
    assert refused.returncode == 6
    assert "nothing was changed" in refused.stderr
    kept = json.loads((await server.parley("--json", "contacts", "export", "carol")).stdout)
    assert "sip:bob@example.test" not in {item["address"] for item in kept["contacts"]}

    done = await server.parley("contacts", "import", "carol", str(file))
    assert done.returncode == 1
    assert "1 added, 1 groups added, 3 failed" in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("line ")]
    assert lines == [
        "line 7: Nobody has no SIP address; write IMPP:sip:user@domain",
        "line 12: sip:bob@example.test: the address comes twice",
        "line 18: vCard 2.1 is not read; export it as 3.0 or 4.0",
    ]

    many = tmp_path / "many.json"
    contacts = [{"address": f"sip:u{n}@example.test"} for n in range(201)]
    many.write_text(json.dumps({"format": "parley-contacts", "version": 1, "contacts": contacts}))
    full = await server.parley("contacts", "import", "carol", str(many), "--replace")
    assert (full.returncode, "a list has at most 200" in full.stderr) == (6, True)
    partly = json.loads((await server.parley("--json", "contacts", "import", "carol", str(many))).stdout)
    assert partly["failed"][-1] == {
        "contact": 201, "address": "sip:u200@example.test", "problem": "the list is full; it may have 200 contacts",
    }  # fmt: skip


async def test_files_that_are_none_of_contacts(server: ParleyServer, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("name,address\n")
    done = await server.parley("contacts", "import", "alice", str(wrong))
    assert (done.returncode, "--format vcard" in done.stderr) == (2, True)
    done = await server.parley("contacts", "import", "alice", str(wrong), "--format", "json")
    assert (done.returncode, "it is no JSON" in done.stderr.replace("\n", " ")) == (2, True)
    missing = await server.parley("contacts", "import", "alice", str(tmp_path / "missing.vcf"))
    assert (missing.returncode, "cannot read" in missing.stderr) == (2, True)
    good = tmp_path / "good.vcf"
    good.write_text(contact_of("bob", "A"))
    assert (await server.parley("contacts", "import", "nobody", str(good))).returncode == 3
