"""Relay credentials from a whole Parley, as Communicator and browsers get them, and what they are good for."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator

import pytest

from parley.mras.documents import (
    CONTENT_TYPE,
    CredentialsRequest,
    Envelope,
    Location,
    MrasRequest,
    parse_response,
    write_request,
)
from parley.stun.addresses import Address
from parley.stun.ms.client import Carriage
from parley.stun.probe import Probe
from parley.xml import child, parse_xml, text_of
from services.web.routes import ICE_SERVERS
from tests.support.messages import client, gone
from tests.support.ms_turn import MsEndpoint
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import ParleyServer
from tests.support.web_client import Refused, WebClient

pytestmark = pytest.mark.valkey

_GROUPS = (
    b'<provisioningGroupList xmlns="http://schemas.microsoft.com/2006/09/sip/provisioninggrouplist">'
    b'<provisioningGroup name="ServerConfiguration"/></provisioningGroupList>'
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    running = ParleyServer(tmp_path_factory.mktemp("parley"))
    try:
        asyncio.run(running.start())
        yield running
    finally:
        asyncio.run(running.stop())


async def mras_uri(alice: OcsClient) -> str:
    """Where the provisioning says that credentials are."""
    request = alice.ocs_request(
        "SUBSCRIBE", "sip:alice@example.test",
        headers=(
            ("Event", "vnd-microsoft-provisioning-v2"), ("Expires", "0"),
            ("Accept", "application/vnd-microsoft-roaming-provisioning-v2+xml"),
            ("Supported", "ms-piggyback-first-notify"), ("Contact", "<sip:alice@127.0.0.1>"),
            ("Content-Type", "application/vnd-microsoft-roaming-provisioning-v2+xml"),
        ),
        body=_GROUPS,
    )  # fmt: skip
    alice.send(bytes(alice.sign(request)))
    answer = await alice.response()
    assert answer.status == 200
    group = child(parse_xml(answer.body), "provisionGroup")
    assert group is not None
    assert text_of(child(group, "ucPC2PCAVEncryption")) == "SupportEncryption"
    return text_of(child(group, "mrasUri"))


async def test_communicator_finds_asks_and_allocates(server: ParleyServer) -> None:
    alice = await client(server.ports, "alice")
    uri = await mras_uri(alice)
    assert uri == "sip:MRASLoc.example.test@example.test;gruu;opaque=srvr:MRAS"
    wish = CredentialsRequest("1", "sip:alice@example.test", Location.INTRANET, 480)
    body = write_request(MrasRequest(Envelope("1", "sip:alice@example.test", uri), (wish,)))
    request = alice.ocs_request("SERVICE", uri, headers=(("Content-Type", CONTENT_TYPE),), body=body)
    alice.send(bytes(alice.sign(request)))
    answer = await alice.response()
    assert answer.status == 200
    assert alice.is_signed(answer)
    found = parse_response(answer.body)
    assert found.phrase == "OK"
    (given,) = found.credentials
    (relay,) = given.relays
    for port, carriage in ((relay.udp_port, Carriage.DATAGRAMS), (relay.tcp_port, Carriage.FRAMES)):
        async with MsEndpoint(Address(relay.host_name, port), given.username, given.password, carriage) as endpoint:
            await endpoint.allocate()
    await gone(alice)


async def test_nobody_asks_for_another_user(server: ParleyServer) -> None:
    alice = await client(server.ports, "alice")
    wish = CredentialsRequest("1", "sip:bob@example.test")
    uri = "sip:MRASLoc.example.test@example.test;gruu;opaque=srvr:MRAS"
    body = write_request(MrasRequest(Envelope("1", "sip:alice@example.test", uri), (wish,)))
    alice.send(bytes(alice.sign(alice.ocs_request("SERVICE", uri, headers=(("Content-Type", CONTENT_TYPE),), body=body))))
    answer = await alice.response()
    assert answer.status == 403
    assert parse_response(answer.body).phrase == "Forbidden"
    await gone(alice)


async def test_a_browser_gets_ice_servers_that_let_it_allocate(server: ParleyServer) -> None:
    async with WebClient(server.web_url, server.ca_file, "alice") as alice:
        basic = "Basic " + b64encode(b"alice:Secret-1").decode()
        answer = json.loads(await alice.send("POST", ICE_SERVERS, authorization=basic))
        stun, turn = answer["iceServers"]
        assert "username" not in stun
        assert turn["username"].endswith(":alice@example.test")
        url = next(url for url in turn["urls"] if url.endswith("transport=udp"))
        host, port = url.removeprefix("turn:").partition("?")[0].rsplit(":", 1)
        async with Probe.open(Address(host, int(port))) as probe:
            await probe.allocate(turn["username"], turn["credential"])
            await probe.release()


async def test_who_does_not_sign_in_or_asks_too_often_gets_none(server: ParleyServer) -> None:
    async with WebClient(server.web_url, server.ca_file, "bob") as bob:
        with pytest.raises(Refused) as refused:
            await bob.send("POST", ICE_SERVERS)
        assert refused.value.status == 401
        wrong, right = ("Basic " + b64encode(f"bob:{word}".encode()).decode() for word in ("wrong", "Secret-1"))
        with pytest.raises(Refused) as refused:
            await bob.send("POST", ICE_SERVERS, authorization=wrong)
        assert refused.value.status == 401
        for _ in range(10):
            await bob.send("POST", ICE_SERVERS, authorization=right)
        with pytest.raises(Refused) as refused:
            await bob.send("POST", ICE_SERVERS, authorization=right)
        assert refused.value.status == 429
