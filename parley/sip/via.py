"""The Via header (RFC 3261 sections 18.2 and 20.42, rport of RFC 3581)."""

from __future__ import annotations

from parley.sip.errors import SipParseError
from parley.sip.headers import is_token
from parley.sip.params import Params, parse_params
from parley.sip.uri import split_host_port


class Via:
    """One hop a request took."""

    __slots__ = ("host", "params", "port", "protocol", "transport")

    def __init__(
        self,
        transport: str,
        host: str,
        port: int | None = None,
        params: Params | None = None,
        protocol: str = "SIP/2.0",
    ) -> None:
        self.protocol: str = protocol
        self.transport: str = transport
        """As written; compare without regard to case."""
        self.host: str = host
        """Sent-by host; an IPv6 address in its brackets."""
        self.port: int | None = port
        self.params: Params = params if params is not None else Params()

    @property
    def branch(self) -> str | None:
        """The branch parameter."""
        return self.params.get("branch")

    @property
    def received(self) -> str | None:
        """The source address a server noted; an IPv6 address without the brackets some put around it (RFC 5118 4.5)."""
        value = self.params.get("received")
        return value[1:-1] if value is not None and value[:1] == "[" and value[-1:] == "]" else value

    @property
    def rport(self) -> int | None:
        """The source port a server noted; None when absent or only asked for."""
        value = self.params.get("rport")
        return int(value) if value and value.isascii() and value.isdigit() and len(value) < 6 else None

    @property
    def maddr(self) -> str | None:
        """The address responses go to instead (RFC 3261 section 18.2.2)."""
        return self.params.get("maddr")

    @property
    def ttl(self) -> int | None:
        """The time to live of a multicast, 0 to 255; None when absent or no such number."""
        value = self.params.get("ttl")
        return int(value) if value and value.isascii() and value.isdigit() and len(value) < 4 and int(value) < 256 else None

    def __str__(self) -> str:
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.protocol}/{self.transport} {self.host}{port}{self.params}"

    def __repr__(self) -> str:
        return f"Via({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Via) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def parse_via(text: str) -> Via:
    """Reads one value; blanks around the slashes and the colon are allowed. Raises SipParseError 400."""
    sent, semicolon, params_text = text.partition(";")
    params = parse_params(params_text, "Via Parameter") if semicolon else None
    if sent[:8] == "SIP/2.0/":  # as nearly every Via is
        transport_text, blank, host_text = sent[8:].partition(" ")
        if blank and host_text and host_text[0].isalnum() and is_token(transport_text):
            host, port = split_host_port(host_text)
            return Via(transport_text, host, port, params)
    return _parse_spaced(sent, params)


def _parse_spaced(sent: str, params: Params | None) -> Via:
    """A Via with blanks in unusual places, or an IPv6 address."""
    name, slash, rest = sent.partition("/")
    version, slash2, rest = rest.partition("/")
    if not slash or not slash2:
        raise SipParseError(400, "Bad Via")
    rest = rest.lstrip(" \t")
    transport = rest.split(None, 1)
    if len(transport) != 2:
        raise SipParseError(400, "Bad Via")
    name, version = name.strip(" \t"), version.strip(" \t")
    if not (is_token(name) and is_token(version) and is_token(transport[0])):
        raise SipParseError(400, "Bad Via")
    host, port = split_host_port(transport[1].strip(" \t"))
    return Via(transport[0], host, port, params, f"{name}/{version}")
