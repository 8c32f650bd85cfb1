"""The spans that Parley makes, as data: the tests hold real traces against it, docs/telemetry.md shows it to people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SpanRule:
    """One kind of span."""

    name: str
    """``<METHOD>``, ``<topic>`` and ``<call>`` stand for what varies."""
    service: str
    kind: str
    parents: tuple[str, ...]
    """Names of spans it may be a child of; "" for the beginning of a trace."""
    opened_by: str
    closed_by: str
    attributes: tuple[str, ...]


SPANS: Final = (
    SpanRule(
        "sip.server <METHOD>", "frontend", "SERVER", ("", "sip.client <METHOD>"),
        "a request comes from a client", "its final response",
        ("sip.method", "sip.call_id", "sip.status_code", "parley.edge", "network.transport"),
    ),
    SpanRule(
        "sip.client <METHOD>", "frontend", "CLIENT", ("sip.server <METHOD>",),
        "a copy of the request is sent to one target; forks are siblings",
        "the target's final response, or the failure of the branch; CANCEL is an event with the reason",
        ("sip.method", "sip.call_id", "sip.status_code", "sip.branch", "parley.edge"),
    ),
    SpanRule(
        "edge.deliver <METHOD>", "frontend", "SERVER",
        ("sip.client <METHOD>", "application.handle <METHOD>", "presence.notify <event>", "messaging.deliver",
         "conference.notify", "immcu.deliver", ""),
        "another front end hands a request over", "the client's final response; CANCEL is an event with the reason",
        ("sip.method", "sip.call_id", "sip.status_code", "parley.edge"),
    ),
    SpanRule(
        "registrar.update", "registrar", "SERVER", ("sip.server <METHOD>",),
        "a REGISTER reaches the registrar", "its bindings are stored", ("sip.call_id", "sip.aor"),
    ),
    SpanRule(
        "registrar.lookup", "registrar", "SERVER", ("sip.server <METHOD>", "application.handle <METHOD>", ""),
        "a user's bindings are asked for", "they are read", ("sip.aor",),
    ),
    SpanRule(
        "addressbook.credentials", "addressbook", "SERVER", ("sip.server <METHOD>", "http <route>", ""),
        "credentials are asked for that the front end does not know", "they are read", (),
    ),
    SpanRule(
        "addressbook.make_files", "addressbook", "INTERNAL", ("",),
        "a run begins that makes address-book files", "they are in place, or the run failed", ("parley.files",),
    ),
    SpanRule(
        "http <route>", "web", "SERVER", ("",),
        "a request comes from a client; the route is method and path, `unknown` for any other", "its answer",
        ("http.response.status_code", "http.request.id"),
    ),
    SpanRule(
        "application.handle <METHOD>", "any application", "SERVER", ("sip.server <METHOD>", ""),
        "a request reaches a SIP application", "its handler returns", ("sip.method", "sip.call_id", "sip.aor"),
    ),
    SpanRule(
        "presence.notify <event>", "presence", "PRODUCER", ("",),
        "a subscriber is told; linked to the change that it tells of", "the notification is sent, or answered",
        ("sip.method", "sip.call_id", "sip.aor"),
    ),
    SpanRule(
        "messaging.deliver", "messaging", "PRODUCER", ("",),
        "a message that was kept is sent to who has signed in; linked to the request that brought it",
        "a device took it, or none",
        ("sip.call_id", "sip.aor"),
    ),
    SpanRule(
        "conference.notify", "conference", "PRODUCER", ("",),
        "a participant is told; linked to the changes that it tells of", "the notification is sent, or answered",
        ("sip.method", "sip.call_id", "sip.aor"),
    ),
    SpanRule(
        "immcu.deliver", "immcu", "PRODUCER", ("",),
        "a message of a conference goes to one participant; linked to the request that brought it", "its answer",
        ("sip.method", "sip.call_id", "sip.aor"),
    ),
    SpanRule(
        "relay.allocate", "avedge", "SERVER", ("",),
        "a client of the relay asks for an allocation", "it is granted, or refused; a challenge is no span",
        ("network.transport", "turn.dialect", "turn.error_code"),
    ),
    SpanRule(
        "relay.refresh", "avedge", "SERVER", ("",),
        "a client of the relay prolongs its allocation", "it is prolonged, or refused; no packet is ever a span",
        ("network.transport", "turn.dialect", "turn.error_code"),
    ),
    SpanRule(
        "redis <call>", "registrar, presence, messaging, conference, immcu", "CLIENT",
        ("registrar.update", "application.handle <METHOD>", "rpc <call>", "events.consume <topic>", ""),
        "a server-side script is sent", "its reply", ("db.system",),
    ),
    SpanRule(
        "events.publish <topic>", "frontend, registrar, addressbook, presence, messaging, conference, avedge", "PRODUCER",
        ("sip.server <METHOD>", "registrar.update", "application.handle <METHOD>", "rpc <call>", "events.consume <topic>",
         ""),
        "an event is handed to the bus", "the bus has it", ("messaging.destination", "messaging.key", "sip.call_id"),
    ),
    SpanRule(
        "events.consume <topic>", "any", "CONSUMER", ("",),
        "an event is handled; linked to the span that published it", "the handler returns",
        ("messaging.destination", "messaging.key", "sip.call_id"),
    ),
    SpanRule(
        "rpc <call>", "any", "SERVER", ("http <route>", "application.handle <METHOD>", "events.consume <topic>", ""),
        "a call comes that is no batch, over the network or from another service of the process",
        "its answer, or the last of them", (),
    ),
)  # fmt: skip
"""Every span there is."""


def rule_of(name: str) -> SpanRule | None:
    """The rule that a span's name falls under."""
    for rule in SPANS:
        head, _, variable = rule.name.partition("<")
        if name == rule.name or (variable and name.startswith(head) and len(name) > len(head)):
            return rule
    return None


def as_markdown() -> str:
    """The table of docs/telemetry.md."""
    lines = ["| span | service | kind | child of | opened by | closed by | attributes |", "|---|---|---|---|---|---|---|"]
    for rule in SPANS:
        parents = ", ".join(f"`{parent}`" if parent else "(begins a trace)" for parent in rule.parents)
        attributes = ", ".join(f"`{name}`" for name in rule.attributes)
        lines.append(
            f"| `{rule.name}` | {rule.service} | {rule.kind} | {parents} | {rule.opened_by} | {rule.closed_by} "
            f"| {attributes} |"
        )
    return "\n".join(lines)
