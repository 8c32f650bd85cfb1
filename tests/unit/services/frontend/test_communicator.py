"""The registration dialect of Office Communicator."""

import pytest

from parley.proto.registrar.v1.registrar_pb2 import Binding
from parley.sip.message import Request
from services.frontend.communicator import CommunicatorDialect, speaks_it

DIALECT = CommunicatorDialect("ocs.example.test", 300)
INSTANCE = '+sip.instance="<urn:uuid:34d859db-6585-5f91-a3b4-de853c15347d>"'
TAGS = "gruu-10, adhoclist, msrtc-event-categories, com.microsoft.msrtc.presence"


def register(
    *,
    epid: str = ";epid=c8ca638a15",
    supported: str = TAGS,
    event: str = "registration",
    contact: str = f"<sip:h>;{INSTANCE}",
) -> Request:
    headers = [("From", f"<sip:alice@example.test>;tag=1{epid}"), ("Contact", contact)]
    headers += [("Supported", supported)] if supported else []
    headers += [("Event", event)] if event else []
    return Request.create("REGISTER", "sip:example.test", headers=headers)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (register(), True),
        (register(supported=""), True),
        (register(epid=""), True),
        (register(epid="", supported="path, outbound"), False),
    ],
)
def test_who_speaks_it(request_: Request, expected: bool) -> None:
    assert speaks_it(request_) is expected


@pytest.mark.parametrize(
    ("request_", "status", "error_id"),
    [
        (register(epid="", contact="<sip:h>"), 400, "4010"),
        (register(event="presence"), 489, "4055"),
        (register(supported="msrtc-event-categories"), 421, "2057"),
    ],
)
def test_what_is_refused_and_why(request_: Request, status: int, error_id: str) -> None:
    refusal = DIALECT.check(request_)
    assert refusal is not None
    assert refusal.status == status
    assert dict(refusal.headers)["ms-diagnostics"].startswith(f"{error_id};reason=")


@pytest.mark.parametrize("request_", [register(), register(event=""), register(epid=""), register(contact="<sip:h>")])
def test_what_is_taken(request_: Request) -> None:
    assert DIALECT.check(request_) is None


def test_the_answer_has_the_forms_that_their_parsers_want() -> None:
    own = Binding(contact_header=f"<sip:h>;{INSTANCE}", instance="urn:uuid:34d859db-6585-5f91-a3b4-de853c15347d")
    old = Binding(contact_header="<sip:i>", epid="8248ca9ebb")
    phone = Binding(contact_header="<sip:j>")
    headers = DIALECT.ok_headers(register(), "sip:alice@example.test", [(own, 7200), (old, 60), (phone, 5)], True)
    contacts = [value for name, value in headers if name == "Contact"]
    assert contacts[0] == (
        f'<sip:h>;{INSTANCE};expires=7200;gruu="sip:alice@example.test;opaque=user:epid:21nYNIVlkV-jtN6FPBU0fQAA;gruu"'
    )
    assert '+sip.instance="<urn:uuid:4233fd41-093b-5fd6-b5d2-651ed55969e6>";gruu="sip:alice@' in contacts[1]
    assert contacts[2] == "<sip:j>;expires=5"
    assert ("Expires", "7200") in headers
    assert [value for name, value in headers if name == "Supported"] == ["adhoclist", "msrtc-event-categories"]
    assert " " not in dict(headers)["Allow-Events"]
    assert "timeout=300" in dict(headers)["ms-keep-alive"]
