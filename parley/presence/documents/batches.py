"""Batched subscriptions (MS-PRES section 2.2.2.4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from parley.presence.documents.reading import read, require, required
from parley.presence.errors import BadDocument
from parley.xml import children

BATCH_TYPE: Final = "application/msrtc-adrl-categorylist+xml"


@dataclass(frozen=True, slots=True)
class BatchAction:
    """One action of a batch."""

    name: str
    """"subscribe" or "unsubscribe"."""
    resources: tuple[str, ...]
    """URIs as they were written."""
    categories: tuple[str, ...]


def parse_batch(body: bytes) -> list[BatchAction]:
    """The actions, in order. Raises BadDocument."""
    root = read(body, "batchSub")
    actions = []
    for element in children(root, "action"):
        name = required(element, "name")
        if name not in ("subscribe", "unsubscribe"):
            raise BadDocument(f"not an action: {name}")
        resources = []
        for adhoc in children(element, "adhocList"):
            for resource in children(adhoc, "resource"):
                resources.append(required(resource, "uri"))
        categories = [
            required(category, "name")
            for found in children(element, "categoryList")
            for category in children(found, "category")
        ]
        actions.append(BatchAction(name, tuple(dict.fromkeys(resources)), tuple(dict.fromkeys(categories))))
    require(actions, "the batch has no action")
    return actions


def merged(before: Iterable[str], action: BatchAction) -> list[str]:
    """The resources of a subscription after an action."""
    if action.name == "unsubscribe":
        gone = set(action.resources)
        return [uri for uri in before if uri not in gone]
    return list(dict.fromkeys([*before, *action.resources]))
