"""What a client sends to sign in by a certificate: TLS records, requests for certificates, certificates."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

from parley.sipae.certificates import CertificateError, address_of, parse_request
from parley.sipae.dsk import DskContext, DskError
from tests.support.dsk import server_context


@cache
def context() -> DskContext:
    """A server, made at the first input."""
    return server_context()


def fuzz_one(data: bytes) -> None:
    """The same bytes as each of them."""
    handshake = context().handshake()
    with suppress(DskError):
        handshake.receive(data)
    assert handshake.agreed is None
    with suppress(CertificateError):
        assert parse_request(data).key_size >= 2048
    with suppress(CertificateError):
        assert address_of(data).startswith("sip:")
