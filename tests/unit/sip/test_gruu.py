"""GRUUs of Office Communicator; those of RFC 5627 are with the digest tests."""

import pytest

from parley.sip.gruu import endpoint_gruu, endpoint_of, endpoint_token, instance_of_epid
from parley.sip.uri import parse_uri


@pytest.mark.parametrize(
    ("epid", "uuid"),
    [
        ("01010101", "4b1682a8-f968-5701-83fc-7c6741dc6697"),
        ("c8ca638a15", "34d859db-6585-5f91-a3b4-de853c15347d"),
        ("8248ca9ebb", "4233fd41-093b-5fd6-b5d2-651ed55969e6"),
        ("2ebb6f264f", "124841e4-264d-52e8-96c5-d22aa8cdc316"),
    ],
)
def test_the_instance_of_an_endpoint_id(epid: str, uuid: str) -> None:
    assert instance_of_epid(epid) == f"urn:uuid:{uuid}"


def test_the_gruu_of_an_endpoint_names_it_again() -> None:
    instance = "urn:uuid:34D859DB-6585-5f91-a3b4-de853c15347d"
    gruu = endpoint_gruu("sip:alice@contoso.com", instance)
    assert gruu == "sip:alice@contoso.com;opaque=user:epid:21nYNIVlkV-jtN6FPBU0fQAA;gruu"
    assert endpoint_of(parse_uri(gruu)) == endpoint_token(instance)


@pytest.mark.parametrize("instance", ["", "urn:uuid:", "urn:imei:1234", "urn:uuid:34d859db"])
def test_what_is_no_uuid_has_no_such_gruu(instance: str) -> None:
    assert endpoint_gruu("sip:alice@contoso.com", instance) is None


@pytest.mark.parametrize("uri", ["sip:a@b", "sip:a@b;opaque=app:conf:focus:id:1", "sip:a@b;opaque"])
def test_other_uris_name_no_endpoint(uri: str) -> None:
    assert endpoint_of(parse_uri(uri)) is None
