"""Slots of keys, as redis-py has them."""

from __future__ import annotations

import pytest
import redis.crc
from hypothesis import given
from hypothesis import strategies as st

from parley.platform.store.slots import SLOTS, key_slot


@given(st.lists(st.sampled_from([b"{", b"}", b"a", b"key", b"\xff"]), max_size=8).map(b"".join) | st.binary(max_size=40))
def test_every_key_has_the_slot_that_others_see_it_in(key: bytes) -> None:
    assert 0 <= key_slot(key) < SLOTS
    assert key_slot(key) == redis.crc.key_slot(key)


@pytest.mark.parametrize(("key", "slot"), [(b"123456789", 12739), (b"{user1000}.following", 3443)])
def test_slots_of_the_specification(key: bytes, slot: int) -> None:
    assert key_slot(key) == slot
