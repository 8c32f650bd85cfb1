"""Checks on the wire: the vectors, the three forms, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.ice.candidates import Dialect
from parley.ice.wire import (
    Check,
    Packet,
    WireForm,
    encode_check,
    encode_error,
    encode_keepalive,
    encode_success,
    looks_like_check,
    new_transaction_id,
    old_fingerprint,
)
from parley.stun.addresses import Address
from parley.stun.codes import Attribute, ErrorCode, MessageClass
from parley.stun.errors import StunParseError

KEY = b"VOkJxbRl1RmTxUk/WvJxBt"
HEAD = bytes.fromhex(
    "000100582112a442b0b1b2b3b4b5b6b7b8b9babb00250000002400046e0001ff802a0008932ff9b151263b36"
    "0006000c4c6652673a526d5431000000805400043100000080700004000000020008" + "0014"
)
MS_INTEGRITY = bytes.fromhex("ce0686f199218b72e3e8a951a6f44b2e15d205ff")
RFC_INTEGRITY = bytes.fromhex("3e64e2dfb70637456c6dbcc94f89da8c6ca46bea")
MS_CHECK = HEAD + MS_INTEGRITY + bytes.fromhex("80280004ea3a3811")
DIALECTS = {WireForm.RFC: Dialect.RFC, WireForm.MS_ICE2: Dialect.MS_ICE2, WireForm.MS_ICE: Dialect.MS_ICE}
FORMS = st.sampled_from(list(WireForm))
USERNAMES = st.binary(min_size=1, max_size=200).filter(lambda name: not name.endswith(b"\0"))


def test_a_check_of_communicator_2007_r2() -> None:
    packet = Packet.parse(MS_CHECK, Dialect.MS_ICE2)
    assert packet.form_for(KEY) is WireForm.MS_ICE2
    assert packet.form_for(KEY + b"x") is None
    check = packet.check()
    assert check == Check(b"LfRg:RmT1", 0x6E0001FF, True, 0x932FF9B151263B36, True, "1")
    assert encode_check(check, packet.transaction_id, KEY, WireForm.MS_ICE2) == MS_CHECK


def test_the_integrity_of_the_standard_is_told_apart() -> None:
    data = HEAD + RFC_INTEGRITY + b"\x80\x28\0\4" + old_fingerprint(HEAD + RFC_INTEGRITY)
    assert Packet.parse(data, Dialect.MS_ICE2).form_for(KEY) is WireForm.RFC


def test_the_old_fingerprint_is_taken() -> None:
    old = MS_CHECK[:-4] + bytes.fromhex("c1bc865f")
    assert old_fingerprint(MS_CHECK[:-8]) == old[-4:]
    assert Packet.parse(old, Dialect.MS_ICE2).form_for(KEY) is WireForm.MS_ICE2
    with pytest.raises(StunParseError, match="FINGERPRINT is wrong"):
        Packet.parse(MS_CHECK[:-1] + b"\0", Dialect.MS_ICE2)


@given(FORMS, USERNAMES, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.booleans(), st.booleans(), USERNAMES)
def test_checks_are_read_as_written(
    form: WireForm, username: bytes, priority: int, tie: int, role: bool, nominated: bool, key: bytes
) -> None:
    check = Check(username, priority, role, tie, nominated, "7" if form is WireForm.MS_ICE2 else "")
    if form is WireForm.MS_ICE:
        check = Check(username, nominated=True)
    transaction_id = new_transaction_id(form)
    data = encode_check(check, transaction_id, key, form)
    assert looks_like_check(data, DIALECTS[form])
    packet = Packet.parse(data, DIALECTS[form])
    assert (packet.message_class, packet.transaction_id) == (MessageClass.REQUEST, transaction_id)
    assert packet.check() == check
    assert packet.form_for(key) is form
    assert packet.form_for(key + b"x") is None
    assert packet.unknown_attributes() == []


@given(FORMS, st.sampled_from([Address("192.0.2.1", 32853), Address("2001:db8::5", 1), Address("0.0.0.0", 0)]))
def test_answers_tell_where_the_check_came_from(form: WireForm, mapped: Address) -> None:
    data = encode_check(Check(b"a:b", controlling=True), new_transaction_id(form), KEY, form)
    request = Packet.parse(data, DIALECTS[form])
    answer = Packet.parse(encode_success(request, mapped, KEY, form), DIALECTS[form])
    assert (answer.message_class, answer.transaction_id) == (MessageClass.SUCCESS, request.transaction_id)
    assert answer.form_for(KEY) is form
    assert answer.mapped_address() == mapped
    if form is not WireForm.RFC:
        assert answer.message.get(Attribute.USERNAME) == request.message.get(Attribute.USERNAME)


def test_what_an_old_peer_reads_needs_no_filling() -> None:
    request = Packet.parse(MS_CHECK, Dialect.MS_ICE2)
    for code in (ErrorCode.UNAUTHENTICATED, ErrorCode.ROLE_CONFLICT, ErrorCode.BAD_REQUEST):
        error = Packet.parse(encode_error(request, code, KEY, WireForm.MS_ICE2), Dialect.MS_ICE2)
        assert error.error_code() == code
        assert error.form_for(KEY) is WireForm.MS_ICE2
        assert all(len(value) % 4 == 0 for _, value in error.message.attributes)


def test_keepalives_are_indications() -> None:
    for form in WireForm:
        assert Packet.parse(encode_keepalive(form), DIALECTS[form]).message_class is MessageClass.INDICATION


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\0\1", "a header alone has 20"),
        (b"\0\3\0\0" + bytes(16), "no Binding message"),
        (b"\0\1\0\4" + bytes(16), "another length"),
        (b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12), "magic cookie"),
        (b"\0\1\0\4" + bytes(16) + b"\0\6\0\1", "out of place"),
        (b"\0\1\0\5" + bytes(16) + b"\0\10\0\1x", "not 20"),
    ],
)
def test_old_messages_that_are_none(data: bytes, error: str) -> None:
    with pytest.raises(StunParseError, match=error):
        Packet.parse(data, Dialect.MS_ICE)
