"""Messages that wait, for the lamp of a phone: message summaries (RFC 3842). They are text, not XML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from parley.presence.standard.errors import DocumentError
from parley.presence.standard.tree import number

CONTENT_TYPE: Final = "application/simple-message-summary"
VOICE: Final = "voice-message"
MAX_BYTES: Final = 8192

_WHAT = "message summary"
_KIND = re.compile("[a-z][a-z0-9-]{0,40}-message|none")
_COUNTS = re.compile("([0-9]+)[ \t]*/[ \t]*([0-9]+)(?:[ \t]*\\([ \t]*([0-9]+)[ \t]*/[ \t]*([0-9]+)[ \t]*\\))?")
_NOT_TEXT = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many messages of a kind are new and old; of those how many are urgent, None when that is not said."""

    kind: str
    new: int
    old: int
    urgent: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """Whether messages wait, whom to call for them, and how many there are."""

    waiting: bool
    account: str = ""
    counts: tuple[Counts, ...] = ()


def parse_message_summary(data: bytes) -> MessageSummary:
    """Reads a summary; headers of single messages, after a blank line, are passed over. Raises DocumentError."""
    if len(data) > MAX_BYTES:
        raise DocumentError(f"{_WHAT}: the document is too large")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise DocumentError(f"{_WHAT}: not UTF-8") from None
    waiting = account = ""
    counts: list[Counts] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line.strip(" \t"):
            break
        name, colon, value = line.partition(":")
        name, value = name.strip(" \t").lower(), value.strip(" \t")
        if not colon:
            raise DocumentError(f"{_WHAT}: a line without a colon")
        if name == "messages-waiting":
            waiting = value.lower()
        elif name == "message-account":
            account = _NOT_TEXT.sub("", value).strip(" \t")
        elif _KIND.fullmatch(name) is not None:
            counts.append(_counts(name, value))
    if waiting not in ("yes", "no"):
        raise DocumentError(f"{_WHAT}: Messages-Waiting is neither yes nor no")
    return MessageSummary(waiting == "yes", account, tuple(counts))


def _counts(kind: str, value: str) -> Counts:
    match = _COUNTS.fullmatch(value)
    numbers = [number(part) for part in match.groups("0")] if match is not None else []
    if match is None or None in numbers:
        raise DocumentError(f"{_WHAT}: counts that are not new/old")
    new, old, urgent_new, urgent_old = (found or 0 for found in numbers)
    return Counts(kind, new, old, (urgent_new, urgent_old) if match[3] is not None else None)


def build_message_summary(summary: MessageSummary) -> bytes:
    """Writes a summary. Raises DocumentError for a kind that is none."""
    lines = [f"Messages-Waiting: {'yes' if summary.waiting else 'no'}"]
    account = _NOT_TEXT.sub("", summary.account).strip(" \t")
    if account:
        lines.append(f"Message-Account: {account}")
    for item in summary.counts:
        if _KIND.fullmatch(item.kind) is None:
            raise DocumentError(f"{_WHAT}: a kind of messages that is none")
        urgent = f" ({item.urgent[0]}/{item.urgent[1]})" if item.urgent is not None else ""
        lines.append(f"{item.kind.title()}: {item.new}/{item.old}{urgent}")
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")
