"""Forking live: which devices ring, in which order, and what the caller is told in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.parley_server import ParleyCluster
from tests.support.sip_client import DOMAIN, SipClient

pytestmark = pytest.mark.valkey

TIMER_C_S = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyCluster]:
    with ParleyCluster(tmp_path_factory.mktemp("forking"), frontend={"timer_c": TIMER_C_S}).for_module() as running:
        yield running


class Devices:
    """Bob's devices, on both front ends in turn."""

    def __init__(self, cluster: ParleyCluster) -> None:
        self._cluster = cluster
        self.all: list[SipClient] = []

    async def add(self, q: str = "") -> SipClient:
        ports = self._cluster.ports[len(self.all) % 2]
        device = await SipClient("bob", transport="tcp").connect(ports["tcp"])
        contact = f"<{device.contact}>" + (f";q={q}" if q else "")
        assert (await device.register(contact=contact)).status == 200
        self.all.append(device)
        return device


@pytest.fixture
async def devices(cluster: ParleyCluster) -> AsyncIterator[Devices]:
    made = Devices(cluster)
    yield made
    for device in made.all:
        await device.register(expires=0)


@pytest.fixture
async def alice(cluster: ParleyCluster) -> SipClient:
    return await SipClient("alice").connect(cluster.ports[0]["udp"])


def quiet(device: SipClient) -> bool:
    """Whether nothing has arrived that was not read."""
    return device.received.empty()


@pytest.mark.parametrize("refusal", [480, 486])
async def test_the_device_with_the_highest_q_rings_first_and_then_the_next(
    devices: Devices, alice: SipClient, refusal: int
) -> None:
    desk, mobile = await devices.add("0.5"), await devices.add("0.9")
    await alice.invite(f"sip:bob@{DOMAIN}")
    first = await mobile.expect("INVITE")
    mobile.answer(first, 180)
    assert (await alice.response(final=False)).status in (100, 180)
    assert quiet(desk)
    mobile.answer(first, refusal)
    second = await desk.expect("INVITE")
    desk.answer(second, 200)
    assert (await alice.response()).status == 200


async def test_equal_q_rings_at_once_and_who_answers_silences_the_other(devices: Devices, alice: SipClient) -> None:
    one, two, late = await devices.add("0.7"), await devices.add("0.7"), await devices.add("0.1")
    await alice.invite(f"sip:bob@{DOMAIN}")
    ringing = [await device.expect("INVITE") for device in (one, two)]
    for device, invite in zip((one, two), ringing, strict=True):
        device.answer(invite, 180)
    two.answer(ringing[1], 200)
    assert (await alice.response()).status == 200
    cancel = await one.expect("CANCEL")
    assert "cause=200" in (cancel.get("Reason") or "")
    one.answer(cancel, 200)
    one.answer(ringing[0], 487)
    assert quiet(late)


async def test_a_decline_for_all_devices_stops_the_search(devices: Devices, alice: SipClient) -> None:
    desk, mobile = await devices.add("0.5"), await devices.add("0.9")
    await alice.invite(f"sip:bob@{DOMAIN}")
    mobile.answer(await mobile.expect("INVITE"), 603)
    assert (await alice.response()).status == 603
    # the desk phone is reached by a later call, so no INVITE was lost on the way to it
    assert (await mobile.register(expires=0)).status == 200
    again = await alice.invite(f"sip:bob@{DOMAIN}")
    invite = await desk.expect("INVITE")
    assert invite.call_id == again.call_id
    desk.answer(invite, 486)
    assert (await alice.response()).status == 486


async def test_a_device_that_rings_on_is_cancelled_and_the_caller_told(devices: Devices, alice: SipClient) -> None:
    desk = await devices.add()
    await alice.invite(f"sip:bob@{DOMAIN}")
    invite = await desk.expect("INVITE")
    desk.answer(invite, 180)
    cancel = await desk.expect("CANCEL", timeout=TIMER_C_S + 5)
    desk.answer(cancel, 200)
    desk.answer(invite, 487)
    assert (await alice.response()).status == 408


async def test_when_one_does_not_answer_the_next_by_q_is_tried(devices: Devices, alice: SipClient) -> None:
    desk, mobile = await devices.add("0.5"), await devices.add("0.9")
    await alice.invite(f"sip:bob@{DOMAIN}")
    first = await mobile.expect("INVITE")
    mobile.answer(first, 180)

    async def give_up() -> None:
        mobile.answer(await mobile.expect("CANCEL", timeout=TIMER_C_S + 5), 200)
        mobile.answer(first, 487)

    _, second = await asyncio.gather(give_up(), desk.expect("INVITE", timeout=TIMER_C_S + 5))
    desk.answer(second, 200)
    assert (await alice.response()).status == 200
