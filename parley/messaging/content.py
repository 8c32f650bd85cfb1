"""What a message says, and how it is said to another kind of client.

Communicator writes text/plain with its formatting in the parameter ``msgr``, HTML, or both as multipart/alternative; phones
send text, and some an envelope around it (RFC 3862). What neither side can read is refused, never shown as raw bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from parley.messaging.cpim import CONTENT_TYPE as CPIM_TYPE
from parley.messaging.cpim import CpimMessage, parse_cpim
from parley.messaging.errors import MessagingError, UnsupportedContent
from parley.messaging.html import text_of_html
from parley.presence.standard.errors import DocumentError
from parley.presence.standard.multipart import parameter, parse_multipart

PLAIN_TYPE: Final = "text/plain"
HTML_TYPE: Final = "text/html"
ALTERNATIVE_TYPE: Final = "multipart/alternative"
PLAIN_UTF8: Final = "text/plain; charset=UTF-8"

_CHARSETS: Final = re.compile("(?:us-ascii|utf-8|utf-16(?:le|be)?|iso-8859-(?:[1-9]|1[013-6])|windows-125[0-8])")
_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class Content:
    """A body with its Content-Type, parameters included."""

    content_type: str
    body: bytes

    @property
    def kind(self) -> str:
        """The media type in lower case; text/plain when none is named."""
        return self.content_type.partition(";")[0].strip().lower() or PLAIN_TYPE


def for_phone(content: Content) -> Content:
    """The text of a message of Communicator, as phones take it. Raises UnsupportedContent, MessagingError 400."""
    return Content(PLAIN_UTF8, _text(_readable(content, (PLAIN_TYPE, HTML_TYPE))).encode("utf-8", "replace"))


def for_communicator(content: Content, accepted: Collection[str] = ()) -> Content:
    """A message of a phone as Communicator takes it: out of its envelope, in UTF-8.

    ``accepted``: the media types that the client named, in lower case; none: it is taken to read text and HTML. Raises
    UnsupportedContent, MessagingError 400.
    """
    found = _readable(content, (HTML_TYPE, PLAIN_TYPE) if not accepted or HTML_TYPE in accepted else (PLAIN_TYPE, HTML_TYPE))
    if found.kind == HTML_TYPE and (not accepted or HTML_TYPE in accepted):
        return Content("text/html; charset=UTF-8", _decoded(found).encode("utf-8", "replace"))
    return Content(PLAIN_UTF8, _text(found).encode("utf-8", "replace"))


def unwrapped(message: CpimMessage) -> Content:
    """What is in an envelope."""
    return Content(message.content_type, message.body)


def _readable(content: Content, order: tuple[str, ...], depth: int = 0) -> Content:
    """The part that says it, of the first type in ``order`` that there is."""
    if content.kind in (PLAIN_TYPE, HTML_TYPE):
        return content
    if depth == _DEPTH:
        raise UnsupportedContent
    try:
        if content.kind == CPIM_TYPE:
            return _readable(unwrapped(parse_cpim(content.body)), order, depth + 1)
        if content.kind != ALTERNATIVE_TYPE:
            raise UnsupportedContent
        parts = parse_multipart(content.body, content.content_type)
    except DocumentError as error:
        raise MessagingError(400, f"Bad Message: {error}") from None
    contents = [Content(part.content_type, part.body) for part in parts]
    for kind in order:
        for candidate in contents:
            if candidate.kind == kind:
                return candidate
    for candidate in contents:
        if candidate.kind in (CPIM_TYPE, ALTERNATIVE_TYPE):
            return _readable(candidate, order, depth + 1)
    raise UnsupportedContent


def _text(content: Content) -> str:
    text = _decoded(content)
    return text_of_html(text) if content.kind == HTML_TYPE else text


def _decoded(content: Content) -> str:
    """The text by its charset, without NULs, which end messages for some clients; bytes that are no text are replaced."""
    charset = parameter(content.content_type, "charset").lower() or "utf-8"
    if _CHARSETS.fullmatch(charset) is None:
        raise UnsupportedContent
    return content.body.decode(charset, "replace").replace("\0", "")
