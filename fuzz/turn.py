"""The TURN server, whole: steps of two clients, peers and time. Each step: what it is, how long its text is, its text."""

from __future__ import annotations

from parley.stun.addresses import Address
from parley.stun.codes import MessageClass, Method
from parley.stun.errors import StunParseError
from parley.stun.message import Message
from parley.stun.turn.allocations import Transport
from parley.stun.turn.forwarding import from_channel, from_indication, to_client
from parley.stun.turn.table import Quotas
from tests.support.turn import CLIENT, PEER, FakeClient, FakePorts, Rig

METHODS = [
    Method.ALLOCATE, Method.REFRESH, Method.CREATE_PERMISSION, Method.CHANNEL_BIND, Method.CONNECT, Method.CONNECTION_BIND,
    Method.BINDING,
]  # fmt: skip
MAX_STEPS = 40


def fuzz_one(data: bytes) -> None:
    """Plays the steps; nothing may leak, and each answer must be one."""
    rig = Rig(quotas=Quotas(per_user=2, permissions=2, channels=2, connections=2), ports=FakePorts(50000, 50005))
    clients = [
        rig.client(CLIENT).challenge(),
        rig.client(Address(CLIENT.host, 2), transport=Transport.TCP).challenge(),
        rig.client(Address(CLIENT.host, 3), transport=Transport.TCP).challenge(),
    ]
    at = 0
    for _ in range(MAX_STEPS):
        if at + 2 > len(data):
            break
        step, size = data[at], data[at + 1]
        _play(rig, clients[step % 3], step // 3, data[at + 2 : at + 2 + size])
        at += 2 + size
        _check(rig)
    rig.now += 100_000
    rig.server.expire(rig.now)
    assert not rig.ports.open_relays
    assert not len(rig.server.connections)


def _play(rig: Rig, client: FakeClient, step: int, text: bytes) -> None:
    if step < len(METHODS):
        _request(rig, client, METHODS[step], text)
        return
    allocation = rig.table.at(client.flow)
    match step:
        case 7:
            rig.server.receive(client.flow, text, rig.now)
        case 8:
            rig.now += int.from_bytes(text[:2], "big")
            assert rig.server.expire(rig.now) > rig.now
        case 9:
            rig.server.closed(client.flow, rig.now)
        case 10 if rig.shell.dialling:
            rig.server.dialled(rig.shell.dialling.pop(), bool(text), rig.now)
        case 11 if allocation is not None and allocation.relays[0].stream:
            rig.server.accepted(allocation, PEER, rig.now)
        case 12 if allocation is not None:
            found = from_channel(allocation, text, rig.now) or from_indication(allocation, text, rig.config.peers, rig.now)
            assert found is None or found[0] in allocation.relays
            to_client(allocation, PEER, text, rig.now, padded=client.flow.transport.is_stream)
        case 13 if rig.shell.spliced:
            rig.server.disconnected(rig.shell.spliced.pop()[0])


def _request(rig: Rig, client: FakeClient, method: Method, attributes: bytes) -> None:
    """A signed request with attributes of any making."""
    head = bytes(Message(method, MessageClass.REQUEST))
    try:
        message = Message.parse(head[:2] + len(attributes).to_bytes(2, "big") + head[4:] + attributes)
    except StunParseError:
        return
    message.raw, message.integrity_at, message.integrity_sha256_at, message.fingerprint_at = b"", -1, -1, -1
    reply = rig.server.receive(client.flow, client.core.session.sign(message), rig.now)
    if reply is not None:
        response = Message.parse(reply)
        assert response.message_class in (MessageClass.SUCCESS, MessageClass.ERROR)
        assert (response.message_class is MessageClass.ERROR) is (response.error_code is not None)
        assert response.transaction_id == message.transaction_id


def _check(rig: Rig) -> None:
    used = {relay for allocation in rig.table for relay in allocation.relays}
    held = len(rig.ports.open_relays - used)
    assert rig.ports.open_relays >= used
    assert held <= 6
    assert len(rig.table) <= 2
    for allocation in rig.table:
        assert len(allocation.permissions) <= 2
        assert len(allocation.channels) == len(allocation.channel_by_peer) <= 2
        assert all(rig.config.peers.allows(host) for host in allocation.permissions)
