"""How devices take messages, and one answer for many of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.messaging.answers import FALLBACK, Outcome, outcome_of
from parley.messaging.devices import Mode, devices_of, mode_of
from parley.proto.registrar.v1.registrar_pb2 import Binding


def binding(contact: str = "sip:a@192.0.2.1", **fields: object) -> Binding:
    made = Binding(contact=contact, edge_address="local:1", q_milli=1000)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, Mode.PAGE),
        ({"methods": "INVITE, message"}, Mode.PAGE),
        ({"methods": "INVITE, BYE"}, None),
        ({"epid": "01234567"}, Mode.SESSION),
        ({"epid": "01234567", "methods": "INVITE, MESSAGE, INFO"}, Mode.SESSION),
        ({"epid": "01234567", "methods": "INVITE"}, None),
        ({"epid": "01234567", "methods": "MESSAGE"}, None),
        ({"instance": "urn:uuid:1", "user_agent": "Communicator"}, Mode.PAGE),
    ],
)
def test_mode(fields: dict[str, str], mode: Mode | None) -> None:
    assert mode_of(binding(**fields)) is mode


def test_connections_of_one_instance_are_one_device_and_the_newest_comes_first() -> None:
    old = binding("sip:a@192.0.2.1", instance="urn:1", reg_id=1, expires_at_ms=1)
    new = binding("sip:a@192.0.2.2", instance="urn:1", reg_id=2, expires_at_ms=2)
    gone = binding("sip:a@192.0.2.3", edge_address="")
    client = binding("sip:a@192.0.2.4", epid="e", instance="urn:2")
    devices = devices_of([old, new, gone, client])
    assert [(device.mode, device.contacts) for device in devices] == [
        (Mode.PAGE, ["sip:a@192.0.2.2", "sip:a@192.0.2.1"]), (Mode.SESSION, ["sip:a@192.0.2.4"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "outcome", "status"),
    [
        ([], Outcome.UNREACHABLE, 480),
        ([200], Outcome.DELIVERED, 200),
        ([202, 415, 480], Outcome.DELIVERED, 202),
        ([415, 480], Outcome.UNREACHABLE, 480),
        ([430, 408, 503], Outcome.UNREACHABLE, 480),
        ([603, 480], Outcome.REFUSED, 603),
        ([488, 415], Outcome.REFUSED, 415),
        ([486], Outcome.REFUSED, 486),
        ([407], Outcome.REFUSED, 403),
        ([302], Outcome.REFUSED, 480),
    ],
)
def test_outcome(statuses: list[int], outcome: Outcome, status: int) -> None:
    assert outcome_of(statuses) == (outcome, status)


@given(st.lists(st.integers(200, 699), max_size=5))
def test_the_sender_is_never_told_of_a_challenge_or_of_another_place(statuses: list[int]) -> None:
    outcome, status = outcome_of(statuses)
    assert (200 <= status < 300) == (outcome is Outcome.DELIVERED)
    assert status not in (401, 407)
    assert not 300 <= status < 400
    assert outcome_of(list(reversed(statuses))) == (outcome, status)


def test_a_user_who_said_no_is_not_tried_elsewhere() -> None:
    assert not FALLBACK & {403, 486, 487, 600, 603}
