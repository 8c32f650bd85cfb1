"""Device updates on a real store: files, rules, decisions, test devices, the audit log, logs of devices."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode

from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.client import Store
from parley.proto.addressbook.v1 import device_updates_pb2 as pb
from services.addressbook.blobs import PIECE
from services.addressbook.devices import reports
from services.addressbook.devices.config import DevicesConfig
from services.addressbook.devices.repository import FILES, NAMES, RULES
from services.addressbook.devices.wiring import GRACE_S, DeviceUpdates
from tests.integration.services.rig import all_keys, store_of
from tests.support.valkey import Valkey, ValkeyCluster

pytestmark = pytest.mark.valkey

OLD, NEW, SIGNATURE = b"version 1 " * 60_000, b"version 2 " * 60_000, b"signed"
PHONE = pb.UpdateRule(type="UCPhone", vendor="Polycom", model="CX700")
TEST_MAC = "00:04:F2:12:34:56"


class Devices:
    """Device updates of one process, without its tasks."""

    def __init__(self, store: Store, clock: FakeClock, **config: Any) -> None:
        self.made = DeviceUpdates(store, clock, DevicesConfig(**config))
        self.surface: Any = self.made.surface

    async def send(self, data: bytes, *, size: int | None = None, checksum: bytes | None = None) -> bool:
        """Uploads a file in parts; whether it was there already."""

        async def parts() -> AsyncIterator[pb.UploadUpdateFileRequest]:
            told = hashlib.sha256(data).digest() if checksum is None else checksum
            yield pb.UploadUpdateFileRequest(size=len(data) if size is None else size, sha256=told, data=data[:100])
            for begin in range(100, len(data), 100_000):
                yield pb.UploadUpdateFileRequest(data=data[begin : begin + 100_000])

        answer = await self.surface.UploadUpdateFile(parts(), None)
        return bool(answer.known)

    async def add(
        self, version: str, data: bytes, rule: pb.UpdateRule = PHONE, *, signature: bytes = b"", upload: bool = True
    ) -> pb.UpdateRule:
        """An update of one file."""
        module = pb.DeviceModule(file="cpe.nbt", version=version, timestamp="t", sha256=hashlib.sha256(data).digest())
        signatures = []
        if upload:
            await self.send(data)
        if signature:
            await self.send(signature)
            module.signature = "cpe.cat"
            signatures.append(pb.SignatureFile(file="cpe.cat", sha256=hashlib.sha256(signature).digest()))
        update = pb.DeviceUpdate(version=version, modules=[module])
        answer = await self.surface.AddUpdate(pb.AddUpdateRequest(rule=rule, update=update, signatures=signatures), None)
        found: pb.UpdateRule = answer.rule
        return found

    async def decide(self, decision: pb.UpdateDecision.ValueType, rule: str, version: str = "") -> pb.UpdateRule:
        request = pb.DecideUpdateRequest(rule=rule, decision=decision, version=version)
        found: pb.UpdateRule = (await self.surface.DecideUpdate(request, None)).rule
        return found

    async def gets(self, has: str = "1", mac: str = "", **fields: str) -> tuple[str, list[str]]:
        """Version and files that a device gets."""
        device = pb.Device(
            type="UCPhone", vendor="Polycom", model="CX700", mac=mac, modules=[pb.DeviceModule(file="cpe.nbt", version=has)]
        )
        for name, value in fields.items():
            setattr(device, name, value)
        request = pb.CheckDeviceRequest(device=device, client="192.0.2.7")
        answer = await self.surface.CheckDevice(request, None)
        return answer.version, [module.file for module in answer.modules]

    async def fetch(self, rule: str, version: str, file: str = "cpe.nbt", first: int = 0, count: int = 0) -> bytes:
        """A part of a file, as the web services fetch it."""
        info = await self.surface.GetUpdateFile(pb.GetUpdateFileRequest(rule=rule, version=version, file=file), None)
        request = pb.ReadUpdateFileRequest(sha256=info.sha256, first=first, count=count)
        return b"".join([answer.data async for answer in self.surface.ReadUpdateFile(request, None)])

    async def send_log(self, name: str, data: bytes) -> pb.DeviceLog:
        async def parts() -> AsyncIterator[pb.UploadDeviceLogRequest]:
            yield pb.UploadDeviceLogRequest(log=pb.DeviceLog(name=name, user="sip:ada@example.test", client="192.0.2.7"))
            for begin in range(0, len(data), 50_000):
                yield pb.UploadDeviceLogRequest(data=data[begin : begin + 50_000])

        found: pb.DeviceLog = (await self.surface.UploadDeviceLog(parts(), None)).log
        return found


@pytest.fixture
def devices(store: Store, clock: FakeClock) -> Devices:
    return Devices(store, clock)


def refused(code: StatusCode, text: str = "") -> Any:
    return pytest.raises(RpcError, match=f"{code.name}: .*{text}")


async def test_an_update_from_its_upload_to_its_withdrawal(devices: Devices) -> None:
    rule = await devices.add("1", OLD)
    assert (rule.id, rule.pending.version, rule.HasField("approved")) == ("ucphone-polycom-cx700", "1", False)
    assert rule.pending.modules[0].size == len(OLD)
    await devices.decide(pb.UPDATE_DECISION_APPROVE, rule.id)
    await devices.add("2", NEW, signature=SIGNATURE)
    await devices.surface.AddTestDevice(pb.AddTestDeviceRequest(device=pb.TestDevice(mac=TEST_MAC, note="desk 4")), None)
    assert await devices.gets() == ("", [])  # it has what is approved
    assert await devices.gets("0") == ("1", ["cpe.nbt"])
    assert await devices.gets(mac="0004f2123456") == ("2", ["cpe.nbt"])
    assert await devices.gets(vendor="Other") == ("", [])
    assert await devices.fetch(rule.id, "2") == NEW
    assert await devices.fetch(rule.id, "2", "CPE.CAT") == SIGNATURE
    assert await devices.fetch(rule.id, "1", "CPE.NBT", PIECE - 1, 3) == OLD[PIECE - 1 : PIECE + 2]
    rule = await devices.decide(pb.UPDATE_DECISION_APPROVE, rule.id, "2")
    assert (rule.approved.version, rule.previous.version, rule.HasField("pending")) == ("2", "1", False)
    assert await devices.gets() == ("2", ["cpe.nbt"])
    rule = await devices.decide(pb.UPDATE_DECISION_ROLL_BACK, rule.id, "2")
    assert (rule.approved.version, list(rule.withdrawn)) == ("1", ["2"])
    assert await devices.gets("2") == ("1", ["cpe.nbt"])  # it goes back
    assert await devices.gets("3") == ("", [])  # somebody put that on it by hand
    with refused(StatusCode.NOT_FOUND):
        await devices.fetch(rule.id, "2")
    await devices.surface.DeleteUpdateRule(pb.DeleteUpdateRuleRequest(rule=rule.id), None)
    assert await devices.gets("0") == ("", [])
    assert not (await devices.surface.ListUpdateRules(pb.ListUpdateRulesRequest(), None)).rules


async def test_what_is_rejected_goes_back_on_test_devices(devices: Devices) -> None:
    rule = await devices.add("1", OLD)
    await devices.decide(pb.UPDATE_DECISION_APPROVE, rule.id)
    await devices.add("2", NEW)
    device = pb.TestDevice(serial="SN-1")
    await devices.surface.AddTestDevice(pb.AddTestDeviceRequest(device=device), None)
    assert await devices.gets(serial="sn-1") == ("2", ["cpe.nbt"])
    await devices.decide(pb.UPDATE_DECISION_REJECT, rule.id)
    assert await devices.gets("2", serial="sn-1") == ("1", ["cpe.nbt"])
    listed = (await devices.surface.ListTestDevices(pb.ListTestDevicesRequest(), None)).devices
    assert [(device.mac, device.serial) for device in listed] == [("", "sn-1")]
    await devices.surface.RemoveTestDevice(pb.RemoveTestDeviceRequest(serial="SN-1"), None)
    with refused(StatusCode.NOT_FOUND, "no test device"):
        await devices.surface.RemoveTestDevice(pb.RemoveTestDeviceRequest(serial="SN-1"), None)
    for wrong in (pb.TestDevice(), pb.TestDevice(mac="nonsense"), pb.TestDevice(mac=TEST_MAC, serial="x")):
        with refused(StatusCode.INVALID_ARGUMENT, "MAC address"):
            await devices.surface.AddTestDevice(pb.AddTestDeviceRequest(device=wrong), None)


async def test_decisions_that_cannot_be_made(devices: Devices) -> None:
    rule = (await devices.add("1", OLD)).id
    with refused(StatusCode.NOT_FOUND, "no rule other"):
        await devices.decide(pb.UPDATE_DECISION_APPROVE, "other")
    with refused(StatusCode.ABORTED, "not version 3"):
        await devices.decide(pb.UPDATE_DECISION_APPROVE, rule, "3")
    with refused(StatusCode.FAILED_PRECONDITION, "nothing was approved before"):
        await devices.decide(pb.UPDATE_DECISION_ROLL_BACK, rule)
    with refused(StatusCode.INVALID_ARGUMENT):
        await devices.decide(pb.UPDATE_DECISION_UNSPECIFIED, rule)
    await devices.decide(pb.UPDATE_DECISION_APPROVE, rule)
    for decision in (pb.UPDATE_DECISION_APPROVE, pb.UPDATE_DECISION_REJECT):
        with refused(StatusCode.FAILED_PRECONDITION, "nothing is pending"):
            await devices.decide(decision, rule)
    with refused(StatusCode.INVALID_ARGUMENT, "approved already"):
        await devices.add("1", OLD)
    with refused(StatusCode.NOT_FOUND):
        await devices.surface.DeleteUpdateRule(pb.DeleteUpdateRuleRequest(rule="other"), None)


async def test_two_administrators_at_once_decide_once(devices: Devices) -> None:
    rule = (await devices.add("1", OLD)).id
    outcomes = await asyncio.gather(
        *(devices.decide(decision, rule) for decision in (pb.UPDATE_DECISION_APPROVE, pb.UPDATE_DECISION_REJECT) * 4),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, pb.UpdateRule) for outcome in outcomes) == 1
    assert all(isinstance(outcome, pb.UpdateRule | RpcError) for outcome in outcomes)


async def test_updates_that_cannot_be_taken(devices: Devices) -> None:
    with refused(StatusCode.FAILED_PRECONDITION, "was not uploaded"):
        await devices.add("1", OLD, upload=False)
    with refused(StatusCode.INVALID_ARGUMENT, "id of a rule"):
        await devices.add("1", OLD, pb.UpdateRule(id="../x"))
    with refused(StatusCode.INVALID_ARGUMENT, "version or file name"):
        await devices.add("1/2", OLD)
    with refused(StatusCode.INVALID_ARGUMENT, "vendor has up to"):
        await devices.add("1", OLD, pb.UpdateRule(vendor="x" * 129))
    await devices.add("1", OLD, pb.UpdateRule(id="one", model="CX700"))
    with refused(StatusCode.INVALID_ARGUMENT, "is for other devices"):
        await devices.add("2", NEW, pb.UpdateRule(id="one", model="CX500"))
    module = pb.DeviceModule(file="a", version="1", signature="a.cat", sha256=hashlib.sha256(OLD).digest())
    request = pb.AddUpdateRequest(rule=PHONE, update=pb.DeviceUpdate(version="1", modules=[module]))
    with refused(StatusCode.INVALID_ARGUMENT, "has no file"):
        await devices.surface.AddUpdate(request, None)
    request.signatures.add(file="a.cat", sha256=hashlib.sha256(b"?").digest())
    with refused(StatusCode.FAILED_PRECONDITION, "was not uploaded"):
        await devices.surface.AddUpdate(request, None)
    request.signatures.add(file="b.cat", sha256=hashlib.sha256(OLD).digest())
    with refused(StatusCode.INVALID_ARGUMENT, "signature of no module"):
        await devices.surface.AddUpdate(request, None)


async def test_files_that_are_not_what_was_announced_leave_nothing(store: Store, clock: FakeClock, valkey: Valkey) -> None:
    devices = Devices(store, clock, max_file_bytes=700_000, max_total_bytes=1_000_000)
    with refused(StatusCode.INVALID_ARGUMENT, "not the file that was announced"):
        await devices.send(OLD, checksum=b"x" * 32)
    with refused(StatusCode.INVALID_ARGUMENT, "not the file that was announced"):
        await devices.send(OLD, size=len(OLD) + 1)
    with refused(StatusCode.INVALID_ARGUMENT, "larger than"):
        await devices.send(OLD, size=len(OLD) - 1)
    for size in (0, 700_001):
        with refused(StatusCode.INVALID_ARGUMENT, "max_file_bytes"):
            await devices.send(OLD, size=size)
    with refused(StatusCode.INVALID_ARGUMENT, "size and SHA-256"):
        await devices.send(OLD, checksum=b"")
    assert not [key for key in all_keys(valkey) if "devices" in key]
    assert not await devices.send(OLD)
    assert await devices.send(OLD)  # known
    with refused(StatusCode.RESOURCE_EXHAUSTED, "max_total_bytes"):
        await devices.send(NEW)


async def test_files_go_once_no_rule_has_them(devices: Devices, clock: FakeClock, valkey: Valkey) -> None:
    rule = await devices.add("1", OLD, signature=SIGNATURE)
    await devices.send(NEW)  # for a rule that never came
    clock.advance(GRACE_S + 1)
    await devices.made.sweep()
    assert await devices.fetch(rule.id, "1") == OLD
    assert valkey.ask("HLEN", FILES) == 2
    await devices.surface.DeleteUpdateRule(pb.DeleteUpdateRuleRequest(rule=rule.id), None)
    await devices.made.sweep()
    assert (valkey.ask("HLEN", FILES), valkey.ask("HLEN", NAMES)) == (0, 0)
    assert len([key for key in all_keys(valkey) if "{devices-" in key]) == 3  # a device may be reading them
    clock.advance(GRACE_S + 1)
    await devices.made.sweep()
    assert not [key for key in all_keys(valkey) if "{devices-" in key]


async def test_a_rule_that_cannot_be_read_keeps_all_files(
    devices: Devices, store: Store, clock: FakeClock, valkey: Valkey
) -> None:
    rule = await devices.add("1", OLD)
    await store.execute("HSET", RULES, rule.id, b'{"v":2,"id":"x"}')
    clock.advance(GRACE_S + 1)
    await devices.made.sweep()
    assert valkey.ask("HLEN", FILES) == 1
    assert await devices.gets("0") == ("", [])
    with refused(StatusCode.INVALID_ARGUMENT, "upgrade this server"):
        await devices.decide(pb.UPDATE_DECISION_APPROVE, rule.id)


async def test_requests_are_noted_for_a_time(store: Store, clock: FakeClock, valkey: Valkey) -> None:
    devices = Devices(store, clock, audit_lines=3, audit_days=2)
    rule = await devices.add("1", OLD)
    await devices.decide(pb.UPDATE_DECISION_APPROVE, rule.id)
    for number in range(5):
        await devices.gets(str(number % 2), user=f"sip:u{number}@example.test")
    answer = await devices.surface.ReadDeviceAudit(pb.ReadDeviceAuditRequest(), None)
    assert answer.total == 3
    assert answer.name.startswith("RequestHandlerAuditLog_")
    line = answer.lines[0].split(",")
    assert line[1:8] == ["192.0.2.7", "UCPhone", "", "", "Polycom", "CX700", ""]
    assert line[9:] == ["cpe.nbt;0;", "cpe.nbt;;1;t", "sip:u0@example.test"]
    assert answer.lines[1].split(",")[10] == ""
    (key,) = (key for key in all_keys(valkey) if ":audit:" in key)
    assert 2 * 86_400 < valkey.ask("TTL", key) <= 3 * 86_400
    device = pb.Device(type="UCPhone", vendor="Polycom", model="CX700")
    dry = await devices.surface.CheckDevice(pb.CheckDeviceRequest(device=device, dry_run=True), None)
    assert [module.file for module in dry.modules] == ["cpe.nbt"]
    assert (await devices.surface.ReadDeviceAudit(pb.ReadDeviceAuditRequest(first=3), None)).total == 3
    for wrong in ("yesterday", "2026-13-01", "20260101"):
        with refused(StatusCode.INVALID_ARGUMENT, "no day"):
            await devices.surface.ReadDeviceAudit(pb.ReadDeviceAuditRequest(day=wrong), None)
    with refused(StatusCode.INVALID_ARGUMENT, "type, vendor and model"):
        await devices.gets(model=" ")
    with refused(StatusCode.INVALID_ARGUMENT, "cannot be shown"):
        await devices.gets(serial="a\nb")


async def test_logs_of_devices(store: Store, clock: FakeClock, valkey: Valkey) -> None:
    devices = Devices(store, clock, max_log_bytes=400_000, max_logs_bytes=500_000, log_days=2)
    data = bytes(range(256)) * 1_200
    log = await devices.send_log("UCPhone_1-20260101-CELOG120000_1.clg", data)
    assert (log.size, log.user, log.client) == (len(data), "sip:ada@example.test", "192.0.2.7")
    read = [answer.data async for answer in devices.surface.ReadDeviceLog(pb.ReadDeviceLogRequest(id=log.id), None)]
    assert b"".join(read) == data
    for wrong in ("../etc.log", "a/b.log", "a.exe", "", ".log", "a..log", "x" * 130 + ".log", "a.log\n"):
        with refused(StatusCode.INVALID_ARGUMENT, "the name of a log"):
            await devices.send_log(wrong, b"x")
    with refused(StatusCode.INVALID_ARGUMENT, "larger than"):
        await devices.send_log("b.log", data)  # all together would be too large
    clock.advance(86_400)
    later = await devices.send_log("b.log", b"x" * 190_000)
    with refused(StatusCode.INVALID_ARGUMENT, "larger than"):
        await devices.send_log("c.log", b"x" * 190_000)
    page = await devices.surface.ListDeviceLogs(pb.ListDeviceLogsRequest(page_size=1), None)
    assert [found.id for found in page.logs] == [later.id]
    page = await devices.surface.ListDeviceLogs(pb.ListDeviceLogsRequest(page_size=1, page_token=page.next_page_token), None)
    assert [found.id for found in page.logs] == [log.id]
    with refused(StatusCode.INVALID_ARGUMENT, "token"):
        await devices.surface.ListDeviceLogs(pb.ListDeviceLogsRequest(page_token="-1"), None)
    clock.advance(86_401)
    await devices.made.sweep()
    assert [found.id for found in (await devices.surface.ListDeviceLogs(pb.ListDeviceLogsRequest(), None)).logs] == [
        later.id
    ]
    await devices.surface.DeleteDeviceLog(pb.DeleteDeviceLogRequest(id=later.id), None)
    with refused(StatusCode.NOT_FOUND):
        await devices.surface.DeleteDeviceLog(pb.DeleteDeviceLogRequest(id=later.id), None)
    with refused(StatusCode.NOT_FOUND):
        assert [part async for part in devices.surface.ReadDeviceLog(pb.ReadDeviceLogRequest(id=log.id), None)] == []
    assert not [key for key in all_keys(valkey) if "{devices-" in key]


async def test_on_a_cluster(valkey_cluster: ValkeyCluster, clock: FakeClock) -> None:
    async with store_of(valkey_cluster.url, cluster=True) as store:
        devices = Devices(store, clock)
        rule = await devices.add("1", OLD)
        await devices.decide(pb.UPDATE_DECISION_APPROVE, rule.id)
        assert await devices.gets("0") == ("1", ["cpe.nbt"])
        assert await devices.fetch(rule.id, "1") == OLD
        clock.advance(GRACE_S + 1)
        await devices.made.sweep()
        assert await devices.fetch(rule.id, "1") == OLD


async def test_logs_that_come_at_the_same_time_share_the_room(store: Store, clock: FakeClock) -> None:
    devices = Devices(store, clock, max_log_bytes=400_000, max_logs_bytes=500_000)
    sent = await asyncio.gather(
        *(devices.send_log(f"{number}.log", b"x" * 300_000) for number in range(3)), return_exceptions=True
    )
    refusals = [outcome for outcome in sent if isinstance(outcome, RpcError)]
    assert [refusal.code for refusal in refusals] == [StatusCode.RESOURCE_EXHAUSTED] * 2
    assert len(await devices.made.logs.blobs_in_use()) == 1
    assert len(await store.execute("ZRANGE", devices.made.blobs.registry, 0, -1)) == 1  # nothing is left of the others


async def test_logs_do_not_become_very_many_however_small_they_are(
    devices: Devices, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "the log is empty"):
        await devices.send_log("a.log", b"")
    assert await store.execute("ZCARD", devices.made.blobs.registry) == 0
    monkeypatch.setattr(reports, "MAX_LOGS", 2)
    for name in ("a.log", "b.log"):
        await devices.send_log(name, b"x")
    with refused(StatusCode.RESOURCE_EXHAUSTED, "no room for further logs"):
        await devices.send_log("c.log", b"x")
    assert await store.execute("HLEN", reports.LOGS) == 2
