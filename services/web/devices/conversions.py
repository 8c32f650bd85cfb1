"""Device updates as messages of the address book, and as what the REST interface gives."""

from __future__ import annotations

from parley.proto.addressbook.v1 import device_updates_pb2 as pb
from services.web.devices.models import DeviceLog, DeviceModule, DeviceUpdate, NewUpdate, UpdateRule


def module_of(message: pb.DeviceModule) -> DeviceModule:
    """A file of an update."""
    return DeviceModule(
        file=message.file, version=message.version, timestamp=message.timestamp, signature=message.signature,
        size=message.size, sha256=message.sha256.hex(),
    )  # fmt: skip


def _update_of(message: pb.DeviceUpdate) -> DeviceUpdate:
    return DeviceUpdate(version=message.version, modules=[module_of(module) for module in message.modules])


def rule_of(message: pb.UpdateRule) -> UpdateRule:
    """A rule with its updates."""
    return UpdateRule(
        id=message.id, type=message.type, vendor=message.vendor, model=message.model, revision=message.revision,
        locale=message.locale, withdrawn=list(message.withdrawn),
        pending=_update_of(message.pending) if message.HasField("pending") else None,
        approved=_update_of(message.approved) if message.HasField("approved") else None,
        previous=_update_of(message.previous) if message.HasField("previous") else None,
    )  # fmt: skip


def added(wanted: NewUpdate) -> pb.AddUpdateRequest:
    """The message of an update that was sent."""
    modules = [
        pb.DeviceModule(
            file=module.file, version=module.version, timestamp=module.timestamp, signature=module.signature,
            sha256=bytes.fromhex(module.sha256),
        )
        for module in wanted.modules
    ]  # fmt: skip
    return pb.AddUpdateRequest(
        rule=pb.UpdateRule(
            id=wanted.id, type=wanted.type, vendor=wanted.vendor, model=wanted.model, revision=wanted.revision,
            locale=wanted.locale,
        ),
        update=pb.DeviceUpdate(version=wanted.version, modules=modules),
        signatures=[pb.SignatureFile(file=item.file, sha256=bytes.fromhex(item.sha256)) for item in wanted.signatures],
    )  # fmt: skip


def log_of(message: pb.DeviceLog) -> DeviceLog:
    """A log."""
    return DeviceLog(
        id=message.id, name=message.name, size=message.size, sha256=message.sha256.hex(),
        uploaded_at_ms=message.uploaded_at_ms, user=message.user.removeprefix("sip:"), client=message.client,
    )  # fmt: skip
