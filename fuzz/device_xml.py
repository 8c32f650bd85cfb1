"""Requests of devices for updates, and the answers as devices read them."""

from __future__ import annotations

from parley.addressbook.device_xml import answer_bytes, parse_answer, parse_request, request_bytes
from parley.addressbook.errors import DeviceError


def fuzz_one(data: bytes) -> None:
    """The same bytes as both; what is read is the same after writing."""
    try:
        device = parse_request(data)
    except DeviceError as error:
        assert str(error)
    else:
        assert parse_request(request_bytes(device)) == device
    try:
        offers = parse_answer(data)
    except DeviceError:
        return
    modules = [offer.module for offer in offers]
    assert [offer.module for offer in parse_answer(answer_bytes(modules))] == modules
