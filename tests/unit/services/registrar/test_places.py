"""Keys, page tokens and outbox entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.platform.store.shards import shard_of
from parley.proto.events.v1.registration_pb2 import RegistrationChanged
from parley.proto.registrar.v1.registrar_pb2 import Binding
from services.registrar import keys
from services.registrar.repository import TOPIC, Place, decode_event


def test_all_keys_of_a_user_share_a_hash_tag() -> None:
    aor = "sip:alice@example.test"
    shard = shard_of(aor)
    assert shard == 58  # for ever: another number would lose all bindings
    assert keys.bindings_key(aor) == f"parley:reg:{{{shard}}}:a:{aor}"
    assert keys.edge_key(5, "uid") == "parley:reg:{05}:e:uid"
    for key in (keys.bindings_key(aor), keys.deadlines_key(shard), keys.outbox_key(shard), keys.edge_key(shard, "uid")):
        assert f"{{{shard:02d}}}" in key


@given(st.integers(0, 63), st.integers(0, 2**45), st.text(st.characters(codec="utf-8")))
def test_a_place_survives_as_a_token(shard: int, deadline: int, member: str) -> None:
    place = Place(shard, str(deadline), member)
    assert Place.parse(str(place)) == place


def test_the_beginning_needs_no_token() -> None:
    assert Place.parse("") == Place(0, "", "")


@pytest.mark.parametrize("text", ["64\n1\nx", "-1\n1\nx", "1\nx\nx", "1", "²\n1\nx"])
def test_a_token_that_means_nothing_is_refused(text: str) -> None:
    from base64 import urlsafe_b64encode

    with pytest.raises(ValueError, match=r"."):
        Place.parse(urlsafe_b64encode(text.encode()).decode())


def test_an_entry_of_the_outbox_becomes_an_event() -> None:
    binding = Binding(contact="sip:a@h", instance="urn:x", epid="ab", user_agent="ua", call_id="c")
    binding.flow.edge_uid = "edge"
    field = b"9\nedge\n1\n1\nc\n5\nm\n" + binding.SerializeToString()
    record = decode_event(b"4\n12\n3\n1750000000000\nsip:alice@example.test\n00-ab-cd-01\n" + field)
    assert (record.topic, record.key, record.traceparent) == (TOPIC, "sip:alice@example.test", "00-ab-cd-01")
    assert record.message == RegistrationChanged(
        kind=RegistrationChanged.KIND_FLOW_LOST, aor="sip:alice@example.test", contact="sip:a@h", instance="urn:x",
        epid="ab", user_agent="ua", edge_uid="edge", at_ms=1_750_000_000_000, remaining=3, sequence=12, call_id="c",
    )  # fmt: skip
