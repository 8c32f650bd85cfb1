"""TLS-DSK (MS-SIPAE sections 3.2.5.1 and 3.3.5): a client proves its certificate by the messages of a TLS handshake.

No TLS connection comes of it: the records travel in gssapi-data, and the keys that both sides end up with sign SIP messages.
OpenSSL does the handshake through memory, so nothing here does I/O. Clients offer TLS 1.0 and key exchange by RSA, nothing
else, so this context, and no other one, allows them. Of the suites that clients offer only those with AES are taken, so
signatures are HMAC-SHA1. The handshake itself is carried by SIP over TLS like all else.

That the client has the key of its certificate is proved here. Whether the certificate is one of ours, and still in force, is
for the caller to find out.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from parley.sipae.certificates import UNREADABLE

SCHEME: Final = "TLS-DSK"
MAX_FLIGHT: Final = 16_384
"""Most bytes that a client may send in one step: a certificate with its chain, and little else."""

_LABEL: Final = b"client EAP encryption"
_KEY_BLOCK: Final = 128
_KEY: Final = 32
_SUITES: Final = b"AES128-SHA:AES256-SHA:@SECLEVEL=0"
_MOST_FLIGHTS: Final = 2
_RECORD_HEAD: Final = 5
_LONGEST_RECORD: Final = 16_384


class DskError(ValueError):
    """A handshake that failed; the text says why."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a handshake ends with."""

    certificate: bytes
    """The client's certificate, DER; proved, not checked."""
    client_key: bytes
    """Signs what the client sends, 32 bytes."""
    server_key: bytes
    """Signs what the server sends, 32 bytes."""


class DskContext:
    """The server's certificate and what it takes; one for all handshakes."""

    def __init__(self, chain: Sequence[x509.Certificate], key: rsa.RSAPrivateKey) -> None:
        """See `load`."""
        self._context: SSL.Context
        self.load(chain, key)

    def load(self, chain: Sequence[x509.Certificate], key: rsa.RSAPrivateKey) -> None:
        """Takes another certificate for handshakes from now on.

        ``chain``: the certificate of ``key`` first. Raises SSL.Error when the two do not belong together.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(SSL.TLS1_VERSION)
        context.set_cipher_list(_SUITES)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.use_certificate(chain[0])
        for certificate in chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(key)
        context.check_privatekey()
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        self._context = context

    def handshake(self) -> DskHandshake:
        """A new handshake."""
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        return DskHandshake(connection)


class DskHandshake:
    """One handshake, the server's side."""

    __slots__ = ("_connection", "_flights", "agreed")

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection
        self._flights: int = 0
        self.agreed: Agreed | None = None
        """Set when the last flight of the client was taken."""

    def receive(self, flight: bytes) -> bytes:
        """What to send for a flight of the client: TLS records, both. Raises DskError; nothing may follow that."""
        self._flights += 1
        if self._flights > _MOST_FLIGHTS or self.agreed is not None:
            raise DskError("the handshake has too many steps")
        if not 0 < len(flight) <= MAX_FLIGHT:
            raise DskError("the records are too many or none")
        connection = self._connection
        connection.bio_write(flight)
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            done = False
        except SSL.Error as error:
            raise DskError(f"the handshake failed: {_reason(error)}") from None
        else:
            done = True
        try:
            answer = connection.bio_read(2 * MAX_FLIGHT)
        except SSL.WantReadError:
            raise DskError("the records are incomplete") from None
        if not done:
            return _joined(answer)
        self.agreed = self._agree()
        return answer

    def _agree(self) -> Agreed:
        connection = self._connection
        try:
            certificate = connection.get_peer_certificate(as_cryptography=True)
        except UNREADABLE:
            certificate = None
        if certificate is None:
            raise DskError("the client's certificate cannot be read")
        # The exporter of RFC 5705 without a context is the same function of the same values.
        keys = connection.export_keying_material(_LABEL, _KEY_BLOCK)
        return Agreed(certificate.public_bytes(Encoding.DER), keys[2 * _KEY : 3 * _KEY], keys[3 * _KEY :])


def _joined(records: bytes) -> bytes:
    """Handshake records as one record, as far as that is long enough (RFC 2246 section 6.2.1 allows either).

    There are clients that do not take a ServerHelloDone which is the first message of its record.
    """
    messages = bytearray()
    at = 0
    while at < len(records):
        length = int.from_bytes(records[at + 3 : at + 5], "big")
        messages += records[at + _RECORD_HEAD : at + _RECORD_HEAD + length]
        at += _RECORD_HEAD + length
    head = records[:3]
    parts = [bytes(messages[at : at + _LONGEST_RECORD]) for at in range(0, len(messages), _LONGEST_RECORD)]
    return b"".join(head + len(part).to_bytes(2, "big") + part for part in parts)


def _reason(error: SSL.Error) -> str:
    """What OpenSSL says, without the names of its parts."""
    details = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(details[-1][-1]) if details else "the peer ended it"


class DskCipher:
    """Signatures with the keys of a handshake: HMAC-SHA1 over the text, 20 bytes."""

    __slots__ = ("_client", "_server")

    def __init__(self, agreed: Agreed) -> None:
        self._client = agreed.client_key
        self._server = agreed.server_key

    def sign(self, text: bytes) -> bytes:
        """Our signature."""
        return hmac.digest(self._server, text, "sha1")

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether the client signed that."""
        return hmac.compare_digest(hmac.digest(self._client, text, "sha1"), signature)
