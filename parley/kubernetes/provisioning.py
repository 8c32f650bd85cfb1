"""Makes the Secrets of an installation that are missing. Two runs at once end with the same Secrets as one.

Every write says which state it was decided on: a Secret that somebody else makes or changes in between is read and decided
on again. So both runs sign with the authority of whoever was first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from parley.kubernetes.api import ApiError, Conflict, Secret
from parley.kubernetes.secrets import (
    MANAGED_BY,
    OURS,
    AuthorityRecipe,
    Decision,
    LeafRecipe,
    Recipe,
    authority_of,
    is_ours,
    master_key,
    password,
)
from parley.platform.authority import Authority

INTERNAL_NAME: Final = "parley.internal"
"""What the certificate is for that all services of an installation show each other."""
KINDS: Final = ("master-key", "valkey", "internal-tls", "client-tls", "user-ca")
_AUTHORITY: Final = "development-ca"
_TRIES: Final = 8


class Secrets(Protocol):
    """Where Secrets are kept: `parley.kubernetes.api.SecretsApi`."""

    async def get(self, name: str) -> Secret | None:
        """A Secret; None when there is none. Raises ApiError."""

    async def create(self, secret: Secret) -> None:
        """Makes a Secret. Raises Conflict when it exists, ApiError."""

    async def put_keys(self, secret: Secret, data: Mapping[str, bytes]) -> None:
        """Sets keys of a Secret that was read. Raises Conflict when it has changed since, ApiError."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one Secret."""

    name: str
    outcome: str
    """"made", "completed", "renewed" or "kept"."""
    remark: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an installation needs."""

    prefix: str
    """The names of its Secrets begin with it and a hyphen."""
    kinds: Sequence[str] = KINDS
    names: Sequence[str] = ()
    """Host names and addresses by which clients reach it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of Secrets that are made, besides those that say who made them."""


async def provision(secrets: Secrets, wanted: Wanted) -> AsyncIterator[Report]:
    """Makes what is missing, one after the other, and tells of each. Raises ApiError, SecretRefused."""
    values: dict[str, Recipe] = {
        "master-key": master_key(), "valkey": password(), "user-ca": AuthorityRecipe("Parley user certificates"),
    }  # fmt: skip
    leaves = {"internal-tls": [INTERNAL_NAME], "client-tls": list(wanted.names)}
    for kind, recipe in values.items():
        if kind in wanted.kinds:
            yield (await _ensure(secrets, wanted, kind, recipe))[1]
    authority: Authority | None = None
    for kind in (kind for kind in leaves if kind in wanted.kinds):
        found = await secrets.get(f"{wanted.prefix}-{kind}")
        if authority is None and (found is None or is_ours(found)):
            secret, report = await _ensure(secrets, wanted, _AUTHORITY, AuthorityRecipe("Parley development CA"))
            authority = authority_of(secret)
            yield report
        yield (await _ensure(secrets, wanted, kind, LeafRecipe(leaves[kind], authority)))[1]


async def _ensure(secrets: Secrets, wanted: Wanted, kind: str, recipe: Recipe) -> tuple[Secret, Report]:
    """The Secret as it is then, and what was done."""
    name = f"{wanted.prefix}-{kind}"
    for _ in range(_TRIES):
        found = await secrets.get(name)
        decision = recipe.decide(found)
        try:
            secret = await _carry_out(secrets, wanted, name, found, decision, recipe.type)
        except Conflict:
            continue
        return secret, Report(name, decision.outcome, decision.remark)
    raise ApiError(f"the Secret {name} is changed by somebody else again and again; what else writes it?")


async def _carry_out(
    secrets: Secrets, wanted: Wanted, name: str, found: Secret | None, decision: Decision, kind: str
) -> Secret:
    if found is None:
        labels = {**wanted.labels, MANAGED_BY: OURS}
        notes = {"parley/made-by": "parley init secrets", "parley/keep": "data, clients and other processes depend on it"}
        made = Secret(name, decision.data, labels, notes, kind)
        await secrets.create(made)
        return made
    if not decision.data:
        return found
    await secrets.put_keys(found, decision.data)
    return Secret(name, {**found.data, **decision.data}, found.labels, found.annotations, found.type, found.version)
