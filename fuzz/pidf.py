"""The documents of standard presence and what travels with them. The first byte says which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fuzz.documents import again, refused
from parley.presence.standard.availability import availability_of, pidf_of
from parley.presence.standard.dialog_info import build_dialog_info, parse_dialog_info
from parley.presence.standard.message_summary import build_message_summary, parse_message_summary
from parley.presence.standard.multipart import build_multipart, parse_multipart
from parley.presence.standard.pidf import build_pidf, parse_pidf
from parley.presence.standard.resource_lists import all_entries, build_resource_lists, parse_resource_lists
from parley.presence.standard.rlmi import build_list, build_rlmi, parse_list, parse_rlmi
from parley.presence.standard.watcherinfo import build_watcherinfo, parse_watcherinfo

_TYPE: Final = 'multipart/related;type="application/rlmi+xml";start="<r@x>";boundary=b'


def _pidf(data: bytes) -> None:
    found = again(parse_pidf, build_pidf)(data)
    if found is not None:
        number, token = availability_of(found)
        read = parse_pidf(build_pidf(pidf_of(found.entity, number, token, "".join(found.notes))))
        assert availability_of(read) in ((number, token), (15500, ""), (18500, "")), (number, token)


def _multipart(data: bytes) -> None:
    parts = refused(lambda: parse_multipart(data, _TYPE))
    if parts is not None:
        # A part may hold what only looks like the boundary.
        written = refused(lambda: build_multipart(parts, "b"))
        assert written is None or parse_multipart(written, _TYPE) == parts, parts
    found = refused(lambda: parse_list(_TYPE, data))
    if found is not None:
        written = refused(lambda: build_list(found[0], found[1], "=_fuzz", "fuzz@x"))
        assert written is None or parse_list(*written) == found, found
    refused(lambda: parse_list(data.decode("utf-8", "surrogateescape"), data))


def _resource_lists(data: bytes) -> None:
    found = again(parse_resource_lists, build_resource_lists)(data)
    if found is not None:
        uris = [entry.uri for entry in all_entries(found)]
        assert len(set(uris)) == len(uris), uris
        assert not uris or refused(lambda: parse_resource_lists(data, len(uris) - 1)) is None


_READERS: Final[tuple[Callable[[bytes], Any], ...]] = (
    _pidf,
    again(parse_watcherinfo, build_watcherinfo),
    _resource_lists,
    again(parse_rlmi, build_rlmi),
    _multipart,
    again(parse_dialog_info, build_dialog_info),
    again(parse_message_summary, build_message_summary),
)


def fuzz_one(data: bytes) -> None:
    """Reads one document."""
    if data:
        _READERS[data[0] % len(_READERS)](data[1:])
