"""The 49 messages of RFC 4475, bit by bit as in its appendix A."""

from __future__ import annotations

from tests.support.torture.case import Case, Verdict, read_case

_V, _L, _I, _R = Verdict.VALID, Verdict.LIBERAL, Verdict.INVALID, Verdict.RESPONSE

# Name, section, title, verdict, what Parley answers, what the RFC names.
_TABLE: tuple[tuple[str, str, str, Verdict, int | None, tuple[int, ...]], ...] = (
    ("wsinv", "3.1.1.1", "A Short Tortuous INVITE", _V, 407, ()),
    ("intmeth", "3.1.1.2", "Wide Range of Valid Characters", _V, 407, ()),
    ("esc01", "3.1.1.3", "Valid Use of the % Escaping Mechanism", _V, 403, ()),
    ("escnull", "3.1.1.4", "Escaped Nulls in URIs", _V, 401, ()),
    ("esc02", "3.1.1.5", "Use of % When It Is Not an Escape", _V, 407, ()),
    ("lwsdisp", "3.1.1.6", "Message with No LWS between Display Name and <", _V, 407, ()),
    ("longreq", "3.1.1.7", "Long Values in Header Fields", _V, 403, ()),
    ("dblreq", "3.1.1.8", "Extra Trailing Octets in a UDP Datagram", _V, 401, ()),
    ("semiuri", "3.1.1.9", "Semicolon-Separated Parameters in URI User Part", _V, 403, ()),
    ("transports", "3.1.1.10", "Varied and Unknown Transport Types", _V, 407, ()),
    ("mpart01", "3.1.1.11", "Multipart MIME Message", _V, 407, ()),
    ("unreason", "3.1.1.12", "Unusual Reason Phrase", _R, None, ()),
    ("noreason", "3.1.1.13", "Empty Reason Phrase", _R, None, ()),
    ("badinv01", "3.1.2.1", "Extraneous Header Field Separators", _I, 400, (400,)),
    ("clerr", "3.1.2.2", "Content Length Larger Than Message", _I, 400, (400,)),
    ("ncl", "3.1.2.3", "Negative Content-Length", _I, 400, (400,)),
    ("scalar02", "3.1.2.4", "Request Scalar Fields with Overlarge Values", _I, 400, (400,)),
    ("scalarlg", "3.1.2.5", "Response Scalar Fields with Overlarge Values", _R, None, ()),
    ("quotbal", "3.1.2.6", "Unterminated Quoted String in Display Name", _I, 400, (400,)),
    ("ltgtruri", "3.1.2.7", "<> Enclosing Request-URI", _L, 400, (400,)),
    ("lwsruri", "3.1.2.8", "Malformed SIP Request-URI (embedded LWS)", _I, 400, (400,)),
    ("lwsstart", "3.1.2.9", "Multiple SP Separating Request-Line Elements", _L, 400, (400,)),
    ("trws", "3.1.2.10", "SP Characters at End of Request-Line", _L, 400, (400,)),
    ("escruri", "3.1.2.11", "Escaped Headers in SIP Request-URI", _L, 400, (400,)),
    # A Date that is not used does not matter.
    ("baddate", "3.1.2.12", "Invalid Time Zone in Date Header Field", _L, 403, ()),
    # Who asks is settled first; then it is 400.
    ("regbadct", "3.1.2.13", "Failure to Enclose name-addr URI in <>", _L, 401, ()),
    ("badaspec", "3.1.2.14", "Spaces within addr-spec", _L, 400, (400,)),
    ("baddn", "3.1.2.15", "Non-token Characters in Display Name", _L, 400, (400,)),
    ("badvers", "3.1.2.16", "Unknown Protocol Version", _I, 505, (505,)),
    ("mismatch01", "3.1.2.17", "Start Line and CSeq Method Mismatch", _I, 400, (400,)),
    # Not 501: to a proxy no method is unknown.
    ("mismatch02", "3.1.2.18", "Unknown Method with CSeq Method Mismatch", _I, 400, (400, 501)),
    ("bigcode", "3.1.2.19", "Overlarge Response Code", _R, None, ()),
    # The transaction is told from others by the rules of RFC 2543.
    ("badbranch", "3.2.1", "Missing Transaction Identifier", _L, 403, ()),
    ("insuf", "3.3.1", "Missing Required Header Fields", _I, 400, (400,)),
    ("unkscm", "3.3.2", "Request-URI with Unknown Scheme", _V, 416, (416,)),
    ("novelsc", "3.3.3", "Request-URI with Known but Atypical Scheme", _V, 416, (404, 416)),
    ("unksm2", "3.3.4", "Unknown URI Schemes in Header Fields", _V, 400, (400,)),
    ("bext01", "3.3.5", "Proxy-Require and Require", _V, 420, (420,)),
    ("invut", "3.3.6", "Unknown Content-Type", _V, 403, ()),
    ("regaut01", "3.3.7", "Unknown Authorization Scheme", _V, 401, (401,)),
    ("multi01", "3.3.8", "Multiple Values in Single Value Required Fields", _I, 400, (400,)),
    ("mcl01", "3.3.9", "Multiple Content-Length Values", _I, 400, (400,)),
    ("bcast", "3.3.10", "200 OK Response with Broadcast Via Header Field Value", _R, None, ()),
    ("zeromf", "3.3.11", "Max-Forwards of Zero", _V, 483, (483,)),
    ("cparam01", "3.3.12", "REGISTER with a Contact Header Parameter", _V, 401, ()),
    ("cparam02", "3.3.13", "REGISTER with a url-parameter", _V, 401, ()),
    ("regescrt", "3.3.14", "REGISTER with a URL Escaped Header", _V, 401, ()),
    ("sdp01", "3.3.15", "Unacceptable Accept Offering", _V, 403, ()),
    ("inv2543", "3.4.1", "INVITE with RFC 2543 Syntax", _V, 403, ()),
)

RFC4475: tuple[Case, ...] = tuple(read_case("rfc4475", *row[:-1], *row[-1]) for row in _TABLE)
