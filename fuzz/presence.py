"""Documents of presence: those of Communicator and those of the standards. The first byte says which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from parley.presence.contacts import new_list, set_contact
from parley.presence.documents.access import parse_roaming_list, parse_set_container_members, parse_set_subscribers
from parley.presence.documents.batches import parse_batch
from parley.presence.documents.contact_lists import contact_list, parse_soap
from parley.presence.documents.provisioning import group_list, parse_groups
from parley.presence.documents.publications import parse_publish, roaming_data
from parley.presence.errors import PresenceError
from parley.presence.model import new_presentity
from parley.presence.publishing import publish
from parley.presence.standard.availability import availability_of, pidf_of
from parley.presence.standard.errors import DocumentError
from parley.presence.standard.pidf import build_pidf, parse_pidf
from parley.xml import parse_xml


def _publish(body: bytes) -> None:
    state = new_presentity("sip:a@b")
    publish(state, parse_publish(body), "epid", 0)
    parse_xml(roaming_data(state, categories=None, containers=None, subscribers=None))


def _contact(body: bytes) -> None:
    call = parse_soap(body)
    contacts = new_list()
    set_contact(
        contacts, uri=call.values.get("URI", ""), name=call.values.get("displayName", ""), groups=[1], subscribed=True,
        external_uri=call.values.get("externalURI", ""), extension=call.extension, limit=1,
    )  # fmt: skip
    parse_xml(contact_list(contacts))


def _pidf(body: bytes) -> None:
    found = parse_pidf(body)
    availability, activity = availability_of(found)
    parse_pidf(build_pidf(found))
    parse_pidf(build_pidf(pidf_of(found.entity, availability, activity, "".join(found.notes))))


def _settings(body: bytes) -> None:
    parse_xml(group_list(parse_groups(body), {}))


_READERS: Final[tuple[Callable[[bytes], Any], ...]] = (
    _publish, _contact, _pidf, _settings, parse_batch, parse_set_container_members, parse_set_subscribers,
    parse_roaming_list,
)  # fmt: skip


def fuzz_one(data: bytes) -> None:
    """Reads one document; what it says must make a document again."""
    if not data:
        return
    try:
        _READERS[data[0] % len(_READERS)](data[1:])
    except (PresenceError, DocumentError):
        return
