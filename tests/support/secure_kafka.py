"""A Kafka broker that wants to know who comes: a name and password over TLS on one port, a certificate on another."""

from __future__ import annotations

from pathlib import Path

from parley.platform.tls import CertificateFiles, DevelopmentCa
from tests.support.kafka import Kafka
from tests.support.ports import free_port

USER = "parley"
PASSWORD = "s3cret-of-kafka"
NAME = "kafka.internal"
"""The only name in the broker's certificate; it is reached by 127.0.0.1."""

_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


class SecureKafka(Kafka):
    """``signed`` takes a name and a password, ``mutual`` a certificate of the authority; both are "host:port"."""

    def __init__(self, folder: Path) -> None:
        signed, mutual = free_port(), free_port()
        self.signed = f"127.0.0.1:{signed}"
        self.mutual = f"127.0.0.1:{mutual}"
        self.authority = DevelopmentCa(folder / "ca")
        self.client: CertificateFiles = self.authority.issue("client", ["parley"])
        server = self.authority.issue("server", [NAME])
        pem = folder / "server.pem"
        pem.write_text(server.key.read_text() + server.certificate.read_text())
        users = [f"{kind}=[name={USER},password={PASSWORD}]" for kind in _MECHANISMS]
        super().__init__(folder, format_options=[word for user in users for word in ("--add-scram", user)])
        plain, controller = self.port, self._controller
        self._properties = f"""\
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SIGNED://{self.signed},MUTUAL://{self.mutual}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SIGNED://{self.signed},MUTUAL://{self.mutual}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SIGNED:SASL_SSL,MUTUAL:SSL
ssl.keystore.type=PEM
ssl.keystore.location={pem}
ssl.truststore.type=PEM
ssl.truststore.location={self.authority.certificate}
listener.name.mutual.ssl.client.auth=required
listener.name.signed.sasl.enabled.mechanisms=PLAIN,{",".join(_MECHANISMS)}
listener.name.signed.plain.sasl.jaas.config={_PLAIN} required user_{USER}="{PASSWORD}";
listener.name.signed.scram-sha-256.sasl.jaas.config={_SCRAM} required;
listener.name.signed.scram-sha-512.sasl.jaas.config={_SCRAM} required;
"""
