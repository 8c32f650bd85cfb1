"""The 12 messages of RFC 5118.

The archive of its appendix A has bare line feeds, which are no SIP, two heads without their end, and lengths that fit no
reading of the bodies. Here the lines end in CRLF and Content-Length is right, as the text of the RFC means the messages.
"""

from __future__ import annotations

from tests.support.torture.case import Case, Verdict, read_case

_V, _I = Verdict.VALID, Verdict.INVALID

# Name, section, title, verdict, what Parley answers, what the RFC names.
_TABLE: tuple[tuple[str, str, str, Verdict, int | None, tuple[int, ...]], ...] = (
    ("ipv6-good", "4.1", "Valid SIP Message with an IPv6 Reference", _V, 404, ()),
    ("ipv6-bad", "4.2", "Invalid SIP Message with an IPv6 Reference", _I, 400, (400,)),
    ("port-ambiguous", "4.3", "Port Ambiguous in a SIP URI", _V, 404, ()),
    ("port-unambiguous", "4.4", "Port Unambiguous in a SIP URI", _V, 404, ()),
    ("via-received-param-with-delim", "4.5", "IPv6 Reference Delimiters in Via Header", _V, 407, ()),
    ("via-received-param-no-delim", "4.5", "IPv6 Reference Delimiters in Via Header", _V, 407, ()),
    ("ipv6-in-sdp", "4.6", "SIP Request with IPv6 Addresses in Session Description Protocol (SDP) Body", _V, 407, ()),
    ("mult-ip-in-header", "4.7", "Multiple IP Addresses in SIP Headers", _V, 407, ()),
    ("mult-ip-in-sdp", "4.8", "Multiple IP Addresses in SDP", _V, 407, ()),
    ("ipv4-mapped-ipv6", "4.9", "IPv4-Mapped IPv6 Addresses", _V, 403, ()),
    ("ipv6-bug-abnf-3-colons", "4.10", "IPv6 Reference Bug in RFC 3261 ABNF", _V, 407, ()),
    ("ipv6-correct-abnf-2-colons", "4.10", "IPv6 Reference Bug in RFC 3261 ABNF", _V, 407, ()),
)

RFC5118: tuple[Case, ...] = tuple(read_case("rfc5118", *row[:-1], *row[-1]) for row in _TABLE)
