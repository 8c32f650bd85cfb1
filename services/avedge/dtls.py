"""DTLS on a UDP port (RFC 7350): associations of many clients on one socket.

A client hello gets a cookie first (RFC 6347 section 4.2.1), made of the client's address, so a forged source costs no memory
and gets back less than it sent. OpenSSL works on memory: what it writes is cut at record boundaries into datagrams that fit
the path.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable
from typing import Final, Protocol

from OpenSSL import SSL

from parley.platform.tls import CertificateFiles
from parley.stun.dtls import MTU, datagrams_of, output_of
from services.avedge.metrics import DROPPED, HANDSHAKES

logger = logging.getLogger(__name__)

_COOKIE_BYTES: Final = 16
_READ: Final = 65_536

_dropped_full = DROPPED.labels("dtls_full")
_dropped_garbage = DROPPED.labels("dtls_garbage")
_done, _failed = HANDSHAKES.labels("dtls", "ok"), HANDSHAKES.labels("dtls", "failed")


class DtlsUser(Protocol):
    """Who uses the associations."""

    def opened(self, session: DtlsSession) -> None:
        """A handshake is complete."""

    def received(self, session: DtlsSession, data: bytes) -> None:
        """A datagram came."""

    def closed(self, session: DtlsSession) -> None:
        """An association that was opened is gone."""


class DtlsSession:
    """One association. ``client``: what the socket calls the other end."""

    __slots__ = ("_connection", "_server", "_timer", "active_at", "client", "established", "user_data")

    def __init__(self, server: DtlsServer, connection: SSL.Connection, client: tuple[str, int], now: float) -> None:
        self._server = server
        self._connection = connection
        self._timer: asyncio.TimerHandle | None = None
        self.client = client
        self.established = False
        self.active_at = now
        self.user_data: object = None

    def send(self, data: bytes) -> bool:
        """Sends one datagram, encrypted."""
        if not self.established:
            return False
        try:
            self._connection.send(data)
        except SSL.Error:
            return False
        self._flush()
        return True

    def feed(self, data: bytes, now: float) -> None:
        """Takes a datagram of the client."""
        connection = self._connection
        self.active_at = now
        try:
            if data:
                connection.bio_write(data)
            if not self.established:
                connection.do_handshake()
                self.established = True
                self._stop_timer()
                self._flush()
                _done.inc()
                self._server.user.opened(self)
            while self.established:
                self._server.user.received(self, connection.recv(_READ))
        except SSL.WantReadError:
            self._flush()
            if not self.established:
                self._arm()
        except (SSL.Error, ValueError):
            self._flush()
            self._server.forget(self)

    def close(self) -> None:
        """Tells the client, and forgets."""
        self._stop_timer()
        try:
            self._connection.shutdown()
            self._flush()
        except SSL.Error:
            pass  # a handshake that never came to its end

    def _flush(self) -> None:
        for datagram in datagrams_of(output_of(self._connection)):
            self._server.send(datagram, self.client)

    def _arm(self) -> None:
        """Our part of the handshake is sent again when the client's does not come."""
        self._stop_timer()
        wait = self._connection.DTLSv1_get_timeout()
        if wait is not None:
            self._timer = asyncio.get_running_loop().call_later(max(wait, 0.01), self._again)

    def _again(self) -> None:
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self._server.forget(self)
            return
        self._flush()
        self._arm()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class DtlsServer:
    """The associations of one socket."""

    def __init__(
        self, files: CertificateFiles, send: Callable[[bytes, tuple[str, int]], object], user: DtlsUser, *,
        most: int, handshake_s: float, idle_s: float,
    ) -> None:  # fmt: skip
        """``most``: associations; more are not begun. Raises SSL.Error when the certificate cannot be used."""
        self._context = _context(files)
        self.send = send
        self.user = user
        self._most = most
        self._handshake_s = handshake_s
        self._idle_s = idle_s
        self._secret = secrets.token_bytes(32)
        self._asking: tuple[str, int] = ("", 0)
        self._sessions: dict[tuple[str, int], DtlsSession] = {}
        self._use_cookies(self._context)
        self._listening = self._fresh()

    def __len__(self) -> int:
        return len(self._sessions)

    def renew(self, files: CertificateFiles) -> None:
        """New associations get the certificate that is in the files now. Raises SSL.Error."""
        context = _context(files)
        self._use_cookies(context)
        self._context = context
        self._listening = self._fresh()

    def receive(self, data: bytes, client: tuple[str, int], now: float) -> None:
        """Takes a datagram that looks like DTLS."""
        session = self._sessions.get(client)
        if session is not None:
            session.feed(data, now)
            return
        connection = self._listening
        self._asking = client
        try:
            connection.bio_write(data)
            connection.DTLSv1_listen()
        except SSL.WantReadError:
            replies = datagrams_of(output_of(connection))
            if not replies:  # OpenSSL answers whatever may become a handshake
                _dropped_garbage.inc()
            for datagram in replies:
                self.send(datagram, client)
            return
        except (SSL.Error, ValueError):
            _failed.inc()
            self._listening = self._fresh()
            return
        self._listening = self._fresh()
        if len(self._sessions) >= self._most:
            _dropped_full.inc()
            return
        session = self._sessions[client] = DtlsSession(self, connection, client, now)
        session.feed(b"", now)

    def forget(self, session: DtlsSession) -> None:
        """Removes an association that failed or ended."""
        if self._sessions.pop(session.client, None) is None:
            return
        session.close()
        if session.established:
            self.user.closed(session)
        else:
            _failed.inc()

    def sweep(self, now: float, keep: Callable[[DtlsSession], bool]) -> None:
        """Ends handshakes that take too long, and silent associations that nothing keeps."""
        for session in list(self._sessions.values()):
            limit = self._idle_s if session.established else self._handshake_s
            if now - session.active_at > limit and not (session.established and keep(session)):
                self.forget(session)

    def close(self) -> None:
        """Ends all associations."""
        for session in list(self._sessions.values()):
            self.forget(session)

    def _fresh(self) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        connection.set_ciphertext_mtu(MTU)
        return connection

    def _use_cookies(self, context: SSL.Context) -> None:
        context.set_cookie_generate_callback(lambda _: self._cookie())
        context.set_cookie_verify_callback(lambda _, cookie: hmac.compare_digest(cookie, self._cookie()))

    def _cookie(self) -> bytes:
        host, port = self._asking
        return hmac.digest(self._secret, f"{host} {port}".encode(), "sha256")[:_COOKIE_BYTES]


def _context(files: CertificateFiles) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    context.use_certificate_chain_file(str(files.certificate))
    context.use_privatekey_file(str(files.key))
    context.check_privatekey()
    return context
