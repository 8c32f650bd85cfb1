"""Address-book files and pictures over HTTP, fetched by curl: whole, in parts, not again, and only with a password."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parley.addressbook.files.names import day_of, full_name
from parley.addressbook.files.reading import BookFile
from tests.support.book_files import LAYOUT
from tests.support.curl import Answer, Curl
from tests.support.parley_server import DOMAIN, ParleyServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

API = "/api/v1"
ALICE = ("--user", "alice:Secret-1")
BOB = ("--user", "bob:Secret-1")
INT = "/ABS/int/Handler"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = {"request_burst": 10_000, "user_request_burst": 10_000, "failures_per_source": 10_000}
    config = {
        "web": {"administrators": [f"alice@{DOMAIN}"], "limits": limits},
        "addressbook": {"files": {"layout": "unconfirmed"}},
    }
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config=config)
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.fixture
def curl(server: ParleyServer) -> Curl:
    return Curl(server.web_url, server.ca_file)


def today(*, devices: bool = False) -> str:
    return str(full_name(day_of(time.time()), devices=devices))


async def fetched(curl: Curl, name: str, *options: str, **more: Any) -> Answer:
    """The answer once the file is there, which is made after the start."""

    async def look() -> Answer | None:
        answer = await curl(f"{INT}/{name}", *ALICE, *options, **more)
        return answer if answer.status != 404 else None

    answer = await eventually(look)
    assert answer is not None
    return answer


async def test_a_file_is_fetched_whole_and_holds_the_users(curl: Curl) -> None:
    answer = await fetched(curl, today())
    assert (answer.status, answer.headers["content-type"]) == (200, ["application/octet-stream"])
    assert answer.headers["etag"] == [f'"{hashlib.sha256(answer.body).hexdigest()}"']
    assert answer.headers["accept-ranges"] == ["bytes"]
    assert answer.headers["cache-control"] == ["private, no-cache"]
    assert answer.headers["content-disposition"] == [f'attachment; filename="{today()}"']
    book = BookFile(answer.body, LAYOUT)
    book.verify()
    ids = {attribute.name: attribute.id for attribute in book.table.attributes}
    names = {contact.all(ids["msRTCSIP-PrimaryUserAddress"])[0] for contact in book.contacts()}
    assert names == {f"sip:{name}@{DOMAIN}" for name in ("alice", "bob", "carol")}
    phones = await fetched(curl, today(devices=True))
    BookFile(phones.body, LAYOUT).verify()
    assert phones.body != answer.body


@pytest.mark.parametrize("base", ["/ABS/int/Handler", "/abs/INT/handler", "/ABS/Ext/Handler", "/abs/handler"])
async def test_all_urls_lead_to_it_whatever_the_case(curl: Curl, base: str) -> None:
    whole = await fetched(curl, today())
    assert (await curl(f"{base}/{today().lower()}", *BOB)).body == whole.body


@pytest.mark.parametrize("scheme", ["--ntlm", "--basic", "--anyauth"])
async def test_any_scheme_will_do(curl: Curl, scheme: str) -> None:
    await fetched(curl, today())
    assert (await curl(f"{INT}/{today()}", *BOB, scheme)).status == 200


async def test_nobody_gets_it_without_a_password(curl: Curl) -> None:
    for method in ("GET", "HEAD"):
        head = ("--head",) if method == "HEAD" else ()
        answer = await curl(f"{INT}/{today()}", *head)
        assert answer.status == 401
        assert answer.headers["www-authenticate"][0] == "NTLM"
        assert (await curl(f"{INT}/{today()}", "--user", "alice:Wrong-1", *head)).status == 401
    # Nobody learns without one what there is.
    assert (await curl(f"{INT}/F-0001.lsabs")).status == 401


async def test_parts(curl: Curl, tmp_path: Path) -> None:
    whole = await fetched(curl, today())
    size = len(whole.body)
    part = await curl(f"{INT}/{today()}", *ALICE, "--range", "10-29")
    assert (part.status, part.body) == (206, whole.body[10:30])
    assert part.headers["content-range"] == [f"bytes 10-29/{size}"]
    assert part.headers["etag"] == whole.headers["etag"]
    assert (await curl(f"{INT}/{today()}", *ALICE, "--range", "-7")).body == whole.body[-7:]
    beyond = await curl(f"{INT}/{today()}", *ALICE, "--range", f"{size}-")
    assert (beyond.status, beyond.body, beyond.headers["content-range"]) == (416, b"", [f"bytes */{size}"])
    same = ("--header", f"If-Range: {whole.headers['etag'][0]}", "--range", "0-4")
    assert (await curl(f"{INT}/{today()}", *ALICE, *same)).status == 206
    other = ("--header", 'If-Range: "another"', "--range", "0-4")
    assert (await curl(f"{INT}/{today()}", *ALICE, *other)).body == whole.body
    # curl goes on where it was cut off.
    begun = tmp_path / "file"
    begun.write_bytes(whole.body[:100])
    assert (await curl(f"{INT}/{today()}", *ALICE, "--continue-at", "-", "--output", str(begun))).status == 206
    assert begun.read_bytes() == whole.body


async def test_what_did_not_change_is_not_sent_again(curl: Curl) -> None:
    whole = await fetched(curl, today())
    etag, modified = whole.headers["etag"][0], whole.headers["last-modified"][0]
    for header in (f"If-None-Match: {etag}", f"If-Modified-Since: {modified}"):
        answer = await curl(f"{INT}/{today()}", *ALICE, "--header", header)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", [etag])
    assert (await curl(f"{INT}/{today()}", *ALICE, "--header", 'If-None-Match: "another"')).body == whole.body
    assert (await curl(f"{INT}/{today()}", *ALICE, "--header", 'If-Match: "another"')).status == 412


async def test_heads_have_no_body(curl: Curl) -> None:
    whole = await fetched(curl, today())
    head = await curl(f"{INT}/{today()}", *ALICE, "--head")
    assert (head.status, head.headers["content-length"]) == (200, [str(len(whole.body))])
    assert head.headers["etag"] == whole.headers["etag"]
    assert (await curl(f"{INT}/F-0001.lsabs", *ALICE, "--head")).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "F-0001.lsabs", "D-0001-0002.lsabs", "F-FFFF.dabs", "", "F-0B8B.lsabs.bak", "F-0B8B.txt", "Company_Rules.txt",
        "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "../../../etc/passwd", "..\\..\\etc\\passwd",
        "F-0B8B.lsabs%00.txt", "F-0B8B.lsabs/", "%2fetc%2fpasswd", "photos/..%2fF-0B8B.lsabs", "x" * 3_000,
    ],
)  # fmt: skip
async def test_what_is_no_such_file_is_not_there(curl: Curl, path: str) -> None:
    answer = await curl(f"{INT}/{path}", *ALICE)
    assert answer.status == 404
    assert b"root:" not in answer.body


async def test_other_methods_are_refused(curl: Curl) -> None:
    answer = await curl(f"{INT}/{today()}", *ALICE, method="PUT", body=b"x")
    assert (answer.status, answer.headers["allow"]) == (405, ["GET, HEAD"])


async def test_pictures_are_found_where_searches_say(curl: Curl) -> None:
    found = await curl(f"{API}/directory/search?q=alice", *ALICE)
    id = found.json["entries"][0]["id"]
    path = f"{INT}/photos/{id}.jpg"
    assert (await curl(path, *BOB)).status == 404
    kind = ("--header", "Content-Type: image/png")
    assert (await curl(f"{API}/directory/entries/{id}/photo", *ALICE, *kind, method="PUT", body=PNG)).status == 200
    picture = await curl(path, *BOB)
    assert (picture.status, picture.body, picture.headers["content-type"]) == (200, PNG, ["image/png"])
    assert picture.headers["content-length"] == [str(len(PNG))]
    assert (await curl(path, *BOB, "--header", f"If-None-Match: {picture.headers['etag'][0]}")).status == 304
    assert (await curl(path, *BOB, "--header", 'If-None-Match: "x", W/' + picture.headers["etag"][0])).status == 304
    assert (await curl(path)).status == 401
    for name in ("nobody.jpg", "00000000-0000-0000-0000-000000000000.jpg"):
        assert (await curl(f"{INT}/photos/{name}", *BOB)).status == 404


async def test_pictures_that_are_hidden_are_for_administrators(curl: Curl) -> None:
    entries = f"{API}/directory/entries"
    made = (await curl(entries, *ALICE, body={"kind": "contact", "display_name": "Hidden", "hidden": True})).json
    kind = ("--header", "Content-Type: image/png")
    assert (await curl(f"{entries}/{made['id']}/photo", *ALICE, *kind, method="PUT", body=PNG)).status == 200
    for path in (f"{INT}/photos/{made['id']}.jpg", f"{entries}/{made['id']}/photo"):
        assert (await curl(path, *BOB)).status == 404
        assert (await curl(path, *ALICE)).body == PNG


async def test_no_files_are_there_unless_their_layout_is_allowed(tmp_path: Path) -> None:
    plain = ParleyServer(tmp_path / "plain")
    try:
        await plain.start()
        assert (await Curl(plain.web_url, plain.ca_file)(f"{INT}/{today()}", *ALICE)).status == 404
    finally:
        await plain.stop()
