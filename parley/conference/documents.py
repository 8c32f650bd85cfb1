"""Conference state for those who watch it (RFC 4575, MS-CONFBAS section 2.2.2).

A user stands complete in every document, with all endpoints, also in partial ones: clients take one without a connected
``chat`` endpoint off the room. The lock is told in the view of every conferencing server.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from parley.c3p.envelope import CONFERENCE_INFO, MSCI
from parley.conference.roster import participant
from parley.conference.uris import ConferenceName
from parley.proto.conference.v1 import state_pb2 as pb

INFO_TYPE: Final = "application/conference-info+xml"

POLICIES: Final = {
    pb.ADMISSION_POLICY_CLOSED_AUTHENTICATED: "closedAuthenticated",
    pb.ADMISSION_POLICY_OPEN_AUTHENTICATED: "openAuthenticated",
}
"""Admission policies as they are written."""


def name_of(conference: pb.Conference) -> ConferenceName:
    """The name of a conference."""
    return ConferenceName(conference.organizer, conference.id)


def full_document(conference: pb.Conference, version: int) -> bytes:
    """All there is to tell."""
    users = "".join(_user(one) for one in conference.participants)
    return _document(
        conference, "full", version,
        f"{_description(conference)}{_state(conference)}<users state=\"full\">{users}</users>{_view(conference, 'full')}",
    )  # fmt: skip


def partial_document(
    conference: pb.Conference, version: int, users: Iterable[str], *, description: bool = False, view: bool = False
) -> bytes:
    """What changed: ``users`` by address of record, those who are gone among them; the description; the lock."""
    rows = []
    for address in sorted(users):
        found = participant(conference, address)
        rows.append(_user(found) if found is not None else f'<user entity={quoteattr(address)} state="deleted"/>')
    parts = [_description(conference) if description else ""]
    parts.append(_state(conference))
    parts.append(f'<users state="partial">{"".join(rows)}</users>' if rows else "")
    parts.append(_view(conference, "partial") if view else "")
    return _document(conference, "partial", version, "".join(parts))


def record_document(conference: pb.Conference) -> str:
    """The record as its organizer reads it (MS-CONFPRO section 2.2.1.2), without a declaration."""
    views = "".join(f'<msci:entity-view entity="{kind}"/>' for kind in conference.mcu_types)
    users = "".join(
        f"<user entity={quoteattr(one.address)}><roles><entry>{'presenter' if one.presenter else 'attendee'}</entry>"
        "</roles></user>"
        for one in conference.invitees
    )
    return (
        f'<conference-info xmlns="{CONFERENCE_INFO}" xmlns:msci="{MSCI}" entity={quoteattr(name_of(conference).focus)}>'
        "<conference-description>"
        f"{_texts(conference)}<msci:conference-id>{conference.id}</msci:conference-id>"
        f"<msci:last-update>{_time(conference.updated_at_ms)}</msci:last-update>"
        f"{_activated(conference)}"
        f"<msci:is-active>{_boolean(bool(conference.participants))}</msci:is-active>"
        f"{_expiry(conference)}"
        f"<msci:admission-policy>{POLICIES[conference.admission_policy]}</msci:admission-policy>"
        f"</conference-description><users>{users}</users><msci:conference-view>{views}</msci:conference-view>"
        "</conference-info>"
    )


def _document(conference: pb.Conference, state: str, version: int, content: str) -> bytes:
    return (
        f'<conference-info xmlns="{CONFERENCE_INFO}" xmlns:ci="{CONFERENCE_INFO}" xmlns:msci="{MSCI}" '
        f'entity={quoteattr(name_of(conference).focus)} state="{state}" version="{version}">{content}</conference-info>'
    ).encode("utf-8", "replace")


def _description(conference: pb.Conference) -> str:
    name = name_of(conference)
    uris = "".join(
        f"<entry><uri>{escape(name.uri(kind))}</uri><display-text>{kind}</display-text><purpose>{kind}</purpose></entry>"
        for kind in conference.mcu_types
    )
    return (
        f"<conference-description>{_texts(conference)}<conf-uris>{uris}</conf-uris>"
        f"<msci:conference-id>{conference.id}</msci:conference-id>{_expiry(conference)}"
        f"<msci:admission-policy>{POLICIES[conference.admission_policy]}</msci:admission-policy>"
        "</conference-description>"
    )


def _texts(conference: pb.Conference) -> str:
    display = f"<display-text>{escape(conference.description)}</display-text>" if conference.description else ""
    return f"{display}<subject>{escape(conference.subject)}</subject>"


def _state(conference: pb.Conference) -> str:
    return (
        f"<conference-state><user-count>{len(conference.participants)}</user-count>"
        f"<active>{_boolean(bool(conference.participants))}</active><locked>{_boolean(conference.locked)}</locked>"
        "</conference-state>"
    )


def _user(found: pb.Participant) -> str:
    name = found.display_name or found.address.removeprefix("sip:")
    endpoints = "".join(_endpoint(one) for one in found.endpoints)
    return (
        f'<user entity={quoteattr(found.address)} state="full"><display-text>{escape(name)}</display-text>'
        f"<roles><entry>{'presenter' if found.presenter else 'attendee'}</entry></roles>{endpoints}</user>"
    )


def _endpoint(endpoint: pb.Endpoint) -> str:
    media = ""
    if endpoint.session_type == "chat":
        media = '<media id="1"><type>chat</type></media>'
    return (
        f'<endpoint entity={quoteattr(endpoint.id)} msci:session-type="{endpoint.session_type}">'
        f"<status>{'dialing-in' if endpoint.dialing_in else 'connected'}</status>"
        "<joining-method>dialed-in</joining-method>"
        f"<joining-info><when>{_time(endpoint.joined_at_ms)}</when></joining-info>{media}</endpoint>"
    )


def _view(conference: pb.Conference, state: str) -> str:
    name, locked = name_of(conference), _boolean(conference.locked)
    views = "".join(
        f'<msci:entity-view ci:state="{state}" entity={quoteattr(name.uri(kind))}><msci:entity-state>'
        f'<msci:locked>{locked}</msci:locked><msci:media><msci:entry msci:label="{kind}"><type>{kind}</type></msci:entry>'
        "</msci:media></msci:entity-state></msci:entity-view>"
        for kind in conference.mcu_types
    )
    return f'<msci:conference-view ci:state="{state}">{views}</msci:conference-view>'


def _expiry(conference: pb.Conference) -> str:
    if not conference.expires_at_ms:
        return ""
    return f"<msci:expiry-time>{_time(conference.expires_at_ms)}</msci:expiry-time>"


def _activated(conference: pb.Conference) -> str:
    if not conference.activated_at_ms:
        return ""
    return f"<msci:last-activate>{_time(conference.activated_at_ms)}</msci:last-activate>"


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
