"""Peers made of aioice and aiortc that may use relay candidates only, connected through the A/V edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import aioice
import numpy as np
import pytest
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
)
from aiortc.mediastreams import MediaStreamTrack
from av import AudioFrame, AudioResampler

from tests.support.edge import PASSWORD, USER, EdgeNode
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey

RATE, TONE_HZ = 48_000, 1_000
SAMPLES = RATE // 50


class Tone(MediaStreamTrack):
    """A sine tone, in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._at = 0
        self._began = asyncio.get_running_loop().time()

    async def recv(self) -> AudioFrame:
        """The next 20 ms."""
        await asyncio.sleep(self._began + self._at / RATE - asyncio.get_running_loop().time())
        wave = np.sin(2 * np.pi * TONE_HZ * np.arange(self._at, self._at + SAMPLES) / RATE)
        frame = AudioFrame.from_ndarray((8_000 * wave).astype(np.int16)[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._at, Fraction(1, RATE)
        self._at += SAMPLES
        return frame


async def hears_the_tone(track: MediaStreamTrack) -> bool:
    """Waits until the strongest frequency of what is heard is that of the tone."""
    to_mono, heard = AudioResampler(format="s16", layout="mono", rate=RATE), np.empty(0, np.int16)
    while True:
        frame = await track.recv()
        assert isinstance(frame, AudioFrame)
        heard = np.concatenate([heard, *(part.to_ndarray()[0] for part in to_mono.resample(frame))])[-RATE // 5 :]
        spectrum = np.abs(np.fft.rfft(heard))
        if len(heard) == RATE // 5 and spectrum.max() > 1e6 and abs(int(spectrum.argmax()) * 5 - TONE_HZ) <= 10:
            return True


@asynccontextmanager
async def relayed_peer(edge: EdgeNode, protocol: str) -> AsyncIterator[RTCPeerConnection]:
    url = f"turn:127.0.0.1:{edge.udp if protocol == 'udp' else edge.tcp}?transport={protocol}"
    server = RTCIceServer(url, USER, PASSWORD)
    peer = RTCPeerConnection(RTCConfiguration([server], RTCIceTransportPolicy.RELAY, RTCBundlePolicy.MAX_BUNDLE))
    try:
        yield peer
    finally:
        await peer.close()


def kinds(description: str) -> set[str]:
    """The kinds of the candidates in an SDP."""
    return {line.split()[7] for line in description.splitlines() if line.startswith("a=candidate:")}


async def connect(caller: RTCPeerConnection, callee: RTCPeerConnection) -> None:
    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription(await callee.createAnswer())
    await caller.setRemoteDescription(callee.localDescription)
    assert kinds(caller.localDescription.sdp) == kinds(callee.localDescription.sdp) == {"relay"}


async def nothing_is_left(edge: EdgeNode) -> bool:
    return await edge.metric("parley_relay_allocations") == 0


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_data_and_audio_of_aiortc(tmp_path: Path, protocol: str) -> None:
    text = "through the relay " * 500
    answered = asyncio.get_running_loop().create_future()
    arriving = asyncio.get_running_loop().create_future()
    async with (
        EdgeNode(tmp_path / "edge", advertised={"self_test": False}) as edge,
        relayed_peer(edge, protocol) as caller,
        relayed_peer(edge, "udp") as callee,
    ):
        caller.addTrack(Tone())
        channel = caller.createDataChannel("chat")
        channel.on("open", lambda: channel.send(text))
        channel.on("message", answered.set_result)
        callee.on("track", arriving.set_result)

        @callee.on("datachannel")
        def echo(incoming: RTCDataChannel) -> None:
            incoming.on("message", lambda message: incoming.send(message.upper()))

        async with asyncio.timeout(20):
            await connect(caller, callee)
            assert await answered == text.upper()
            assert await hears_the_tone(await arriving)
        assert await edge.metric("parley_relay_allocations") == 2
        await caller.close()
        await callee.close()
        await eventually(lambda: nothing_is_left(edge))
        for direction in ("sent", "received"):
            assert await edge.metric("parley_relay_bytes_total", direction=direction, transport=protocol) > len(text)
        assert await edge.metric("parley_relay_allocations_closed_total", reason="released") == 2


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_packets_of_aioice(tmp_path: Path, transport: str) -> None:
    async with EdgeNode(tmp_path / "edge", advertised={"self_test": False}) as edge:
        server = ("127.0.0.1", edge.udp if transport == "udp" else edge.tcp)
        peers = [
            aioice.Connection(
                controlling, turn_server=server, turn_username=USER, turn_password=PASSWORD, turn_transport=transport,
                transport_policy=aioice.TransportPolicy.RELAY,
            )
            for controlling in (True, False)
        ]  # fmt: skip
        try:
            for peer in peers:
                await peer.gather_candidates()
                assert {candidate.type for candidate in peer.local_candidates} == {"relay"}
            for one, other in (peers, peers[::-1]):
                one.remote_username, one.remote_password = other.local_username, other.local_password
                for candidate in other.local_candidates:
                    await one.add_remote_candidate(candidate)
                await one.add_remote_candidate(None)
            async with asyncio.timeout(15):
                await asyncio.gather(*(peer.connect() for peer in peers))
                for one, other in (peers, peers[::-1]):
                    for size in (1, 172, 1_200):
                        await one.send(b"\x80" * size)
                        assert await other.recv() == b"\x80" * size
        finally:
            for peer in peers:
                await peer.close()
        await eventually(lambda: nothing_is_left(edge))
        for direction in ("sent", "received"):
            assert await edge.metric("parley_relay_bytes_total", direction=direction, transport=transport) >= 2 * 1_373
