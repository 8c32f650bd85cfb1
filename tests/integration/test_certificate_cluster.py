"""Certificates where everything is a process of its own: any web service, any front end, a withdrawal that all hear of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.support.dsk import DskClient, rsa_key
from tests.support.ocs_client import OcsClient
from tests.support.parley_server import DOMAIN, ParleyCluster
from tests.support.waiting import eventually
from tests.support.web_client import Refused, WebClient

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyCluster]:
    running = ParleyCluster(tmp_path_factory.mktemp("cluster"), webs=2)
    running.offer_certificates(["TLS-DSK", "NTLM"])
    with running.for_module():
        yield running


async def test_any_web_service_and_any_front_end_will_do(cluster: ParleyCluster) -> None:
    async with WebClient(cluster.web_urls[0], cluster.web_ca_file(0), "alice") as first:
        assertion, key = await first.ticket()
    async with WebClient(cluster.web_urls[1], cluster.web_ca_file(1), "alice") as second:
        held = await second.certificate(assertion, key, now=time.time())
    clients = []
    for number, ports in enumerate(cluster.ports):
        alice = await OcsClient("alice", epid=f"{number:012x}").connect(ports["tcp"])
        answer = await alice.sign_in_with_certificate(DskClient(held, rsa_key()))
        assert answer.status == 200
        assert alice.is_signed(answer)
        clients.append(alice)
    done = await cluster.book.parley("user", "withdraw", f"alice@{DOMAIN}")
    assert "1 certificates withdrawn" in done.stdout, done.stderr
    for alice in clients:
        await asyncio.wait_for(alice.closed.wait(), 10)
    again = await OcsClient("alice").connect(cluster.ports[0]["tcp"])
    assert (await again.sign_in_with_certificate(DskClient(held, rsa_key()))).status == 401
    await again.abort()
    async with WebClient(cluster.web_urls[0], cluster.web_ca_file(0), "alice") as first:
        with pytest.raises(Refused, match=r"403: .*ask for another"):
            await first.certificate(assertion, key, now=time.time())


async def test_without_the_address_book_clients_are_told_to_come_back(cluster: ParleyCluster) -> None:
    async with WebClient(cluster.web_urls[0], cluster.web_ca_file(0), "bob") as bob:
        assertion, key = await bob.ticket()
        cluster.book.kill()
        for work in (bob.ticket("basic"), bob.certificate(assertion, key, now=time.time())):
            with pytest.raises(Refused, match=r"503: .*is away") as refused:
                await work
            assert refused.value.headers["retry-after"] == ["5"]
        cluster.book.launch()
        await cluster.book.ready()

        async def given() -> bool:
            try:
                await bob.certificate(assertion, key, now=time.time())
            except Refused as error:
                if error.status != 503:
                    raise
                return False
            return True

        await eventually(given, timeout=30, what="the certificate")
