"""A user's presence as it is kept: publications, containers, subscribers, endpoints (MS-PRES section 3.1.1).

The state is `parley.presence.v1.Presentity`; these functions read and change it. A publication is known by category,
instance and container. Containers 2 and 3 are what the user's endpoints say; 100 to 400 are what the world may see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from parley.proto.presence.v1 import state_pb2 as pb
from parley.sip.errors import SipParseError
from parley.sip.uri import aor, parse_uri

PUBLIC: Final = 100
COMPANY: Final = 200
TEAM: Final = 300
PERSONAL: Final = 400
BLOCKED: Final = 32_000
OWN: Final = (2, 3)
"""Containers that feed aggregation; nobody but the user sees them."""

FEEDS: Final = {2: (PUBLIC, COMPANY, PERSONAL), 3: (TEAM,)}
"""Which containers the aggregate of an own container is copied to."""

DEFAULT_CONTAINERS: Final = (0, PUBLIC, COMPANY, TEAM, PERSONAL, BLOCKED)
MAX_CONTAINER: Final = 32_767

EXPIRE_NAMES: Final = {
    "static": pb.EXPIRE_TYPE_STATIC, "user": pb.EXPIRE_TYPE_USER, "endpoint": pb.EXPIRE_TYPE_ENDPOINT,
    "time": pb.EXPIRE_TYPE_TIME,
}  # fmt: skip

Key = tuple[str, int, int]
"""Category, instance, container."""


def new_presentity(address: str, display_name: str = "") -> pb.Presentity:
    """The state of a user who never published: colleagues see presence, federated users that of the public."""
    state = pb.Presentity(address=address, display_name=display_name, availability=18_500)
    for number in DEFAULT_CONTAINERS:
        container = state.containers.add(id=number)
        if number == PUBLIC:
            container.members.add(type="federated")
            container.version = 1
        elif number == COMPANY:
            container.members.add(type="sameEnterprise")
            container.version = 1
    return state


def bare(address: str) -> str:
    """An address of record without "sip:"."""
    return address.removeprefix("sip:")


def address_of(text: str) -> str:
    """The address of record of a URI as it stands in a document, with or without "sip:". Raises SipParseError."""
    uri = parse_uri(text if ":" in text else f"sip:{text}")
    if not uri.is_sip or not uri.user:
        raise SipParseError(400, "Not an Address")
    return aor(uri)


def addresses_of(texts: Iterable[str]) -> list[str]:
    """The addresses of record of URIs, each once; what is no SIP address is left out."""
    found: dict[str, None] = {}
    for text in texts:
        try:
            found[address_of(text)] = None
        except SipParseError:
            continue
    return list(found)


def key_of(publication: pb.Publication) -> Key:
    """What a publication is known by."""
    return publication.category, publication.instance, publication.container


def find(state: pb.Presentity, key: Key) -> pb.Publication | None:
    """The publication of that key."""
    for publication in state.publications:
        if key_of(publication) == key:
            return publication
    return None


def remove(state: pb.Presentity, keys: Iterable[Key]) -> set[Key]:
    """Deletes publications; those that were there."""
    wanted = set(keys)
    gone = {key_of(publication) for publication in state.publications} & wanted
    if gone:
        kept = [publication for publication in state.publications if key_of(publication) not in gone]
        del state.publications[:]
        state.publications.extend(kept)
    return gone


def container_of(state: pb.Presentity, number: int) -> pb.Container | None:
    """A container by its number."""
    return next((container for container in state.containers if container.id == number), None)


def of_category(state: pb.Presentity, category: str, container: int | None = None) -> Iterator[pb.Publication]:
    """Publications of a category, in all containers or in one."""
    for publication in state.publications:
        if publication.category == category and (container is None or publication.container == container):
            yield publication


def next_deadline_ms(state: pb.Presentity, look_at_calls_ms: int = 0) -> int:
    """When the first publication expires, milliseconds since the Unix epoch; 0 when none does.

    ``look_at_calls_ms``: when those who have calls are looked at again.
    """
    times = [publication.expires_at_ms for publication in state.publications if publication.expires_at_ms]
    times += [publication.expires_at_ms for publication in state.standard]
    if look_at_calls_ms and any(not call.ended for call in state.calls):
        times.append(look_at_calls_ms)
    return min(times, default=0)


def drop_expired(state: pb.Presentity, now_ms: int) -> set[Key]:
    """Deletes what has expired; the keys of what went. Publications of standard phones count as category "state"."""
    gone = remove(state, [key_of(p) for p in state.publications if p.expires_at_ms and p.expires_at_ms <= now_ms])
    kept = [publication for publication in state.standard if publication.expires_at_ms > now_ms]
    if len(kept) != len(state.standard):
        del state.standard[:]
        state.standard.extend(kept)
        gone.add(("state", 0, 2))
    return gone


def drop_endpoint(state: pb.Presentity, endpoint: str) -> set[Key]:
    """An endpoint left: its publications go, and when it was the last one, those that lived with the user's presence."""
    gone = remove(
        state,
        [key_of(p) for p in state.publications if p.expire_type == pb.EXPIRE_TYPE_ENDPOINT and p.endpoint == endpoint],
    )
    if not any(entry.epid for entry in state.endpoints):
        gone |= remove(
            state,
            [
                key_of(p)
                for p in state.publications
                if p.expire_type == pb.EXPIRE_TYPE_ENDPOINT or (p.expire_type == pb.EXPIRE_TYPE_USER and p.endpoint)
            ],
        )
    return gone
