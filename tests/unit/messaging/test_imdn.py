import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.messaging.cpim import CpimMessage, Header
from parley.messaging.imdn import CPIM_NS, Imdn, build_imdn, parse_imdn, wanted_by
from parley.presence.standard.errors import DocumentError
from tests.unit.presence.standard.made import full_texts, maybe_times, refused, texts

NS = b'<imdn xmlns="urn:ietf:params:xml:ns:imdn">'
FULL = NS + (
    b"<message-id>m1</message-id><datetime>2024-05-06T05:08:09Z</datetime><recipient-uri>im:ben@example.test</recipient-uri>"
    b"<original-recipient-uri>im:b@example.test</original-recipient-uri><subject>Hi</subject>"
    b"<display-notification><status><displayed/></status></display-notification></imdn>"
)


def test_it_is_read_and_written() -> None:
    imdn = Imdn("m1", "display", "displayed", 1_714_972_089.0, "im:ben@example.test", "im:b@example.test", "Hi")
    assert parse_imdn(FULL) == imdn
    assert build_imdn(imdn) == FULL


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (FULL[:50], "not well-formed"),
        (b"<imdn/>", "the root is not imdn of urn:ietf:params:xml:ns:imdn"),
        (NS + b"<message-id/></imdn>", "no message-id"),
        (NS + b"<message-id>1</message-id></imdn>", "neither of delivery nor of processing nor of display"),
        (NS + b"<message-id>1</message-id><delivery-notification/></imdn>", "no known status"),
        (NS + b"<message-id>1</message-id><delivery-notification><status/></delivery-notification></imdn>",
         "no known status"),
        (FULL.replace(b"displayed", b"delivered"), "no known status"),
    ],
)  # fmt: skip
def test_what_is_refused(data: bytes, text: str) -> None:
    assert refused(parse_imdn, data) == f"disposition notification: {text}"


def test_a_status_of_another_kind_is_not_written() -> None:
    with pytest.raises(DocumentError, match=r"^disposition notification: no known status$"):
        build_imdn(Imdn("1", "delivery", "displayed"))


def test_what_a_sender_wants() -> None:
    wanted = Header("Disposition-Notification", "Positive-Delivery, display ,fax", CPIM_NS)
    message = CpimMessage((Header("Message-ID", "m1", CPIM_NS), wanted))
    assert wanted_by(message) == ("m1", frozenset(("positive-delivery", "display")))
    assert wanted_by(CpimMessage((wanted,))) == ("", frozenset())
    assert wanted_by(CpimMessage((Header("Message-ID", "m1"),))) == ("", frozenset())


kinds = st.sampled_from(
    (
        ("delivery", "failed"),
        ("delivery", "forbidden"),
        ("processing", "stored"),
        ("processing", "error"),
        ("display", "error"),
    )
)


@given(kinds.flatmap(lambda kind: st.builds(Imdn, full_texts, *map(st.just, kind), maybe_times, texts, texts, texts)))
def test_what_is_written_is_read_again(imdn: Imdn) -> None:
    assert parse_imdn(build_imdn(imdn)) == imdn
