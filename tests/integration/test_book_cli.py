"""``parley devices`` and ``parley book-files`` against a running Parley, as a person or a script uses them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.curl import Curl
from tests.support.parley_server import ParleyServer

pytestmark = pytest.mark.valkey

PHONE = ("--vendor", "Polycom", "--model", "CX700")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    running = ParleyServer(
        tmp_path_factory.mktemp("cli"), config={"addressbook": {"files": {"layout": "unconfirmed", "at": "23:59"}}}
    )
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def run(server: ParleyServer, *arguments: str) -> Any:
    """What a command gives as JSON."""
    done = await server.parley("--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_an_update_from_the_upload_to_its_removal(server: ParleyServer, tmp_path: Path) -> None:
    image, signature = tmp_path / "cpe.nbt", tmp_path / "cpe.cat"
    image.write_bytes(b"x" * 700_000)
    signature.write_bytes(b"signed")
    signed = ("--signature", f"cpe.nbt={signature}")
    rule = await run(server, "devices", "upload", str(image), "--version", "2.0", "--type", "UCPhone", *PHONE, *signed)
    assert (rule["id"], rule["pending"]["version"]) == ("ucphone-polycom-cx700", "2.0")
    assert rule["pending"]["modules"][0]["signature"] == "cpe.cat"
    id = rule["id"]
    check = ("devices", "check", *PHONE, "--has", "cpe.nbt=1.0")
    assert "modules" not in await run(server, *check)
    added = await run(server, "devices", "tests", "add", "--mac", "00:04:F2:12:34:56", "--note", "mine")
    assert added == {"mac": "0004f2123456", "note": "mine"}
    assert len((await run(server, *check, "--mac", "0004f2123456"))["modules"]) == 1
    assert (await server.parley("devices", "approve", id, "--version", "1.9")).returncode == 1
    approved = await server.parley("devices", "approve", id, "--version", "2.0")
    assert (approved.returncode, approved.stdout) == (0, f"{id}: approved\n")
    assert (await run(server, *check))["version"] == "2.0"
    assert (await server.parley("devices", "rollback", id)).returncode == 1  # there was nothing before it
    table = (await server.parley("devices", "list")).stdout
    assert id in table
    assert "UCPhone Polycom CX700" in table
    await run(server, "devices", "upload", str(image), "--version", "3.0", "--id", id)
    assert "pending" not in await run(server, "devices", "reject", id)
    assert [item["mac"] for item in await run(server, "devices", "tests", "list")] == ["0004f2123456"]
    await run(server, "devices", "tests", "remove", "--mac", "0004f2123456")
    assert (await server.parley("devices", "tests", "remove", "--mac", "0004f2123456")).returncode == 3
    assert (await server.parley("devices", "remove", id, "--yes")).returncode == 0
    assert (await server.parley("devices", "remove", id, "--yes")).returncode == 3
    assert "no update was uploaded" in (await server.parley("devices", "list")).stdout


async def test_what_is_typed_wrong_is_told(server: ParleyServer, tmp_path: Path) -> None:
    missing = await server.parley("devices", "upload", str(tmp_path / "none"), "--version", "1")
    assert (missing.returncode, "cannot read" in missing.stderr) == (2, True)
    image = tmp_path / "a.bin"
    image.write_bytes(b"x")
    other = await server.parley("devices", "upload", str(image), "--version", "1", "--signature", "b.bin=x")
    assert (other.returncode, "none of the files" in other.stderr) == (2, True)
    pair = await server.parley("devices", "check", *PHONE, "--has", "cpe.nbt")
    assert (pair.returncode, "NAME=VALUE" in pair.stderr) == (2, True)
    assert (await server.parley("devices", "tests", "add", "--mac", "nonsense")).returncode == 6
    assert (await server.parley("devices", "approve", "none-such")).returncode == 3
    assert (await server.parley("devices", "audit", "--day", "today")).returncode == 6


async def test_logs_and_the_audit_log(server: ParleyServer, tmp_path: Path) -> None:
    curl = Curl(server.web_url, server.ca_file)
    sent = await curl("/RequestHandlerExt/Logs/phone.clg", "--user", "bob:Secret-1", method="POST", body=b"it rang\n")
    (log,) = await run(server, "devices", "logs", "list")
    assert (log["id"], log["user"]) == (sent.json["id"], "sip:bob@example.test")
    file = tmp_path / "log"
    assert await run(server, "devices", "logs", "fetch", log["id"], str(file)) == {"bytes": 8}
    assert file.read_bytes() == b"it rang\n"
    await run(server, "devices", "logs", "remove", log["id"])
    assert await run(server, "devices", "logs", "list") == []
    assert await run(server, "devices", "audit") == []


async def test_files_are_made_on_demand(server: ParleyServer, tmp_path: Path) -> None:
    made = await run(server, "book-files", "make")
    assert (made["enabled"], made["entries"], made["files"]) == (True, "3", 2)
    assert await run(server, "book-files", "make", "--if-missing") == {"made": False}
    files = await run(server, "book-files", "list")
    full, phones = (next(file["name"] for file in files if file["name"].endswith(end)) for end in (".lsabs", ".dabs"))
    assert full.removesuffix(".lsabs") == phones.removesuffix(".dabs")
    file = tmp_path / "book"
    await run(server, "book-files", "fetch", full, str(file))
    shown = await server.parley("book-files", "show", str(file))
    assert shown.returncode == 0, shown.stderr
    assert "msRTCSIP-PrimaryUserAddress: sip:alice@example.test" in shown.stdout
    assert "3" in (await server.parley("book-files", "status")).stdout
    file.write_bytes(file.read_bytes()[:-9])
    assert (await server.parley("book-files", "show", str(file))).returncode == 1
    assert (await server.parley("book-files", "fetch", "F-0001.lsabs", str(file))).returncode == 3
