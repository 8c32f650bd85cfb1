"""Unary calls both ways, health, mutual TLS, listening."""

from __future__ import annotations

import asyncio
import datetime
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from parley.platform.config import ConfigError
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import MutualTls, RpcHost
from parley.platform.telemetry.tracing import Tracing
from parley.platform.tls import DevelopmentCa
from parley.proto.registrar.v1.registrar_pb2 import ListEdgesRequest
from parley.proto.registrar.v1.registrar_pb2_grpc import RegistrarStub
from tests.unit.platform.rpc.conftest import Way
from tests.unit.platform.rpc.servers import REGISTRAR, Peer, Registrar, lookup, lookup_client, start_peer


def stub(way: Way) -> Any:
    return way.registrar.stub(RegistrarStub)


async def test_unary_call(way: Way) -> None:
    answer = await stub(way).ListEdges(ListEdgesRequest())
    assert [edge.edge_uid for edge in answer.edges] == ["1"]
    assert await stub(way).ListEdges(ListEdgesRequest(), timeout=5) == answer


async def test_unary_call_that_fails(way: Way) -> None:
    way.peer.registrar.failure = RpcError(StatusCode.NOT_FOUND, "no such edge")
    with pytest.raises(RpcError) as caught:
        await stub(way).ListEdges(ListEdgesRequest())
    assert (caught.value.code, caught.value.message) == (StatusCode.NOT_FOUND, "no such edge")


async def test_unary_call_with_a_defect(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    way.peer.registrar.failure = KeyError("secret")
    with pytest.raises(RpcError) as caught:
        await stub(way).ListEdges(ListEdgesRequest())
    assert (caught.value.code, caught.value.message) == (StatusCode.INTERNAL, "internal error")
    assert "ListEdges failed" in caplog.text


async def test_unary_call_that_takes_too_long(way: Way) -> None:
    way.peer.registrar.gate.clear()
    with pytest.raises(RpcError) as caught:
        await stub(way).ListEdges(ListEdgesRequest(), timeout=0.05)
    assert caught.value.code is StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("remote", [False, True])
async def test_unary_call_is_a_span_under_the_callers(remote: bool) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(None, exporter=exporter)
    peer = await start_peer(tracer=tracing.tracer("registrar"))
    caller = RpcHost() if remote else peer.host
    channel = caller.channel(REGISTRAR, peer.target if remote else None)
    with tracing.tracer("frontend").start("outer") as outer:
        await channel.stub(RegistrarStub).ListEdges(ListEdgesRequest())
    tracing.flush()
    inner = next(span for span in exporter.get_finished_spans() if span.name == "rpc ListEdges")
    assert inner.parent is not None
    assert f"{inner.parent.span_id:016x}" == outer.span_id
    assert inner.resource.attributes["service.name"] == "parley-registrar"
    await caller.stop(0)
    await peer.host.stop(0)
    tracing.stop()


async def test_local_target(peer: Peer) -> None:
    client = lookup_client(peer.host.channel(REGISTRAR, "local:some-uid"))
    item = lookup()
    await client.call(item, timeout=5)
    await client.stop()


async def test_health(peer: Peer) -> None:
    async def states() -> list[int]:
        async with grpc.aio.insecure_channel(peer.target) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answers = [
                await health.Check(health_pb2.HealthCheckRequest(service=name)) for name in ("liveness", "readiness", "")
            ]
            return [answer.status for answer in answers]

    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert await states() == [serving, not_serving, not_serving]
    await peer.host.set_health(ready=True)
    assert await states() == [serving, serving, serving]
    await peer.host.set_health(ready=False)
    assert await states() == [serving, not_serving, not_serving]


async def test_address_that_is_taken(tmp_path: Path) -> None:
    blocker = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = blocker.sockets[0].getsockname()[1]
    host = RpcHost(listen=[f"127.0.0.1:{port}"])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
        await host.start()
    blocker.close()


async def test_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'rpc.sock'}"
    host = RpcHost(listen=[address])
    servicer = Registrar()
    from parley.proto.registrar.v1.registrar_pb2_grpc import add_RegistrarServicer_to_server

    host.add_service(add_RegistrarServicer_to_server, servicer, REGISTRAR)
    await host.start()
    assert host.addresses == [address]
    caller = RpcHost()
    answer = await caller.channel(REGISTRAR, address).stub(RegistrarStub).ListEdges(ListEdgesRequest())
    assert answer.edges[0].edge_uid == "1"
    await caller.stop()
    await host.stop(0)
    await host.stop(0)


async def test_unencrypted_beyond_loopback_is_said(caplog: pytest.LogCaptureFixture) -> None:
    for address, said in (("127.0.0.1:0", False), ("[::1]:0", False), ("localhost:0", False), ("0.0.0.0:0", True)):
        caplog.clear()
        host = RpcHost(listen=[address])
        try:
            await host.start()
        except OSError:
            assert address.startswith("[")
        await host.stop(0)
        assert ("unencrypted" in caplog.text) is said


# Mutual TLS


class Authority:
    """A CA with the certificates it gave."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.file = self._folder / "ca.pem"
        certificate = self._sign(self._name, self._key, None)
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, names: list[str] | None) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, file: str, names: list[str], *, ca: Path | None = None, server_name: str = "parley") -> MutualTls:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, file)])
        certificate_file, key_file = self._folder / f"{file}.pem", self._folder / f"{file}.key"
        certificate_file.write_bytes(self._sign(subject, key, names).public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return MutualTls(certificate_file, key_file, ca or self.file, server_name)


async def tls_code(target: str, tls: MutualTls | None) -> StatusCode:
    caller = RpcHost(tls=tls)
    client = lookup_client(caller.channel(REGISTRAR, target))
    try:
        await client.call(lookup(), timeout=30)
    except RpcError as error:
        return error.code
    else:
        return StatusCode.OK
    finally:
        await client.stop()
        await caller.stop(0)


async def test_mutual_tls(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    peer = await start_peer(tls=ours.issue("server", ["parley"]))
    assert await tls_code(peer.target, ours.issue("client", ["client"])) is StatusCode.OK
    assert await tls_code(peer.target, None) is StatusCode.UNAVAILABLE, "no certificate"
    stranger = theirs.issue("stranger", ["client"], ca=ours.file)
    assert await tls_code(peer.target, stranger) is StatusCode.UNAVAILABLE, "a certificate of another CA"
    distrustful = ours.issue("distrustful", ["client"], ca=theirs.file)
    assert await tls_code(peer.target, distrustful) is StatusCode.UNAVAILABLE, "the server is of another CA"
    elsewhere = ours.issue("elsewhere", ["client"], server_name="")
    assert await tls_code(peer.target, elsewhere) is StatusCode.UNAVAILABLE, "the server has another name"
    await peer.host.stop(0)


async def test_certificates_that_change_are_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.platform.rpc.host._STAMP_S", 0.0)
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    peer = await start_peer(tls=ours.issue("server", ["parley"]))
    tls = theirs.issue("client", ["client"], ca=ours.file)
    caller = RpcHost(tls=tls)
    stub = caller.channel(REGISTRAR, peer.target).stub(RegistrarStub)
    with pytest.raises(RpcError):
        await stub.ListEdges(ListEdgesRequest())
    good = ours.issue("client", ["client"])
    tls.key.write_bytes(good.key.read_bytes())
    tls.certificate.write_bytes(good.certificate.read_bytes())
    os.utime(tls.certificate, ns=(1, 1))
    assert (await stub.ListEdges(ListEdgesRequest())).edges
    tls.certificate.unlink()
    assert (await stub.ListEdges(ListEdgesRequest())).edges, "a file that is being replaced is no reason to fail"
    await caller.stop(0)
    await peer.host.stop(0)


async def test_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    missing = MutualTls(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    with pytest.raises(OSError, match="No such file"):
        await RpcHost(listen=["127.0.0.1:0"], tls=missing).start()
    assert await tls_code("127.0.0.1:1", missing) is StatusCode.UNAVAILABLE


def test_wrong_certificates_are_told_of_before_they_are_used(tmp_path: Path) -> None:
    authority, stranger = DevelopmentCa(tmp_path / "ca"), DevelopmentCa(tmp_path / "elsewhere")
    mine, ca = authority.issue("mine", ["parley.internal"]), authority.certificate
    for name in ("", "parley.internal", "PARLEY.internal"):
        MutualTls(mine.certificate, mine.key, ca, name).check()
    wild = authority.issue("wild", ["*.internal"])
    MutualTls(wild.certificate, wild.key, ca, "parley.internal").check()
    wrong = {
        "certificate: cannot read": MutualTls(tmp_path / "none", mine.key, ca),
        "certificate: .* holds no certificate": MutualTls(mine.key, mine.key, ca),
        "is not the one of the certificate": MutualTls(mine.certificate, authority.issue("other", ["a"]).key, ca),
        "no authority in .* signed the certificate": MutualTls(mine.certificate, mine.key, stranger.ensure()),
        "is not for parley.elsewhere; its names: parley.internal": MutualTls(
            mine.certificate, mine.key, ca, "parley.elsewhere"
        ),
        "is not for internal; its names": MutualTls(wild.certificate, wild.key, ca, "internal"),
    }
    for text, tls in wrong.items():
        with pytest.raises(ConfigError, match=text) as caught:
            tls.check()
        assert all(problem.startswith("platform.rpc.tls") for problem in caught.value.problems)
