"""DTLS of STUN and TURN (RFC 7350): what both ends need, and a client.

OpenSSL works on memory here. What it writes is cut at record boundaries into datagrams that fit the path.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from typing import Final, cast

from cryptography import x509
from OpenSSL import SSL, crypto

MTU: Final = 1200
_RECORD_HEAD: Final = 13
_READ: Final = 65_536


def output_of(connection: SSL.Connection) -> bytes:
    """What OpenSSL wants sent."""
    try:
        return connection.bio_read(_READ)
    except SSL.WantReadError:
        return b""


def datagrams_of(data: bytes) -> list[bytes]:
    """Whole records, as many in one datagram as fit."""
    result: list[bytes] = []
    start = offset = 0
    while offset + _RECORD_HEAD <= len(data):
        end = offset + _RECORD_HEAD + int.from_bytes(data[offset + 11 : offset + 13], "big")
        if end - start > MTU and offset > start:
            result.append(data[start:offset])
            start = offset
        offset = end
    if start < len(data):
        result.append(data[start:])
    return result


class DtlsLink(asyncio.DatagramProtocol):
    """The client's end of one association; ``established`` is done with the handshake, or has its ssl.SSLError."""

    def __init__(
        self, receive: Callable[[bytes], None], lost: Callable[[str], None], trust: ssl.SSLContext, name: str
    ) -> None:
        """``trust``: its authorities count, besides the system's; ``name``: that the certificate must have."""
        self._receive = receive
        self._lost = lost
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._connection = SSL.Connection(_context(trust), None)
        self._connection.set_connect_state()
        self._connection.set_ciphertext_mtu(MTU)
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.established: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.DatagramProtocol."""
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.DatagramProtocol."""
        self._end(exc or ConnectionResetError("closed"))

    def error_received(self, exc: Exception) -> None:
        """See asyncio.DatagramProtocol."""
        self._end(exc)

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        """See asyncio.DatagramProtocol."""
        self._connection.bio_write(data)
        self._work()

    def send(self, data: bytes) -> None:
        """Sends one datagram, encrypted."""
        self._connection.send(data)
        self._flush()

    def close(self) -> None:
        """Tells the server, and forgets."""
        self._stop_timer()
        if self.established.done() and not self.established.cancelled() and self.established.exception() is None:
            self._connection.shutdown()
            self._flush()
        if self._transport is not None:
            self._transport.close()

    def _work(self) -> None:
        try:
            if not self.established.done():
                self._connection.do_handshake()
                _check_name(self._connection.get_peer_certificate(as_cryptography=True), self._name)
                self.established.set_result(None)
                self._stop_timer()
            while True:
                self._receive(self._connection.recv(_READ))
        except SSL.WantReadError:
            self._flush()
            self._arm()
        except SSL.Error as error:
            self._flush()
            self._end(ssl.SSLError(ssl.SSL_ERROR_SSL, _text(error)))
        except ssl.SSLError as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        self._stop_timer()
        if not self.established.done():
            self.established.set_exception(error)
        else:
            self._lost(f"the server cannot be reached: {getattr(error, 'strerror', None) or error}")

    def _flush(self) -> None:
        if self._transport is not None:
            for datagram in datagrams_of(output_of(self._connection)):
                self._transport.sendto(datagram)

    def _arm(self) -> None:
        """Our part of the handshake is sent again when the server's does not come."""
        self._stop_timer()
        wait = None if self.established.done() else self._connection.DTLSv1_get_timeout()
        if wait is not None:
            self._timer = self._loop.call_later(max(wait, 0.01), self._again)

    def _again(self) -> None:
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self._end(ssl.SSLError(ssl.SSL_ERROR_SSL, _text(error)))
            return
        self._flush()
        self._arm()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _context(trust: ssl.SSLContext) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    context.set_default_verify_paths()
    store = context.get_cert_store()
    assert store is not None  # every context has one
    for der in trust.get_ca_certs(binary_form=True):
        store.add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, der))
    context.set_verify(SSL.VERIFY_PEER)
    return context


def _check_name(certificate: x509.Certificate | None, name: str) -> None:
    """Raises ssl.SSLCertVerificationError when a certificate is not for a host (RFC 9525)."""
    try:
        if certificate is None:
            raise ValueError("there is none")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, f"the certificate has no names: {error}") from error
    try:
        is_right = ipaddress.ip_address(name) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        wanted = name.lower().rstrip(".")
        parent = "*." + wanted.partition(".")[2]
        is_right = any(each.lower() in (wanted, parent) for each in names.get_values_for_type(x509.DNSName))
    if not is_right:
        raise ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, f"the certificate is not for {name}")


def _text(error: SSL.Error) -> str:
    """The first reason that OpenSSL gives."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(reasons[0][-1]) if reasons else "the association ended"
