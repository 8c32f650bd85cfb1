"""Relay credentials over SIP and gRPC."""

from __future__ import annotations

import asyncio

import pytest

from parley.mras.credentials import MrasCredentials
from parley.mras.documents import (
    CONTENT_TYPE,
    CredentialsRequest,
    Envelope,
    Location,
    MediaRelay,
    MrasRequest,
    MrasResponse,
    parse_response,
    write_request,
)
from parley.mras.tokens import Tokens
from parley.platform.applications.host import Incoming
from parley.platform.clock import FakeClock
from parley.platform.rpc.errors import RpcError
from parley.proto.avedge.v1 import credentials_pb2 as pb
from parley.proto.sip.v1.application_pb2 import ApplicationRequest
from parley.sip.message import Request, Response, parse_message
from parley.stun.integrity import Algorithm, long_term_key
from parley.stun.turn.credentials import Account, TimeLimitedCredentials
from services.avedge.issuing import Issuer, Reach, mras_key
from services.avedge.mras import CredentialsSurface, MrasApplication

ALICE = "sip:alice@example.test"
URI = "sip:MRASLoc.example.test@example.test;gruu;opaque=srvr:MRAS"
REACH = Reach("relay.example.test", udp=3478, tcp=3478, tls=5349, dtls=5349, https=443)
MASTER = bytes(32)
SECRET = b"secret"
ENVELOPE = Envelope("1", ALICE, URI)


class Rig:
    def __init__(self, reach: Reach = REACH) -> None:
        self.clock = FakeClock()
        self.tokens = Tokens([mras_key(MASTER)])
        self.turn = TimeLimitedCredentials([SECRET])
        self.issuer = Issuer(self.tokens, self.turn, lambda: reach, self.clock, longest_s=36_000)
        self.application = MrasApplication(self.issuer, "example.test", self.clock)
        self.surface = CredentialsSurface(self.issuer, "example.test")

    def ask(self, body: bytes, *, user: str = ALICE, method: str = "SERVICE", content_type: str = CONTENT_TYPE) -> Response:
        headers = {
            "Via": "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "From": f"<{ALICE}>;tag=f", "To": f"<{URI}>", "Call-ID": "c",
            "CSeq": f"1 {method}", "Content-Type": content_type,
        }  # fmt: skip
        request = Request.create(method, URI, headers=list(headers.items()), body=body)
        sent: list[bytes] = []

        async def handle() -> None:
            item = ApplicationRequest(user_aor=user)
            await self.application.handle(
                Incoming(item, request, lambda event: sent.append(event.response.raw), lambda _: None)
            )

        asyncio.run(handle())
        (raw,) = sent
        response = parse_message(raw)
        assert isinstance(response, Response)
        return response

    def answer(self, *wishes: CredentialsRequest, user: str = ALICE) -> tuple[int, MrasResponse]:
        response = self.ask(write_request(MrasRequest(ENVELOPE, wishes)), user=user)
        assert response.get("Content-Type") == CONTENT_TYPE
        return response.status, parse_response(response.body)


def test_a_user_gets_credentials_that_the_relay_takes() -> None:
    rig = Rig()
    status, answer = rig.answer(CredentialsRequest("7", ALICE, Location.INTERNET, 480))
    assert (status, answer.phrase, answer.envelope) == (200, "OK", ENVELOPE)
    (given,) = answer.credentials
    assert (given.id, given.minutes, given.realm) == ("7", 480, "example.test")
    assert given.relays == (MediaRelay(Location.INTERNET, "relay.example.test", 3478, 443),)
    account = MrasCredentials(Tokens([mras_key(MASTER)]), grace_s=0).account_of(given.username, rig.clock.wall() + 479 * 60)
    assert account is not None
    assert (account.password, account.expired) == (given.password, False)
    later = MrasCredentials(Tokens([mras_key(MASTER)]), grace_s=0).account_of(given.username, rig.clock.wall() + 481 * 60)
    assert later is not None
    assert later.expired


def test_who_does_not_say_where_it_is_gets_the_relay_for_both_sides() -> None:
    _, answer = Rig(Reach("relay.example.test", udp=3478, tcp=3479)).answer(CredentialsRequest("7", ALICE))
    (given,) = answer.credentials
    assert [(relay.location, relay.tcp_port) for relay in given.relays] == [
        (Location.INTERNET, 3479),
        (Location.INTRANET, 3479),
    ]
    assert given.minutes == 480


def test_no_credentials_last_longer_than_allowed() -> None:
    _, answer = Rig().answer(CredentialsRequest("7", ALICE, None, 100_000))
    assert answer.credentials[0].minutes == 600


def test_a_user_asks_for_itself_alone_and_a_trusted_server_for_anybody() -> None:
    wish = CredentialsRequest("7", "sip:bob@example.test")
    status, answer = Rig().answer(wish)
    assert (status, answer.phrase, answer.credentials) == (403, "Forbidden", ())
    status, answer = Rig().answer(wish, user="")
    assert (status, answer.phrase) == (200, "OK")


def test_the_identity_may_be_written_otherwise() -> None:
    assert Rig().answer(CredentialsRequest("7", "sip:Alice@EXAMPLE.test:5061;transport=tls"))[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "phrase"),
    [
        (b"<request", 400, "Request Malformed"),
        (write_request(MrasRequest(Envelope(version="7"), (CredentialsRequest("7", ALICE),))), 400, "Version Mismatch"),
        (write_request(MrasRequest(ENVELOPE, (CredentialsRequest("7", "no uri"),))), 400, "Request Malformed"),
        (b"<request>" + b" " * 70_000 + b"</request>", 413, "Request Too Large"),
    ],
)
def test_what_is_refused(body: bytes, status: int, phrase: str) -> None:
    response = Rig().ask(body)
    assert response.status == status
    assert parse_response(response.body).phrase == phrase


def test_other_methods_and_bodies() -> None:
    assert Rig().ask(b"", method="OPTIONS").status == 405
    assert Rig().ask(b"x", content_type="text/plain").status == 415


def test_a_user_that_asks_too_often_is_told_to_wait() -> None:
    rig = Rig()
    statuses = [rig.answer(CredentialsRequest("7", ALICE))[0] for _ in range(21)]
    assert statuses == [200] * 20 + [503]
    rig.clock.advance(60)
    assert rig.answer(CredentialsRequest("7", ALICE))[0] == 200


def test_ice_servers() -> None:
    rig = Rig()
    answer = asyncio.run(rig.surface.IssueIceServers(pb.IssueIceServersRequest(user=ALICE, seconds=600), None))
    stun, turn = answer.ice_servers
    assert list(stun.urls) == ["stun:relay.example.test:3478"]
    assert list(turn.urls) == [
        "turn:relay.example.test:3478?transport=udp", "turn:relay.example.test:3478?transport=tcp",
        "turns:relay.example.test:5349?transport=udp", "turns:relay.example.test:5349?transport=tcp",
        "turns:relay.example.test:443?transport=tcp",
    ]  # fmt: skip
    assert answer.expires_at_ms == int(rig.clock.wall() + 600) * 1000
    account = rig.turn.account_of(turn.username, "r", rig.clock.wall() + 599, Algorithm.MD5)
    assert isinstance(account, Account)
    assert account.user == "alice@example.test"
    assert long_term_key(turn.username, "r", turn.credential) in account.keys
    assert not isinstance(rig.turn.account_of(turn.username, "r", rig.clock.wall() + 601, Algorithm.MD5), Account)


def test_ipv6_and_missing_ports_in_urls() -> None:
    assert Reach("2001:db8::1", udp=3478).urls() == (
        ["stun:[2001:db8::1]:3478"], ["turn:[2001:db8::1]:3478?transport=udp"],
    )  # fmt: skip
    assert Reach("relay").urls() == ([], [])


def test_mras_credentials_for_other_services() -> None:
    rig = Rig()
    answer = asyncio.run(rig.surface.IssueMras(pb.IssueMrasRequest(user=ALICE), None))
    verified = rig.tokens.verify(answer.username)
    assert verified is not None
    assert verified.password == answer.password
    assert (answer.host_name, answer.udp_port, answer.tcp_port) == ("relay.example.test", 3478, 443)
    assert (answer.minutes, answer.realm) == (600, "example.test")


def test_nobody_gets_nothing() -> None:
    surface = Rig().surface
    with pytest.raises(RpcError, match="no user"):
        asyncio.run(surface.IssueIceServers(pb.IssueIceServersRequest(), None))
    with pytest.raises(RpcError, match="no user"):
        asyncio.run(surface.IssueMras(pb.IssueMrasRequest(), None))
