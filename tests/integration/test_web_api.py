"""The REST interface of a real Parley: what administrators and people may do, what is refused, and its OpenAPI document."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.curl import Answer, Curl
from tests.support.parley_server import DOMAIN, ParleyServer
from tests.support.sip_client import SipClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

API = "/api/v1"
ALICE = ("--user", "alice:Secret-1")
BOB = ("--user", "bob:Secret-1")
NONE = "5f0e7c1a-0000-4000-8000-00000000cafe"
"""An id that nothing has."""
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
TOKEN = "0123456789abcdef0123456789abcdef"
SCIM = ("--header", f"Authorization: Bearer {TOKEN}", "--header", "Content-Type: application/scim+json")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    many = 1_000_000
    config = {
        "administrators": [f"alice@{DOMAIN}"], "scim": {"token": TOKEN},
        "limits": {
            "failures_per_source": many, "failures_per_user": many, "request_burst": many, "user_request_burst": many,
            "body_bytes": 32_768, "picture_bytes": 8_192,
        },
    }  # fmt: skip
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config={"web": config})
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


@pytest.fixture
def curl(server: ParleyServer) -> Curl:
    return Curl(server.web_url, server.ca_file)


async def make_entry(curl: Curl, **fields: Any) -> dict[str, Any]:
    answer = await curl(f"{API}/directory/entries", *ALICE, body={"kind": "contact", **fields})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json
    return made


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == ["application/problem+json"]
    assert answer.json["status"] == answer.status
    assert answer.json["request_id"] == answer.headers["x-request-id"][0]
    return answer.status, answer.json["detail"]


async def test_users_from_beginning_to_end(curl: Curl) -> None:
    path = f"{API}/users/frank@{DOMAIN}"
    new = {"address": f"frank@{DOMAIN}", "display_name": "Frank", "login_names": ["EXAMPLE\\frank"], "password": "Secret-22"}
    made = await curl(f"{API}/users", *ALICE, body=new)
    assert (made.status, made.headers["location"]) == (201, [path])
    assert problem(await curl(f"{API}/users", *ALICE, body=new))[0] == 409
    frank = ("--user", "EXAMPLE\\frank:Secret-22")
    assert (await curl(path, *frank)).json["display_name"] == "Frank"
    changed = await curl(path, *ALICE, method="PATCH", body={"display_name": "Frank F.", "login_names": []})
    assert (changed.json["display_name"], changed.json["login_names"]) == ("Frank F.", [])
    assert (await curl(path, *frank)).status == 401
    set_again = await curl(f"{path}/password", *ALICE, method="PUT", body={"password": "Other-333"})
    assert set_again.status == 204
    assert (await curl(path, "--user", "frank:Other-333")).status == 200
    (tag,) = (await curl(path, *ALICE)).headers["etag"]
    stale = ("--header", 'If-Match: "1"')
    for method, body in (("PATCH", {"enabled": False}), ("DELETE", None)):
        assert problem(await curl(path, *ALICE, *stale, method=method, body=body))[0] == 412
    match = ("--header", f'If-Match: "1", {tag}')
    assert (await curl(path, *ALICE, *match, method="PATCH", body={"enabled": False})).json["enabled"] is False
    assert (await curl(path, "--user", "frank:Other-333")).status == 401
    found = await curl(f"{API}/directory/search?q=frank", *ALICE)
    assert found.json["entries"] == []  # who is disabled is not shown
    (tag,) = (await curl(path, *ALICE)).headers["etag"]
    assert (await curl(path, *ALICE, "--header", f"If-Match: {tag}", method="DELETE")).status == 204
    assert problem(await curl(path, *ALICE))[0] == 404


async def test_users_page_by_page(curl: Curl) -> None:
    seen: list[str] = []
    token = ""
    while True:
        page = (await curl(f"{API}/users?page_size=1&page_token={token}", *ALICE)).json
        seen += [user["address"] for user in page["users"]]
        token = page["next_page_token"]
        if not token:
            break
    assert {f"{name}@{DOMAIN}" for name in ("alice", "bob", "carol")} <= set(seen)
    assert len(seen) == len(set(seen))


async def test_people_read_themselves_and_change_nothing(curl: Curl) -> None:
    assert (await curl(f"{API}/users/bob@{DOMAIN}", *BOB)).json["address"] == f"bob@{DOMAIN}"
    assert (await curl(f"{API}/users/BOB@{DOMAIN}/presence", *BOB)).json["state"] == "offline"
    for method, path, body in (
        ("GET", f"/users/alice@{DOMAIN}", None), ("GET", f"/users/alice@{DOMAIN}/presence", None), ("GET", "/users", None),
        ("GET", "/calls", None), ("GET", "/registrations", None), ("GET", "/directory/entries", None),
        ("GET", "/directory/sync", None), ("POST", "/users", {"address": "x@example.test", "password": "Secret-22"}),
        ("PATCH", f"/users/bob@{DOMAIN}", {"display_name": "King"}), ("DELETE", f"/users/carol@{DOMAIN}", None),
    ):  # fmt: skip
        assert problem(await curl(API + path, *BOB, method=method, body=body))[0] == 403, path
        assert (await curl(API + path, method=method, body=body)).status == 401, path
    assert (await curl(f"{API}/users/bob@{DOMAIN}", *ALICE)).json["display_name"] == "Bob"


async def test_nobody_locks_themselves_out(curl: Curl) -> None:
    path = f"{API}/users/alice@{DOMAIN}"
    assert (await curl(path, *ALICE, method="DELETE")).status == 409
    assert (await curl(path, *ALICE, method="PATCH", body={"enabled": False})).status == 409


async def test_entries_change_by_version(curl: Curl) -> None:
    made = await make_entry(curl, display_name="Ada Lovelace", mail="ada@other.example", title="Countess")
    path = f"{API}/directory/entries/{made['id']}"
    got = await curl(path, *BOB)
    assert got.headers["etag"] == ['"1"']
    assert (await curl(path, *BOB, "--header", 'If-None-Match: "1"')).status == 304
    wanted = {"kind": "contact", "display_name": "Ada Lovelace", "mail": "ada@other.example", "title": "Analyst"}
    match = ("--header", 'If-Match: "1"')
    changed = await curl(path, *ALICE, *match, method="PUT", body=wanted)
    assert (changed.status, changed.json["title"], changed.headers["etag"]) == (200, "Analyst", ['"2"'])
    assert problem(await curl(path, *ALICE, *match, method="PUT", body=wanted))[0] == 412
    assert problem(await curl(path, *ALICE, *match, method="DELETE"))[0] == 412
    twin = {"kind": "contact", "display_name": "Another", "mail": "ADA@other.example"}
    assert problem(await curl(f"{API}/directory/entries", *ALICE, body=twin))[0] == 409
    found = await curl(f"{API}/directory/search?q=lovel", *BOB)
    assert [entry["id"] for entry in found.json["entries"]] == [made["id"]]
    assert problem(await curl(path, *ALICE, "--header", "If-Match: 2", method="DELETE"))[0] == 412
    assert (await curl(path, *ALICE, "--header", 'If-Match: "1", "2"', method="DELETE")).status == 204
    assert (await curl(path, *ALICE)).status == 404


async def test_what_is_hidden_is_for_administrators(curl: Curl) -> None:
    made = await make_entry(curl, display_name="Hidden Figure", hidden=True)
    path = f"{API}/directory/entries/{made['id']}"
    assert (await curl(path, *BOB)).status == 404
    assert (await curl(path, *ALICE)).status == 200


async def test_groups_and_their_members(curl: Curl) -> None:
    people = [await make_entry(curl, display_name=name) for name in ("Nora", "Olaf")]
    inner = await make_entry(curl, kind="group", display_name="Inner", members=[people[1]["id"]])
    ids = [people[0]["id"], inner["id"]]
    outer = await make_entry(curl, kind="group", display_name="Outer", members=ids)
    path = f"{API}/directory/groups/{outer['id']}/members"
    assert [entry["display_name"] for entry in (await curl(path, *BOB)).json["members"]] == ["Inner", "Nora"]
    assert [entry["display_name"] for entry in (await curl(f"{path}?nested=true", *BOB)).json["members"]] == ["Nora", "Olaf"]
    assert problem(await curl(f"{path}?nested=true&limit=1", *BOB))[0] == 409
    secret = await make_entry(curl, kind="group", display_name="Secret", members=[people[0]["id"]], members_hidden=True)
    assert (await curl(f"{API}/directory/entries/{secret['id']}", *BOB)).json["members"] == []
    assert (await curl(f"{API}/directory/groups/{secret['id']}/members", *BOB)).status == 403
    assert len((await curl(f"{API}/directory/groups/{secret['id']}/members", *ALICE)).json["members"]) == 1


async def test_a_group_of_thousands(curl: Curl) -> None:
    person = await make_entry(curl, display_name="Many")
    fields = {"kind": "group", "display_name": "Thousands", "members": [person["id"]] * 20_000}
    made = await curl(f"{API}/directory/entries", *ALICE, body=fields)  # much more than limits.body_bytes
    assert made.status == 201, made.body
    path = f"{API}/directory/entries/{made.json['id']}"
    assert (await curl(path, *ALICE, method="PUT", body=fields)).status == 200


async def test_pictures(curl: Curl) -> None:
    (bob,) = (await curl(f"{API}/directory/search?q=bob", *BOB)).json["entries"]
    path = f"{API}/directory/entries/{bob['id']}/photo"
    kind = ("--header", "Content-Type: image/png")
    assert (await curl(path, *BOB, *kind, method="PUT", body=PNG)).json["photo_size"] == len(PNG)
    got = await curl(path, *BOB)
    assert (got.body, got.headers["content-type"], got.headers["content-length"]) == (PNG, ["image/png"], [str(len(PNG))])
    assert (await curl(path, *BOB, "--header", f"If-None-Match: {got.headers['etag'][0]}")).status == 304
    for options, body, status in (
        (("--header", "Content-Type: image/jpeg"), PNG, 422), (("--header", "Content-Type: image/svg+xml"), b"<svg/>", 415),
        (kind, PNG + bytes(9_000), 413), (kind, b"", 422),
    ):  # fmt: skip
        assert problem(await curl(path, *BOB, *options, method="PUT", body=body))[0] == status
    assert problem(await curl(path, *BOB, "--header", "Content-Length: 0", method="PUT"))[0] == 422
    assert (await curl(path, *BOB)).body == PNG
    others = ("--user", "carol:Secret-1")
    assert problem(await curl(path, *others, *kind, method="PUT", body=PNG))[0] == 403
    assert (await curl(path, *BOB, method="DELETE")).status == 204
    assert (await curl(path, *BOB)).status == 404


async def test_who_has_signed_in_and_calls(server: ParleyServer, curl: Curl) -> None:
    phone = await SipClient("carol", transport="tcp").connect(server.ports["tcp"])
    try:
        assert (await phone.register()).status == 200
        said = (await curl(f"{API}/registrations?address=carol@{DOMAIN}", *ALICE)).json["registrations"]
        assert [(item["address"], item["transport"], item["reachable"]) for item in said] == [
            (f"carol@{DOMAIN}", "TCP", True)
        ]

        async def is_seen() -> bool:
            return bool((await curl(f"{API}/users/carol@{DOMAIN}/presence", *ALICE)).json["state"] == "available")

        await eventually(is_seen)
        calls = (await curl(f"{API}/calls", *ALICE)).json
        assert (calls["calls"], calls["front_ends"], calls["silent_front_ends"]) == ([], 1, 0)
    finally:
        phone.close()


@pytest.mark.parametrize(
    ("method", "path", "options", "body", "status"),
    [
        ("DELETE", "/users", (), None, 405), ("TRACE", "/me", (), None, 405), ("GET", "/nothing", (), None, 404),
        ("POST", "/users", ("--header", "Content-Type: text/xml"), b"<a/>", 415),
        ("POST", "/users", (), b"{", 400), ("POST", "/users", (), b"\xff\xfe", 400), ("POST", "/users", (), [], 422),
        ("POST", "/users", (), b'{"address": "a@example.test", "password": "\\ud800"}', 400),
        ("POST", "/users", (), {"address": "x@elsewhere.test", "password": "Secret-22"}, 422),
        ("POST", "/users", (), {"address": "x@example.test", "password": "Secret-22", "admin": True}, 422),
        ("POST", "/users", (), {"address": "x@example.test", "password": "x" * 40_000}, 413),
        ("POST", "/directory/entries", (), {"kind": "robot"}, 422),
        ("POST", "/directory/entries", (), {"kind": "contact", "members": [NONE]}, 422),
        ("POST", "/directory/entries", (), {"kind": "group", "display_name": "x", "members": ["../.."]}, 422),
        ("GET", "/users/%2e%2e%2f%2e%2e%2fetc%2fpasswd", (), None, 404), ("GET", "/users/../../etc/passwd", (), None, 404),
        ("GET", "/directory/entries/..%2f..%2fphoto", (), None, 404), ("GET", "/directory/entries/%00", (), None, 404),
        ("GET", "/users?page_size=0", (), None, 400), ("GET", "/users?page_size=1&page_size=2", (), None, 400),
        ("GET", "/users?unknown=1", (), None, 400), ("GET", "/directory/search?q=", (), None, 400),
        ("GET", "/directory/entries?page_token=../x", (), None, 400),
        ("DELETE", f"/directory/entries/{NONE}", ("--header", 'If-Match: "abc"'), None, 404),
    ],
)  # fmt: skip
async def test_what_is_refused(curl: Curl, method: str, path: str, options: tuple[str, ...], body: Any, status: int) -> None:
    before = (await curl(f"{API}/users?page_size=1000", *ALICE)).json
    answer = await curl(API + path, *ALICE, *options, method=method, body=body)
    assert problem(answer)[0] == status, answer.body
    assert (await curl(f"{API}/users?page_size=1000", *ALICE)).json == before


@pytest.mark.parametrize("text", ["*)(uid=*", "*", "(|(cn=*))", "\\2a", "a\tb", "' OR 1=1 --", "{}[]", "%00"])
async def test_characters_of_filters_are_only_text(curl: Curl, text: str) -> None:
    found = await curl(f"{API}/directory/search", *BOB, "--get", "--data-urlencode", f"q={text}", method="GET")
    assert found.status in (200, 400)
    # Other tests make users with odd names, who may be found; a filter that took effect would find everybody.
    assert found.status == 400 or f"alice@{DOMAIN}" not in {entry["address"] for entry in found.json["entries"]}


async def test_entities_are_not_taken(curl: Curl) -> None:
    xml = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    options = ("--header", "Content-Type: text/xml")
    answer = await curl("/WebTicket/WebTicketService.svc/Auth", *ALICE, *options, body=xml)
    assert answer.status == 400
    assert b"a document type is not taken" in answer.body
    assert b"root:" not in answer.body


# SCIM

USERS = "/scim/v2/Users"
GROUPS = "/scim/v2/Groups"


async def make_scim_user(curl: Curl, user: str, **fields: Any) -> dict[str, Any]:
    answer = await curl(USERS, *SCIM, body={"userName": f"{user}@{DOMAIN}", **fields})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json
    return made


async def test_scim_provisions_a_user_who_signs_in(curl: Curl) -> None:
    made = await make_scim_user(
        curl, "gina", externalId="ext-1", name={"givenName": "Gina", "familyName": "Green"}, password="Secret-22",
        emails=[{"value": "home@x.example", "type": "home"}, {"value": "gina@x.example", "primary": True}],
        phoneNumbers=[{"value": "+49 30 1234", "type": "work"}],
    )  # fmt: skip
    path = f"{USERS}/{made['id']}"
    assert (made["displayName"], made["emails"][0]["value"], made["externalId"]) == ("Gina Green", "gina@x.example", "ext-1")
    assert "password" not in made
    gina = ("--user", "gina:Secret-22")
    assert (await curl(f"{API}/me", *gina)).status == 200
    twin = await curl(USERS, *SCIM, body={"userName": f"GINA@{DOMAIN}"})
    assert (twin.status, twin.json["scimType"]) == (409, "uniqueness")
    patch = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [
        {"op": "replace", "path": "name.familyName", "value": "Gray"},
        {"op": "add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "+49 170 1"},
        {"op": "Replace", "value": {"active": "False", "title": "Director"}},
    ]}  # fmt: skip
    changed = await curl(path, *SCIM, method="PATCH", body=patch)
    assert (changed.status, changed.json["active"], changed.json["title"]) == (200, False, "Director")
    assert changed.json["name"]["familyName"] == "Gray"
    assert {number["type"] for number in changed.json["phoneNumbers"]} == {"work", "mobile"}
    assert (await curl(f"{API}/me", *gina)).status == 401
    stale = await curl(path, *SCIM, "--header", f"If-Match: {made['meta']['version']}", method="DELETE")
    assert stale.status == 412
    assert (await curl(path, *SCIM, method="DELETE")).status == 204
    assert (await curl(path, *SCIM)).status == 404


async def test_scim_sets_no_password_of_an_administrator(curl: Curl) -> None:
    listed = await curl(f"{USERS}?count=200", *SCIM)
    (alice,) = [user for user in listed.json["Resources"] if user["userName"] == f"alice@{DOMAIN}"]
    path = f"{USERS}/{alice['id']}"
    for method, body in (
        ("PATCH", {"Operations": [{"op": "replace", "path": "password", "value": "Stolen-22"}]}),
        ("PATCH", {"Operations": [{"op": "replace", "value": {"password": "Stolen-22", "userName": f"%61lice@{DOMAIN}"}}]}),
        ("PUT", {**alice, "userName": f"SIP:Alice@{DOMAIN.upper()}", "password": "Stolen-22"}),
    ):  # fmt: skip
        refused = await curl(path, *SCIM, method=method, body=body)
        assert refused.status == 403, refused.body
        assert (await curl(f"{API}/me", "--user", "alice:Stolen-22")).status == 401
    assert (await curl(f"{API}/me", *ALICE)).status == 200
    other = await make_scim_user(curl, "mallory", password="Secret-22")
    rename = {"Operations": [{"op": "replace", "value": {"userName": f"alice@{DOMAIN}", "password": "Stolen-22"}}]}
    assert (await curl(f"{USERS}/{other['id']}", *SCIM, method="PATCH", body=rename)).status == 403
    changed = await curl(path, *SCIM, method="PATCH", body={"Operations": [{"op": "add", "path": "title", "value": "CTO"}]})
    assert (changed.status, changed.json["title"]) == (200, "CTO")


async def test_scim_sets_no_password_by_a_login_name(curl: Curl) -> None:
    login = "alice@corp.local"  # of a domain that is not served
    path = f"{API}/users/alice@{DOMAIN}"
    before = (await curl(path, *ALICE)).json["login_names"]
    assert (await curl(path, *ALICE, method="PATCH", body={"login_names": [*before, login]})).status == 200
    try:
        for user in ("alice@corp.local", "Alice@Corp.Local"):
            refused = await curl(USERS, *SCIM, body={"userName": user, "password": "Stolen-22"})
            assert (refused.status, refused.json["scimType"]) == (400, "invalidValue")
            assert (await curl(f"{API}/me", "--user", "alice:Stolen-22")).status == 401
        assert (await curl(f"{API}/me", "--user", f"{login}:Secret-1")).status == 200
        found = await curl(USERS, *SCIM, "--get", "--data-urlencode", f'filter=userName eq "{login}"', method="GET")
        assert found.json["totalResults"] == 0
    finally:
        await curl(path, *ALICE, method="PATCH", body={"login_names": before})


async def test_scim_leaves_nothing_of_a_user_whose_password_is_refused(curl: Curl) -> None:
    body = {"userName": f"weak@{DOMAIN}", "password": "short"}
    refused = await curl(USERS, *SCIM, body=body)
    assert (refused.status, refused.json["scimType"]) == (400, "invalidValue")
    found = await curl(USERS, *SCIM, "--get", "--data-urlencode", f'filter=userName eq "weak@{DOMAIN}"', method="GET")
    assert found.json["totalResults"] == 0
    await make_scim_user(curl, "weak", password="Secret-22")


async def test_scim_filters_and_pages(curl: Curl) -> None:
    for number in range(3):
        await make_scim_user(curl, f"page{number}", title="Pager", name={"familyName": f"P{number}"})

    async def found(text: str, more: str = "") -> Answer:
        return await curl(USERS + more, *SCIM, "--get", "--data-urlencode", f"filter={text}", method="GET")

    for text, count in (
        ('title eq "pager"', 3), ('userName eq "PAGE1@example.test"', 1), ('userName sw "page"', 3),
        ('title eq "Pager" and not (userName co "page2")', 2), ('name.familyName eq "P0" or name.familyName eq "P1"', 2),
        ('title pr and emails pr', 0), ('title eq "Pager" and active eq true', 3), ('nothing eq "x"', 0),
    ):  # fmt: skip
        assert (await found(text)).json["totalResults"] == count, text
    page = (await found('title eq "Pager"', "?startIndex=2&count=1&attributes=userName")).json
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (3, 2, 1)
    assert set(page["Resources"][0]) == {"schemas", "id", "meta", "userName"}
    pages = [(await found('title eq "Pager"', f"?startIndex={start}&count=2")).json["Resources"] for start in (1, 3, 5)]
    assert [len(resources) for resources in pages] == [2, 1, 0]
    assert {user["userName"] for resources in pages for user in resources} == {f"page{n}@{DOMAIN}" for n in range(3)}
    assert (await found("", "?count=0")).json["Resources"] == []
    for wrong in (
        "userName",
        'userName gt "a"',
        'a eq "b',
        "((((((((((a pr))))))))))",
        'a eq "b" c',
        "not a pr",
        "x" * 2000,
    ):
        refused = await found(wrong)
        assert (refused.status, refused.json["scimType"]) == (400, "invalidFilter"), wrong


async def test_scim_groups(curl: Curl) -> None:
    first, second = [await make_scim_user(curl, f"member{number}") for number in range(2)]
    made = await curl(GROUPS, *SCIM, body={"displayName": "Crew", "members": [{"value": first["id"]}]})
    path = f"{GROUPS}/{made.json['id']}"
    for operation, ids in (
        ({"op": "add", "path": "members", "value": [{"value": second["id"]}]}, {first["id"], second["id"]}),
        ({"op": "remove", "path": f'members[value eq "{first["id"]}"]'}, {second["id"]}),
        ({"op": "remove", "path": "members"}, set()),
    ):  # fmt: skip
        changed = await curl(path, *SCIM, method="PATCH", body={"Operations": [operation]})
        assert {member["value"] for member in changed.json["members"]} == ids
    for wrong, kind in (
        ({"op": "move"}, "invalidSyntax"), ({"op": "remove"}, "noTarget"), ({"op": "add", "path": "a b"}, "invalidPath"),
        ({"op": "add", "path": "members", "value": [{"value": "../x"}]}, "invalidValue"),
    ):  # fmt: skip
        refused = await curl(path, *SCIM, method="PATCH", body={"Operations": [wrong]})
        assert (refused.status, refused.json["scimType"]) == (400, kind)


async def test_scim_says_what_it_can(curl: Curl) -> None:
    config = (await curl("/scim/v2/ServiceProviderConfig", *SCIM)).json
    assert (config["bulk"]["supported"], config["patch"]["supported"], config["etag"]["supported"]) == (False, True, True)
    assert (await curl("/scim/v2/Bulk", *SCIM, body={})).status == 501
    schemas = (await curl("/scim/v2/Schemas", *SCIM)).json
    for schema in schemas["Resources"]:
        assert (await curl(f"/scim/v2/Schemas/{schema['id']}", *SCIM)).json == schema
        assert (await curl(f"/SCIM/V2/Schemas/{schema['id'].upper()}", *SCIM)).json == schema
    assert (await curl("/SCIM/v2/Schemas", *SCIM)).json == schemas
    assert (await curl("/scim/v2/ResourceTypes/User", *SCIM)).json["endpoint"] == "/Users"
    assert (await curl("/scim/v2/Schemas/none", *SCIM)).status == 404
    assert (await curl(USERS, "--header", "Authorization: Bearer wrong")).status == 401


# The document


def test_the_interface_keeps_to_its_document(server: ParleyServer) -> None:
    """Requests made up from the document, good and bad: never a 5xx, and answers as it says."""
    trust = str(server.ca_file)
    schema = schemathesis.openapi.from_url(f"{server.web_url}{API}/openapi.json", verify=trust)
    checks = [
        not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
        response_headers_conformance,
    ]  # fmt: skip
    seen = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=6, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def holds(case: Case[Any]) -> None:
                case.call_and_validate(auth=("alice", "Secret-1"), verify=trust, timeout=20, checks=checks)

            try:
                holds()
            except Unsatisfiable:
                continue  # nothing can be wrong with what takes nothing
            seen += 1
    assert seen >= 40
