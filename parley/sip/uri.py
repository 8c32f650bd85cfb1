"""URIs of SIP (RFC 3261 section 19.1), ``tel`` (RFC 3966) and any other scheme.

A `Uri` keeps what was written, escapes included; comparison decodes. Only ``sip`` and ``sips`` have structure here, of
others the part after the scheme is kept whole (``tel`` with its parameters apart).
"""

from __future__ import annotations

import re

from parley.sip.errors import SipParseError
from parley.sip.params import Params, parse_params

_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()")
_USER_SAFE = _UNRESERVED | frozenset("&=+$,;?/")
_BAD = re.compile('[\\x00-\\x20<>"\\x7f]')
_PLAIN_USER = re.compile(r"[a-zA-Z0-9\-_.!~*'()&=+$,;?/]*")
_HOST_PORT = re.compile(r"([A-Za-z0-9][A-Za-z0-9.\-_]*)(?::([0-9]{1,5}))?")
_NO_PARAMS = ("user", "ttl", "method", "maddr", "transport")


class Uri:
    """A parsed URI. ``str()`` gives it back; fields may be changed before that."""

    __slots__ = ("headers", "host", "params", "password", "port", "scheme", "user")

    def __init__(
        self,
        scheme: str = "sip",
        user: str | None = None,
        password: str | None = None,
        host: str = "",
        port: int | None = None,
        params: Params | None = None,
        headers: str | None = None,
    ) -> None:
        self.scheme: str = scheme
        """In lower case."""
        self.user: str | None = user
        """As written, escapes included; the number of a ``tel`` URI."""
        self.password: str | None = password
        self.host: str = host
        """As written; an IPv6 address in its brackets. For schemes without structure, all after the colon."""
        self.port: int | None = port
        self.params: Params = params if params is not None else Params()
        self.headers: str | None = headers
        """What follows the question mark, as written."""

    @property
    def is_sip(self) -> bool:
        """Whether the scheme is sip or sips."""
        return self.scheme == "sip" or self.scheme == "sips"

    def copy(self) -> Uri:
        """A copy that can be changed alone."""
        return Uri(self.scheme, self.user, self.password, self.host, self.port, self.params.copy(), self.headers)

    def __str__(self) -> str:
        if self.scheme == "tel":
            return f"tel:{self.user or ''}{self.params}"
        if not self.is_sip:
            return f"{self.scheme}:{self.host}"
        out = self.scheme + ":"
        if self.user is not None:
            out += self.user
            if self.password is not None:
                out += ":" + self.password
            out += "@"
        out += self.host
        if self.port is not None:
            out += f":{self.port}"
        if len(self.params):
            out += str(self.params)
        if self.headers is not None:
            out += "?" + self.headers
        return out

    def __repr__(self) -> str:
        return f"Uri({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Uri) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def parse_uri(text: str) -> Uri:
    """Reads a URI. Raises SipParseError 400 with what is wrong."""
    scheme, colon, rest = text.partition(":")
    if not colon or not scheme or not (scheme[0].isalpha() and scheme[0].isascii()):
        raise SipParseError(400, "URI Without Scheme")
    scheme = scheme.lower()
    if _BAD.search(text) is not None:
        raise SipParseError(400, "Bad Character in URI")
    if scheme != "sip" and scheme != "sips":
        if not scheme.isascii() or not scheme.replace("+", "").replace("-", "").replace(".", "").isalnum():
            raise SipParseError(400, "Bad URI Scheme")
        if scheme == "tel":
            number, _, params = rest.partition(";")
            if not number.strip("-.()"):
                raise SipParseError(400, "Empty tel URI")
            return Uri("tel", user=number, params=parse_params(params, "URI Parameter"))
        return Uri(scheme, host=rest)
    return _parse_sip(scheme, rest)


_shared: dict[str, Uri] = {}
_SHARED_LIMIT = 16_384
_SHARED_LENGTH = 128


def shared_uri(text: str) -> Uri:
    """As `parse_uri`, but the same object for the same text: it must not be changed, only copied."""
    uri = _shared.get(text)
    if uri is None:
        uri = parse_uri(text)
        if len(text) <= _SHARED_LENGTH:  # so that what is kept stays within a few megabytes
            if len(_shared) >= _SHARED_LIMIT:
                _shared.clear()
            _shared[text] = uri
    return uri


def _parse_sip(scheme: str, rest: str) -> Uri:
    user: str | None = None
    password: str | None = None
    # The user part may hold ; and ? itself, so the @ is looked for first.
    userinfo, at, hostpart = rest.partition("@")
    if at:
        user, colon, secret = userinfo.partition(":")
        if not user:
            raise SipParseError(400, "Empty User in URI")
        if colon:
            password = secret
        _check_escapes(userinfo)
    else:
        hostpart = rest
    headers: str | None = None
    if "?" in hostpart:
        hostpart, _, headers = hostpart.partition("?")
    params: Params | None = None
    if ";" in hostpart:
        hostpart, _, text = hostpart.partition(";")
        params = parse_params(text, "URI Parameter")
    host, port = split_host_port(hostpart)
    return Uri(scheme, user, password, host, port, params, headers)


def split_host_port(text: str) -> tuple[str, int | None]:
    """Host (IPv6 in brackets) and port of ``host:port``. Raises SipParseError 400."""
    plain = _HOST_PORT.fullmatch(text)
    if plain is not None:  # as nearly every host is
        host, port_text = plain.group(1, 2)
        if port_text is None:
            return host, None
        if int(port_text) > 65535:
            raise SipParseError(400, "Bad Port")
        return host, int(port_text)
    host, port_text = _unusual_host(text)
    if not port_text:
        return host, None
    if (len(port_text) > 5 and len(port_text.lstrip("0")) > 5) or not (port_text.isascii() and port_text.isdigit()):
        raise SipParseError(400, "Bad Port")
    if int(port_text) > 65535:
        raise SipParseError(400, "Bad Port")
    return host, int(port_text)


def _unusual_host(text: str) -> tuple[str, str]:
    """Host and port text of what is not a plain name: IPv6, blanks around the colon, mistakes."""
    port_text = ""
    if text[:1] == "[":
        host, bracket, after = text.partition("]")
        if not bracket:
            raise SipParseError(400, "Unterminated IPv6 Address")
        host += "]"
        if not _is_ipv6(host[1:-1]):
            raise SipParseError(400, "Bad IPv6 Address")
        after = after.strip(" \t")
        if after:
            if after[0] != ":":
                raise SipParseError(400, "Bad Host")
            port_text = after[1:].strip(" \t")
            if not port_text:
                raise SipParseError(400, "Bad Port")
    else:
        host, colon, port_text = text.partition(":")
        host = host.strip(" \t")
        port_text = port_text.strip(" \t")
        if colon and not port_text:
            raise SipParseError(400, "Bad Port")
        if not host or not host.isascii():
            raise SipParseError(400, "Bad Host")
        if not host.replace(".", "").replace("-", "").replace("_", "").isalnum():
            raise SipParseError(400, "Bad Host")
    return host, port_text


def _is_ipv6(text: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address

    try:
        IPv6Address(_two_colons(text))
    except (AddressValueError, ValueError):
        return False
    return "%" not in text


def _two_colons(text: str) -> str:
    """An IPv6 address without the colon too many that the grammar of RFC 3261 allows (RFC 5118 section 4.10)."""
    return text.replace(":::", "::")


def _check_escapes(text: str) -> None:
    index = text.find("%")
    while index >= 0:
        digits = text[index + 1 : index + 3]
        if len(digits) < 2 or not all(char in "0123456789abcdefABCDEF" for char in digits):
            raise SipParseError(400, "Bad Escape in URI")
        index = text.find("%", index + 3)


def unescape(text: str) -> str:
    """Text with ``%HH`` resolved; bytes that are no UTF-8 survive as surrogates."""
    if "%" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    parts = raw.split(b"%")
    out = bytearray(parts[0])
    for part in parts[1:]:
        try:
            out.append(int(part[:2], 16))
            out += part[2:]
        except ValueError:
            out += b"%" + part
    return out.decode("utf-8", "surrogateescape")


def escape_user(text: str) -> str:
    """Text as the user part of a URI (RFC 3261 section 25.1 ``user``)."""
    out: list[str] = []
    for char in text:
        if char in _USER_SAFE:
            out.append(char)
        else:
            out.extend(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
    return "".join(out)


def uri_equal(a: Uri, b: Uri) -> bool:
    """Whether two URIs are the same by the rules of RFC 3261 section 19.1.4 (sip, sips) or RFC 3966 (tel)."""
    if a.scheme != b.scheme:
        return False
    if a.scheme == "tel":
        return _tel_digits(a) == _tel_digits(b) and _same_params(a.params, b.params, strict=True)
    if not a.is_sip:
        return a.host == b.host
    if unescape(a.user or "") != unescape(b.user or "") or (a.user is None) != (b.user is None):
        return False
    if unescape(a.password or "") != unescape(b.password or "") or (a.password is None) != (b.password is None):
        return False
    if _host_key(a.host) != _host_key(b.host) or a.port != b.port:
        return False
    return _same_params(a.params, b.params, strict=False) and _header_list(a.headers) == _header_list(b.headers)


def _host_key(host: str) -> str:
    if host[:1] == "[":
        from ipaddress import IPv6Address

        try:
            return f"[{IPv6Address(_two_colons(host[1:-1]))}]"
        except ValueError:
            return host.lower()
    return host.lower()


def _tel_digits(uri: Uri) -> str:
    return "".join(char for char in (uri.user or "") if char not in "-.()").lower()


def _same_params(a: Params, b: Params, *, strict: bool) -> bool:
    left = {unescape(name).lower(): None if value is None else unescape(value).lower() for name, value in a}
    right = {unescape(name).lower(): None if value is None else unescape(value).lower() for name, value in b}
    if strict:
        return left == right
    for name in left.keys() & right.keys():
        if left[name] != right[name]:
            return False
    # user, ttl, method, maddr and transport must be in both or in none.
    return not any(name in _NO_PARAMS for name in left.keys() ^ right.keys())


def _header_list(headers: str | None) -> list[tuple[str, str]]:
    if not headers:
        return []
    pairs: list[tuple[str, str]] = []
    for part in headers.split("&"):
        name, _, value = part.partition("=")
        pairs.append((unescape(name).lower(), unescape(value)))
    return sorted(pairs)


def aor(uri: Uri) -> str:
    """The address of record a URI stands for: ``sip:user@domain``, host in lower case, no port and no parameters.

    Escapes that are not needed are resolved, so one user has one address of record (RFC 3261 section 10.3 item 5).
    A ``tel`` URI gives ``tel:`` with its digits; other schemes are returned as they are.
    """
    if uri.scheme == "tel":
        return "tel:" + _tel_digits(uri)
    if not uri.is_sip:
        return str(uri)
    host = _host_key(uri.host)
    user = uri.user
    if user is None:
        return "sip:" + host
    if _PLAIN_USER.fullmatch(user) is None:
        user = escape_user(unescape(user))
    return f"sip:{user}@{host}"
