"""Publish requests of Communicator (MS-PRES sections 2.2.2.2 and 3.7.5.1): checked by version, done whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parley.presence.errors import BadDocument, TooLarge, VersionConflict, WrongVersion
from parley.presence.model import EXPIRE_NAMES, MAX_CONTAINER, Key, find, remove
from parley.proto.presence.v1 import state_pb2 as pb

MAX_PUBLICATIONS: Final = 400
"""That a user may have."""
MAX_OPERATIONS: Final = 100
"""In one request."""
MAX_CONTENT: Final = 32_768
_TIME_LIMIT_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class PublishOperation:
    """One publication of a request."""

    category: str
    instance: int
    container: int
    version: int
    """The one the client believes is current; 0 for none."""
    expire_type: str
    expires_s: int | None
    """0 deletes."""
    content: bytes
    state: pb.StateFacts | None = None

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.category, self.instance, self.container


def publish(state: pb.Presentity, operations: list[PublishOperation], endpoint: str, now_ms: int) -> set[Key]:
    """Applies a request; the keys it touched. ``endpoint``: id of the publisher's endpoint.

    Raises VersionConflict with every operation that quotes an old version, BadDocument, TooLarge.
    """
    if len(operations) > MAX_OPERATIONS:
        raise TooLarge("too many publications in one request")
    wrong: list[WrongVersion] = []
    for index, operation in enumerate(operations, 1):
        _check(operation)
        current = find(state, operation.key)
        version = current.version if current is not None else 0
        if operation.version != version:
            wrong.append(WrongVersion(index, operation.version, version))
    if wrong:
        raise VersionConflict(wrong)
    for operation in operations:
        if operation.expires_s == 0:
            remove(state, [operation.key])
        else:
            _store(state, operation, endpoint, now_ms)
    if len(state.publications) > MAX_PUBLICATIONS:
        raise TooLarge("too many publications")
    return {operation.key for operation in operations}


def _check(operation: PublishOperation) -> None:
    if not operation.category or len(operation.category) > 64:
        raise BadDocument("a publication without a category")
    if not 0 <= operation.container <= MAX_CONTAINER:
        raise BadDocument(f"there is no container {operation.container}")
    if operation.expire_type not in EXPIRE_NAMES:
        raise BadDocument(f"not an expireType: {operation.expire_type}")
    if len(operation.content) > MAX_CONTENT:
        raise TooLarge(f"the publication of {operation.category} is too large")
    if operation.state is not None and operation.state.kind.startswith("aggregate"):
        raise BadDocument("aggregates are the server's to publish")


def _store(state: pb.Presentity, operation: PublishOperation, endpoint: str, now_ms: int) -> None:
    publication = find(state, operation.key)
    if publication is None:
        category, instance, container = operation.key
        publication = state.publications.add(category=category, instance=instance, container=container)
    publication.version += 1
    publication.expire_type = EXPIRE_NAMES[operation.expire_type]
    publication.endpoint = endpoint
    publication.published_at_ms = now_ms
    publication.content = operation.content
    publication.expires_at_ms = 0
    if operation.expires_s is not None and operation.expire_type == "time":
        publication.expires_at_ms = now_ms + min(operation.expires_s, _TIME_LIMIT_S) * 1000
    publication.ClearField("state")
    if operation.state is not None:
        publication.state.CopyFrom(operation.state)


def visible_categories(keys: set[Key]) -> set[str]:
    """Categories that others see otherwise when these keys changed; the own containers feed aggregation only."""
    return {category for category, _, container in keys if container not in (1, 2, 3)}
