"""The gRPC surface of device updates (proto parley.addressbook.v1.DeviceUpdates): what devices and administrators ask.

What is sent and kept as a file is in `services.addressbook.devices.uploads`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from grpc import StatusCode

from parley.addressbook.devices import (
    Decision,
    Device,
    TestDevice,
    Update,
    UpdateRule,
    approve,
    audit_name,
    checked_device,
    decide,
    normal_mac,
    reject,
    roll_back,
    upload,
)
from parley.addressbook.errors import DeviceError
from parley.platform.clock import Clock
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.proto.addressbook.v1 import device_updates_pb2 as pb
from parley.proto.addressbook.v1.device_updates_pb2_grpc import DeviceUpdatesServicer
from services.addressbook.blobs import BlobDamaged, BlobGone, BlobStore
from services.addressbook.devices.messages import device_of, module_message, rule_message, update_of
from services.addressbook.devices.metrics import CHANGES, CHECKS, READ
from services.addressbook.devices.reports import AuditLog, ReportError, day_name, parse_day
from services.addressbook.devices.repository import (
    DeviceRepository,
    FileMissing,
    Full,
    NoRule,
    device_key,
    name_of,
)
from services.addressbook.devices.uploads import Uploads

logger = logging.getLogger(__name__)

NAME: Final = "parley.addressbook.v1.DeviceUpdates"
_RULE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FIELDS: Final = ("type", "vendor", "model", "revision", "locale")
_MAX_NOTE: Final = 256
_DECISIONS: Final[dict[int, tuple[str, Callable[[UpdateRule], UpdateRule]]]] = {
    pb.UPDATE_DECISION_APPROVE: ("approved", approve),
    pb.UPDATE_DECISION_REJECT: ("rejected", reject),
    pb.UPDATE_DECISION_ROLL_BACK: ("rolled back", roll_back),
}


class DeviceUpdatesSurface(DeviceUpdatesServicer):
    """Answers devices and administrators."""

    def __init__(
        self, repository: DeviceRepository, uploads: Uploads, audit: AuditLog, blobs: BlobStore, clock: Clock, *, server: str
    ) -> None:
        """``server``: name of this server in the names of audit logs."""
        self._repository = repository
        self._audit = audit
        self._blobs = blobs
        self._clock = clock
        self._server = server
        self.UploadUpdateFile: Any = uploads.update_file
        self.UploadDeviceLog: Any = uploads.device_log
        self.ListDeviceLogs: Any = uploads.list_logs
        self.ReadDeviceLog: Any = uploads.read_log
        self.DeleteDeviceLog: Any = uploads.delete_log

    # Devices

    async def CheckDevice(self, request: pb.CheckDeviceRequest, context: Any) -> pb.CheckDeviceResponse:
        """What a device gets."""
        with _failures():
            try:
                device = checked_device(device_of(request.device))
            except DeviceError:
                CHECKS.labels("refused").inc()
                raise
            rules = await self._repository.rules()
            tests = [test for test, _ in await self._repository.test_devices()]
            decision = decide(device, rules, tests)
            if not request.dry_run:
                CHECKS.labels("update" if decision.modules else "none").inc()
                await self._note(request.client, device, decision)
        return pb.CheckDeviceResponse(
            rule=decision.rule.id if decision.rule is not None else "", version=_version_of(decision),
            modules=map(module_message, decision.modules), reason=decision.reason,
        )  # fmt: skip

    async def _note(self, client: str, device: Device, decision: Decision) -> None:
        await self._audit.add(client[:64], device, decision.modules)
        logger.info(
            "a device asked for updates: %s", decision.reason,
            extra={"device_type": device.type, "device_model": device.model, "modules": len(decision.modules)},
        )  # fmt: skip

    async def GetUpdateFile(self, request: pb.GetUpdateFileRequest, context: Any) -> pb.GetUpdateFileResponse:
        """A file of an update."""
        with _failures():
            found = await self._repository.file_named(request.rule, request.version, request.file)
        if found is None:
            raise RpcError(StatusCode.NOT_FOUND, "no rule has such a file")
        checksum, kept = found
        return pb.GetUpdateFileResponse(
            file=request.file, size=kept.size, sha256=bytes.fromhex(checksum), uploaded_at_ms=kept.uploaded_at_ms
        )

    async def ReadUpdateFile(
        self, request: pb.ReadUpdateFileRequest, context: Any
    ) -> AsyncIterator[pb.ReadUpdateFileResponse]:
        """A part of it."""
        with _failures():
            kept = await self._repository.file(request.sha256.hex())
            if kept is None:
                raise RpcError(StatusCode.NOT_FOUND, "there is no such file")
            if request.first > kept.size:
                raise RpcError(StatusCode.OUT_OF_RANGE, f"the file has {kept.size} bytes")
            async for data in self._blobs.read(kept.blob, kept.size, request.first, request.count or None):
                READ.inc(len(data))
                yield pb.ReadUpdateFileResponse(data=data)

    # Rules

    async def ListUpdateRules(self, request: pb.ListUpdateRulesRequest, context: Any) -> pb.ListUpdateRulesResponse:
        """All rules."""
        with _failures():
            return pb.ListUpdateRulesResponse(rules=map(rule_message, await self._repository.rules()))

    async def AddUpdate(self, request: pb.AddUpdateRequest, context: Any) -> pb.AddUpdateResponse:
        """An update becomes pending."""
        fields: dict[str, Any] = {name: _field(name, getattr(request.rule, name)) for name in _FIELDS}
        id = request.rule.id or _id_of(fields)
        if _RULE_ID.fullmatch(id) is None:
            raise RpcError(StatusCode.INVALID_ARGUMENT, "the id of a rule has up to 64 letters, digits, dots and dashes")
        with _failures():
            update, files = await self._whole(id, update_of(request.update), request.signatures)

            def apply(rule: UpdateRule | None) -> UpdateRule:
                if rule is not None and any(fields.values()) and fields != {name: getattr(rule, name) for name in _FIELDS}:
                    raise DeviceError(f"rule {id} is for other devices; give the update another id, or remove the rule")
                return upload(rule or UpdateRule(id, **fields), update)

            rule = await self._repository.change(id, apply, files)
        assert rule is not None
        CHANGES.labels("uploaded").inc()
        logger.info("version %s of rule %s of device updates is pending", update.version, id)
        return pb.AddUpdateResponse(rule=rule_message(rule))

    async def _whole(self, id: str, update: Update, signatures: Any) -> tuple[Update, dict[str, str]]:
        """The update with the sizes of its files, and the checksums of all its files by name. Raises DeviceError."""
        named = {file.file.casefold(): file for file in signatures}
        modules, files = [], {}
        for module in update.modules:
            kept = await self._repository.file(module.sha256)
            if kept is None:
                raise FileMissing(module.sha256)
            modules.append(replace(module, size=kept.size))
            files[name_of(id, update.version, module.file)] = module.sha256
            if module.signature:
                signature = named.pop(module.signature.casefold(), None)
                if signature is None or "/" in module.signature or "\\" in module.signature:
                    raise DeviceError(f"the signature {module.signature[:40]!r} of {module.file} has no file")
                files[name_of(id, update.version, module.signature)] = signature.sha256.hex()
        if named:
            raise DeviceError(f"{min(named)[:40]!r} is the signature of no module")
        return replace(update, modules=tuple(modules)), files

    async def DecideUpdate(self, request: pb.DecideUpdateRequest, context: Any) -> pb.DecideUpdateResponse:
        """Approves, rejects, rolls back."""
        if request.decision not in _DECISIONS:
            raise RpcError(StatusCode.INVALID_ARGUMENT, "decide to approve, to reject or to roll back")
        word, change = _DECISIONS[request.decision]

        def apply(rule: UpdateRule | None) -> UpdateRule:
            if rule is None:
                raise NoRule
            meant = rule.approved if request.decision == pb.UPDATE_DECISION_ROLL_BACK else rule.pending
            if request.version and (meant is None or meant.version != request.version):
                raise RpcError(StatusCode.ABORTED, f"it is not version {request.version} any more; look again")
            try:
                return change(rule)
            except DeviceError as error:
                raise RpcError(StatusCode.FAILED_PRECONDITION, str(error)) from None

        with _failures(request.rule):
            rule = await self._repository.change(request.rule, apply)
        assert rule is not None
        CHANGES.labels(word).inc()
        logger.info("an update of rule %s of device updates was %s", request.rule, word)
        return pb.DecideUpdateResponse(rule=rule_message(rule))

    async def DeleteUpdateRule(self, request: pb.DeleteUpdateRuleRequest, context: Any) -> pb.DeleteUpdateRuleResponse:
        """Devices of a rule get nothing any more."""

        def apply(rule: UpdateRule | None) -> None:
            if rule is None:
                raise NoRule

        with _failures(request.rule):
            await self._repository.change(request.rule, apply)
        CHANGES.labels("removed").inc()
        logger.info("rule %s of device updates was removed", request.rule)
        return pb.DeleteUpdateRuleResponse()

    # Test devices

    async def ListTestDevices(self, request: pb.ListTestDevicesRequest, context: Any) -> pb.ListTestDevicesResponse:
        """Who gets what is pending."""
        with _failures():
            found = await self._repository.test_devices()
        return pb.ListTestDevicesResponse(
            devices=[pb.TestDevice(mac=device.mac, serial=device.serial, note=note) for device, note in found]
        )

    async def AddTestDevice(self, request: pb.AddTestDeviceRequest, context: Any) -> pb.AddTestDeviceResponse:
        """One more."""
        device = TestDevice(request.device.mac, request.device.serial)
        note = request.device.note.strip()
        if len(note) > _MAX_NOTE or not note.isprintable():
            raise RpcError(StatusCode.INVALID_ARGUMENT, f"a note has up to {_MAX_NOTE} characters that can be shown")
        with _failures():
            await self._repository.add_test_device(device, note)
        return pb.AddTestDeviceResponse(
            device=pb.TestDevice(mac=normal_mac(device.mac), serial=device.serial.strip().casefold(), note=note)
        )

    async def RemoveTestDevice(self, request: pb.RemoveTestDeviceRequest, context: Any) -> pb.RemoveTestDeviceResponse:
        """One less."""
        device = TestDevice(request.mac, request.serial)
        with _failures():
            if not await self._repository.remove_test_device(device):
                raise RpcError(StatusCode.NOT_FOUND, f"{device_key(device)} is no test device")
        return pb.RemoveTestDeviceResponse()

    # The audit log

    async def ReadDeviceAudit(self, request: pb.ReadDeviceAuditRequest, context: Any) -> pb.ReadDeviceAuditResponse:
        """Lines of a day."""
        day = request.day or day_name(self._clock.wall())
        with _failures():
            lines, total = await self._audit.read(day, request.first, min(request.count or 1_000, 5_000))
            name = audit_name(self._server, parse_day(day))
        return pb.ReadDeviceAuditResponse(lines=lines, total=total, name=name)


@contextmanager
def _failures(rule: str = "") -> Iterator[None]:
    """What goes wrong, as RpcError; ``rule``: the one that is asked for."""
    try:
        yield
    except NoRule:
        raise RpcError(StatusCode.NOT_FOUND, f"there is no rule {rule[:64]}") from None
    except FileMissing as error:
        raise RpcError(StatusCode.FAILED_PRECONDITION, f"the file with SHA-256 {error} was not uploaded") from None
    except Full as error:
        raise RpcError(StatusCode.RESOURCE_EXHAUSTED, str(error)) from None
    except (DeviceError, ReportError) as error:
        raise RpcError(StatusCode.INVALID_ARGUMENT, str(error)) from None
    except BlobGone as error:
        raise RpcError(StatusCode.NOT_FOUND, str(error)) from None
    except BlobDamaged as error:
        raise RpcError(StatusCode.DATA_LOSS, str(error)) from None
    except StoreError as error:
        raise RpcError(StatusCode.UNAVAILABLE, str(error)) from None


def _field(name: str, text: str) -> str:
    """What a rule says of devices. Raises RpcError."""
    text = text.strip()
    if len(text) > 128 or not text.isprintable():
        raise RpcError(StatusCode.INVALID_ARGUMENT, f"{name} has up to 128 characters that can be shown")
    return text


def _id_of(fields: dict[str, str]) -> str:
    """The id of a rule that was given none."""
    parts = (re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") for text in fields.values())
    return "-".join(filter(None, parts))[:64].strip("-") or "all"


def _version_of(decision: Decision) -> str:
    """The version of the update that a decision is of."""
    if decision.rule is None or not decision.modules:
        return ""
    updates = (decision.rule.pending, decision.rule.approved)
    return next((u.version for u in updates if u is not None and set(decision.modules) <= set(u.modules)), "")
