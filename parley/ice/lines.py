"""The lines of session descriptions that tell of candidates, as each dialect writes them; without ``a=`` and line ends.

Sources: RFC 8839 section 5, RFC 6544 section 4.5, [MS-ICE2] 3.1.4.3 (TCP-ACT, TCP-PASS), [MS-ICE] 3.1.4.3 (credentials in
the line, a priority between 0 and 1). Communicator's descendants refuse a whole description for one line of another dialect,
so `fits` says which candidates a dialect can tell of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from parley.ice.candidates import (
    MAX_COMPONENT,
    Candidate,
    CandidateTransport,
    CandidateType,
    Dialect,
    is_ip,
    legacy_type,
)
from parley.ice.errors import CandidateParseError
from parley.stun.addresses import Address, pack_ip, unpack_ip

MAX_LINE: Final = 1024
MAX_EXTENSIONS: Final = 16
_FOUNDATION: Final = re.compile(r"[A-Za-z0-9+/]{1,32}")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{1,128}={0,2}")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_DECIMAL: Final = re.compile(r"(?:0?\.([0-9]{1,9})|0|1(?:\.0{1,9})?)")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,256}")

_MS_TRANSPORTS: Final = {
    "UDP": CandidateTransport.UDP,
    "TCP-ACT": CandidateTransport.TCP_ACTIVE,
    "TCP-PASS": CandidateTransport.TCP_PASSIVE,
}
_MS_NAMES: Final = {transport: name for name, transport in _MS_TRANSPORTS.items()}


def parse_candidate(line: str) -> tuple[Dialect, Candidate]:
    """The candidate that a line tells of, and the dialect it is written in. Raises CandidateParseError.

    A UDP candidate reads the same in RFC 8839 and in [MS-ICE2], and counts as RFC 8839.
    """
    if len(line) > MAX_LINE:
        raise CandidateParseError(f"a candidate line has {len(line)} characters, at most {MAX_LINE} are taken")
    if not line.startswith("candidate:"):
        raise CandidateParseError("a candidate line begins with 'candidate:'")
    words = line[len("candidate:") :].rstrip(" ").split(" ")
    if len(words) == 7:
        return Dialect.MS_ICE, _parse_ms_ice(words)
    if len(words) < 8 or words[6] != "typ":
        raise CandidateParseError("a candidate line has at least eight words, the seventh of them 'typ'")
    return _parse_standard(words)


def _parse_standard(words: list[str]) -> tuple[Dialect, Candidate]:
    foundation = _matching(_FOUNDATION, words[0], "foundation")
    component = _number(words[1], 1, MAX_COMPONENT, "component")
    priority = _number(words[3], 1, 2**32 - 1, "priority")
    address = Address(_host(words[4]), _number(words[5], 0, 65535, "port"))
    try:
        kind = CandidateType(words[7].lower())
    except ValueError:
        raise CandidateParseError("a candidate has a type that is not known") from None
    rest = words[8:]
    if len(rest) % 2:
        raise CandidateParseError("a candidate line ends in a name without a value")
    pairs = [(_token(name), _token(value)) for name, value in zip(rest[::2], rest[1::2], strict=True)]
    related, tcp_type, extensions = _split_extensions(pairs)
    if len(extensions) > MAX_EXTENSIONS:
        raise CandidateParseError(f"a candidate line has more than {MAX_EXTENSIONS} extensions")
    transport, dialect = _transport(words[2], tcp_type)
    return dialect, Candidate(
        foundation, component, transport, priority, address, kind, related=related, extensions=tuple(extensions)
    )


def _split_extensions(pairs: list[tuple[str, str]]) -> tuple[Address | None, str, list[tuple[str, str]]]:
    """The related address, the type of TCP, and all others."""
    host, port, tcp_type = "", 0, ""
    others = []
    for name, value in pairs:
        if name == "raddr":
            host = _host(value)
        elif name == "rport":
            port = _number(value, 0, 65535, "related port")
        elif name == "tcptype":
            tcp_type = value.lower()
        else:
            others.append((name, value))
    return Address(host, port) if host else None, tcp_type, others


def _transport(word: str, tcp_type: str) -> tuple[CandidateTransport, Dialect]:
    upper = word.upper()
    if upper in _MS_TRANSPORTS:
        transport = _MS_TRANSPORTS[upper]
        return transport, Dialect.MS_ICE2 if transport.is_tcp else Dialect.RFC
    if upper != "TCP":
        raise CandidateParseError("a candidate has a transport that is not known")
    try:
        transport = CandidateTransport(tcp_type)
    except ValueError:
        transport = CandidateTransport.UDP
    if not transport.is_tcp:
        raise CandidateParseError("a TCP candidate does not say of which type it is")
    return transport, Dialect.RFC


def _parse_ms_ice(words: list[str]) -> Candidate:
    username = _base64(words[0], "user name")
    component = _number(words[1], 1, MAX_COMPONENT, "component")
    password = _base64(words[2], "password")
    # TCP lines do not say who connects; a client sends them for what it waits on.
    transport = {"UDP": CandidateTransport.UDP, "TCP": CandidateTransport.TCP_PASSIVE}.get(words[3].upper())
    if transport is None:
        raise CandidateParseError("a candidate has a transport that is not known")
    decimal = _DECIMAL.fullmatch(words[4])
    if decimal is None:
        raise CandidateParseError("a candidate has a priority that is none")
    digits = decimal.group(1)
    priority = (1000 if words[4].startswith("1") else 0) if digits is None else int(digits.ljust(3, "0")[:3])
    address = Address(_host(words[5]), _number(words[6], 0, 65535, "port"))
    return Candidate(
        username, component, transport, priority, address, legacy_type(priority), username=username, password=password
    )


def fits(candidate: Candidate, dialect: Dialect) -> bool:
    """Whether a description of that dialect can tell of the candidate."""
    if dialect is not Dialect.MS_ICE and not _FOUNDATION.fullmatch(candidate.foundation):
        return False
    if dialect is Dialect.RFC:
        return True
    if not is_ip(candidate.address.host) or ":" in candidate.address.host:
        return False
    if dialect is Dialect.MS_ICE2:
        return candidate.transport in _MS_NAMES
    return candidate.transport in (CandidateTransport.UDP, CandidateTransport.TCP_PASSIVE) and bool(candidate.username)


def write_candidate(candidate: Candidate, dialect: Dialect) -> str:
    """The line that tells of a candidate which `fits` the dialect. Raises ValueError for one that does not."""
    if not fits(candidate, dialect):
        raise ValueError(f"{dialect} cannot tell of a {candidate.transport.name} candidate at {candidate.address}")
    host, port = candidate.address
    if dialect is Dialect.MS_ICE:
        kind = "TCP" if candidate.transport.is_tcp else "UDP"
        priority = f"{candidate.priority // 1000}.{candidate.priority % 1000:03}"
        return f"candidate:{candidate.username} {candidate.component} {candidate.password} {kind} {priority} {host} {port}"
    name = "tcp" if candidate.transport.is_tcp else "udp"
    if dialect is Dialect.MS_ICE2:
        name = _MS_NAMES[candidate.transport]
    words = [candidate.foundation, str(candidate.component), name, str(candidate.priority), host, str(port)]
    words += ["typ", candidate.type]
    if candidate.related is not None:
        words += ["raddr", candidate.related.host, "rport", str(candidate.related.port)]
    if candidate.transport.is_tcp and dialect is Dialect.RFC:
        words += ["tcptype", candidate.transport.value]
    words += [word for pair in candidate.extensions for word in pair]
    return "candidate:" + " ".join(words)


def parse_remote_candidates(line: str) -> dict[int, Address]:
    """The address of each component in ``remote-candidates:`` (RFC 8839 section 5.2). Raises CandidateParseError."""
    name, _, value = line.partition(":")
    words = value.split()
    if name != "remote-candidates" or not words or len(words) % 3 or len(words) > 3 * MAX_COMPONENT:
        raise CandidateParseError("remote candidates are a component, an address and a port, once or more")
    found: dict[int, Address] = {}
    for component, host, port in zip(words[::3], words[1::3], words[2::3], strict=True):
        number = _number(component, 1, MAX_COMPONENT, "component")
        if number in found:
            raise CandidateParseError("remote candidates name a component twice")
        found[number] = Address(_host(host), _number(port, 0, 65535, "port"))
    return found


def write_remote_candidates(addresses: Iterable[tuple[int, Address]]) -> str:
    """The line that repeats the remote candidates of the chosen pairs: components and addresses."""
    return "remote-candidates:" + " ".join(
        f"{component} {address.host} {address.port}" for component, address in sorted(addresses)
    )


def parse_remote_candidate(line: str) -> str:
    """The user name in ``remote-candidate:`` of [MS-ICE], without filling. Raises CandidateParseError."""
    name, _, value = line.partition(":")
    if name != "remote-candidate":
        raise CandidateParseError("the line names no remote candidate")
    return _base64(value.strip(" "), "user name")


def _base64(word: str, what: str) -> str:
    """The text without filling, of a length that stands for bytes."""
    text = _matching(_BASE64, word, what).rstrip("=")
    if len(text) % 4 == 1:
        raise CandidateParseError(f"a candidate has a {what} that is none")
    return text


def _matching(pattern: re.Pattern[str], word: str, what: str) -> str:
    if not pattern.fullmatch(word):
        raise CandidateParseError(f"a candidate has a {what} that is none")
    return word


def _number(word: str, low: int, high: int, what: str) -> int:
    if not _NUMBER.fullmatch(word) or not low <= int(word) <= high:
        raise CandidateParseError(f"a candidate has a {what} that is no number from {low} to {high}")
    return int(word)


def _token(word: str) -> str:
    return _matching(_TOKEN, word, "extension")


def _host(word: str) -> str:
    """A name, or an IP address in its shortest form."""
    if is_ip(word):
        return unpack_ip(pack_ip(word))
    return _matching(_HOST_NAME, word, "host")
