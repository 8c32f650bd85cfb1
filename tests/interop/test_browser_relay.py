"""Browsers that may use relay candidates only, connected through the A/V edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import chromium_page
from tests.support.edge import PASSWORD, USER, EdgeNode

pytestmark = [pytest.mark.browser, pytest.mark.valkey]

CONNECT = """
async (iceServers) => {
  const options = {iceServers, iceTransportPolicy: 'relay'};
  const [caller, callee] = [new RTCPeerConnection(options), new RTCPeerConnection(options)];
  const failures = [];
  for (const [one, other] of [[caller, callee], [callee, caller]]) {
    one.onicecandidate = ({candidate}) => candidate && other.addIceCandidate(candidate);
    one.onicecandidateerror = ({url, errorCode, errorText}) => failures.push(`${url}: ${errorCode} ${errorText}`);
  }
  const channel = caller.createDataChannel('chat');
  const answers = new Promise((done) => { channel.onmessage = ({data}) => done(data); });
  callee.ondatachannel = (event) => { event.channel.onmessage = ({data}) => event.channel.send(data.toUpperCase()); };
  channel.onopen = () => channel.send('through the relay');
  await caller.setLocalDescription(await caller.createOffer());
  await callee.setRemoteDescription(caller.localDescription);
  await callee.setLocalDescription(await callee.createAnswer());
  await caller.setRemoteDescription(callee.localDescription);
  const answer = await Promise.race([answers, new Promise((done) => setTimeout(() => done(null), 15000))]);
  // Data may flow over a pair before it is nominated.
  const chosen = (each) => each.type === 'candidate-pair' && each.nominated && each.state === 'succeeded';
  let stats = [], pair, rounds = 0;
  while (!pair && rounds++ < 100) {
    stats = [...(await caller.getStats()).values()];
    pair = stats.find(chosen);
    if (!pair) await new Promise((done) => setTimeout(done, 100));
  }
  const candidate = (id) => stats.find((each) => each.id === id);
  const local = pair && candidate(pair.localCandidateId);
  const remote = pair && candidate(pair.remoteCandidateId);
  caller.close();
  callee.close();
  const shown = (found) => found && [found.candidateType, found.relayProtocol];
  return {answer, failures, local: shown(local), remote: shown(remote)};
}
"""


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_two_peers_meet_through_the_relay(tmp_path: Path, protocol: str) -> None:
    async with EdgeNode(tmp_path / "edge") as edge, chromium_page() as page:
        url = f"turn:127.0.0.1:{edge.udp if protocol == 'udp' else edge.tcp}?transport={protocol}"
        servers = [{"urls": [url], "username": USER, "credential": PASSWORD}]
        result: dict[str, Any] = await page.evaluate(CONNECT, servers)
        assert result["answer"] == "THROUGH THE RELAY", f"{result}\n{edge.log()}"
        assert result["local"] == ["relay", protocol]
        assert result["remote"][0] == "relay"
