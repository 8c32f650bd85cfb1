"""Which Secrets are made, kept, renewed and refused, without a cluster."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import count
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.kubernetes.api import Conflict, Secret
from parley.kubernetes.provisioning import KINDS, Report, Wanted, provision
from parley.kubernetes.secrets import (
    MANAGED_BY,
    OURS,
    AuthorityRecipe,
    LeafRecipe,
    SecretRefused,
    authority_of,
    master_key,
    password,
)
from parley.platform.authority import CA_DAYS, LEAF_DAYS, Authority, is_signed_by, missing_names

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
NAMES = ["example.test", "192.0.2.7"]
ALL = {
    "x-master-key": {"master-key"},
    "x-valkey": {"password"},
    "x-user-ca": {"tls.crt", "tls.key"},
    "x-development-ca": {"tls.crt", "tls.key"},
    "x-internal-tls": {"tls.crt", "tls.key", "ca.crt"},
    "x-client-tls": {"tls.crt", "tls.key", "ca.crt"},
}


class Kept:
    """Secrets in memory, with the conflicts of a real API."""

    def __init__(self) -> None:
        self.secrets: dict[str, Secret] = {}
        self.before_write: Callable[[str], None] = lambda name: None
        self._versions = count(1)

    async def get(self, name: str) -> Secret | None:
        return self.secrets.get(name)

    async def create(self, secret: Secret) -> None:
        self.before_write(secret.name)
        if secret.name in self.secrets:
            raise Conflict("it exists")
        self.put(secret)

    async def put_keys(self, secret: Secret, data: Mapping[str, bytes]) -> None:
        self.before_write(secret.name)
        known = self.secrets[secret.name]
        if known.version != secret.version:
            raise Conflict("it has changed")
        self.put(Secret(known.name, {**known.data, **data}, known.labels, known.annotations, known.type))

    def put(self, secret: Secret) -> None:
        version = str(next(self._versions))
        self.secrets[secret.name] = Secret(
            secret.name, dict(secret.data), secret.labels, secret.annotations, secret.type, version
        )

    def data(self) -> dict[str, Mapping[str, bytes]]:
        return {name: secret.data for name, secret in self.secrets.items()}


async def told(reports: AsyncIterator[Report]) -> dict[str, str]:
    """What became of each."""
    return {report.name: report.outcome async for report in reports}


def certificate(secret: Secret | Mapping[str, bytes]) -> x509.Certificate:
    data = secret.data if isinstance(secret, Secret) else secret
    return x509.load_pem_x509_certificate(data["tls.crt"])


def ours(name: str, data: Mapping[str, bytes]) -> Secret:
    return Secret(name, data, {MANAGED_BY: OURS}, version="1")


async def test_an_empty_namespace_gets_all_of_them() -> None:
    kept = Kept()
    outcomes = await told(provision(kept, Wanted("x", names=NAMES, labels={"app.kubernetes.io/instance": "x"})))
    assert outcomes == dict.fromkeys(ALL, "made")
    assert {name: set(secret.data) for name, secret in kept.secrets.items()} == ALL
    for secret in kept.secrets.values():
        assert secret.labels == {"app.kubernetes.io/instance": "x", MANAGED_BY: OURS}
        assert secret.annotations["parley/made-by"] == "parley init secrets"
        assert secret.type == ("kubernetes.io/tls" if "tls.crt" in secret.data else "Opaque")
    authority = certificate(kept.secrets["x-development-ca"])
    for name, names in (("x-internal-tls", ["parley.internal"]), ("x-client-tls", NAMES)):
        leaf = kept.secrets[name]
        assert is_signed_by(certificate(leaf), authority)
        assert missing_names(certificate(leaf), names) == []
        assert leaf.data["ca.crt"] == kept.secrets["x-development-ca"].data["tls.crt"]
    assert not is_signed_by(certificate(kept.secrets["x-user-ca"]), authority), "users are no servers"


@settings(max_examples=25, deadline=None)
@given(
    there=st.sets(st.sampled_from(sorted(ALL))), stripped=st.sets(st.sampled_from(["x-client-tls", "x-internal-tls"])),
    first=st.sets(st.sampled_from(KINDS), min_size=1), names=st.lists(st.sampled_from(NAMES), min_size=1),
)  # fmt: skip
async def test_a_second_run_changes_nothing(there: set[str], stripped: set[str], first: set[str], names: list[str]) -> None:
    kept = Kept()
    await told(provision(kept, Wanted("x", names=NAMES)))
    kept.secrets = {name: secret for name, secret in kept.secrets.items() if name in there}
    for name in stripped & there:
        data = {key: value for key, value in kept.secrets[name].data.items() if key != "ca.crt"}
        kept.put(Secret(name, data, kept.secrets[name].labels))
    wanted = Wanted("x", sorted(first), names)
    await told(provision(kept, wanted))
    before = kept.data()
    outcomes = await told(provision(kept, wanted))
    assert set(outcomes.values()) == {"kept"}
    assert kept.data() == before


async def test_what_is_there_is_never_replaced() -> None:
    kept = Kept()
    key = b"ab" * 32 + b"\n"
    kept.put(Secret("x-master-key", {"master-key": key, "other": b"theirs"}))
    kept.put(Secret("x-valkey", {"password": b"pass word"}))
    outcomes = await told(provision(kept, Wanted("x", ["master-key", "valkey"])))
    assert outcomes == {"x-master-key": "kept", "x-valkey": "kept"}
    assert kept.secrets["x-master-key"].data == {"master-key": key, "other": b"theirs"}


async def test_certificates_of_others_need_no_authority() -> None:
    kept = Kept()
    foreign = Authority.make("Theirs").issue(["other.example"])
    for name in ("x-internal-tls", "x-client-tls"):
        kept.put(Secret(name, {"tls.crt": foreign.certificate.encode(), "tls.key": foreign.key.encode()}))
    before = kept.data()
    reports = [report async for report in provision(kept, Wanted("x", ["internal-tls", "client-tls"], NAMES))]
    assert [report.outcome for report in reports] == ["kept", "kept"]
    assert reports[1].remark == "not made by Parley; it does not name example.test, 192.0.2.7"
    assert kept.data() == before


async def test_who_comes_second_signs_with_the_authority_of_the_first() -> None:
    """Between the look and the write of one run, another makes everything."""
    kept, rival = Kept(), Kept()
    await told(provision(rival, Wanted("x", names=NAMES)))

    def be_faster(name: str) -> None:
        if name not in kept.secrets:
            kept.put(rival.secrets[name])

    kept.before_write = be_faster
    outcomes = await told(provision(kept, Wanted("x", names=NAMES)))
    assert set(outcomes.values()) == {"kept"}
    assert kept.data() == rival.data()


async def test_a_certificate_that_is_renewed_twice_at_once_is_renewed_once() -> None:
    kept = Kept()
    await told(provision(kept, Wanted("x", names=NAMES)))
    authority = authority_of(kept.secrets["x-development-ca"])
    by_rival = LeafRecipe([*NAMES, "new.example.test"], authority).decide(kept.secrets["x-client-tls"]).data

    def be_faster(name: str) -> None:
        kept.before_write = lambda name: None
        secret = kept.secrets[name]
        kept.put(Secret(name, {**secret.data, **by_rival}, secret.labels))

    kept.before_write = be_faster
    outcomes = await told(provision(kept, Wanted("x", ["client-tls"], [*NAMES, "new.example.test"])))
    assert outcomes == {"x-development-ca": "kept", "x-client-tls": "kept"}
    assert kept.secrets["x-client-tls"].data == by_rival


@pytest.mark.parametrize(
    ("names", "days", "outcome", "remark"),
    [
        (NAMES, 0, "kept", ""),
        (NAMES[:1], 0, "kept", ""),
        ([*NAMES, "new.example.test"], 0, "renewed", "it does not name new.example.test"),
        (NAMES, LEAF_DAYS - 31, "kept", ""),
        (NAMES, LEAF_DAYS - 30, "renewed", "it ends in 30 days"),
        (NAMES, LEAF_DAYS + 3, "renewed", "it has ended"),
    ],
)
def test_own_certificates_are_renewed_when_it_is_time(names: list[str], days: int, outcome: str, remark: str) -> None:
    authority = Authority.make("Ours", now=NOW)
    data = LeafRecipe(NAMES, authority, NOW).decide(None).data
    found = ours("x-client-tls", data)
    decision = LeafRecipe(names, authority, NOW + datetime.timedelta(days=days)).decide(found)
    assert (decision.outcome, decision.remark) == (outcome, remark)
    if outcome == "renewed":
        assert missing_names(certificate(decision.data), names) == []
        assert decision.data["tls.key"] != data["tls.key"]
        assert decision.data["ca.crt"] == data["ca.crt"], "the authority stays"


def test_a_new_authority_signs_the_own_certificates_anew() -> None:
    data = LeafRecipe(NAMES, Authority.make("Lost")).decide(None).data
    decision = LeafRecipe(NAMES, Authority.make("New")).decide(ours("x-client-tls", data))
    assert (decision.outcome, decision.remark) == ("renewed", "another authority signed it")


def test_missing_keys_are_added_to_what_is_ours_alone() -> None:
    decision = master_key().decide(ours("x-master-key", {}))
    assert (decision.outcome, set(decision.data)) == ("completed", {"master-key"})
    with pytest.raises(
        SecretRefused, match="x-master-key was not made by Parley and has no master-key: add what is missing"
    ):
        master_key().decide(Secret("x-master-key", {"masterkey": b"ab" * 32}))
    with pytest.raises(SecretRefused, match=r"x-client-tls was not made by Parley and has no tls\.crt and no tls\.key"):
        LeafRecipe(NAMES, None).decide(Secret("x-client-tls", {"cert": b""}))
    authority = Authority.make("Ours")
    whole = LeafRecipe(NAMES, authority).decide(None).data
    decision = LeafRecipe(NAMES, authority).decide(ours("x-client-tls", {"tls.crt": whole["tls.crt"], "tls.key": b""}))
    assert (decision.outcome, decision.remark) == ("completed", "tls.key was missing")


def _mixed() -> dict[str, bytes]:
    one, other = Authority.make("One").pair, Authority.make("Other").pair
    return {"tls.crt": one.certificate.encode(), "tls.key": other.key.encode()}


def _only(key: str, value: bytes) -> dict[str, bytes]:
    pair = Authority.make("One").pair
    return {"tls.crt": pair.certificate.encode(), "tls.key": pair.key.encode()} | {key: value}


@pytest.mark.parametrize(
    ("recipe", "data", "sentence"),
    [
        (master_key(), {"master-key": b"abcd"}, "master-key of the Secret x must be 64 hex digits; put the right value"),
        (master_key(), {"master-key": b"\xff\xfe"}, "master-key of the Secret x is no text"),
        (password(), {"password": b" \n"}, "password of the Secret x is empty"),
        (password(), {"password": b"one\ntwo"}, "password of the Secret x must be one line"),
        (AuthorityRecipe("T"), _mixed(), "tls.key of the Secret x is not the key of its tls.crt; delete it, and another"),
        (AuthorityRecipe("T"), _only("tls.crt", b"nonsense"), "tls.crt of the Secret x is no certificate"),
        (AuthorityRecipe("T"), _only("tls.key", b"nonsense"), "tls.key of the Secret x is no key"),
        (AuthorityRecipe("T"), _only("tls.key", b""), "the Secret x has no tls.key; delete it, and another authority"),
        (LeafRecipe(NAMES, Authority.make("A")), _mixed(), "tls.key of the Secret x is not the key of its tls.crt"),
    ],
)
def test_values_that_cannot_be_right_are_refused_and_not_shown(recipe: Any, data: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(SecretRefused) as raised:
        recipe.decide(ours("x", data))
    assert str(raised.value).startswith(sentence)
    shown = str(raised.value).encode()
    assert not any(line in shown for value in data.values() for line in value.split(b"\n") if len(line) > 3)


def test_an_authority_near_its_end_is_told_of_and_one_that_has_ended_is_refused() -> None:
    made = ours("x", AuthorityRecipe("T", NOW).decide(None).data)
    soon = AuthorityRecipe("T", NOW + datetime.timedelta(days=CA_DAYS - 100)).decide(made)
    assert (soon.outcome, soon.remark) == ("kept", "the authority ends in 100 days")
    with pytest.raises(SecretRefused, match="has ended on"):
        AuthorityRecipe("T", NOW + datetime.timedelta(days=CA_DAYS + 1)).decide(made)


def test_a_certificate_of_a_server_is_no_authority() -> None:
    pair = Authority.make("Other").issue(["x.test"])
    with pytest.raises(SecretRefused, match="holds no authority of its own"):
        authority_of(Secret("x", {"tls.crt": pair.certificate.encode(), "tls.key": pair.key.encode()}))
