"""RFC 3263: which questions are asked, and in which order servers are tried."""

from __future__ import annotations

import pytest

from parley.sip.location import Endpoint, Locator, NaptrRecord, Question, RecordType, SrvRecord, Target, order_srv
from parley.sip.uri import parse_uri


def locator(uri: str, **options: tuple[str, ...]) -> Locator:
    return Locator(Target.of(parse_uri(uri)), random=lambda n: n, **options)


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("sip:192.0.2.1", Endpoint("UDP", "192.0.2.1", "192.0.2.1", 5060)),
        ("sips:192.0.2.1", Endpoint("TLS", "192.0.2.1", "192.0.2.1", 5061)),
        ("sip:a@[2001:db8::1]:7000;transport=tcp", Endpoint("TCP", "2001:db8::1", "2001:db8::1", 7000)),
        ("sip:a@example.test;maddr=192.0.2.9", Endpoint("UDP", "192.0.2.9", "192.0.2.9", 5060)),
    ],
)
def test_numeric_hosts_need_no_question(uri: str, endpoint: Endpoint) -> None:
    found = locator(uri)
    assert (found.question, found.endpoints) == (None, [endpoint])


def asked_next(walk: Locator) -> Question | None:
    return walk.question


def test_naptr_then_srv_then_addresses() -> None:
    walk = locator("sip:bob@example.test")
    assert walk.question == Question(RecordType.NAPTR, "example.test")
    walk.answer_naptr(
        [
            NaptrRecord(90, 50, "SIP+D2T", "_sip._tcp.example.test."),
            NaptrRecord(50, 50, "SIPS+D2T", "_sips._tcp.example.test."),
            NaptrRecord(50, 10, "E2U+sip", "ignored."),
        ]
    )
    assert walk.question == Question(RecordType.SRV, "_sips._tcp.example.test")
    walk.answer_srv([SrvRecord(2, 0, 5071, "b.example.test."), SrvRecord(1, 0, 5061, "a.example.test.")])
    assert walk.question == Question(RecordType.ADDRESS, "a.example.test")
    walk.answer_addresses(["192.0.2.1", "192.0.2.2"])
    walk.answer_addresses(["192.0.2.3"])
    assert asked_next(walk) is None
    assert [(e.transport, e.host, e.address, e.port) for e in walk.endpoints] == [
        ("TLS", "example.test", "192.0.2.1", 5061),
        ("TLS", "example.test", "192.0.2.2", 5061),
        ("TLS", "example.test", "192.0.2.3", 5071),
    ]


def test_without_naptr_every_transport_is_asked_for_and_then_the_name_itself() -> None:
    walk = locator("sip:bob@example.test")
    walk.answer_naptr([])
    asked = []
    while (question := walk.question) is not None and question.kind is RecordType.SRV:
        asked.append(question.name)
        walk.answer_srv([])
    assert asked == ["_sips._tcp.example.test", "_sip._tcp.example.test", "_sip._udp.example.test"]
    walk.answer_addresses(["192.0.2.1"])
    assert walk.endpoints == [Endpoint("UDP", "example.test", "192.0.2.1", 5060)]


def test_a_port_means_no_srv_and_sips_means_tls() -> None:
    walk = locator("sips:bob@example.test:5099")
    assert walk.question == Question(RecordType.ADDRESS, "example.test")
    walk.answer_addresses(["192.0.2.1"])
    assert walk.endpoints == [Endpoint("TLS", "example.test", "192.0.2.1", 5099)]
    assert locator("sips:bob@example.test;transport=udp").endpoints == []


def test_weights_are_drawn_within_a_priority() -> None:
    records = [SrvRecord(1, 10, 1, "a"), SrvRecord(1, 90, 2, "b"), SrvRecord(0, 0, 3, "c")]
    assert [r.target for r in order_srv(records, lambda n: n)] == ["c", "b", "a"]
    assert [r.target for r in order_srv(records, lambda n: 0)] == ["c", "a", "b"]
