"""What a binding is known by, how long it lasts, and in which order bindings are tried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parley.proto.registrar.v1.registrar_pb2 import Binding, BindingUpdate, ContactUpdate
from parley.sip.uri import parse_uri, uri_equal
from services.registrar.bindings import (
    binding_id,
    by_preference,
    contact_key,
    lifetime,
    make_binding,
    mark,
    unpack,
)
from services.registrar.config import RegistrarConfig

URI = "sip:alice@192.0.2.1:5060"


@pytest.mark.parametrize(
    ("contact", "known_by"),
    [
        (ContactUpdate(contact=URI, instance="urn:x", reg_id=2, epid="ab"), "i:urn:x:2"),
        (ContactUpdate(contact=URI, instance="urn:x", epid="ab"), "e:ab"),
        (ContactUpdate(contact=URI, instance="urn:x"), f"c:{URI}"),
        (ContactUpdate(contact=URI, reg_id=2), f"c:{URI}"),
        (ContactUpdate(contact=URI), f"c:{URI}"),
    ],
)
def test_the_strongest_name_a_contact_has_is_taken(contact: ContactUpdate, known_by: str) -> None:
    assert binding_id(contact) == known_by


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("SIP:%61lice@EXAMPLE.test", "sip:alice@example.test"),
        ("sip:alice:Secret@h", "sip:alice:Secret@h"),
        ("sip:h;Transport=TCP;LR", "sip:@h;transport=tcp\t;lr="),
        ("sip:a@[2001:DB8:0::1]:5060", "sip:a@[2001:db8::1]:5060"),
        ("sip:a@h;b=%3B;a=1", "sip:a@h\t;a=1;b=%3B"),
        ("sip:a@h?Y=2&x=1", "sip:a@h?x=1&y=2"),
        ("sip:a%0Ab%09c@h", "sip:a%0Ab%09c@h"),
        ("tel:+1-201-555", "tel:+1-201-555"),
        ("no uri", "no uri"),
    ],
)
def test_a_contact_key_is_one_form_of_a_uri(text: str, key: str) -> None:
    assert contact_key(text) == key


_COMPARED = st.sampled_from(
    ["transport=tcp", "TRANSPORT=TCP", "transport=udp", "maddr=h", "user=phone", "ttl=1", "method=X"]
)
_URIS = st.builds(
    lambda scheme, user, host, port, params: f"{scheme}:{user}{host}{port}" + "".join(f";{param}" for param in params),
    st.sampled_from(["sip", "sips", "SIP"]),
    st.sampled_from(["", "a@", "%61@", "A@", "a:p@", "a%3B@"]),
    st.sampled_from(["h", "H", "[::1]", "[0::1]", "192.0.2.1"]),
    st.sampled_from(["", ":5060", ":5061"]),
    st.lists(_COMPARED, max_size=2, unique_by=lambda param: param.partition("=")[0].lower()),
)


@given(_URIS, _URIS)
def test_keys_are_equal_where_uris_are(left: str, right: str) -> None:
    assert (contact_key(left) == contact_key(right)) == uri_equal(parse_uri(left), parse_uri(right))


@pytest.mark.parametrize(
    ("asked", "given_"),
    [(None, 3600), (0, 0), (1, None), (59, None), (60, 60), (3600, 3600), (7200, 7200), (7201, 7200), (2**32 - 1, 7200)],
)
def test_lifetimes(asked: int | None, given_: int | None) -> None:
    contact = ContactUpdate(contact=URI) if asked is None else ContactUpdate(contact=URI, expires=asked)
    assert lifetime(contact, RegistrarConfig()) == given_


def test_an_hour_is_never_too_brief() -> None:
    config = RegistrarConfig(min_expires=7000)
    assert lifetime(ContactUpdate(expires=3600), config) == 3600
    assert lifetime(ContactUpdate(expires=3599), config) is None


def test_the_default_is_not_longer_than_the_most() -> None:
    assert lifetime(ContactUpdate(), RegistrarConfig(default_expires=3600, max_expires=600)) == 600


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="must not be less than min_expires"):
        RegistrarConfig(min_expires=601, max_expires=600)
    with pytest.raises(ValidationError, match="must not be less than min_expires"):
        RegistrarConfig(min_expires=8000)


def test_a_mark_tells_contacts_apart() -> None:
    contact = ContactUpdate(contact=URI, expires=600)
    assert mark(contact) == mark(ContactUpdate(contact=URI, expires=600))
    others = [ContactUpdate(contact=URI, expires=601), ContactUpdate(contact=URI), ContactUpdate(contact=URI, q_milli=1)]
    assert len({mark(other) for other in [contact, *others]}) == 4


def test_a_binding_holds_what_its_contact_and_its_request_say() -> None:
    update = BindingUpdate(call_id="c", cseq=4)
    update.common.path.append("<sip:p;lr>")
    update.common.flow.edge_uid = "e"
    contact = ContactUpdate(contact=URI, contact_header=f"<{URI}>", instance="urn:x", reg_id=1, q_milli=5, methods="INVITE")
    binding = make_binding(update, contact, 99)
    assert (binding.contact, binding.instance, binding.reg_id, binding.q_milli) == (URI, "urn:x", 1, 5)
    assert (binding.call_id, binding.cseq, binding.expires_at_ms, binding.methods) == ("c", 4, 99, "INVITE")
    assert (list(binding.path), binding.flow.edge_uid) == (["<sip:p;lr>"], "e")
    assert update.common.contact == ""


def test_a_field_of_the_store_is_read_back() -> None:
    packed = Binding(contact="sip:a\nb@h", user_agent="x\ny").SerializeToString()
    stored = unpack(b"1750000000000\nedge\n7\n3\ncall\n1740000000000\nab\n" + packed)
    assert stored.deadline_ms == 1_750_000_000_000
    assert stored.binding.registered_at_ms == 1_740_000_000_000
    assert stored.binding.contact == "sip:a\nb@h"


def test_bindings_are_tried_by_q_then_the_newest() -> None:
    bindings = [
        Binding(contact="low", q_milli=100, registered_at_ms=9),
        Binding(contact="old", q_milli=1000, registered_at_ms=1, expires_at_ms=9),
        Binding(contact="stale", q_milli=1000, registered_at_ms=5, expires_at_ms=6),
        Binding(contact="new", q_milli=1000, registered_at_ms=5, expires_at_ms=7),
    ]
    assert [binding.contact for binding in by_preference(bindings)] == ["new", "stale", "old", "low"]
