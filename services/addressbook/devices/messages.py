"""Device updates as messages of proto parley.addressbook.v1.DeviceUpdates, and back."""

from __future__ import annotations

from parley.addressbook.devices import Device, Module, Update, UpdateRule
from parley.proto.addressbook.v1 import device_updates_pb2 as pb


def module_message(module: Module) -> pb.DeviceModule:
    """A module."""
    return pb.DeviceModule(
        file=module.file, version=module.version, timestamp=module.timestamp, signature=module.signature, size=module.size,
        sha256=bytes.fromhex(module.sha256),
    )  # fmt: skip


def module_of(message: pb.DeviceModule) -> Module:
    """A module, not checked."""
    return Module(
        message.file, message.version, message.timestamp, message.signature, message.size, message.sha256.hex()
    )  # fmt: skip


def rule_message(rule: UpdateRule) -> pb.UpdateRule:
    """A rule with its updates."""
    return pb.UpdateRule(
        id=rule.id, type=rule.type, vendor=rule.vendor, model=rule.model, revision=rule.revision, locale=rule.locale,
        pending=_update_message(rule.pending), approved=_update_message(rule.approved),
        previous=_update_message(rule.previous), withdrawn=rule.withdrawn,
    )  # fmt: skip


def _update_message(update: Update | None) -> pb.DeviceUpdate | None:
    if update is None:
        return None
    return pb.DeviceUpdate(version=update.version, modules=map(module_message, update.modules))


def update_of(message: pb.DeviceUpdate) -> Update:
    """An update, not checked."""
    return Update(message.version.strip(), tuple(map(module_of, message.modules)))


def device_of(message: pb.Device) -> Device:
    """A device, not checked."""
    return Device(
        type=message.type, vendor=message.vendor, model=message.model, revision=message.revision, locale=message.locale,
        mac=message.mac, serial=message.serial, user=message.user, modules=tuple(map(module_of, message.modules)),
    )  # fmt: skip
