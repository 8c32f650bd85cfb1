"""Delivery reports that are made in between."""

from __future__ import annotations

from parley.messaging.content import Content
from parley.messaging.cpim import CpimMessage, Header, build_cpim, parse_cpim
from parley.messaging.imdn import CPIM_NS, parse_imdn
from parley.messaging.reports import build_report, holds_report, reports_wanted, wants

SENT_AT = 1_714_972_089.0


def asked(wanted: str = "positive-delivery, negative-delivery", kind: str = "text/plain") -> Content:
    headers = (
        Header("From", "Bob <sip:bob@example.test>"), Header("To", "<sip:alice@example.test>"),
        Header("DateTime", "2024-05-06T05:08:09Z"), Header("Message-ID", "m1", CPIM_NS),
        Header("Disposition-Notification", wanted, CPIM_NS),
    )  # fmt: skip
    return Content("message/cpim", build_cpim(CpimMessage(headers, (("Content-Type", kind),), b"hi")))


def test_what_is_asked_for() -> None:
    request = reports_wanted(asked())
    assert request is not None
    assert (request.message_id, request.sender, request.recipient) == (
        "m1",
        "sip:bob@example.test",
        "sip:alice@example.test",
    )
    assert wants(request, delivered=True)
    assert wants(request)
    assert not wants(request, stored=True)
    assert wants(reports_wanted(asked("processing")), stored=True)


def test_who_asks_for_none() -> None:
    assert reports_wanted(Content("text/plain", b"hi")) is None
    assert reports_wanted(Content("message/cpim", b"broken")) is None
    assert reports_wanted(asked("display-me-not")) is None
    assert not wants(None)


def test_a_report_is_never_reported_on() -> None:
    content = asked(kind="message/imdn+xml")
    assert reports_wanted(content) is None
    assert holds_report(content)
    assert holds_report(Content("message/imdn+xml; charset=utf-8", b""))
    assert not holds_report(asked())
    assert not holds_report(Content("message/cpim", b"broken"))


def test_the_report_goes_back_to_who_asked() -> None:
    request = reports_wanted(asked())
    assert request is not None
    for flags, kind, status in (
        ({"delivered": True}, "delivery", "delivered"), ({"stored": True}, "processing", "stored"),
        ({}, "delivery", "failed"),
    ):  # fmt: skip
        content = build_report(request, now=SENT_AT + 5, own_id="r1", **flags)
        assert content.content_type == "message/cpim"
        assert holds_report(content)
        message = parse_cpim(content.body)
        assert message.get("To") == "<sip:bob@example.test>"
        assert message.get("From") == "<sip:alice@example.test>"
        assert message.get("Message-ID", CPIM_NS) == "r1"
        assert dict(message.content_headers)["Content-Disposition"] == "notification"
        imdn = parse_imdn(message.body)
        assert (imdn.message_id, imdn.kind, imdn.status, imdn.sent_at) == ("m1", kind, status, SENT_AT)
        assert imdn.recipient == "sip:alice@example.test"
