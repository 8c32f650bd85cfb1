"""SIP applications behind the front end, over gRPC: one that the test runs, and Parley's front end as users start it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley.platform.applications.edges import EdgeAddresses, EdgeSender, FlowGone
from parley.platform.applications.host import ApplicationHost, Incoming
from parley.platform.rpc.host import RpcHost
from parley.sip.errors import SipParseError
from parley.sip.message import Request, Response
from parley.sip.nameaddr import NameAddr
from tests.support.parley_server import DOMAIN, ParleyCluster
from tests.support.ports import free_port
from tests.support.sip_client import SipClient

pytestmark = pytest.mark.valkey


class Echo:
    """Answers MESSAGE with what it got, keeps SUBSCRIBE dialogs, fails when told to."""

    def __init__(self) -> None:
        self.seen: list[Incoming] = []
        self.cancelled = asyncio.Event()

    async def handle(self, incoming: Incoming) -> None:
        self.seen.append(incoming)
        request = incoming.request
        if request.body == b"refuse":
            raise SipParseError(413, "Too Much")
        if request.body == b"break":
            raise RuntimeError("broken")
        if request.method == "INVITE":
            incoming.reply(180)

            def on_cancel(cancel: Request) -> None:
                self.cancelled.set()
                incoming.reply(487)

            incoming.on_cancel = on_cancel
            return
        contact = ("Contact", f"<sip:echo@{DOMAIN};opaque=app:echo:1>")
        incoming.reply(200, None, (contact, ("Subject", incoming.user_aor)), request.body, to_tag="echo")


class Rig:
    """The application on an address of its own."""

    def __init__(self, port: int, targets: dict[str, str]) -> None:
        self.app = Echo()
        self._rpc = RpcHost(listen=[f"127.0.0.1:{port}"], targets=targets)
        ApplicationHost(self._rpc).add("echo", self.app)
        self.sender = EdgeSender(self._rpc, EdgeAddresses(self._rpc))

    async def start(self) -> None:
        await self._rpc.start()

    async def stop(self) -> None:
        await self.sender.stop()
        await self._rpc.stop(0.1)


async def _say(client: SipClient, body: bytes) -> Response:
    return await client.ask(client.request("MESSAGE", f"sip:echo@{DOMAIN}", body=body))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[ParleyCluster, Rig, int]]:
    port = free_port()
    rows = [
        {"application": "echo", "methods": ["MESSAGE", "INVITE"], "user": "echo"},
        {"application": "echo", "events": ["presence"]},
        {"application": "echo", "opaque": "app:echo"},
    ]
    cluster = ParleyCluster(tmp_path, frontend={"applications": rows}, targets={"echo": f"127.0.0.1:{port}"})
    async with cluster:
        rig = Rig(port, {"registrar": cluster.registrar_target})
        await rig.start()
        yield cluster, rig, port
        await rig.stop()


async def test_it_answers_knows_the_sender_and_its_faults_are_answered(served: tuple[ParleyCluster, Rig, int]) -> None:
    cluster, rig, _ = served
    alice = await SipClient("alice").connect(cluster.ports[0]["udp"])
    answer = await _say(alice, b"\x00hello\xff")
    assert (answer.status, answer.body) == (200, b"\x00hello\xff")
    assert answer.get("Subject") == f"sip:alice@{DOMAIN}"
    assert rig.app.seen[0].flow.edge_uid == "edge-0"
    assert (await _say(alice, b"refuse")).status == 413
    assert (await _say(alice, b"break")).status == 500


async def test_requests_in_its_dialogs_reach_it_again_through_any_front_end(
    served: tuple[ParleyCluster, Rig, int],
) -> None:
    cluster, rig, _ = served
    for index in (0, 1):
        alice = await SipClient("alice").connect(cluster.ports[index]["udp"])
        first = await alice.ask(alice.request("SUBSCRIBE", f"sip:bob@{DOMAIN}", headers=[("Event", "presence")]))
        assert first.status == 200
        contact = first.contacts[0]
        assert isinstance(contact, NameAddr)
        again = alice.request(
            "SUBSCRIBE", contact.uri_text, headers=[("Event", "presence")], to=f"sip:bob@{DOMAIN}", to_tag="echo"
        )
        assert (await alice.ask(again)).status == 200
        assert rig.app.seen[-1].request.to_tag == "echo"
        assert rig.app.seen[-1].flow.edge_uid == f"edge-{index}"


async def test_it_sends_to_a_flow_and_to_a_user(served: tuple[ParleyCluster, Rig, int]) -> None:
    cluster, rig, _ = served
    bob = await SipClient("bob").connect(cluster.ports[1]["udp"])
    assert (await bob.register()).status == 200
    alice = await SipClient("alice", transport="tcp").connect(cluster.ports[0]["tcp"])
    assert (await alice.ask(alice.request("SUBSCRIBE", f"sip:bob@{DOMAIN}", headers=[("Event", "presence")]))).status == 200

    def request(method: str, to: str) -> Request:
        headers = [
            ("Max-Forwards", "70"), ("From", f"<sip:echo@{DOMAIN}>;tag=1"), ("To", f"<{to}>"),
            ("Call-ID", f"{method}@echo"), ("CSeq", f"1 {method}"),
            *((("Event", "presence"),) if method != "MESSAGE" else ()),
        ]  # fmt: skip
        return Request.create(method, to, headers=headers, body=b"news")

    flow = rig.app.seen[-1].flow
    sending = asyncio.create_task(rig.sender.request(request("NOTIFY", f"sip:alice@{DOMAIN}"), flow))
    notify = await alice.expect("NOTIFY")
    assert notify.body == b"news"
    alice.answer(notify, 200)
    assert (await sending).status == 200

    await rig.sender.send(request("BENOTIFY", f"sip:alice@{DOMAIN}"), flow)
    assert (await alice.expect("BENOTIFY")).body == b"news"

    sending = asyncio.create_task(rig.sender.request(request("MESSAGE", f"sip:bob@{DOMAIN}"), None))
    message = await bob.expect("MESSAGE")
    bob.answer(message, 200)
    answer = await sending
    assert answer.status == 200
    assert answer.get("Via") is None

    assert (await rig.sender.request(request("MESSAGE", f"sip:nobody@{DOMAIN}"), None)).status == 404
    flow.connection_id += 1
    with pytest.raises(FlowGone):
        await rig.sender.request(request("NOTIFY", f"sip:alice@{DOMAIN}"), flow)


async def test_cancel_reaches_it(served: tuple[ParleyCluster, Rig, int]) -> None:
    cluster, rig, _ = served
    alice = await SipClient("alice").connect(cluster.ports[0]["udp"])
    invite = await alice.invite(f"sip:echo@{DOMAIN}")
    while not rig.app.seen:
        await asyncio.sleep(0.01)
    cancel = alice.request("CANCEL", invite.uri_text, call_id=invite.call_id, cseq=invite.cseq.number)
    cancel.set("Via", invite.get("Via") or "")
    alice.send(bytes(cancel))
    async with asyncio.timeout(5):
        await rig.app.cancelled.wait()


async def test_while_it_is_away_503_and_then_it_is_back_without_a_restart(served: tuple[ParleyCluster, Rig, int]) -> None:
    cluster, rig, port = served
    alice = await SipClient("alice").connect(cluster.ports[0]["udp"])
    assert (await _say(alice, b"1")).status == 200
    await rig.stop()
    refused = await _say(alice, b"2")
    assert refused.status == 503
    assert refused.get("Retry-After")
    back = Rig(port, {"registrar": cluster.registrar_target})
    await back.start()
    async with asyncio.timeout(10):
        while (await _say(alice, b"3")).status != 200:
            await asyncio.sleep(0.1)
    await back.stop()
