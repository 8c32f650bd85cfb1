"""Address book and web services in processes of their own: files both ways over the network, and a book that goes away."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.addressbook.dlx import ExpansionResult, MembersRequest, MembersResponse
from tests.support.curl import Curl
from tests.support.parley_server import DOMAIN, ParleyCluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

API = "/api/v1"
ALICE = ("--user", "alice:Secret-1")
BINARY = ("--header", "Content-Type: application/octet-stream")
IMAGE = hashlib.shake_128(b"image").digest(6_000_000)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyCluster]:
    made = ParleyCluster(tmp_path_factory.mktemp("cluster"), front_ends=1, registrars=1, webs=2)
    made.book.set("addressbook", {"files": {"layout": "unconfirmed"}})
    for node in made.webs:
        node.set("web", {"administrators": [f"alice@{DOMAIN}"]})
    with made.for_module():
        yield made


def curl_of(cluster: ParleyCluster, index: int = 0) -> Curl:
    return Curl(cluster.web_urls[index], cluster.web_ca_file(index))


async def test_what_one_web_service_takes_another_gives(cluster: ParleyCluster) -> None:
    checksum = hashlib.sha256(IMAGE).hexdigest()
    one, other = curl_of(cluster), curl_of(cluster, 1)
    sent = await one(f"{API}/device-files/{checksum}", *ALICE, *BINARY, method="PUT", body=IMAGE)
    assert sent.json == {"sha256": checksum, "size": len(IMAGE), "known": False}
    module = {"file": "image", "version": "2", "sha256": checksum}
    rule = (await other(f"{API}/device-updates", *ALICE, body={"version": "2", "modules": [module]})).json
    path = f"/DeviceUpdateFiles_Ext/{rule['id']}/2/image"
    assert (await other(path, *ALICE)).body == IMAGE
    assert (await one(path, *ALICE, "--range", "5900000-")).body == IMAGE[5_900_000:]
    wrong = await one(f"{API}/device-files/{'ab' * 32}", *ALICE, *BINARY, method="PUT", body=IMAGE)
    assert (wrong.status, "not the file that was announced" in wrong.json["detail"]) == (422, True)
    log = await one("/RequestHandlerExt/Logs/a.log", *ALICE, method="POST", body=IMAGE)
    assert log.status == 201
    assert (await other(f"{API}/device-logs/{log.json['id']}", *ALICE)).body == IMAGE
    listed = json.loads((await cluster.book.parley("--json", "devices", "list")).stdout)
    assert rule["id"] in {item["id"] for item in listed}


async def test_an_update_that_is_larger_than_a_message_of_grpc_is_taken_in_parts(cluster: ParleyCluster) -> None:
    data = hashlib.shake_128(b"large").digest(12_000_000)
    checksum = hashlib.sha256(data).hexdigest()
    sent = await curl_of(cluster)(f"{API}/device-files/{checksum}", *ALICE, *BINARY, method="PUT", body=data)
    assert sent.status == 200


async def test_files_and_groups(cluster: ParleyCluster) -> None:
    made = json.loads((await cluster.book.parley("--json", "book-files", "make")).stdout)
    (name,) = [
        file["name"]
        for file in json.loads((await cluster.book.parley("--json", "book-files", "list")).stdout)
        if file["name"].endswith(".lsabs")
    ]
    assert made["entries"] == "3"
    answer = await curl_of(cluster)(f"/ABS/int/Handler/{name}", *ALICE)
    assert answer.status == 200
    assert answer.headers["etag"] == (await curl_of(cluster, 1)(f"/ABS/int/Handler/{name}", *ALICE)).headers["etag"]
    kind = ("--header", "Content-Type: text/xml")
    body = MembersRequest("nobody@example.test").to_bytes()
    group = await curl_of(cluster)("/GroupExpansion/int/service.asmx", *ALICE, *kind, method="POST", body=body)
    assert MembersResponse.from_bytes(group.body).result is ExpansionResult.NOT_FOUND


async def test_a_book_that_dies_in_the_middle_cuts_the_download(cluster: ParleyCluster, tmp_path: Path) -> None:
    """And one that is back goes on with it."""
    curl = curl_of(cluster)
    image = hashlib.shake_128(b"cut").digest(40_000_000)  # far more than buffers on the way hold
    checksum = hashlib.sha256(image).hexdigest()
    await curl(f"{API}/device-files/{checksum}", *ALICE, *BINARY, method="PUT", body=image)
    module = {"file": "image", "version": "1", "sha256": checksum}
    await curl(f"{API}/device-updates", *ALICE, body={"id": "cut", "version": "1", "modules": [module]})
    path = "/DeviceUpdateFiles_Ext/cut/1/image"
    begun = tmp_path / "image"
    command = [
        "curl", "--silent", "--cacert", str(cluster.web_ca_file(0)), *ALICE, "--limit-rate", "2000000", "--output",
        str(begun), cluster.web_urls[0] + path,
    ]  # fmt: skip
    fetching = await asyncio.create_subprocess_exec(*command)

    async def some() -> bool:
        return begun.exists() and begun.stat().st_size > 500_000

    await eventually(some)
    cluster.book.kill()
    try:
        assert await asyncio.wait_for(fetching.wait(), 30) != 0
        assert 0 < begun.stat().st_size < len(image)
        away = await curl(path, *ALICE)
        assert (away.status, away.headers["retry-after"]) == (503, ["5"])
    finally:
        cluster.book.launch()
        await cluster.book.ready()

    async def back() -> bool:
        """Both web services have found it again."""
        answers = [await each(path, *ALICE, "--head") for each in (curl, curl_of(cluster, 1))]
        return all(answer.status == 200 for answer in answers)

    await eventually(back, timeout=30)
    assert (await curl(path, *ALICE, "--continue-at", "-", "--output", str(begun))).status == 206
    assert begun.read_bytes() == image
