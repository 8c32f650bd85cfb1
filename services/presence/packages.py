"""The event packages that are served, by name."""

from __future__ import annotations

from typing import Final

from parley.presence.standard import dialog_info, message_summary, pidf, watcherinfo
from parley.proto.presence.v1 import state_pb2 as pb

ROAMING_SELF: Final = "vnd-microsoft-roaming-self"
ROAMING_CONTACTS: Final = "vnd-microsoft-roaming-contacts"
PROVISIONING: Final = "vnd-microsoft-provisioning-v2"
PRESENCE: Final = "presence"
DIALOG: Final = "dialog"
WATCHERS: Final = "presence.winfo"
MESSAGES: Final = "message-summary"

OWN_EVENTS: Final = frozenset({ROAMING_SELF, ROAMING_CONTACTS, PROVISIONING, WATCHERS, MESSAGES})
"""Packages that only the user may subscribe to."""
LISTED: Final = frozenset({PRESENCE, DIALOG})
"""Packages that may be subscribed to for a list of resources (RFC 4662)."""
EVENTS: Final = OWN_EVENTS | LISTED

FORMATS: Final = {
    PRESENCE: pidf.CONTENT_TYPE,
    DIALOG: dialog_info.CONTENT_TYPE,
    WATCHERS: watcherinfo.CONTENT_TYPE,
    MESSAGES: message_summary.CONTENT_TYPE,
}
"""The media type of a standard client's documents, by package."""

LISTS: Final = "list"
"""Under this name lie the subscriptions to lists of a user that the server keeps."""


def indexed_under(subscription: pb.Subscription) -> str:
    """The name that subscriptions of a package lie under at who is watched; "" for presence in all its forms."""
    return subscription.event if subscription.event in (DIALOG, WATCHERS) else ""
