"""What cannot work: pods wait or end early, say why, those of before go on, and what is mended has lost nothing."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parley.platform.schema import KEY, READS_UP_TO, WRITES
from parley.platform.tls import DevelopmentCa
from tests.support.cluster import CommandError
from tests.support.cluster_install import Installation, Pod
from tests.support.parley_server import DOMAIN

WAITING = 3.0
"""Seconds for which a pod that waits is watched."""
MOST_LINES = 2.0
"""Lines a second that it may write meanwhile."""
KEEPER = "witness"
"""A user who is there before and afterwards."""


@pytest.fixture(autouse=True, scope="module")
def keeper(small: Installation) -> None:
    """Makes that user."""
    small.sound()
    small.make_users([KEEPER])


@contextmanager
def broken(parley: Installation, *arguments: str) -> Iterator[None]:
    """A revision that cannot work, and the one before it again. A user of before is there afterwards."""
    revision = parley.revision()
    parley.upgrade(*arguments, "--no-hooks", wait=False)  # the Secrets that a hook would make are there
    try:
        yield
    finally:
        parley.rollback(revision)
        parley.sound()
        # A process tries a store that was away again after a moment.
        parley.cluster.wait_for(f"{KEEPER} is there", lambda: KEEPER in shown(parley, KEEPER), timeout=20)


def shown(parley: Installation, user: str) -> str:
    """What `parley user show` says. Raises AssertionError when it fails."""
    try:
        return parley.parley("core", "user", "show", f"{user}@{DOMAIN}")
    except CommandError as error:
        raise AssertionError(str(error)) from None


def says(parley: Installation, component: str, *texts: str) -> str:
    """The name of the pod of the component that is not ready and says all those texts in one line."""

    def look() -> str:
        for pod in parley.pods(component):
            if not pod.ready and any(all(text in line for text in texts) for line in lines(parley, pod)):
                return pod.name
        return ""

    return parley.cluster.wait_for(f"{component} says {texts}", look, timeout=60)


def lines(parley: Installation, pod: Pod) -> list[str]:
    """What a pod wrote, before it was started anew too."""
    before = parley.logs(pod.name, "--tail=50", "--previous") if pod.restarts else ""
    return [*before.splitlines(), *parley.logs(pod.name, "--tail=50").splitlines()]


def later(parley: Installation, component: str, name: str) -> Pod:
    """The same pod, a while later, and not ready."""
    time.sleep(WAITING)
    (pod,) = [each for each in parley.pods(component) if each.name == name]
    assert not pod.ready
    return pod


def waits(parley: Installation, component: str, *texts: str) -> None:
    """A new pod of the component says all those texts in one line, is not ready, and goes on to wait."""
    name = says(parley, component, *texts)
    before = len(parley.logs(name).splitlines())
    assert later(parley, component, name).restarts == 0, "it waits, and is not started anew"
    assert len(parley.logs(name).splitlines()) - before <= WAITING * MOST_LINES


def refuses(parley: Installation, component: str, *texts: str) -> None:
    """A new pod of the component says all those texts in one line and ends; a pod of before goes on."""
    name = says(parley, component, *texts)
    later(parley, component, name)
    assert any(pod.ready for pod in parley.pods(component)), "the pod of before goes on"


def test_a_store_that_is_not_there(small: Installation) -> None:
    nowhere = "10.96.255.254"
    with broken(small, "--set=redis.mode=external", f"--set=redis.external.url=redis://{nowhere}:6379/0"):
        waits(small, "core", "Redis", nowhere)


def test_a_store_that_wants_another_password(small: Installation) -> None:
    values = {"mode": "external", "external": {"url": "redis://other-store:6379/0", "password": {"value": "not-this"}}}
    with other_store(small), broken(small, "--set-json", f"redis={json.dumps(values)}"):
        waits(small, "core", "Redis", "password")


def test_a_bus_that_is_not_there(small: Installation) -> None:
    values = {"driver": "kafka", "kafka": {"mode": "external", "external": {"servers": ["10.96.255.253:9092"]}}}
    with broken(small, "--set-json", f"events={json.dumps(values)}"):
        waits(small, "core", "Kafka", "10.96.255.253")


def test_a_certificate_whose_key_is_another_one(small: Installation) -> None:
    one, other = small.secret("client-tls", "tls.crt"), small.secret("internal-tls", "tls.key")
    wrong(small, "wrong-tls", {"tls.crt": one, "tls.key": other})
    with broken(small, "--set=tls.mode=existingSecret", "--set=tls.existingSecret.name=wrong-tls"):
        refuses(small, "edge", "tls.key")


def test_a_certificate_of_another_authority_between_services(small: Installation, tmp_path: Path) -> None:
    made = DevelopmentCa(tmp_path).issue("stranger", ["parley.internal"])
    ours = small.secret("internal-tls", "ca.crt")
    strange = {"tls.crt": made.certificate.read_text(), "tls.key": made.key.read_text(), "ca.crt": ours}
    wrong(small, "strange-tls", strange)
    with broken(small, "--set=internalTls.mode=existingSecret", "--set=internalTls.existingSecret=strange-tls"):
        refuses(small, "core", "no authority", "signed the certificate")


def test_a_certificate_for_another_name_between_services(small: Installation) -> None:
    names = ("tls.crt", "tls.key", "ca.crt")
    wrong(small, "named-tls", {name: small.secret("client-tls", name) for name in names})
    with broken(small, "--set=internalTls.mode=existingSecret", "--set=internalTls.existingSecret=named-tls"):
        refuses(small, "core", "is not for parley.internal")


def test_a_secret_that_is_missing(small: Installation) -> None:
    with broken(small, "--set=masterKey.existingSecret=nobody-made-it"):

        def told() -> bool:
            events = small.space.items("events", fieldSelector="reason=FailedMount")
            return any("nobody-made-it" in event["message"] for event in events)

        assert small.cluster.wait_for("the kubelet says which Secret is missing", told, timeout=60)
        assert any(pod.ready for pod in small.pods("core")), "the pod of before goes on"


def test_stored_data_of_a_newer_release(small: Installation) -> None:
    """There is none of an older one yet: `tests/integration/platform/test_schema.py` waits for such data."""
    with stored_version(small, READS_UP_TO + 1), broken(small, "--set=log.level=DEBUG"):
        refuses(small, "core", f"version {READS_UP_TO + 1}")
        store_version(small, WRITES)


def wrong(parley: Installation, name: str, files: dict[str, str]) -> None:
    """Makes a Secret."""
    data = {key: b64encode(text.encode()).decode() for key, text in files.items()}
    parley.space.apply(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}))


@contextmanager
def other_store(parley: Installation) -> Iterator[None]:
    """A Valkey beside the installation, with a password that nobody knows."""
    image = parley.space.kubectl_json("get", parley.workload("valkey"))["spec"]["template"]["spec"]["containers"][0]["image"]
    container = {
        "name": "valkey", "image": image, "imagePullPolicy": "IfNotPresent",
        "command": ["valkey-server", "--requirepass", "another", "--save", ""],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    security = {"runAsNonRoot": True, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other-store", "labels": {"app": "other-store"}},
        "spec": {"securityContext": security, "containers": [container]},
    }  # fmt: skip
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "other-store"},
        "spec": {"selector": {"app": "other-store"}, "ports": [{"port": 6379}]},
    }  # fmt: skip
    parley.space.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod, service]}))
    try:
        parley.space.kubectl("wait", "--for=condition=Ready", "pod/other-store", "--timeout=60s")
        yield
    finally:
        parley.space.kubectl("delete", "pod/other-store", "service/other-store", "--grace-period=0", "--force")


def store_version(parley: Installation, version: int) -> None:
    """Makes the store say that another release wrote what is in it."""
    command = f'REDISCLI_AUTH="$(cat /etc/valkey-secret/password)" valkey-cli HSET {KEY} version {version}'
    parley.exec("parley-valkey-0", "sh", "-c", command)


@contextmanager
def stored_version(parley: Installation, version: int) -> Iterator[None]:
    """The same for as long as the block takes."""
    store_version(parley, version)
    try:
        yield
    finally:
        store_version(parley, WRITES)
