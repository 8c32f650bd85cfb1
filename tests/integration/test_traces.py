"""The telemetry contract, held against a real Jaeger: what belongs together is one trace, and every span is known."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aioice
import pytest

from parley.platform.telemetry.contract import SPANS, as_markdown
from parley.presence.standard.availability import pidf_of
from parley.presence.standard.pidf import build_pidf
from parley.stun.addresses import Address
from parley.stun.probe import Probe
from services.web.routes import CERTIFICATE_ENTRY, TICKET_ENTRY
from tests.support.attendee import Attendee
from tests.support.edge import PASSWORD, USER, EdgeNode
from tests.support.jaeger import Jaeger, JaegerSpan
from tests.support.messages import gone, page, paged, phone
from tests.support.parley_server import ParleyCluster
from tests.support.sip_client import SipClient
from tests.support.subscriber import Subscriber
from tests.support.traces import check_contract, path_to_root
from tests.support.waiting import eventually
from tests.support.web_client import WebClient

pytestmark = [pytest.mark.jaeger, pytest.mark.valkey]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, jaeger: Jaeger) -> Iterator[ParleyCluster]:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.endpoint}
    running = ParleyCluster(tmp_path_factory.mktemp("traced"), env=env, presences=1, messagings=1, webs=1, conferences=1)
    with running.for_module():
        yield running


async def trace_of(
    jaeger: Jaeger, call_id: str, complete: Callable[[list[JaegerSpan]], bool], service: str = "parley-frontend"
) -> list[JaegerSpan]:
    """The one trace with that Call-ID, when all of it has arrived."""

    async def look() -> list[JaegerSpan] | None:
        found = await asyncio.to_thread(jaeger.find, service, {"sip.call_id": call_id})
        whole = [spans for spans in found if complete(spans)]
        return whole[0] if whole else None

    spans = await eventually(look, timeout=20, what=f"the trace of {call_id}")
    assert spans is not None
    return spans


async def test_one_register_is_one_trace_through_front_end_registrar_and_redis(
    cluster: ParleyCluster, jaeger: Jaeger
) -> None:
    # Carol has no part in the other tests: her credentials are not known to the front end yet.
    carol = await SipClient("carol").connect(cluster.ports[0]["udp"])
    response = await carol.register()
    assert response.status == 200
    spans = await trace_of(
        jaeger, response.call_id, lambda found: {"redis update", "addressbook.credentials"} <= {s.name for s in found}
    )
    assert path_to_root(spans, "redis update") == ["redis update", "registrar.update", "sip.server REGISTER"]
    assert {span.service for span in spans} >= {"parley-frontend", "parley-registrar", "parley-addressbook"}
    assert all(span.tags["sip.call_id"] == response.call_id for span in spans if span.name.startswith("sip."))
    check_contract(spans)
    carol.close()


async def test_one_call_across_two_front_ends_is_one_trace(cluster: ParleyCluster, jaeger: Jaeger) -> None:
    alice = await SipClient("alice").connect(cluster.ports[0]["udp"])
    bob = await SipClient("bob", transport="tls").connect(cluster.ports[1]["tls"])
    assert (await bob.register()).status == 200
    invite = await alice.invite("sip:bob@example.test")
    incoming = await bob.expect("INVITE")
    assert incoming.get("Traceparent")
    bob.answer(incoming, 180)
    bob.answer(incoming, 200)
    answer = await alice.response()
    assert answer.status == 200
    alice.send(bytes(alice.in_dialog("ACK", invite, answer)))
    await bob.expect("ACK")

    def complete(found: list[JaegerSpan]) -> bool:
        names = {span.name for span in found}
        return {"edge.deliver INVITE", "sip.client INVITE", "registrar.lookup", "sip.server INVITE"} <= names

    spans = await trace_of(jaeger, invite.call_id, complete)
    assert path_to_root(spans, "edge.deliver INVITE") == [
        "edge.deliver INVITE", "sip.client INVITE", "sip.server INVITE",
    ]  # fmt: skip
    assert {span.tags["parley.edge"] for span in spans if span.name.startswith("edge.deliver")} == {"edge-1"}
    check_contract(spans)
    await alice.hang_up(bob, invite, answer)
    for client in (alice, bob):
        client.close()


async def test_event_consumers_are_linked_to_the_publisher(cluster: ParleyCluster, jaeger: Jaeger) -> None:
    await cluster.book.create_users(["dora"])  # a password that no other test needs
    done = await cluster.book.parley("user", "passwd", "dora@example.test", stdin="Another-1\n")
    assert done.returncode == 0, done.stderr

    async def spans_called(service: str, name: str) -> list[JaegerSpan]:
        found = await asyncio.to_thread(jaeger.find, service, {"messaging.destination": "parley.users"})
        return [span for spans in found for span in spans if span.name == name]

    async def linked() -> bool:
        consumed = await spans_called("parley-frontend", "events.consume parley.users")
        published = await spans_called("parley-addressbook", "events.publish parley.users")
        assert all(span.parent_id == "" for span in consumed)
        origins = {(span.trace_id, span.span_id) for span in published}
        return any(set(span.links) & origins for span in consumed)

    await eventually(linked, timeout=20, what="a consumer's span linked to the publisher's")


async def test_a_change_of_presence_is_one_trace_and_each_notification_is_linked_to_it(
    cluster: ParleyCluster, jaeger: Jaeger
) -> None:
    alice = await SipClient("alice").connect(cluster.ports[0]["udp"])
    bob = await SipClient("bob").connect(cluster.ports[1]["udp"])
    event = ("Event", "presence")
    subscribe = alice.request("SUBSCRIBE", "sip:bob@example.test", headers=[event, ("Expires", "600")])
    assert (await alice.ask(subscribe)).status == 200
    alice.answer(await alice.expect("NOTIFY"), 200)
    body = build_pidf(pidf_of("sip:bob@example.test", 6500))
    headers = [event, ("Content-Type", "application/pidf+xml")]
    published = await bob.ask(bob.request("PUBLISH", "sip:bob@example.test", headers=headers, body=body))
    assert published.status == 200
    alice.answer(await alice.expect("NOTIFY"), 200)
    spans = await trace_of(
        jaeger,
        published.call_id,
        lambda found: {"redis documents", "events.publish parley.presence"} <= {s.name for s in found},
    )
    handled = ["application.handle PUBLISH", "sip.server PUBLISH"]
    assert path_to_root(spans, "redis documents") == ["redis documents", *handled]
    assert path_to_root(spans, "events.publish parley.presence") == ["events.publish parley.presence", *handled]
    check_contract(spans)
    event_span = next(span for span in spans if span.name == "events.publish parley.presence")

    async def look() -> list[JaegerSpan] | None:
        found = await asyncio.to_thread(jaeger.find, "parley-presence", {"sip.call_id": subscribe.call_id})
        told = [trace for trace in found if any(span.name == "presence.notify presence" for span in trace)]
        linked = [
            trace for trace in told
            if any((event_span.trace_id, event_span.span_id) in span.links for span in trace)
            and "edge.deliver NOTIFY" in {span.name for span in trace}
        ]  # fmt: skip
        return linked[0] if linked else None

    notification = await eventually(look, timeout=20, what="the notification's trace")
    assert notification is not None
    assert path_to_root(notification, "edge.deliver NOTIFY") == ["edge.deliver NOTIFY", "presence.notify presence"]
    check_contract(notification)


async def test_a_message_is_one_trace_and_one_that_was_kept_is_linked(cluster: ParleyCluster, jaeger: Jaeger) -> None:
    alice, bob = await phone(cluster.ports[0], "alice"), await phone(cluster.ports[1], "bob")
    sending = asyncio.create_task(alice.ask(page(alice, "bob", b"hello")))
    await paged(bob)
    answer = await sending
    assert answer.status == 200

    def complete(found: list[JaegerSpan]) -> bool:
        names = {span.name for span in found}
        return {"edge.deliver MESSAGE", "registrar.lookup", "rpc Check", "sip.server MESSAGE"} <= names

    spans = await trace_of(jaeger, answer.call_id, complete)
    handled = ["application.handle MESSAGE", "sip.server MESSAGE"]
    for name in ("edge.deliver MESSAGE", "registrar.lookup", "rpc Check"):
        assert path_to_root(spans, name) == [name, *handled]
    assert {"parley-messaging", "parley-registrar", "parley-presence"} <= {span.service for span in spans}
    check_contract(spans)

    await gone(bob)
    kept = await alice.ask(page(alice, "bob", b"later"))
    assert kept.status == 202
    bob = await phone(cluster.ports[1], "bob")
    await paged(bob)
    handling = await trace_of(jaeger, kept.call_id, lambda found: "application.handle MESSAGE" in {s.name for s in found})
    source = next(span for span in handling if span.name == "application.handle MESSAGE")

    async def look() -> list[JaegerSpan] | None:
        found = await asyncio.to_thread(jaeger.find, "parley-messaging", {"sip.call_id": kept.call_id})
        return next(
            (spans for spans in found if {"messaging.deliver", "edge.deliver MESSAGE"} <= {s.name for s in spans}), None
        )

    delivery = await eventually(look, timeout=20, what="the delivery's trace")
    assert delivery is not None
    assert path_to_root(delivery, "edge.deliver MESSAGE") == ["edge.deliver MESSAGE", "messaging.deliver"]
    assert any((source.trace_id, source.span_id) in span.links for span in delivery)
    check_contract(delivery)
    await gone(alice, bob)


async def test_who_begins_to_watch_is_one_trace_and_the_user_is_told_in_one_linked_to_it(
    cluster: ParleyCluster, jaeger: Jaeger
) -> None:
    alice = await Subscriber("alice").connect(cluster.ports[0]["udp"])
    bob = await Subscriber("bob").connect(cluster.ports[1]["udp"])
    watchers = await alice.subscribe("presence.winfo")
    await watchers.notify()
    watching = await bob.subscribe("presence", "alice")
    await watchers.notify()
    publish = "events.publish parley.watchers"
    spans = await trace_of(jaeger, watching.call_id, lambda found: publish in {span.name for span in found})
    assert path_to_root(spans, publish) == [publish, "application.handle SUBSCRIBE", "sip.server SUBSCRIBE"]
    check_contract(spans)
    event_span = next(span for span in spans if span.name == publish)

    async def look() -> list[JaegerSpan] | None:
        found = await asyncio.to_thread(jaeger.find, "parley-presence", {"sip.call_id": watchers.call_id})
        told = [trace for trace in found if any(span.name == "presence.notify presence.winfo" for span in trace)]
        linked = [t for t in told if any((event_span.trace_id, event_span.span_id) in span.links for span in t)]
        return linked[0] if linked else None

    notification = await eventually(look, timeout=20, what="a notification that is linked to the event")
    assert notification is not None
    check_contract(notification)


async def test_a_certificate_is_one_trace_for_the_ticket_and_one_for_itself(cluster: ParleyCluster, jaeger: Jaeger) -> None:
    async with WebClient(cluster.web_urls[0], cluster.web_ca_file(0), "alice") as alice:
        await alice.provision(now=time.time())
    for entry, below in ((TICKET_ENTRY, "addressbook.credentials"), (CERTIFICATE_ENTRY, "rpc IssueCertificate")):
        name = f"http POST {entry}"
        spans = await web_trace(jaeger, name, below)
        assert path_to_root(spans, below) == [below, name]
        assert {span.service for span in spans} == {"parley-web", "parley-addressbook"}
        assert {span.tags["http.response.status_code"] for span in spans if span.name == name} == {200}
        check_contract(spans)


async def web_trace(jaeger: Jaeger, name: str, below: str) -> list[JaegerSpan]:
    """The trace of a request over HTTP that was answered well."""

    async def look() -> list[JaegerSpan] | None:
        found = await asyncio.to_thread(jaeger.find, "parley-web", {"http.response.status_code": "200"})
        return next((spans for spans in found if {name, below} <= {span.name for span in spans}), None)

    spans = await eventually(look, timeout=20, what=f"the trace of {name}")
    assert spans is not None
    return spans


async def test_a_client_of_the_relay_begins_traces_and_its_packets_none(tmp_path: Path, jaeger: Jaeger) -> None:
    instance = f"edge-{tmp_path.name}"  # other tests may have sent spans of other relays to the same Jaeger
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.endpoint,
        "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={instance}",
    }
    quota = {"allocations_per_user": 1}
    async with EdgeNode(tmp_path, env=env, advertised={"self_test": False}, limits=quota) as edge:
        server = Address("127.0.0.1", edge.udp)
        async with Probe.open(server) as client:
            await client.allocate(USER, PASSWORD)
            assert await client.refresh() == 600
            await client.bind(Address("127.0.0.1", 9))
            for _ in range(20):
                client.send(b"\x80media")
            with pytest.raises(aioice.stun.TransactionFailed, match="486"):
                await aioice.turn.create_turn_endpoint(asyncio.DatagramProtocol, server, USER, PASSWORD)

        async def look() -> list[JaegerSpan] | None:
            found = await asyncio.to_thread(jaeger.find, "parley-avedge", {"turn.dialect": "turn"})
            spans = [span for spans in found for span in spans if span.resource["service.instance.id"] == instance]
            asked = {(span.name, int(span.tags["turn.error_code"])) for span in spans}
            return spans if len(asked) >= 3 else None

        spans = await eventually(look, timeout=20, what="the spans of the relay")
        assert spans is not None
    check_contract(spans)
    # One span for each: a request that was sent again is answered from memory, but a refused one may be judged again.
    outcomes = Counter((span.name, int(span.tags["turn.error_code"])) for span in spans)
    assert outcomes.pop(("relay.allocate", 486)) >= 1
    assert outcomes == {("relay.allocate", 0): 1, ("relay.refresh", 0): 1}
    assert all(span.tags["otel.status_code"] == "ERROR" for span in spans if int(span.tags["turn.error_code"]))
    assert all(span.tags["network.transport"] == "udp" and not span.parent_id for span in spans)
    assert len({span.trace_id for span in spans}) == len(spans)


def test_the_page_shows_the_contract() -> None:
    assert as_markdown() in (ROOT / "docs" / "telemetry.md").read_text()
    assert len({rule.name for rule in SPANS}) == len(SPANS)


async def test_what_is_said_in_a_conference_is_linked_to_what_each_is_told(cluster: ParleyCluster, jaeger: Jaeger) -> None:
    async with AsyncExitStack() as stack:
        people = []
        for number, user in enumerate(("alice", "bob")):
            person = await Attendee(user, epid=f"{number}" * 12).join_in(cluster.ports[number]["tcp"])
            stack.push_async_callback(person.leave_out)
            people.append(person)
        alice, bob = people
        focus = await alice.create("TRACED000001")
        for person in people:
            assert (await person.join(focus)).status == 200
            assert (await person.watch(focus)).status == 200
            assert (await person.chat(focus)).status == 200
        said = await alice.say("hello")
        assert said.status == 202
        await bob.until("the message", bob.heard)

    names = {"sip.server MESSAGE", "application.handle MESSAGE", "redis push"}
    spans = await trace_of(jaeger, said.call_id, lambda found: names <= {span.name for span in found})
    check_contract(spans)
    handled = next(span for span in spans if span.name == "application.handle MESSAGE")
    joined = await trace_of(
        jaeger, bob.chat_dialog[0].call_id,
        lambda found: {"rpc Join", "events.publish parley.conferences"} <= {span.name for span in found}, "parley-immcu",
    )  # fmt: skip
    check_contract(joined)
    published = next(span for span in joined if span.name == "events.publish parley.conferences")

    for service, name, cause, parts in (
        ("parley-immcu", "immcu.deliver", handled, {"immcu.deliver", "edge.deliver MESSAGE"}),
        ("parley-conference", "conference.notify", published, {"conference.notify"}),
    ):

        async def look(
            service: str = service, name: str = name, cause: JaegerSpan = cause, parts: set[str] = parts
        ) -> list[JaegerSpan] | None:
            found = await asyncio.to_thread(jaeger.find, service, {})
            linked = [
                trace for trace in found
                if any(span.name == name and (cause.trace_id, cause.span_id) in span.links for span in trace)
                and parts <= {span.name for span in trace}
            ]  # fmt: skip
            return linked[0] if linked else None

        told = await eventually(look, timeout=20, what=f"the trace of {name}")
        assert told is not None
        for part in parts:
            assert path_to_root(told, part)[-1] == name
        check_contract(told)
