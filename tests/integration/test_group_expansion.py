"""Groups and searches by SOAP: with a password by curl, with a web ticket, and what is refused."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from lxml import etree

from parley.addressbook.dlx import ExpansionResult, MembersRequest, MembersResponse
from parley.addressbook.entries import Kind
from parley.addressbook.queries import SearchRequest, SearchResponse
from parley.webticket.bearer import add_bearer
from parley.webticket.names import SOAP
from parley.webticket.soap import envelope
from parley.xml import to_bytes
from services.web.routes import CERTIFICATE_ENTRY, TICKETS
from tests.support.curl import Answer, Curl
from tests.support.parley_server import DOMAIN, ParleyServer
from tests.support.web_client import Refused, WebClient

pytestmark = pytest.mark.valkey

API = "/api/v1"
ALICE = ("--user", "alice:Secret-1")
BOB = ("--user", "bob:Secret-1")
SOAP_TYPE = ("--header", "Content-Type: text/xml; charset=utf-8")
INT = "/GroupExpansion/int/service.asmx"
TEAM = "team@example.test"
RETURNED = ("displayName", "msRTCSIP-PrimaryUserAddress", "telephoneNumber", "mail", "photoRelPath", "photoHash")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    limits = {"request_burst": 10_000, "user_request_burst": 10_000, "failures_per_source": 10_000}
    web = {"administrators": [f"alice@{DOMAIN}"], "limits": limits, "expansion": {"largest_group": 3}}
    running = ParleyServer(tmp_path_factory.mktemp("parley"), config={"web": web})
    try:
        asyncio.run(running.start())
        asyncio.run(fill(Curl(running.web_url, running.ca_file)))
        yield running
    finally:
        asyncio.run(running.stop())


async def made(curl: Curl, **fields: Any) -> str:
    answer = await curl(f"{API}/directory/entries", *ALICE, body=fields)
    assert answer.status == 201, answer.body
    id: str = answer.json["id"]
    return id


async def fill(curl: Curl) -> None:
    number = {"kind": "work", "raw": "+44 20 7946 0001"}
    ada = await made(
        curl, kind="contact", display_name="Ada Lovelace", given_name="Ada", surname="Lovelace", mail="ada@other.example",
        address="ada@other.example", company="Engines & Sons", numbers=[number],
    )  # fmt: skip
    found = await curl(f"{API}/directory/search?q=bob", *ALICE)
    bob = found.json["entries"][0]["id"]
    sub = await made(curl, kind="group", display_name="Sub", mail="sub@example.test", members=[bob])
    await made(curl, kind="group", display_name="Team", mail=TEAM, members=[ada, bob, sub])
    await made(
        curl, kind="group", display_name="Secret", mail="secret@example.test", members=[ada], members_hidden=True
    )  # fmt: skip
    many = [await made(curl, kind="contact", display_name=f"Many {number}") for number in range(4)]
    await made(curl, kind="group", display_name="Many", mail="many@example.test", members=many)


@pytest.fixture
def curl(server: ParleyServer) -> Curl:
    return Curl(server.web_url, server.ca_file)


async def post(curl: Curl, body: bytes, *options: str, path: str = INT, who: tuple[str, ...] = BOB) -> Answer:
    return await curl(path, *who, *SOAP_TYPE, *options, method="POST", body=body)


async def members(curl: Curl, mail: str) -> MembersResponse:
    answer = await post(curl, MembersRequest(mail).to_bytes())
    assert (answer.status, answer.headers["content-type"]) == (200, ["text/xml; charset=utf-8"])
    return MembersResponse.from_bytes(answer.body)


async def search(curl: Curl, wanted: SearchRequest) -> list[dict[str, tuple[str, ...]]]:
    answer = await post(curl, bytes(wanted))
    assert answer.status == 200, answer.body
    return [dict(entry.attributes) for entry in SearchResponse.from_bytes(answer.body).entries]


async def test_a_group_has_its_direct_members(curl: Curl) -> None:
    found = await members(curl, TEAM)
    assert found.result is ExpansionResult.OK
    assert [(member.kind, member.display_name, member.mail, member.address) for member in found.members] == [
        (Kind.CONTACT, "Ada Lovelace", "ada@other.example", "sip:ada@other.example"),
        (Kind.USER, "Bob", "", f"sip:bob@{DOMAIN}"),
        (Kind.GROUP, "Sub", "sub@example.test", ""),  # which is another question
    ]
    nested = await members(curl, "mailto:SUB@example.test")
    assert [member.display_name for member in nested.members] == ["Bob"]


@pytest.mark.parametrize(
    ("mail", "result"),
    [
        ("nobody@example.test", ExpansionResult.NOT_FOUND),
        (f"bob@{DOMAIN}", ExpansionResult.NOT_FOUND),
        ("secret@example.test", ExpansionResult.NOT_ALLOWED),
        ("many@example.test", ExpansionResult.TOO_LARGE),
    ],
)
async def test_groups_that_are_not_shown(curl: Curl, mail: str, result: ExpansionResult) -> None:
    assert await members(curl, mail) == MembersResponse(result)


@pytest.mark.parametrize("path", ["/groupexpansion/INT/Service.asmx", "/GroupExpansion/ext/service.asmx",
                                  "/GroupExpansion/service.svc"])  # fmt: skip
@pytest.mark.parametrize("scheme", ["--basic", "--ntlm"])
async def test_every_url_takes_both_operations(curl: Curl, path: str, scheme: str) -> None:
    group = await post(curl, MembersRequest(TEAM).to_bytes(), scheme, path=path)
    assert len(MembersResponse.from_bytes(group.body).members) == 3
    found = await post(curl, bytes(SearchRequest((("givenName", "ada"),))), scheme, path=path)
    assert len(SearchResponse.from_bytes(found.body).entries) == 1


async def test_all_of_a_change_search_have_to_hold(curl: Curl) -> None:
    wanted = SearchRequest((("givenName", "ADA"), ("sn", "lovel")), returned=RETURNED)
    assert await search(curl, wanted) == [
        {
            "displayName": ("Ada Lovelace",), "msRTCSIP-PrimaryUserAddress": ("sip:ada@other.example",),
            "telephoneNumber": ("+44 20 7946 0001", "tel:+442079460001"), "mail": ("ada@other.example",),
        }
    ]  # fmt: skip
    assert await search(curl, SearchRequest((("givenName", "ada"), ("sn", "byron")))) == []
    assert await search(curl, SearchRequest((("msRTCSIP-PrimaryUserAddress", f"sip:bob@{DOMAIN}"),), most=1)) != []
    assert await search(curl, SearchRequest((("company", "engines & s"),))) != []
    assert await search(curl, SearchRequest((("noSuchAttribute", "x"),))) == []


async def test_any_of_a_basic_search_may_hold(curl: Curl) -> None:
    names = ("c", "company", "displayName", "givenName", "mail", "mailNickname", "msRTCSIP-PrimaryUserAddress", "sn")
    found = await search(curl, SearchRequest(any_of=names, value="lovel", returned=("displayName",)))
    assert found == [{"displayName": ("Ada Lovelace",)}]
    most = await search(curl, SearchRequest(any_of=names, value="many", most=2))
    assert len(most) == 2
    assert await search(curl, SearchRequest(any_of=names, value="*")) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", b"not well-formed"),
        (b"<a/>", b"not a SOAP envelope"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"document type"),
        (MembersRequest(TEAM).to_bytes().replace(b"QueryDLMembers", b"QueryAbContacts"), b"one QueryDLMembers or Search"),
        (MembersRequest(TEAM).to_bytes().replace(TEAM.encode(), b"the team"), b"no mail address"),
        (bytes(SearchRequest(any_of=("sn",), value="x")).replace(b"BeginsWith", b"Contains"), b"verb"),
        (b"<" + b"a" * 70_000, b"too large"),
        (b"<a>" * 40 + b"</a>" * 40, b"nested too deeply"),
    ],
)
async def test_what_is_no_request_gets_a_fault(curl: Curl, body: bytes, problem: bytes) -> None:
    answer = await post(curl, body)
    assert answer.status in (400, 413)
    assert answer.headers["content-type"] == ["text/xml"]
    assert b"faultstring" in answer.body
    assert problem in answer.body


async def test_only_for_who_has_signed_in_and_only_xml(curl: Curl) -> None:
    answer = await post(curl, MembersRequest(TEAM).to_bytes(), who=())
    assert answer.status == 401
    assert answer.headers["www-authenticate"][0] == "NTLM"
    json = ("--header", "Content-Type: application/json")
    assert (await curl(INT, *BOB, *json, method="POST", body=MembersRequest(TEAM).to_bytes())).status == 415
    assert (await curl(INT, *BOB)).status == 404
    assert (await curl(INT, *BOB, method="PUT", body=b"x")).status == 405


async def test_descriptions_are_for_everybody(server: ParleyServer, curl: Curl) -> None:
    described = etree.fromstring((await curl(f"{INT}?WSDL")).body)
    (location,) = (element.get("location") for element in described.iter("{*}address"))
    assert location == server.web_url + INT
    metadata = etree.fromstring((await curl(f"{INT.lower()}/mex")).body)
    (port,) = metadata.iter("{*}port")
    (policy,) = metadata.findall("{*}Policy")
    assert [*policy.attrib.values()] == [f"{port.get('name')}_policy"] == ["AddressBookWebTicketBearer_policy"]
    (issuer,) = (element.text for element in metadata.iter("{http://www.w3.org/2005/08/addressing}Address"))
    assert issuer == server.web_url + TICKETS
    (location,) = (element.get("location") for element in metadata.iter("{*}address"))
    assert location == f"{server.web_url}{INT}/WebTicket_Bearer"


def with_ticket(assertion: etree._Element, wanted: SearchRequest, *, now: float) -> bytes:
    root, body = envelope({})
    header = etree.Element(f"{{{SOAP}}}Header")
    root.insert(0, header)
    add_bearer(header, assertion, created_at=now, expires_at=now + 60)
    wanted.add_to(body)
    return to_bytes(root)


async def test_a_web_ticket_opens_searches_and_pictures(server: ParleyServer, curl: Curl) -> None:
    path = f"{INT}/WebTicket_Bearer"
    wanted, now = SearchRequest((("sn", "Lovelace"),)), time.time()
    async with WebClient(server.web_url, server.ca_file, "bob") as bob:
        assertion, _ = await bob.ticket(applies_to=server.web_url + path)
        again = etree.fromstring(etree.tostring(assertion))
        found = SearchResponse.from_bytes(await bob.send("POST", path, with_ticket(assertion, wanted, now=now)))
        assert len(found.entries) == 1
        with pytest.raises(Refused, match=r"403: .*not of now"):
            await bob.send("POST", path, with_ticket(again, wanted, now=now - 1_000))
        other, _ = await bob.ticket(applies_to=server.web_url + CERTIFICATE_ENTRY)
        with pytest.raises(Refused, match=r"403: .*for another service"):
            await bob.send("POST", path, with_ticket(other, wanted, now=now))
        with pytest.raises(Refused, match=r"403: .*no header"):
            await bob.send("POST", path, bytes(wanted))
        forged = etree.fromstring(etree.tostring(again))
        (ticket,) = forged.iter("{*}Ticket")
        ticket.text = (ticket.text or "")[:-8] + "AAAAAAA="
        with pytest.raises(Refused, match=r"403: .*none of ours"):
            await bob.send("POST", path, with_ticket(forged, wanted, now=now))
    # The same opens the picture, in a header of HTTP.
    shown = b64encode(etree.tostring(again)).decode()
    answer = await curl(
        "/ABS/int/Handler/photos/00000000-0000-0000-0000-000000000000.jpg", "--header", f"X-MS-WebTicket: opaque={shown}"
    )
    assert answer.status == 404  # not 401


async def test_a_ticket_ends_with_the_password(server: ParleyServer) -> None:
    await server.create_users(["erin"])
    path, wanted = f"{INT}/WebTicket_Bearer", SearchRequest((("sn", "Lovelace"),))
    async with WebClient(server.web_url, server.ca_file, "erin") as erin:
        assertion, _ = await erin.ticket(applies_to=server.web_url + path)
        done = await server.parley("user", "disable", f"erin@{DOMAIN}")
        assert done.returncode == 0, done.stderr
        with pytest.raises(Refused, match=r"403: .*not good any more"):
            await erin.send("POST", path, with_ticket(assertion, wanted, now=time.time()))
