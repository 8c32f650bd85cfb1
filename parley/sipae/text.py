"""What a signature covers (MS-SIPAE section 3.2.5.2): some fields of a message, each in angle brackets, absent ones empty.

Values are taken as they stand in the message. Body, Via, Contact, Route and Event are not covered.
"""

from __future__ import annotations

import re

from parley.sip.basemessage import ENCODING, ERRORS
from parley.sip.message import Request, Response

_BRACKETS = re.compile(r"<([^<>]*)>")


def signed_text(
    message: Request | Response, scheme: str, rand: str, number: int, realm: str, targetname: str, version: int
) -> bytes:
    """The bytes to sign or to check. ``rand``, ``number``: crand and cnum, or srand and snum. Raises SipParseError."""
    cseq = message.cseq
    from_, to = message.from_, message.to
    fields = [
        scheme, rand, str(number), realm, targetname, message.call_id, str(cseq.number), cseq.method,
        from_.uri_text, from_.params.get("tag") or "",
    ]  # fmt: skip
    if version > 2:
        sip, tel = _identities(message)
        fields += [to.uri_text, to.params.get("tag") or "", sip, tel]
    else:
        fields.append(to.params.get("tag") or "")
    fields.append(message.get("expires") or "")
    if isinstance(message, Response):
        fields.append(str(message.status))
    return "".join([f"<{field}>" for field in fields]).encode(ENCODING, ERRORS)


def _identities(message: Request | Response) -> tuple[str, str]:
    """The SIP and the tel URI of P-Asserted-Identity, else of P-Preferred-Identity."""
    value = message.get("p-asserted-identity")
    if value is None:
        value = message.get("p-preferred-identity")
        if value is None:
            return "", ""
    if value[:4].lower() == "tel:":
        return "", value
    found = _BRACKETS.findall(value)
    sip = next((uri for uri in found if uri[:4].lower() == "sip:"), "")
    tel = next((uri for uri in found if uri[:4].lower() == "tel:"), "")
    return sip, tel
