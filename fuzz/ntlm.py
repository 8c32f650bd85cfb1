"""Sign-in of Communicator: AUTHENTICATE messages, credentials in headers, and signatures over what is in a message."""

from __future__ import annotations

from fuzz.common import text_of
from parley.ntlm.keys import exported_session_key
from parley.ntlm.messages import Authenticate, NtlmError
from parley.ntlm.signing import Signer
from parley.sip.errors import SipParseError
from parley.sipae.fields import parse_signed_credentials


def fuzz_one(data: bytes) -> None:
    """The same bytes as a message, and as a header."""
    try:
        message = Authenticate.parse(data)
    except NtlmError:
        pass
    else:
        assert exported_session_key(message, bytes(8), bytes(16)) is None
        signer = Signer(bytes(16), message.flags, server=True)
        assert signer.verify(data, signer.sign(data))
    try:
        found = parse_signed_credentials(text_of(data))
    except SipParseError:
        return
    assert found.cnum >= 0
