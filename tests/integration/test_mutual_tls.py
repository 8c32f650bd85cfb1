"""Services that show each other certificates: calls go through, and a stranger's do not."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from parley.platform.rpc.channels import remote_channel
from parley.platform.tls import CertificateFiles, DevelopmentCa
from parley.proto.addressbook.v1.addressbook_pb2 import ListUsersRequest
from parley.proto.addressbook.v1.addressbook_pb2_grpc import AddressBookStub
from tests.support.parley_server import ParleyCluster
from tests.support.sip_client import SipClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.valkey


def credentials(ca: Path, files: CertificateFiles | None) -> grpc.ChannelCredentials:
    """What a client shows."""
    if files is None:
        return grpc.ssl_channel_credentials(ca.read_bytes())
    return grpc.ssl_channel_credentials(ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes())


async def list_users(target: str, secret: grpc.ChannelCredentials) -> int:
    """How many users the address book tells."""
    async with remote_channel(target, secret, server_name="parley.internal") as channel:
        return len((await AddressBookStub(channel).ListUsers(ListUsersRequest(), timeout=5)).users)


async def test_services_trust_each_other_by_certificate(tmp_path: Path) -> None:
    authority = DevelopmentCa(tmp_path / "ca")
    files = authority.issue("service", ["parley.internal"])
    tls = {
        "certificate": str(files.certificate), "key": str(files.key), "ca": str(authority.certificate),
        "server_name": "parley.internal",
    }  # fmt: skip
    async with ParleyCluster(tmp_path, front_ends=1, registrars=1, presences=1, rpc={"tls": tls}) as cluster:
        alice = await SipClient("alice").connect(cluster.ports[0]["udp"])
        assert (await alice.register()).status == 200
        assert await list_users(cluster.book_target, credentials(authority.certificate, files)) == 3

        async def available() -> bool:
            shown = await cluster.presences[0].parley("--json", "presence", "show", "alice@example.test")
            return '"availability": 3500' in shown.stdout

        await eventually(available)
        stranger = DevelopmentCa(tmp_path / "elsewhere").issue("service", ["parley.internal"])
        for shown in (None, stranger):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await list_users(cluster.book_target, credentials(authority.certificate, shown))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
