"""Updates of devices: who gets what, and what an administrator does with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.device_json import FORM, rule_from_json, rule_to_json
from parley.addressbook.devices import (
    Decision,
    Device,
    Module,
    TestDevice,
    Update,
    UpdateRule,
    approve,
    audit_line,
    audit_name,
    checked_device,
    compare_versions,
    decide,
    normal_mac,
    reject,
    roll_back,
    upload,
)
from parley.addressbook.errors import DeviceError


def update(version: str) -> Update:
    return Update(version, (Module("nk.bin", version, "t", "nk.sig"),))


def phone(version: str = "1.0", **values: str) -> Device:
    found = Device(
        "UCPhone", "Polycom", "CX700", "A", "en-US", "00-04-F2-11-22-33", "S1", modules=(Module("NK.bin", version),)
    )
    return replace(found, **values)  # type: ignore[arg-type]


RULE = UpdateRule("polycom", vendor="Polycom", model="CX700")
TESTS = (TestDevice(serial=" s1 "),)


def offered(decision: Decision) -> str:
    return decision.modules[0].version if decision.modules else ""


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0", "1.1"), ("1.9", "1.10"), ("3.5.6907.35 (1.0.522.101)", "3.5.6907.35 (1.0.522.102)"), ("2.0beta", "2.0"),
        ("2.0alpha1", "2.0beta1"), ("2", "2.0.1"), ("", "0.1"), ("9", "10"),
    ],
)  # fmt: skip
def test_versions(older: str, newer: str) -> None:
    assert compare_versions(older, newer) < 0 < compare_versions(newer, older)


@pytest.mark.parametrize(("one", "other"), [("1.0", "1"), ("1.0.0", "1.0"), ("1.01", "1.1"), ("V2-0", "v2.0"), ("", "0")])
def test_versions_that_are_the_same(one: str, other: str) -> None:
    assert compare_versions(one, other) == 0


def test_pending_approved_and_back() -> None:
    rule = upload(RULE, update("2.0"))
    assert decide(phone(), [rule], []) == Decision(None, (), "no rule has an update for it")
    assert decide(phone(), [rule], TESTS).reason == "the pending version 2.0 of rule polycom"
    rule = approve(rule)
    assert offered(decide(phone(), [rule], [])) == "2.0"
    assert decide(phone("2.0"), [rule], []).reason == "it has the approved version 2.0, or a later one"
    rule = approve(upload(rule, update("3.0")))
    assert offered(decide(phone("2.0"), [rule], [])) == "3.0"
    rule = roll_back(rule)
    assert (rule.approved, rule.previous, rule.pending) == (update("2.0"), None, None)
    assert offered(decide(phone("3.0"), [rule], [])) == "2.0"
    assert offered(decide(phone("2.0"), [rule], [])) == ""
    # Approved again, it is no more withdrawn.
    rule = approve(upload(rule, update("3.0")))
    assert rule.withdrawn == ()
    assert offered(decide(phone("3.0"), [rule], [])) == ""


def test_test_devices_go_back_from_what_was_rejected() -> None:
    rule = upload(approve(upload(RULE, update("2.0"))), update("3.0"))
    assert offered(decide(phone("2.0"), [rule], TESTS)) == "3.0"
    assert offered(decide(phone("2.0"), [rule], [])) == ""
    rule = reject(rule)
    assert offered(decide(phone("3.0"), [rule], TESTS)) == "2.0"
    replaced = upload(upload(approve(upload(RULE, update("2.0"))), update("3.1")), update("3.0"))
    assert offered(decide(phone("3.1"), [replaced], TESTS)) == "3.0"


def test_what_somebody_put_on_a_device_is_left() -> None:
    rule = approve(upload(RULE, update("2.0")))
    assert offered(decide(phone("9.0"), [rule], [])) == ""


def test_only_modules_that_differ_are_fetched() -> None:
    several = Update("2.0", (Module("nk.bin", "1.0"), Module("boot.bin", "1.5"), Module("new.bin", "1.0")))
    device = replace(phone(), modules=(Module("nk.bin", "1.0"), Module("boot.bin", "1.4")))
    decision = decide(device, [approve(upload(RULE, several))], [])
    assert [module.file for module in decision.modules] == ["boot.bin", "new.bin"]


def test_the_most_specific_rule_counts() -> None:
    rules = [
        approve(upload(rule, update(version)))
        for rule, version in (
            (UpdateRule("any"), "2.0"), (UpdateRule("vendor", vendor="POLYCOM"), "2.1"),
            (UpdateRule("model", model="cx700"), "2.2"), (UpdateRule("other", model="CX500", vendor="Polycom"), "2.9"),
            (UpdateRule("locale", model="CX700", locale="en"), "2.3"),
            (UpdateRule("german", model="CX700", locale="de", vendor="Polycom"), "2.8"),
            (UpdateRule("zzz", model="CX700", locale="EN"), "2.7"),
        )
    ]  # fmt: skip
    assert offered(decide(phone(), rules, [])) == "2.3"
    assert offered(decide(phone(locale="fr"), rules, [])) == "2.2"
    assert offered(decide(phone(locale="enx"), rules, [])) == "2.2"
    assert offered(decide(phone(model="CX200", vendor="x"), rules, [])) == "2.0"
    # A rule that has only something pending does not keep others from what was approved for them.
    pending = upload(UpdateRule("new", model="CX700", revision="A", locale="en-US"), update("5.0"))
    assert offered(decide(phone(), [*rules, pending], [])) == "2.3"
    assert offered(decide(phone(), [*rules, pending], TESTS)) == "5.0"


@pytest.mark.parametrize(
    ("test", "fits"),
    [
        (TestDevice("0004f2112233"), True), (TestDevice("00:04:F2:11:22:33"), True), (TestDevice(serial="S1"), True),
        (TestDevice("0004f2112234", "S2"), False), (TestDevice(), False), (TestDevice("no mac"), False),
    ],
)  # fmt: skip
def test_test_devices(test: TestDevice, fits: bool) -> None:
    assert test.is_(phone()) is fits
    assert not test.is_(phone(mac="", serial=""))


def test_mac_addresses() -> None:
    assert normal_mac("00-04-F2-11-22-33") == normal_mac("0004.f211.2233") == "0004f2112233"
    assert normal_mac("00-04") == normal_mac("") == ""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda: approve(RULE), "nothing is pending; upload an update first"),
        (lambda: reject(RULE), "nothing is pending, so there is nothing to reject"),
        (
            lambda: roll_back(approve(upload(RULE, update("2.0")))),
            "nothing was approved before; upload the older version and approve it",
        ),
        (lambda: upload(RULE, Update("1.0", ())), "an update has 1 to 64 modules"),
        (
            lambda: upload(RULE, Update("1.0", (Module("a", "1"), Module("A", "2")))),
            "two modules of an update have the same file; give them other names",
        ),
        (
            lambda: upload(RULE, Update("1.0", (Module("../a", "1"),))),
            "'../a' is no version or file name; use up to 128 characters, no slashes",
        ),
        (
            lambda: upload(RULE, Update("1.0", (Module("a", "1", "x" * 129),))),
            f"'{'x' * 40}' is no timestamp or signature; use up to 128 characters that can be shown",
        ),
        (
            lambda: upload(RULE, Update("1.0", (Module("a", "1", "", "a\n.sig"),))),
            "'a\\n.sig' is no timestamp or signature; use up to 128 characters that can be shown",
        ),
        (lambda: upload(RULE, update("")), "'' is no version or file name; use up to 128 characters, no slashes"),
        (
            lambda: upload(approve(upload(RULE, update("2.0"))), update("2.0.0")),
            "version 2.0.0 is approved already; upload another one",
        ),
    ],
)  # fmt: skip
def test_changes_that_cannot_be_made(change: Callable[[], object], problem: str) -> None:
    with pytest.raises(DeviceError) as refused:
        change()
    assert str(refused.value) == problem


@pytest.mark.parametrize(
    ("device", "problem"),
    [
        (phone(model=" "), "a device has to tell its type, vendor and model"),
        (phone(model="x" * 129), "a value has more than 128 characters, or some that cannot be shown"),
        (phone(locale="a\nb"), "a value has more than 128 characters, or some that cannot be shown"),
        (replace(phone(), modules=(Module("a", "1"),) * 65), "a device has at most 64 modules"),
    ],
)
def test_what_no_device_says(device: Device, problem: str) -> None:
    with pytest.raises(DeviceError) as refused:
        checked_device(device)
    assert str(refused.value) == problem


def test_what_devices_say_is_trimmed() -> None:
    assert checked_device(phone(model=" CX700 ")) == phone()


def test_the_audit_log() -> None:
    device = replace(
        phone(user="sip:ada@example.com"), modules=(Module("nk.bin", "1.0", "2009-01-01"), Module("b#;,\n.bin", "2", ""))
    )
    line = audit_line(1_767_261_600.9, "192.0.2.7", device, (Module("nk.bin", "2.0", "2009-02-02", "nk.sig"),))
    assert line == (
        "2026-01-01T10:00:00Z,192.0.2.7,UCPhone,00-04-F2-11-22-33,S1,Polycom,CX700,A,en-US,"
        "nk.bin;1.0;2009-01-01#b____.bin;2;,nk.bin;nk.sig;2.0;2009-02-02,sip:ada@example.com"
    )
    assert audit_name("web/1.example.com", 1_767_261_600) == "RequestHandlerAuditLog_web_1.example.com_20260101.log"


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_line_of_the_audit_log_has_twelve_fields(model: str, file: str) -> None:
    line = audit_line(0, "::1", replace(phone(model=model), modules=(Module(file, file, file),)), ())
    assert len(line.split(",")) == 12
    assert line.splitlines() == [line]


TEXTS = st.text(max_size=6)
UPDATES = st.none() | st.builds(
    Update, TEXTS,
    st.lists(st.builds(Module, TEXTS, TEXTS, TEXTS, TEXTS, st.integers(0, 2**40), TEXTS), max_size=2).map(tuple),
)  # fmt: skip
RULES = st.builds(
    UpdateRule, TEXTS.filter(bool), TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, UPDATES, UPDATES, UPDATES,
    st.lists(TEXTS, max_size=3).map(tuple),
)  # fmt: skip


@given(RULES)
def test_rules_there_and_back(rule: UpdateRule) -> None:
    assert rule_from_json(rule_to_json(rule)) == rule


def test_a_rule_that_is_too_large_is_not_written() -> None:
    name = "\u66f4" * 120
    modules = tuple(Module(f"{name}{n}", name, name, name, sha256="ab" * 32) for n in range(64))
    rule = approve(upload(RULE, Update("1", modules)))
    assert rule_from_json(rule_to_json(rule)) == rule
    rule = upload(approve(upload(rule, Update("2", modules))), Update("3", modules))
    with pytest.raises(
        DeviceError, match=r"the rule would have 29[0-9]{4} bytes, and may have 262144; upload fewer modules"
    ):
        rule_to_json(rule)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "this is no rule of device updates"), ("[]", "this is no rule of device updates"),
        ("{}", "this is no rule of device updates"), ("[" * 100_000, "this is no rule of device updates"),
        (" " * 300_000, "this is no rule of device updates"),
        (f'{{"v":{FORM + 1}}}', f"the rule was written in form {FORM + 1}, by another version; upgrade this server first"),
        ('{"v":1}', "the rule has no id"), ('{"v":1,"id":5}', "id has to be a text of at most 128 characters"),
        ('{"v":1,"id":"a","z":1}', "the rule has fields that are not known"),
        ('{"v":1,"id":"a","pending":5}', "pending has to be an object with version and modules"),
        ('{"v":1,"id":"a","pending":{"version":"1","modules":[[]]}}',
         "a module of pending has to be [file, version, timestamp, signature, size, sha256]"),
        ('{"v":1,"id":"a","pending":{"version":"1","modules":[["a","1","","",-1,""]]}}',
         "the size of a module of pending has to be a number"),
        ('{"v":1,"id":"a","withdrawn":5}', "withdrawn has to be a list of versions"),
    ],
)  # fmt: skip
def test_json_that_is_no_rule(text: str, problem: str) -> None:
    with pytest.raises(DeviceError) as refused:
        rule_from_json(text.encode())
    assert str(refused.value) == problem
