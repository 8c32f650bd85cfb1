"""SIP messages inside gRPC: their bytes, and beside them a summary for whoever routes them."""

from __future__ import annotations

from parley.proto.sip.v1.message_pb2 import SipMessage, Summary
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response
from parley.sip.nameaddr import NameAddr
from parley.sip.uri import aor


def summary_of(message: Request | Response) -> Summary:
    """What routing and telemetry need; a header that cannot be read is left empty."""
    summary = Summary(call_id=message.get("Call-ID") or "", event=event_of(message))
    if isinstance(message, Request):
        summary.method = message.method
        summary.request_uri = message.uri_text
    else:
        summary.status = message.status
        summary.method = message.cseq.method
    summary.from_aor = aor_of(message.from_)
    summary.to_aor = aor_of(message.to)
    return summary


def event_of(message: Request | Response) -> str:
    """The event package of a message, in lower case and without parameters; "" when there is none."""
    value = message.get("Event")
    return value.partition(";")[0].strip().lower() if value else ""


def aor_of(address: NameAddr) -> str:
    """The address of record in a header, "" when its URI cannot be read."""
    try:
        return aor(address.uri)
    except SipParseError:
        return ""


def sip_message(message: Request | Response) -> SipMessage:
    """A message with the summary that routing wants."""
    return SipMessage(raw=bytes(message), summary=summary_of(message))
