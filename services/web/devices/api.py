"""Device updates over REST: what `parley devices` does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from aiohttp import web
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import device_updates_pb2 as pb
from services.web.api.models import API
from services.web.bodies import json_answer, pieces, read_json, read_query
from services.web.devices.config import WebDevicesConfig
from services.web.devices.conversions import added, log_of, module_of, rule_of
from services.web.devices.models import (
    AuditLines,
    AuditQuery,
    Decision,
    DeviceAnswer,
    DeviceLogs,
    DeviceLogsQuery,
    DeviceQuestion,
    NewUpdate,
    TestDevice,
    TestDevices,
    UpdateRule,
    UpdateRules,
    UploadedFile,
)
from services.web.downloads.sending import BINARY, SECONDS, Downloads
from services.web.errors import HttpError
from services.web.openapi import Operation, rows_of
from services.web.routes import Route, parameter

if TYPE_CHECKING:
    from parley.proto.addressbook.v1.device_updates_pb2_grpc import DeviceUpdatesAsyncStub

_RULES: Final = f"{API}/device-updates"
_RULE: Final = f"{_RULES}/{{id}}"
_LOG: Final = f"{API}/device-logs/{{id}}"
_SHA256: Final = 64
_CONFLICTS: Final = frozenset({StatusCode.FAILED_PRECONDITION, StatusCode.ABORTED})


class DeviceApi:
    """Handlers."""

    def __init__(
        self, updates: DeviceUpdatesAsyncStub, downloads: Downloads, config: WebDevicesConfig, *, timeout_s: float
    ) -> None:
        self._updates = updates
        self._downloads = downloads
        self._config = config
        self._timeout_s = timeout_s

    def routes(self) -> list[Route]:
        """Their rows."""
        row, tests = rows_of("devices"), f"{API}/test-devices"
        return [
            row("GET", _RULES, self.rules, Operation("Rules with their updates", result=UpdateRules)),
            row("POST", _RULES, self.add,
                Operation("An update becomes pending; its files were uploaded before", body=NewUpdate, result=UpdateRule,
                          failures=(409, 422))),
            row("DELETE", _RULE, self.remove, Operation("Remove a rule with its updates", status=204, failures=(404,))),
            row("POST", f"{_RULE}/approve", self.approve,
                Operation("All devices get what is pending", body=Decision, result=UpdateRule, failures=(404, 409, 422))),
            row("POST", f"{_RULE}/reject", self.reject,
                Operation("What is pending is dropped", body=Decision, result=UpdateRule, failures=(404, 409, 422))),
            row("POST", f"{_RULE}/rollback", self.roll_back,
                Operation("Devices go back to what was approved before", body=Decision, result=UpdateRule,
                          failures=(404, 409, 422))),
            row("PUT", f"{API}/device-files/{{sha256}}", self.upload,
                Operation("Upload a file of an update", result=UploadedFile, failures=(404, 422)),
                body_bytes=self._config.file_bytes, content_types=(BINARY,), seconds=SECONDS),
            row("POST", f"{API}/device-check", self.check,
                Operation("What a device would get; nothing is noted", body=DeviceQuestion, result=DeviceAnswer,
                          failures=(422,))),
            row("GET", tests, self.test_devices, Operation("Devices that get what is pending", result=TestDevices)),
            row("POST", tests, self.add_test_device,
                Operation("One more", body=TestDevice, result=TestDevice, status=201, failures=(422,))),
            row("DELETE", f"{tests}/{{kind}}/{{value}}", self.remove_test_device,
                Operation("One less; kind is mac or serial", status=204, failures=(404,))),
            row("GET", f"{API}/device-audit", self.audit, Operation("What devices asked", AuditQuery, result=AuditLines)),
            row("GET", f"{API}/device-logs", self.logs, Operation("Logs of devices", DeviceLogsQuery, result=DeviceLogs)),
            row("GET", _LOG, self.read_log, Operation("A log", result_type=BINARY, failures=(404,)), seconds=SECONDS),
            row("DELETE", _LOG, self.delete_log, Operation("Remove a log", status=204, failures=(404,))),
        ]  # fmt: skip

    async def rules(self, request: web.Request) -> web.Response:
        """All rules."""
        try:
            found = await self._updates.ListUpdateRules(pb.ListUpdateRulesRequest(), timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        return json_answer(UpdateRules(rules=[rule_of(rule) for rule in found.rules]))

    async def add(self, request: web.Request) -> web.Response:
        """An update."""
        wanted = added(await read_json(request, NewUpdate))
        try:
            made = await self._updates.AddUpdate(wanted, timeout=self._timeout_s)
        except RpcError as error:
            raise _told(error) from None
        return json_answer(rule_of(made.rule))

    async def remove(self, request: web.Request) -> web.Response:
        """A rule less."""
        asked = pb.DeleteUpdateRuleRequest(rule=parameter(request, "id"))
        try:
            await self._updates.DeleteUpdateRule(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        return web.Response(status=204)

    async def approve(self, request: web.Request) -> web.Response:
        """For all devices."""
        return await self._decide(request, pb.UPDATE_DECISION_APPROVE)

    async def reject(self, request: web.Request) -> web.Response:
        """For none."""
        return await self._decide(request, pb.UPDATE_DECISION_REJECT)

    async def roll_back(self, request: web.Request) -> web.Response:
        """To the one before."""
        return await self._decide(request, pb.UPDATE_DECISION_ROLL_BACK)

    async def _decide(self, request: web.Request, decision: pb.UpdateDecision.ValueType) -> web.Response:
        wanted = await read_json(request, Decision)
        asked = pb.DecideUpdateRequest(rule=parameter(request, "id"), decision=decision, version=wanted.version)
        try:
            rule = (await self._updates.DecideUpdate(asked, timeout=self._timeout_s)).rule
        except RpcError as error:
            raise _told(error) from None
        return json_answer(rule_of(rule))

    async def upload(self, request: web.Request) -> web.Response:
        """A file, whose checksum the path names."""
        text, size = parameter(request, "sha256"), request.content_length
        try:
            checksum = bytes.fromhex(text) if len(text) == _SHA256 else b""
        except ValueError:
            checksum = b""
        if not checksum:
            raise HttpError(404, "the path ends with the SHA-256 of the file, in hexadecimal")
        if size is None:
            raise HttpError(400, "Content-Length has to tell how large the file is")

        async def parts() -> AsyncIterator[pb.UploadUpdateFileRequest]:
            yield pb.UploadUpdateFileRequest(size=size, sha256=checksum)
            async for data in pieces(request):
                yield pb.UploadUpdateFileRequest(data=data)

        try:
            known = (await self._updates.UploadUpdateFile(parts(), timeout=SECONDS)).known
        except RpcError as error:
            raise _told(error) from None
        return json_answer(UploadedFile(sha256=checksum.hex(), size=size, known=known))

    async def check(self, request: web.Request) -> web.Response:
        """What a device would get."""
        wanted = await read_json(request, DeviceQuestion)
        fields = wanted.model_dump(exclude={"modules"})
        modules = [pb.DeviceModule(**module.model_dump()) for module in wanted.modules]
        asked = pb.CheckDeviceRequest(device=pb.Device(**fields, modules=modules), dry_run=True)
        try:
            found = await self._updates.CheckDevice(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of_values(error) from None
        modules_found = [module_of(module) for module in found.modules]
        return json_answer(
            DeviceAnswer(rule=found.rule, version=found.version, modules=modules_found, reason=found.reason)
        )  # fmt: skip

    # Test devices

    async def test_devices(self, request: web.Request) -> web.Response:
        """All of them."""
        try:
            found = await self._updates.ListTestDevices(pb.ListTestDevicesRequest(), timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        return json_answer(TestDevices(devices=[_test_device(device) for device in found.devices]))

    async def add_test_device(self, request: web.Request) -> web.Response:
        """One more."""
        wanted = pb.TestDevice(**(await read_json(request, TestDevice)).model_dump())
        try:
            made = await self._updates.AddTestDevice(pb.AddTestDeviceRequest(device=wanted), timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of_values(error) from None
        return json_answer(_test_device(made.device), status=201)

    async def remove_test_device(self, request: web.Request) -> web.Response:
        """One less."""
        kind, value = parameter(request, "kind").lower(), parameter(request, "value")
        if kind not in ("mac", "serial"):
            raise HttpError(404, "a test device is named as mac/00:04:F2:12:34:56, or as serial/12345")
        asked = pb.RemoveTestDeviceRequest(**{kind: value})
        try:
            await self._updates.RemoveTestDevice(asked, timeout=self._timeout_s)
        except RpcError as error:
            if error.code is StatusCode.INVALID_ARGUMENT:  # there is none of such a name
                raise HttpError(404, error.message) from None
            raise HttpError.of(error) from None
        return web.Response(status=204)

    # What devices tell

    async def audit(self, request: web.Request) -> web.Response:
        """Lines of a day."""
        query = read_query(request, AuditQuery)
        asked = pb.ReadDeviceAuditRequest(day=query.day, first=query.first, count=query.count)
        try:
            found = await self._updates.ReadDeviceAudit(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        return json_answer(AuditLines(name=found.name, total=found.total, lines=list(found.lines)))

    async def logs(self, request: web.Request) -> web.Response:
        """A page of logs."""
        query = read_query(request, DeviceLogsQuery)
        asked = pb.ListDeviceLogsRequest(page_size=query.page_size, page_token=query.page_token)
        try:
            page = await self._updates.ListDeviceLogs(asked, timeout=self._timeout_s)
        except RpcError as error:
            raise HttpError.of(error) from None
        return json_answer(DeviceLogs(logs=[log_of(log) for log in page.logs], next_page_token=page.next_page_token))

    async def read_log(self, request: web.Request) -> web.StreamResponse:
        """A log, whole."""
        asked = pb.ReadDeviceLogRequest(id=parameter(request, "id"))
        try:
            return await self._downloads.send_all(request, "logs", self._updates.ReadDeviceLog(asked, timeout=SECONDS))
        except RpcError as error:
            raise HttpError.of(error) from None

    async def delete_log(self, request: web.Request) -> web.Response:
        """A log less."""
        try:
            await self._updates.DeleteDeviceLog(
                pb.DeleteDeviceLogRequest(id=parameter(request, "id")), timeout=self._timeout_s
            )
        except RpcError as error:
            raise HttpError.of(error) from None
        return web.Response(status=204)


def _test_device(message: pb.TestDevice) -> TestDevice:
    return TestDevice(mac=message.mac, serial=message.serial, note=message.note)


def _told(error: RpcError) -> HttpError:
    """A rule that does not allow it now is a conflict; values that cannot be taken are 422."""
    if error.code in _CONFLICTS:
        return HttpError(409, error.message)
    return HttpError.of_values(error)
