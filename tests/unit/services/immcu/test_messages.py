"""What participants of a chat are sent."""

from __future__ import annotations

from parley.proto.immcu.v1 import state_pb2 as pb
from parley.xml import child, children, parse_xml, text_of
from services.immcu.messages import for_session, report

ALTERNATIVE = (
    b"--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>hi</b>\r\n"
    b"--b\r\nContent-Type: application/x-ink\r\n\r\n\x00\r\n--b--\r\n"
)


def message(content_type: str = "text/plain; charset=UTF-8;msgr=WAAt", body: bytes = b"hello") -> pb.ChatMessage:
    return pb.ChatMessage(sender="sip:bob@example.test", sender_name="Bob", content_type=content_type, body=body, number=3)


def test_a_client_that_shows_senders_gets_the_message_as_it_was() -> None:
    headers, body = for_session(message(), pb.Session(ms_sender=True))
    assert dict(headers) == {
        "Ms-Sender": "<sip:bob@example.test>", "Content-Type": "text/plain; charset=UTF-8;msgr=WAAt",
    }  # fmt: skip
    assert body == b"hello"


def test_any_other_client_reads_the_name_in_the_text() -> None:
    headers, body = for_session(message(), pb.Session())
    assert [name for name, _ in headers] == ["Content-Type"]
    assert body == b"Bob: hello"
    assert for_session(message("text/html", b"<p>"), pb.Session())[1] == b"<p>"


def test_of_alternatives_each_gets_the_best_it_takes() -> None:
    asked = message("multipart/alternative;boundary=b", ALTERNATIVE)
    plain = pb.Session(ms_sender=True, accept_types=["text/plain"])
    html = pb.Session(ms_sender=True, accept_types=["text/plain", "text/html"])
    whole = pb.Session(ms_sender=True, accept_types=["multipart/alternative"])
    assert for_session(asked, plain)[1] == b"hi"
    assert dict(for_session(asked, html)[0])["Content-Type"] == "text/html"
    assert for_session(asked, whole)[1] == ALTERNATIVE
    for boundary, body in (("x", ALTERNATIVE), ("b", b"--b--")):
        assert for_session(message(f"multipart/alternative;boundary={boundary}", body), plain)[1] == body


def test_a_report_names_who_did_not_get_the_message() -> None:
    root = parse_xml(report(3, [("sip:carol@example.test;gruu", 408, "Request Timeout")], "example.test"))
    assert text_of(child(root, "message-id")) == "3"
    (recipient,) = children(root, "recipient")
    assert recipient.get("uri") == "<sip:carol@example.test;gruu>"
    assert text_of(child(recipient, "status")) == "408"
    assert 'source="example.test"' in text_of(child(children(recipient, "entry")[0], "value"))
