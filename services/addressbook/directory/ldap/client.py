"""What is asked of a directory server: pages of entries, and whether a password is somebody's. It blocks: use a thread."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Final
from urllib.parse import urlsplit

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.core.results import RESULT_INVALID_CREDENTIALS, RESULT_SUCCESS
from ldap3.core.tls import Tls

from services.addressbook.directory.config import LdapConfig

_BUSY: Final = frozenset({1, 51, 52, 80})
"""Results that say nothing of the password: operationsError, busy, unavailable, other."""
_PAGED: Final = "1.2.840.113556.1.4.319"
"""The control of results in pages (RFC 2696)."""
_RANGE: Final = re.compile(r"(.+);range=([0-9]+)-([0-9]+|\*)")
"""Of an attribute whose values Active Directory tells in parts (MS-ADTS section 3.1.1.3.1.3.3)."""
_ANYTHING: Final = "(objectClass=*)"


class LdapError(Exception):
    """The server is away, refuses us, or answers what cannot be used. The text holds no secret."""


@dataclass(frozen=True, slots=True)
class RawEntry:
    """An entry as the server has it."""

    dn: str
    attributes: dict[str, list[bytes]]
    """By name in lower case."""

    def texts(self, name: str) -> list[str]:
        """The values of an attribute that are texts."""
        return [value.decode("utf-8", "replace") for value in self.attributes.get(name.lower(), [])]

    def text(self, name: str) -> str:
        """The first value; "" for none."""
        return next(iter(self.texts(name)), "") if name else ""


class _Tls(Tls):
    """TLS as the standard library does it, as ldap3 compares names of servers with what Python 3.12 has no more."""

    def __init__(self, config: LdapConfig) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED, version=ssl.PROTOCOL_TLS_CLIENT)
        self._config = config

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """Encrypts the socket of a connection. Raises OSError."""
        ca = self._config.ca_file
        context = ssl.create_default_context(cafile=str(ca.expanduser()) if ca is not None else None)
        host = urlsplit(self._config.url).hostname
        connection.socket = context.wrap_socket(
            connection.socket, server_hostname=host, do_handshake_on_connect=do_handshake
        )


class LdapClient:
    """One configured server."""

    def __init__(self, name: str, config: LdapConfig) -> None:
        self.name = name
        self.config = config

    @property
    def source(self) -> str:
        """What its entries are marked with."""
        return f"ldap:{self.name}"

    @property
    def nobody(self) -> str:
        """A name that nobody has."""
        return f"cn={token_hex(12)},{self.config.base}"

    def _connect(self, user: str, password: str) -> Any:
        """A connection that is encrypted if it is to be, and not signed in. Raises LdapError."""
        config = self.config
        connection = None
        try:
            server = ldap3.Server(config.url, tls=_Tls(config), get_info=ldap3.NONE, connect_timeout=config.timeout)
            connection = ldap3.Connection(
                server, user or None, password or None, authentication=ldap3.SIMPLE if user else ldap3.ANONYMOUS,
                auto_bind=ldap3.AUTO_BIND_NONE, raise_exceptions=False, receive_timeout=max(1, round(config.timeout)),
                auto_referrals=False, auto_range=False, check_names=False,
            )  # fmt: skip
            connection.open()
            if config.starttls and not connection.start_tls():
                raise LDAPException("the server does not encrypt the connection (StartTLS)")
        except (LDAPException, OSError, ValueError) as error:
            if connection is not None and connection.socket is not None:
                connection.socket.close()
            raise LdapError(f"cannot connect to {config.url}: {_text(error)}") from None
        return connection

    def check_password(self, dn: str, password: str) -> bool:
        """Whether somebody can sign in there. Raises LdapError when that is not known."""
        if not dn or not password or not (self.config.encrypted or self.config.allow_plain):
            return False
        connection = self._connect(dn, password)
        try:
            connection.bind()
            result = connection.result["result"]
        except (LDAPException, OSError) as error:
            raise LdapError(f"no answer from {self.config.url}: {_text(error)}") from None
        finally:
            _close(connection)
        if result in _BUSY:
            raise LdapError(f"{self.config.url} cannot say now (result {result})")
        return bool(result == RESULT_SUCCESS)

    def session(self) -> LdapSession:
        """A connection that is signed in. Raises LdapError."""
        try:
            password = self.config.read_password()
        except (OSError, ValueError):
            raise LdapError("password_file cannot be read") from None
        connection = self._connect(self.config.bind_dn, password)
        try:
            signed_in = connection.bind()
        except (LDAPException, OSError) as error:
            _close(connection)
            raise LdapError(f"no answer from {self.config.url}: {_text(error)}") from None
        if not signed_in:
            result = connection.result
            _close(connection)
            if result["result"] == RESULT_INVALID_CREDENTIALS:
                raise LdapError(f"{self.config.url} refuses bind_dn and password")
            raise LdapError(f"{self.config.url} refuses to let us in: {result['description']}")
        return LdapSession(connection, self.config)


class LdapSession:
    """A connection that is signed in, for one thread at a time."""

    def __init__(self, connection: Any, config: LdapConfig) -> None:
        self._connection = connection
        self._config = config

    def root(self, names: Sequence[str]) -> RawEntry:
        """Attributes of the server itself. Raises LdapError."""
        found, _ = self._search("", _ANYTHING, names, ldap3.BASE)
        return found[0] if found else RawEntry("", {})

    def pages(self, filter: str, names: Sequence[str]) -> Iterator[list[RawEntry]]:
        """Entries below the base, page by page. Raises LdapError."""
        cookie: bytes | None = None
        while True:
            page, cookie = self._search(self._config.base, filter, names, ldap3.SUBTREE, cookie)
            for entry in page:
                self._complete(entry)
            if page:
                yield page
            if not cookie:
                return

    def _complete(self, entry: RawEntry) -> None:
        """Asks for the rest of attributes that have more values than the server tells at once. Raises LdapError."""
        for name in [name for name in entry.attributes if ";range=" in name]:
            part = _RANGE.fullmatch(name)
            if part is None:
                continue
            attribute, last, values = part[1], part[3], entry.attributes.pop(name)
            while last != "*":
                more, last = self._range(entry.dn, attribute, int(last) + 1)
                values += more
            entry.attributes[attribute] = values

    def _range(self, dn: str, attribute: str, begin: int) -> tuple[list[bytes], str]:
        """Some of the values from one on, and the number of the last of them; "*" when there are no more."""
        found, _ = self._search(dn, _ANYTHING, [f"{attribute};range={begin}-*"], ldap3.BASE)
        for name, values in found[0].attributes.items() if found else ():
            part = _RANGE.fullmatch(name)
            if part is not None and part[1] == attribute and int(part[2]) == begin:
                return values, part[3]
        raise LdapError(f"{self._config.url} does not tell all values of {attribute} of {dn}")

    def _search(
        self, base: str, filter: str, names: Sequence[str], scope: Any, cookie: bytes | None = None
    ) -> tuple[list[RawEntry], bytes | None]:
        """A page, and what to ask for the next one with. Raises LdapError."""
        size = None if scope == ldap3.BASE else self._config.page_size
        try:
            self._connection.search(
                base, filter, scope, attributes=list(names), paged_size=size, paged_cookie=cookie
            )  # fmt: skip
        except (LDAPException, OSError) as error:
            raise LdapError(f"{self._config.url} does not answer to the end: {_text(error)}") from None
        result = self._connection.result
        if result["result"] != RESULT_SUCCESS:
            message = result.get("message") or ""
            raise LdapError(f"{self._config.url} answers a search with {result['description']} {message}".strip())
        found = [
            RawEntry(item["dn"], {key.lower(): values for key, values in item["raw_attributes"].items()})
            for item in self._connection.response or []
            if item.get("type") == "searchResEntry"
        ]
        control = (result.get("controls") or {}).get(_PAGED)
        return found, control["value"]["cookie"] if control is not None else None

    def close(self) -> None:
        """Ends it."""
        _close(self._connection)


def _close(connection: Any) -> None:
    with contextlib.suppress(LDAPException, OSError):  # it may be gone already
        connection.unbind()


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
