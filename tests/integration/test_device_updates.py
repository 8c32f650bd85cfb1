"""Updates of devices over HTTP, by curl: what administrators upload and decide, what devices ask, fetch and send."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parley.addressbook.device_xml import parse_answer, request_bytes
from parley.addressbook.devices import Device, Module
from tests.integration.test_bad_input import metric
from tests.support.curl import Answer, Curl
from tests.support.parley_server import DOMAIN, ParleyServer

pytestmark = pytest.mark.valkey

API = "/api/v1"
ALICE = ("--user", "alice:Secret-1")
BOB = ("--user", "bob:Secret-1")
BINARY = ("--header", "Content-Type: application/octet-stream")
ASK = "/RequestHandlerExt/ucdevice.upx"
OLD, NEW, SIGNATURE = b"version 1 " * 60_000, b"version 2 " * 60_000, b"signed"
TEST_MAC = "00:04:F2:12:34:56"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = {"request_burst": 10_000, "user_request_burst": 10_000, "failures_per_source": 10_000}
    devices = {"answers": "unconfirmed", "file_bytes": 1_000_000, "log_bytes": 100_000}
    web = {"administrators": [f"alice@{DOMAIN}"], "limits": limits, "devices": devices}
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config={"web": web})
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.fixture
def curl(server: ParleyServer) -> Curl:
    return Curl(server.web_url, server.ca_file)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def upload(curl: Curl, data: bytes, checksum: str = "") -> Answer:
    return await curl(f"{API}/device-files/{checksum or sha(data)}", *ALICE, *BINARY, method="PUT", body=data)


async def add(curl: Curl, model: str, version: str, data: bytes, *, signature: bytes = b"") -> dict[str, Any]:
    assert (await upload(curl, data)).status == 200
    module = {"file": "cpe.nbt", "version": version, "timestamp": "t", "sha256": sha(data)}
    wanted: dict[str, Any] = {
        "type": "UCPhone", "vendor": "Polycom", "model": model, "version": version, "modules": [module]
    }  # fmt: skip
    if signature:
        assert (await upload(curl, signature)).status == 200
        module["signature"] = "cpe.cat"
        wanted["signatures"] = [{"file": "cpe.cat", "sha256": sha(signature)}]
    answer = await curl(f"{API}/device-updates", *ALICE, body=wanted)
    assert answer.status == 200, answer.body
    rule: dict[str, Any] = answer.json
    return rule


async def decide(curl: Curl, rule: str, decision: str, version: str = "") -> Answer:
    body = {"version": version} if version else {}
    return await curl(f"{API}/device-updates/{rule}/{decision}", *ALICE, method="POST", body=body)


async def ask(curl: Curl, model: str, has: str, *, mac: str = "", who: tuple[str, ...] = BOB, path: str = ASK) -> Answer:
    device = Device("UCPhone", "Polycom", model, mac=mac, modules=(Module("cpe.nbt", has),))
    kind = ("--header", "Content-Type: text/xml")
    return await curl(path, *who, *kind, method="POST", body=request_bytes(device))


async def gets(curl: Curl, model: str, has: str, *, mac: str = "") -> list[str]:
    answer = await ask(curl, model, has, mac=mac)
    assert answer.status == 200, answer.body
    return [offer.module.version for offer in parse_answer(answer.body)]


async def test_from_the_upload_to_the_rollback(curl: Curl) -> None:
    data = b"never sent before"
    assert (await upload(curl, data)).json == {"sha256": sha(data), "size": len(data), "known": False}
    assert (await upload(curl, data)).json["known"]
    rule = await add(curl, "CX700", "1.0", OLD)
    id = rule["id"]
    assert (id, rule["pending"]["version"], rule["approved"]) == ("ucphone-polycom-cx700", "1.0", None)
    assert rule["pending"]["modules"][0]["size"] == len(OLD)
    assert await gets(curl, "CX700", "0.9") == []
    # A test device gets what is pending.
    test = await curl(f"{API}/test-devices", *ALICE, body={"mac": TEST_MAC, "note": "on my desk"})
    assert (test.status, test.json) == (201, {"mac": "0004f2123456", "serial": "", "note": "on my desk"})
    assert await gets(curl, "CX700", "0.9", mac="00-04-f2-12-34-56") == ["1.0"]
    assert (await decide(curl, id, "approve", "1.0")).json["approved"]["version"] == "1.0"
    assert await gets(curl, "CX700", "0.9") == ["1.0"]
    assert await gets(curl, "CX700", "1.0") == []
    await add(curl, "CX700", "2.0", NEW)
    assert (await decide(curl, id, "approve", "1.0")).status == 409  # somebody uploaded another one meanwhile
    assert (await decide(curl, id, "approve")).status == 200
    assert await gets(curl, "CX700", "1.0") == ["2.0"]
    rolled = (await decide(curl, id, "rollback")).json
    assert (rolled["approved"]["version"], rolled["previous"], rolled["withdrawn"]) == ("1.0", None, ["2.0"])
    assert await gets(curl, "CX700", "2.0") == ["1.0"]
    assert (await decide(curl, id, "rollback")).status == 409
    listed = (await curl(f"{API}/device-updates", *ALICE)).json["rules"]
    assert [item for item in listed if item["id"] == id] == [rolled]
    assert (await curl(f"{API}/test-devices/mac/{TEST_MAC}", *ALICE, method="DELETE")).status == 204
    assert (await curl(f"{API}/test-devices/mac/{TEST_MAC}", *ALICE, method="DELETE")).status == 404
    assert (await curl(f"{API}/device-updates/{id}", *ALICE, method="DELETE")).status == 204
    assert (await curl(f"{API}/device-updates/{id}", *ALICE, method="DELETE")).status == 404
    assert await gets(curl, "CX700", "0.9") == []


async def test_a_device_fetches_what_it_is_told_to(server: ParleyServer, curl: Curl) -> None:
    rule = await add(curl, "CX 500/a", "2.0", NEW, signature=SIGNATURE)
    await decide(curl, rule["id"], "approve")
    answer = await ask(curl, "CX 500/a", "1.0")
    assert answer.headers["content-type"] == ["text/xml; charset=utf-8"]
    (offer,) = parse_answer(answer.body)
    assert (offer.module.size, offer.module.sha256, offer.module.signature) == (len(NEW), sha(NEW), "cpe.cat")
    assert offer.external_url == f"{server.web_url}/DeviceUpdateFiles_Ext/{rule['id']}/2.0/cpe.nbt"
    for url in (offer.internal_url, offer.external_url):
        path = url.removeprefix(server.web_url)
        whole = await curl(path, *BOB)
        assert (whole.status, whole.body) == (200, NEW)
        part = await curl(path, *BOB, "--range", f"{len(NEW) - 10}-")
        assert (part.status, part.body) == (206, NEW[-10:])
        assert (await curl(path, *BOB, "--header", f"If-None-Match: {whole.headers['etag'][0]}")).status == 304
        assert (await curl(path)).status == 401
        assert (await curl(path.replace("cpe.nbt", "CPE.cat"), *BOB)).body == SIGNATURE
        assert (await curl(path, *BOB, "--head")).headers["content-length"] == [str(len(NEW))]
        for wrong in ("other.nbt", "..%2f..%2fetc%2fpasswd", "%00", "cpe.nbt/"):
            assert (await curl(path.replace("cpe.nbt", wrong), *BOB)).status == 404
    lync = f"/RequestHandlerExt/Files/{rule['id']}/2.0/cpe.nbt"
    assert (await curl(lync, *BOB)).body == NEW
    await curl(f"{API}/device-updates/{rule['id']}", *ALICE, method="DELETE")
    assert (await curl(lync, *BOB)).status == 404


async def test_devices_sign_in(curl: Curl) -> None:
    for path in (ASK, "/RequestHandler/ucdevice.upx"):
        answer = await ask(curl, "CX700", "1", who=(), path=path)
        assert answer.status == 401
        assert answer.headers["www-authenticate"][0] == "NTLM"
        assert (await ask(curl, "CX700", "1", who=(*BOB, "--ntlm"), path=path.upper())).status == 200


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not well-formed"),
        (b"<!DOCTYPE a><a/>", "document type"),
        (b"<Request/>", "type, vendor and model"),
        (b"<r><Vendor>" + b"x" * 200 + b"</Vendor></r>", "more than 128"),
    ],
)
async def test_what_no_device_says_is_refused_and_counted(
    server: ParleyServer, curl: Curl, body: bytes, problem: str
) -> None:  # fmt: skip
    name = 'parley_web_device_requests_total{outcome="refused"}'
    before = await metric(server, name)
    answer = await curl(ASK, *BOB, method="POST", body=body)
    assert answer.status == 400
    assert problem in answer.json["detail"]
    assert await metric(server, name) == before + 1
    assert (await curl(ASK, *BOB, method="POST", body=b"<" + b"x" * 70_000)).status == 413
    assert (await curl(ASK, *BOB)).status == 405


async def test_what_devices_asked_is_in_the_audit_log(curl: Curl) -> None:
    await ask(curl, "Audited", "1.2.3")
    found = (await curl(f"{API}/device-audit", *ALICE)).json
    (line,) = [line for line in found["lines"] if ",Audited," in line]
    assert line.split(",")[1:3] == ["127.0.0.1", "UCPhone"]
    assert line.endswith(f"cpe.nbt;1.2.3;,,sip:bob@{DOMAIN}")  # who has signed in, whatever the device says
    assert found["name"].startswith("RequestHandlerAuditLog_")
    none = (await curl(f"{API}/device-audit?day=2020-01-31&count=1", *ALICE)).json
    assert (none["lines"], none["total"]) == ([], 0)
    assert (await curl(f"{API}/device-audit?day=yesterday", *ALICE)).status == 400


async def test_an_administrator_asks_for_a_device_and_leaves_no_trace(curl: Curl) -> None:
    rule = await add(curl, "Asked", "2.0", NEW)
    await decide(curl, rule["id"], "approve")
    device = {"type": "UCPhone", "vendor": "Polycom", "model": "Asked", "modules": [{"file": "cpe.nbt", "version": "1"}]}
    found = (await curl(f"{API}/device-check", *ALICE, body=device)).json
    assert (found["rule"], found["version"], len(found["modules"])) == (rule["id"], "2.0", 1)
    lines = (await curl(f"{API}/device-audit", *ALICE)).json["lines"]
    assert not [line for line in lines if ",Asked," in line]
    assert (await curl(f"{API}/device-check", *ALICE, body={**device, "model": ""})).status == 422


async def test_uploads_that_are_refused(curl: Curl) -> None:
    assert (await upload(curl, b"abc", sha(b"other"))).status == 422
    assert (await upload(curl, b"abc", "ab")).status == 404
    assert (await upload(curl, b"abc", "x" * 64)).status == 404
    assert (await upload(curl, b"x" * 1_000_001)).status == 413
    chunked = ("--header", "Transfer-Encoding: chunked")
    path = f"{API}/device-files/{sha(b'abc')}"
    assert (await curl(path, *ALICE, *BINARY, *chunked, method="PUT", body=b"abc")).status == 400
    kind = ("--header", "Content-Type: text/plain")
    assert (await curl(path, *ALICE, *kind, method="PUT", body=b"abc")).status == 415
    module = {"file": "a", "version": "1", "sha256": sha(b"never sent")}
    wanted = {"vendor": "V", "version": "1", "modules": [module]}
    missing = await curl(f"{API}/device-updates", *ALICE, body=wanted)
    assert missing.status == 409
    assert "was not uploaded" in missing.json["detail"]
    changes: list[dict[str, Any]] = [
        {"version": ""},
        {"modules": []},
        {"modules": [{**module, "sha256": "xy"}]},
        {"more": 1},
    ]
    for change in changes:
        assert (await curl(f"{API}/device-updates", *ALICE, body={**wanted, **change})).status == 422
    bad = {"version": "1", "id": "../x", "modules": [{**module, "sha256": sha(OLD)}]}
    await upload(curl, OLD)
    assert (await curl(f"{API}/device-updates", *ALICE, body=bad)).status == 422
    assert (await decide(curl, "nothing-such", "approve")).status == 404


async def test_only_administrators_decide(curl: Curl) -> None:
    for method, path, body in (
        ("GET", "/device-updates", None), ("POST", "/device-updates/x/approve", {}), ("DELETE", "/device-updates/x", None),
        ("GET", "/test-devices", None), ("POST", "/test-devices", {"mac": TEST_MAC}), ("GET", "/device-audit", None),
        ("GET", "/device-logs", None), ("GET", "/device-logs/x", None), ("DELETE", "/device-logs/x", None),
        ("POST", "/device-check", {}), ("DELETE", "/test-devices/mac/x", None),
    ):  # fmt: skip
        assert (await curl(API + path, *BOB, method=method, body=body)).status == 403, path
        assert (await curl(API + path, method=method, body=body)).status == 401, path
    path = f"{API}/device-files/{sha(OLD)}"
    assert (await curl(path, *BOB, *BINARY, method="PUT", body=OLD)).status == 403


async def test_logs_of_devices(curl: Curl) -> None:
    name, data = "CX700_0004F2123456-20260101-CELOG120000_1.clg", b"line\n" * 10_000
    sent = await curl(f"/RequestHandlerExt/Logs/{name}", *BOB, *BINARY, method="POST", body=data)
    assert (sent.status, sent.json["size"], sent.json["user"]) == (201, len(data), f"bob@{DOMAIN}")
    assert sent.json["client"] == "127.0.0.1"
    (listed,) = (await curl(f"{API}/device-logs", *ALICE)).json["logs"]
    assert listed == sent.json
    got = await curl(f"{API}/device-logs/{listed['id']}", *ALICE)
    assert (got.status, got.body, got.headers["content-disposition"]) == (200, data, ["attachment"])
    for wrong in ("a.exe", "..%2fa.log", "a%20b.log", ".log", "x" * 200 + ".log", "a.log%00.exe"):
        refused = await curl(f"/RequestHandlerExt/Logs/{wrong}", *BOB, method="POST", body=b"x")
        assert refused.status == 400, wrong
    assert (await curl("/RequestHandlerExt/Logs/a.log", *BOB, method="POST", body=b"x" * 100_001)).status == 413
    chunked = ("--header", "Transfer-Encoding: chunked")
    assert (await curl("/RequestHandlerExt/Logs/a.log", *BOB, *chunked, method="POST", body=b"x")).status == 411
    assert (await curl("/RequestHandler/Logs/a.log", method="POST", body=b"x")).status == 401
    assert (await curl(f"{API}/device-logs/{listed['id']}", *ALICE, method="DELETE")).status == 204
    assert (await curl(f"{API}/device-logs/{listed['id']}", *ALICE)).status == 404


async def test_unless_answers_are_wanted_requests_are_logged(tmp_path: Path) -> None:
    plain = ParleyServer(tmp_path / "plain", config={"web": {"devices": {"anonymous": True}}})
    try:
        await plain.start()
        curl = Curl(plain.web_url, plain.ca_file)
        answer = await ask(curl, "CX700", "1", who=(), path="/RequestHandler/ucdevice.upx")
        assert (answer.status, parse_answer(answer.body)) == (200, ())
        odd = await curl("/RequestHandler/ucdevice.upx", method="POST", body=b"\x00what else\n")
        assert (odd.status, odd.body) == (200, answer.body)
        assert (await ask(curl, "CX700", "1", who=())).status == 401  # outside nobody is anonymous
        assert (await curl("/DeviceUpdateFiles_Int/a/1/b")).status == 404
        assert (await curl("/DeviceUpdateFiles_Ext/a/1/b")).status == 401
        assert (await curl("/RequestHandler/Logs/a.log", method="POST", body=b"x")).status == 401
        lines = [json.loads(line) for line in plain.log().splitlines() if "in a form that is not read" in line]
        assert [line["client"] for line in lines] == ["127.0.0.1"] * 2
        assert "<Model>CX700</Model>" in lines[0]["body"]
        assert lines[1]["body"] == repr(b"\x00what else\n")
    finally:
        await plain.stop()
