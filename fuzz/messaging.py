"""Messages, their envelopes, what is said of them, and offers of sessions. The first byte says which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fuzz.documents import again, refused
from parley.messaging.activity import build_activity, parse_activity
from parley.messaging.content import Content, for_communicator, for_phone
from parley.messaging.cpim import build_cpim, parse_cpim
from parley.messaging.errors import MessagingError
from parley.messaging.imdn import build_imdn, parse_imdn, wanted_by
from parley.messaging.iscomposing import build_iscomposing, parse_iscomposing
from parley.messaging.reports import build_report, holds_report, reports_wanted
from parley.messaging.sdp import accepted_types, offers_messages


def _cpim(data: bytes) -> None:
    found = again(parse_cpim, build_cpim)(data)
    if found is not None:
        wanted_by(found)
        for header in found.headers:
            found.address(header.name)


def _converted(content: Content) -> None:
    for convert in (for_phone, for_communicator):
        try:
            converted = convert(content)
        except MessagingError as error:
            assert error.status in (400, 415), error
            assert error.reason.isascii(), error
            assert error.reason.isprintable(), error
        else:
            converted.body.decode()


def _content(data: bytes) -> None:
    head, _, body = data.partition(b"\n")
    _converted(Content(head.decode("utf-8", "surrogateescape"), body))


def _html(data: bytes) -> None:
    _converted(Content("text/html", data))


def _report(data: bytes) -> None:
    content = Content("message/cpim", data)
    request = reports_wanted(content)
    if request is not None:
        report = refused(lambda: build_report(request, delivered=True, now=0.0, own_id="r"))
        assert report is not None
        assert holds_report(report)
        assert reports_wanted(report) is None


def _activity(data: bytes) -> None:
    try:
        typing = parse_activity(data)
    except MessagingError as error:
        assert error.status == 400, error
    else:
        assert parse_activity(build_activity(typing=typing)) is typing


def _sdp(data: bytes) -> None:
    offers_messages(data)
    assert len(accepted_types(data)) <= 32


_READERS: Final[tuple[Callable[[bytes], Any], ...]] = (
    again(parse_iscomposing, build_iscomposing),
    again(parse_imdn, build_imdn),
    _cpim,
    _content,
    _html,
    _report,
    _activity,
    _sdp,
)


def fuzz_one(data: bytes) -> None:
    """Reads one document."""
    if data:
        _READERS[data[0] % len(_READERS)](data[1:])
