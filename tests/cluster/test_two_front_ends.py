"""Phones on two front ends, one on each node: what crosses them works, and is one trace in the Jaeger of the cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import pytest

from parley.presence.standard.availability import pidf_of
from parley.presence.standard.pidf import build_pidf
from parley.stun.probe import Probe
from services.web.routes import CERTIFICATE_ENTRY, TICKET_ENTRY
from tests.support.cluster_install import Installation, Pod, aside
from tests.support.cluster_people import People
from tests.support.jaeger import JaegerSpan
from tests.support.messages import page, paged
from tests.support.sip_client import DOMAIN
from tests.support.traces import check_contract, path_to_root
from tests.support.waiting import eventually
from tests.support.web_client import WebClient


@dataclass(frozen=True)
class Traces:
    """The Jaeger of an installation. The contract holds for every trace that is found."""

    parley: Installation

    async def of(self, call_id: str, *names: str, service: str = "parley-frontend") -> list[JaegerSpan]:
        """The trace with that Call-ID, once it has spans of those names."""
        return await self.where(service, {"sip.call_id": call_id}, lambda spans: has(spans, *names))

    async def answered_well(self, service: str, *names: str) -> list[JaegerSpan]:
        """A trace of HTTP with spans of those names, of a request that was answered with 200."""
        return await self.where(service, {"http.response.status_code": "200"}, lambda spans: has(spans, *names))

    async def linked(self, service: str, source: JaegerSpan, *names: str) -> list[JaegerSpan]:
        """A trace with spans of those names, of which one is linked to the source."""
        return await self.where(
            service,
            {},
            lambda spans: has(spans, *names) and any((source.trace_id, source.span_id) in s.links for s in spans),
        )

    async def where(
        self, service: str, tags: dict[str, str], complete: Callable[[list[JaegerSpan]], bool]
    ) -> list[JaegerSpan]:
        """A trace in which a span of the service has the tags, once it is complete."""

        async def look() -> list[JaegerSpan] | None:
            found = await aside(self.parley.find_traces, service, tags)
            return next((spans for spans in found if complete(spans)), None)

        spans = await eventually(look, timeout=30, what=f"a trace of {service} with {tags}")
        assert spans is not None
        check_contract(spans)
        return spans


def has(spans: list[JaegerSpan], *names: str) -> bool:
    """Whether spans of all those names are there."""
    return set(names) <= {span.name for span in spans}


def named(spans: list[JaegerSpan], name: str) -> JaegerSpan:
    """The first span of that name."""
    return next(span for span in spans if span.name == name)


async def users_heard(parley: Installation, pod: Pod) -> float:
    """How many changes of users a front end has taken note of."""
    return await aside(parley.metric, pod, "parley_events_handled_total", topic="parley.users", outcome="ok")


@pytest.fixture
def traces(parley: Installation) -> Traces:
    """One front end on each node, whose spans are found."""
    pods = parley.ready("frontend")
    assert {pod.node for pod in pods} == set(parley.cluster.node_ips), "a front end on every node"
    return Traces(parley)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_one_register_is_one_trace(people: People, traces: Traces, transport: str) -> None:
    phone = await people.client(transport)  # nobody knows the user's credentials yet
    answer = await phone.register()
    assert answer.status == 200
    spans = await traces.of(answer.call_id, "redis update", "addressbook.credentials")
    assert path_to_root(spans, "redis update") == ["redis update", "registrar.update", "sip.server REGISTER"]
    assert {span.service for span in spans} >= {"parley-frontend", "parley-registrar", "parley-addressbook"}
    for span in spans:
        assert span.resource["k8s.namespace.name"] == traces.parley.space.name
        assert span.resource["k8s.node.name"] in traces.parley.cluster.node_ips
        assert span.resource["k8s.pod.name"]
        assert span.resource["service.version"]
    await phone.register(expires=0)


@pytest.mark.parametrize(("caller", "callee"), [("udp", "tls"), ("tls", "udp"), ("tcp", "tcp")])
async def test_one_call_across_both_is_one_trace(people: People, traces: Traces, caller: str, callee: str) -> None:
    alice, bob = await people.client(caller, 0), await people.client(callee, 1)
    assert (await bob.register()).status == 200
    invite = await alice.invite(f"sip:{bob.user}@{DOMAIN}")
    incoming = await bob.expect("INVITE")
    bob.answer(incoming, 180)
    bob.answer(incoming, 200)
    answer = await alice.response()
    assert answer.status == 200
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    await bob.expect("ACK")
    await alice.hang_up(bob, invite, answer)
    await bob.register(expires=0)

    spans = await traces.of(
        invite.call_id, "edge.deliver INVITE", "sip.client INVITE", "registrar.lookup", "sip.server INVITE"
    )
    assert path_to_root(spans, "edge.deliver INVITE") == ["edge.deliver INVITE", "sip.client INVITE", "sip.server INVITE"]
    assert {span.trace_id for span in spans} == {spans[0].trace_id}
    here, there = named(spans, "sip.server INVITE").resource, named(spans, "edge.deliver INVITE").resource
    assert here["k8s.node.name"] != there["k8s.node.name"]
    assert here["k8s.pod.uid"] != there["k8s.pod.uid"]
    assert named(spans, "edge.deliver INVITE").tags["parley.edge"] == there["k8s.pod.uid"], "an edge is its pod's UID"


async def test_a_message_is_one_trace_and_one_that_was_kept_is_linked(people: People, traces: Traces) -> None:
    alice, bob = await people.client("tcp", 0), await people.client("tls", 1)
    assert (await bob.register()).status == 200
    sending = asyncio.create_task(alice.ask(page(alice, bob.user, b"hello")))
    await paged(bob)
    answer = await sending
    assert answer.status == 200
    assert (await bob.register(expires=0)).status == 200
    kept = await alice.ask(page(alice, bob.user, b"later"))
    assert kept.status == 202
    assert (await bob.register()).status == 200
    await paged(bob)
    await bob.register(expires=0)

    names = ("edge.deliver MESSAGE", "registrar.lookup", "rpc Check", "application.handle MESSAGE", "sip.server MESSAGE")
    spans = await traces.of(answer.call_id, *names)
    for name in names[:3]:
        assert path_to_root(spans, name) == [name, "application.handle MESSAGE", "sip.server MESSAGE"]
    assert {"parley-messaging", "parley-registrar", "parley-presence"} <= {span.service for span in spans}
    handled = named(await traces.of(kept.call_id, "application.handle MESSAGE"), "application.handle MESSAGE")
    delivery = await traces.linked("parley-messaging", handled, "messaging.deliver", "edge.deliver MESSAGE")
    assert path_to_root(delivery, "edge.deliver MESSAGE") == ["edge.deliver MESSAGE", "messaging.deliver"]


async def test_presence_crosses_and_each_notification_is_linked_to_its_change(people: People, traces: Traces) -> None:
    watcher, owner = await people.subscriber("tcp", 0), await people.client("udp", 1)
    subscription = await watcher.subscribe("presence", owner.user)
    assert subscription.answer.status == 200
    await subscription.notify()
    body = build_pidf(pidf_of(f"sip:{owner.user}@{DOMAIN}", 6500))
    headers = [("Event", "presence"), ("Content-Type", "application/pidf+xml")]
    published = await owner.ask(owner.request("PUBLISH", f"sip:{owner.user}@{DOMAIN}", headers=headers, body=body))
    assert published.status == 200
    told = await subscription.notify()
    assert f"pres:{owner.user}@{DOMAIN}".encode() in told.body or owner.user.encode() in told.body
    await subscription.refresh(expires=0)

    publish = "events.publish parley.presence"
    spans = await traces.of(published.call_id, "redis documents", publish)
    for name in ("redis documents", publish):
        assert path_to_root(spans, name) == [name, "application.handle PUBLISH", "sip.server PUBLISH"]
    told_of = await traces.linked(
        "parley-presence", named(spans, publish), "presence.notify presence", "edge.deliver NOTIFY"
    )
    assert path_to_root(told_of, "edge.deliver NOTIFY") == ["edge.deliver NOTIFY", "presence.notify presence"]


async def test_what_is_said_in_a_conference_is_linked_to_what_each_is_told(people: People, traces: Traces) -> None:
    async with AsyncExitStack() as stack:
        attendees = [await people.attendee(node) for node in (0, 1)]
        for each in attendees:
            stack.push_async_callback(each.leave_out)
        focus = await attendees[0].create(token_hex(6).upper())
        for each in attendees:
            assert (await each.join(focus)).status == 200
            assert (await each.watch(focus)).status == 200
            assert (await each.chat(focus)).status == 200
        said = await attendees[0].say("hello")
        assert said.status == 202
        await attendees[1].until("the message", attendees[1].heard)

    handled = named(await traces.of(said.call_id, "application.handle MESSAGE", "redis push"), "application.handle MESSAGE")
    told = await traces.linked("parley-immcu", handled, "immcu.deliver", "edge.deliver MESSAGE")
    assert path_to_root(told, "edge.deliver MESSAGE")[-1] == "immcu.deliver"
    publish = "events.publish parley.conferences"
    joined = await traces.of(attendees[1].chat_dialog[0].call_id, "rpc Join", publish, service="parley-immcu")
    await traces.linked("parley-conference", named(joined, publish), "conference.notify")


async def test_who_changes_a_user_is_linked_to_every_front_end_that_forgets_the_password(
    people: People, parley: Installation, traces: Traces
) -> None:
    phone = await people.client("tcp")
    assert (await phone.register()).status == 200
    command = ("parley", "user", "passwd", f"{phone.user}@{DOMAIN}")
    heard = {pod: await users_heard(parley, pod) for pod in await aside(parley.ready, "frontend")}
    await aside(parley.exec, parley.one_of("addressbook"), *command, stdin="Another-1\n")
    assert (await phone.ask(phone.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:{phone.user}@{DOMAIN}"))).status == 401
    tags = {"messaging.destination": "parley.users", "messaging.key": f"sip:{phone.user}@{DOMAIN}"}
    change = ("rpc SetPassword", "events.publish parley.users")  # when the user was added there was an event as well
    spans = await traces.where("parley-addressbook", tags, lambda found: has(found, *change))
    published = named(spans, "events.publish parley.users")

    deaf: list[str] = []

    async def all_counted() -> bool:
        still = {pod.name for pod in await aside(parley.pods, "frontend")}  # the autoscaler may have ended one meanwhile
        here = [pod for pod in heard if pod.name in still]
        deaf[:] = [pod.name for pod in here if await users_heard(parley, pod) <= heard[pod]]
        return not deaf

    try:
        await eventually(all_counted, timeout=10)
    except AssertionError:
        raise AssertionError(f"front ends that did not hear of it: {deaf}") from None

    async def all_heard() -> bool:
        found = await aside(parley.find_traces, "parley-frontend", tags)
        links = {
            span.resource["k8s.pod.name"]
            for trace in found
            for span in trace
            if span.name == "events.consume parley.users" and (published.trace_id, published.span_id) in span.links
        }
        still = {pod.name for pod in await aside(parley.pods, "frontend")}
        return len(links) >= 2 and links >= {pod.name for pod in heard} & still

    await eventually(all_heard, timeout=30, what="every front end that counted the event has a span of it")


async def test_the_relay_and_the_web_service_have_traces_of_their_own(
    people: People, parley: Installation, traces: Traces, tmp_path: Path
) -> None:
    user = next(people.names)
    relay = await aside(parley.relay, user)
    async with Probe.open(relay.server) as probe:
        await probe.allocate(relay.username, relay.password)
        assert await probe.refresh() > 0
    await traces.where("parley-avedge", {"turn.dialect": "turn"}, lambda spans: has(spans, "relay.allocate"))
    await traces.where("parley-avedge", {"turn.dialect": "turn"}, lambda spans: has(spans, "relay.refresh"))

    authority = tmp_path / "ca.pem"
    authority.write_text(await aside(parley.secret, "client-tls", "ca.crt"))
    host, port = parley.edges("https", parley.node_of("web"))[0]
    async with WebClient(f"https://{DOMAIN}:{port}", authority, user, at=host) as client:
        await client.provision(now=time.time())
    for entry, below in ((TICKET_ENTRY, "addressbook.credentials"), (CERTIFICATE_ENTRY, "rpc IssueCertificate")):
        name = f"http POST {entry}"
        spans = await traces.answered_well("parley-web", name, below)
        assert path_to_root(spans, below) == [below, name]
        assert {span.service for span in spans} == {"parley-web", "parley-addressbook"}


def test_every_service_sent_spans(parley: Installation) -> None:
    names = {f"parley-{name}" for name in ("frontend", "registrar", "addressbook", "presence", "messaging")}

    def none_missing() -> bool:
        missing = names - parley.traced_services()
        assert not missing, f"no span came from {missing}"
        return True

    assert parley.cluster.wait_for("spans of every service", none_missing, timeout=20)
