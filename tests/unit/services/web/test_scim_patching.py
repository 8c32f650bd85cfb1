"""PATCH of SCIM: what operations make of a resource, and what is refused."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.web.errors import HttpError
from services.web.scim.patching import patched
from services.web.scim.resources import ENTERPRISE, USER

ADA: dict[str, Any] = {
    "userName": "ada@example.test", "active": True, "name": {"givenName": "Ada", "familyName": "King"},
    "emails": [{"value": "ada@work.example", "type": "work"}, {"value": "ada@home.example", "type": "home"}],
    ENTERPRISE: {"department": "Analysis"},
}  # fmt: skip


WORK, HOME = ADA["emails"]


def op(kind: str, path: str | None = None, value: Any = None) -> dict[str, Any]:
    """One operation."""
    made = {"op": kind, "path": path, "value": value}
    return {name: item for name, item in made.items() if item is not None}


def after(*operations: dict[str, Any], of: dict[str, Any] = ADA) -> dict[str, Any]:
    """What some operations make."""
    return patched(of, {"Operations": list(operations)})


@pytest.mark.parametrize(
    ("operation", "changes"),
    [
        (op("replace", "userName", "x"), {"userName": "x"}),
        (op("Replace", "USERNAME", "x"), {"userName": "x"}),
        (op("replace", f"{USER}:userName", "x"), {"userName": "x"}),
        (op("add", "title", "Countess"), {"title": "Countess"}),
        (op("remove", "active"), {"active": None}),
        (op("remove", "title"), {}),
        (op("replace", "name.familyName", "L"), {"name": {"givenName": "Ada", "familyName": "L"}}),
        (op("replace", "name", {"familyName": "L"}), {"name": {"givenName": "Ada", "familyName": "L"}}),
        (op("remove", "name.familyName"), {"name": {"givenName": "Ada"}}),
        (op("replace", None, {"active": False, "title": "C"}), {"active": False, "title": "C"}),
        (op("add", None, {"name.familyName": "L"}), {"name": {"givenName": "Ada", "familyName": "L"}}),
        (op("add", f"{ENTERPRISE}:department", "Art"), {ENTERPRISE: {"department": "Art"}}),
        (op("add", None, {ENTERPRISE: {"organization": "A"}}), {ENTERPRISE: {**ADA[ENTERPRISE], "organization": "A"}}),
        (op("replace", ENTERPRISE, {"department": "Art"}), {ENTERPRISE: {"department": "Art"}}),
        (op("add", ENTERPRISE.upper(), {"organization": "A"}), {ENTERPRISE: {**ADA[ENTERPRISE], "organization": "A"}}),
        (op("add", None, {ENTERPRISE.lower(): {"department": "Art"}}), {ENTERPRISE: {"department": "Art"}}),
        (op("add", f"{ENTERPRISE.upper()}:department", "Art"), {ENTERPRISE: {"department": "Art"}}),
        (op("remove", ENTERPRISE), {ENTERPRISE: None}),
        (op("remove", ENTERPRISE.upper()), {ENTERPRISE: None}),
        (op("replace", 'emails[type eq "home"].value', "x@y"), {"emails": [WORK, {"value": "x@y", "type": "home"}]}),
        (op("replace", 'emails[type eq "home"]', {"value": "x@y"}), {"emails": [WORK, {"value": "x@y", "type": "home"}]}),
        (op("remove", 'emails[type eq "home"]'), {"emails": [WORK]}),
        (op("remove", 'emails[value pr].type'), {"emails": [{"value": "ada@work.example"}, {"value": "ada@home.example"}]}),
        (op("remove", "emails", [{"value": "ada@work.example"}]), {"emails": [HOME]}),
        (op("add", "emails", [WORK, {"value": "n@e"}]), {"emails": [*ADA["emails"], {"value": "n@e"}]}),
        (op("add", "emails", {"type": "work", "value": "ada@work.example"}), {}),
        (op("replace", "emails", [{"value": "n@e"}]), {"emails": [{"value": "n@e"}]}),
        (op("add", 'phoneNumbers[type eq "mobile"].value', "+1"), {"phoneNumbers": [{"type": "mobile", "value": "+1"}]}),
        (op("add", "members", {"value": "1"}), {"members": [{"value": "1"}]}),
    ],
)  # fmt: skip
def test_operations(operation: dict[str, Any], changes: dict[str, Any]) -> None:
    before = copy.deepcopy(ADA)
    expected = {name: value for name, value in {**ADA, **changes}.items() if value is not None}
    assert after(operation) == expected
    assert before == ADA  # what is given stays as it is


@pytest.mark.parametrize("path", [ENTERPRISE, None])
def test_an_extension_that_was_not_there_is_made(path: str | None) -> None:
    value = {"department": "Art"}
    without = {name: item for name, item in ADA.items() if name != ENTERPRISE}
    assert after(op("add", path, value if path else {ENTERPRISE: value}), of=without) == {**without, ENTERPRISE: value}


def test_operations_are_done_in_their_order() -> None:
    assert after(op("add", "title", "A"), op("replace", "title", "B"), op("remove", "active"))["title"] == "B"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (None, "invalidSyntax"), ([], "invalidSyntax"), ({}, "invalidSyntax"), ({"Operations": []}, "invalidSyntax"),
        ({"Operations": {}}, "invalidSyntax"), ({"Operations": ["x"]}, "invalidSyntax"),
        ({"Operations": [op("add", "title", "x")] * 1001}, "invalidSyntax"),
        ({"Operations": [op("move", "title", "x")]}, "invalidSyntax"),
        ({"Operations": [{"op": ["add"], "path": "title"}]}, "invalidSyntax"),
        ({"Operations": [op("remove")]}, "noTarget"),
        ({"Operations": [op("add", None, "x")]}, "invalidValue"),
        ({"Operations": [{"op": "add", "path": 7, "value": 1}]}, "invalidPath"),
        ({"Operations": [op("replace", ENTERPRISE, "x")]}, "invalidValue"),
        ({"Operations": [op("add", None, {ENTERPRISE: ["x"]})]}, "invalidValue"),
        ({"Operations": [op("add", "a b", 1)]}, "invalidPath"),
        ({"Operations": [op("add", "x" * 513, 1)]}, "invalidPath"),
        ({"Operations": [op("replace", "emails.value", "x")]}, "invalidPath"),
        ({"Operations": [op("replace", 'emails[type eq "x" or type eq "y"].value', "x")]}, "noTarget"),
        ({"Operations": [op("replace", 'emails[type gt "x"].value', "x")]}, "invalidFilter"),
        ({"Operations": [op("replace", 'emails[type eq "home"]', "x")]}, "invalidValue"),
    ],
)  # fmt: skip
def test_what_is_refused(body: Any, kind: str) -> None:
    before = copy.deepcopy(ADA)
    with pytest.raises(HttpError) as refused:
        patched(ADA, body)
    assert (refused.value.status, refused.value.kind) == (400, kind)
    assert before == ADA


def test_a_group_of_thousands_is_changed_soon() -> None:
    members = [{"value": str(number)} for number in range(20_000)]
    begun = time.process_time()
    twice = after(op("add", "members", members[10_000:]), op("add", "members", members), of={"members": members[:15_000]})
    assert twice["members"] == members
    assert after(op("remove", "members[value pr]"), of={"members": members})["members"] == []
    assert time.process_time() - begun < 5


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["value", "type", "name", ENTERPRISE]), inner, max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip
_paths = st.one_of(
    st.none(),
    st.sampled_from(
        ["userName", "name", "name.givenName", "emails", "emails.value", 'emails[type eq "home"]', 'emails[value pr].type',
         ENTERPRISE, f"{ENTERPRISE}:department", "urn:x:extension:y:z", "members", "a[b]", "title"]
    ),
    st.text(max_size=8),
)  # fmt: skip


@given(
    st.lists(
        st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "remove"]), "path": _paths, "value": _json}),
        max_size=4,
    )
)
def test_any_operations_are_done_or_refused(operations: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(ADA)
    told = (400, "done")
    try:
        patched(ADA, {"Operations": operations})
    except HttpError as error:
        told = error.status, error.kind
    assert told[0] == 400
    assert told[1]
    assert before == ADA
