"""Updates of devices: which device gets which, and what an administrator does with them (web-services sheet, section 5).

A rule is for devices of a type, vendor, model, revision and locale; an empty field is for all. It has up to three updates:
a pending one, which only test devices get; the approved one; and the one that was approved before it, to which it can be
rolled back. Of the rules that fit and have something for the device the most specific one counts.

A device gets what is newer than what it has. It goes back to something older only from a version that was withdrawn, by
rejecting or rolling back; one that somebody put on it by hand is left.

What of the original is known is the model and the fields of its audit log; the XML between devices and server is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Final

from parley.addressbook.errors import DeviceError

MAX_TEXT: Final = 128
MAX_MODULES: Final = 64
MAX_WITHDRAWN: Final = 32

_PARTS: Final = re.compile(r"[0-9]+|[a-z]+")
_FIELDS: Final = ("model", "revision", "vendor", "locale", "type")
"""From what says most of a device to what says least."""


def compare_versions(one: str, other: str) -> int:
    """Below zero when the first is older, above when it is newer, zero when they are the same.

    Their numbers count, missing ones as 0; letters are before numbers, so 2.0beta is before 2.0.
    """
    for left, right in zip_longest(_parts(one), _parts(other), fillvalue=(1, 0, "")):
        if left != right:
            return 1 if left > right else -1
    return 0


def _parts(version: str) -> list[tuple[int, int, str]]:
    found = _PARTS.findall(version.lower()[:MAX_TEXT])
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in found]


@dataclass(frozen=True, slots=True)
class Module:
    """One file of an update, or one that a device has."""

    file: str
    version: str
    timestamp: str = ""
    """As the device or the update has it."""
    signature: str = ""
    """Name of the file of its signature; of a device, ""."""
    size: int = 0
    sha256: str = ""
    """Hexadecimal; of a device, ""."""


@dataclass(frozen=True, slots=True)
class Update:
    """What devices can get."""

    version: str
    modules: tuple[Module, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """What a device says of itself when it asks."""

    type: str
    """``UCPhone`` or ``RoundTable``."""
    vendor: str
    model: str
    revision: str = ""
    locale: str = ""
    mac: str = ""
    serial: str = ""
    user: str = ""
    """Who signed in last, if anybody did."""
    modules: tuple[Module, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateRule:
    """Devices and their updates. ``id`` names it; an empty field of the others is for all devices."""

    id: str
    type: str = ""
    vendor: str = ""
    model: str = ""
    revision: str = ""
    locale: str = ""
    """"en" is for "en-US" too."""
    pending: Update | None = None
    approved: Update | None = None
    previous: Update | None = None
    withdrawn: tuple[str, ...] = ()
    """Versions that devices go back from, the latest first."""

    def fits(self, device: Device) -> bool:
        """Whether it is for a device."""
        return all(_fits(getattr(self, name), getattr(device, name), name) for name in _FIELDS)

    @property
    def specificity(self) -> tuple[bool, ...]:
        """Sorts a rule that says more of its devices above one that says less."""
        return tuple(bool(getattr(self, name)) for name in _FIELDS)


def _fits(wanted: str, has: str, field: str) -> bool:
    wanted, has = wanted.strip().casefold(), has.strip().casefold()
    if not wanted or wanted == has:
        return True
    return field == "locale" and has.startswith(f"{wanted}-")


@dataclass(frozen=True, slots=True)
class TestDevice:
    """A device that gets what is pending, by one of both."""

    __test__ = False
    mac: str = ""
    serial: str = ""

    def is_(self, device: Device) -> bool:
        """Whether it is the device."""
        mac, serial = normal_mac(self.mac), self.serial.strip().casefold()
        return bool((mac and mac == normal_mac(device.mac)) or (serial and serial == device.serial.strip().casefold()))


def normal_mac(text: str) -> str:
    """A MAC address as twelve hexadecimal digits in lower case; "" for what is none."""
    digits = re.sub(r"[-:.\s]", "", text).lower()
    return digits if re.fullmatch(r"[0-9a-f]{12}", digits) else ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a device is answered."""

    rule: UpdateRule | None
    modules: tuple[Module, ...]
    """What it is to fetch; () for nothing."""
    reason: str


def decide(device: Device, rules: Iterable[UpdateRule], tests: Iterable[TestDevice]) -> Decision:
    """What a device gets."""
    is_test = any(test.is_(device) for test in tests)
    offers = [(rule, update) for rule in rules if rule.fits(device) and (update := _update_for(rule, is_test)) is not None]
    if not offers:
        return Decision(None, (), "no rule has an update for it")
    most = max(rule.specificity for rule, _ in offers)
    rule, update = min((offer for offer in offers if offer[0].specificity == most), key=lambda offer: offer[0].id)
    kind = "pending" if update is rule.pending else "approved"
    modules = tuple(module for module in update.modules if _needs(device, module, rule.withdrawn))
    if not modules:
        return Decision(rule, (), f"it has the {kind} version {update.version}, or a later one")
    return Decision(rule, modules, f"the {kind} version {update.version} of rule {rule.id}")


def _update_for(rule: UpdateRule, is_test: bool) -> Update | None:
    return rule.pending if is_test and rule.pending is not None else rule.approved


def _needs(device: Device, module: Module, withdrawn: Sequence[str]) -> bool:
    has = next((item for item in device.modules if item.file.casefold() == module.file.casefold()), None)
    if has is None:
        return True
    order = compare_versions(module.version, has.version)
    return order > 0 or (order < 0 and any(compare_versions(has.version, version) == 0 for version in withdrawn))


def upload(rule: UpdateRule, update: Update) -> UpdateRule:
    """The update becomes the pending one, in place of one that is pending. Raises DeviceError."""
    if not update.modules or len(update.modules) > MAX_MODULES:
        raise DeviceError(f"an update has 1 to {MAX_MODULES} modules")
    names = [module.file.casefold() for module in update.modules]
    if len(set(names)) < len(names):
        raise DeviceError("two modules of an update have the same file; give them other names")
    for text in (update.version, *(text for module in update.modules for text in (module.file, module.version))):
        if not text or len(text) > MAX_TEXT or not text.isprintable() or "/" in text or "\\" in text:
            raise DeviceError(f"{text[:40]!r} is no version or file name; use up to {MAX_TEXT} characters, no slashes")
    for text in (text for module in update.modules for text in (module.timestamp, module.signature)):
        if len(text) > MAX_TEXT or not text.isprintable():
            raise DeviceError(
                f"{text[:40]!r} is no timestamp or signature; use up to {MAX_TEXT} characters that can be shown"
            )
    if rule.approved is not None and compare_versions(update.version, rule.approved.version) == 0:
        raise DeviceError(f"version {update.version} is approved already; upload another one")
    return replace(rule, pending=update, withdrawn=_without(_withdrawn(rule, rule.pending), update))


def approve(rule: UpdateRule) -> UpdateRule:
    """All devices get what is pending. Raises DeviceError."""
    if rule.pending is None:
        raise DeviceError("nothing is pending; upload an update first")
    return replace(
        rule, pending=None, approved=rule.pending, previous=rule.approved, withdrawn=_without(rule.withdrawn, rule.pending)
    )


def reject(rule: UpdateRule) -> UpdateRule:
    """What is pending is dropped; test devices go back to what is approved. Raises DeviceError."""
    if rule.pending is None:
        raise DeviceError("nothing is pending, so there is nothing to reject")
    return replace(rule, pending=None, withdrawn=_withdrawn(rule, rule.pending))


def roll_back(rule: UpdateRule) -> UpdateRule:
    """All devices go back to what was approved before. Raises DeviceError."""
    if rule.previous is None:
        raise DeviceError("nothing was approved before; upload the older version and approve it")
    withdrawn = _without(_withdrawn(rule, rule.approved), rule.previous)
    return replace(rule, approved=rule.previous, previous=None, withdrawn=withdrawn)


def _withdrawn(rule: UpdateRule, update: Update | None) -> tuple[str, ...]:
    """The versions that are withdrawn with an update."""
    if update is None:
        return rule.withdrawn
    versions = (update.version, *(module.version for module in update.modules), *rule.withdrawn)
    return tuple(dict.fromkeys(versions))[:MAX_WITHDRAWN]


def _without(withdrawn: Iterable[str], update: Update) -> tuple[str, ...]:
    """The versions that stay withdrawn when an update is offered."""
    offered = (update.version, *(module.version for module in update.modules))
    return tuple(version for version in withdrawn if not any(compare_versions(version, text) == 0 for text in offered))


def checked_device(device: Device) -> Device:
    """The device, its texts trimmed. Raises DeviceError for what no device says."""
    names = ("type", "vendor", "model", "revision", "locale", "mac", "serial", "user")
    texts = {name: getattr(device, name).strip() for name in names}
    every = [
        *texts.values(),
        *(text for module in device.modules for text in (module.file, module.version, module.timestamp)),
    ]
    if any(len(text) > MAX_TEXT or not text.isprintable() for text in every):
        raise DeviceError(f"a value has more than {MAX_TEXT} characters, or some that cannot be shown")
    if len(device.modules) > MAX_MODULES:
        raise DeviceError(f"a device has at most {MAX_MODULES} modules")
    if not texts["type"] or not texts["vendor"] or not texts["model"]:
        raise DeviceError("a device has to tell its type, vendor and model")
    return replace(device, **texts)


def audit_line(moment: float, client: str, device: Device, answered: Sequence[Module]) -> str:
    """A line of the audit log. ``moment``: Unix time; ``client``: the address that asked.

    The fields and their order are those of the original, as are ``#`` between modules and ``;`` between their fields; that
    fields are parted by commas and how the time is written is not confirmed.
    """
    asked = "#".join(";".join(map(_safe, (item.file, item.version, item.timestamp))) for item in device.modules)
    got = "#".join(
        ";".join(map(_safe, (item.file, item.signature, item.version, item.timestamp))) for item in answered
    )  # fmt: skip
    at = datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    texts = (
        client, device.type, device.mac, device.serial, device.vendor, device.model, device.revision, device.locale
    )  # fmt: skip
    return ",".join([at, *map(_safe, texts), asked, got, _safe(device.user)])


def audit_name(server: str, moment: float) -> str:
    """The file of the audit log of a day. How the date is written is not confirmed."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", server)
    return f"RequestHandlerAuditLog_{name}_{datetime.fromtimestamp(moment, UTC):%Y%m%d}.log"


def _safe(text: str) -> str:
    """A value without what parts fields or lines."""
    return "".join("_" if char in "#;," or not char.isprintable() else char for char in text)
