"""SERVICE requests of Communicator: publications, contacts, containers and subscribers of the user who sends them."""

from __future__ import annotations

from typing import Final

from parley.platform.applications.host import Incoming
from parley.platform.clock import Clock
from parley.presence.access import change_members
from parley.presence.contacts import (
    ContactDelta,
    add_group,
    delete_contact,
    delete_group,
    modify_group,
    set_contact,
)
from parley.presence.documents.access import (
    CONTAINERS_TYPE,
    SUBSCRIBERS_TYPE,
    parse_set_container_members,
    parse_set_subscribers,
)
from parley.presence.documents.contact_lists import SOAP_TYPE, SoapCall, contact_delta, group_added, groups_of, parse_soap
from parley.presence.documents.publications import PUBLISH_TYPE, ROAMING_SELF_TYPE, parse_publish, roaming_data
from parley.presence.errors import PresenceError
from parley.presence.publishing import publish, visible_categories
from parley.proto.events.v1.presence_pb2 import ContactChanged, PresenceChanged
from parley.proto.presence.v1 import state_pb2 as pb
from parley.sip.uri import aor
from services.presence.changes import presence_event
from services.presence.config import PresenceConfig
from services.presence.repository import PresenceRepository
from services.presence.wishes import content_type_of

_ACCEPT: Final = ", ".join((PUBLISH_TYPE, SOAP_TYPE, CONTAINERS_TYPE, SUBSCRIBERS_TYPE))


class ServiceRequests:
    """Takes SERVICE requests to a user."""

    def __init__(self, config: PresenceConfig, repository: PresenceRepository, clock: Clock) -> None:
        self._config = config
        self._repository = repository
        self._clock = clock

    async def handle(self, incoming: Incoming) -> None:
        """Answers a SERVICE. Raises PresenceError, SipParseError, StoreError."""
        request = incoming.request
        user = aor(request.uri)
        if user != incoming.user_aor:
            raise PresenceError("only the user may change that", 403)
        kind = content_type_of(request)
        if kind == PUBLISH_TYPE:
            await self._publish(incoming, user)
        elif kind == SOAP_TYPE.lower():
            await self._change_contacts(incoming, user)
        elif kind == CONTAINERS_TYPE:
            await self._change_containers(incoming, user)
        elif kind == SUBSCRIBERS_TYPE:
            await self._acknowledge(incoming, user)
        else:
            incoming.reply(415, None, (("Accept", _ACCEPT),))

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)

    # Publications

    async def _publish(self, incoming: Incoming, user: str) -> None:
        operations = parse_publish(incoming.request.body)
        endpoint = (incoming.request.from_.params.get("epid") or "")[:64]
        now_ms = self._now_ms()

        def apply(state: pb.Presentity) -> tuple[bytes, PresenceChanged]:
            touched = publish(state, operations, endpoint, now_ms)
            event = presence_event(state, {category for category, _, _ in touched}, visible_categories(touched), now_ms)
            return roaming_data(state, categories=event.own_categories), event

        body = await self._repository.change(user, apply, _trace(incoming))
        incoming.reply(200, None, (("Content-Type", ROAMING_SELF_TYPE),), body)

    # Containers and subscribers

    async def _change_containers(self, incoming: Incoming, user: str) -> None:
        changes = parse_set_container_members(incoming.request.body)
        now_ms = self._now_ms()

        def apply(state: pb.Presentity) -> tuple[None, PresenceChanged]:
            numbers, watchers = change_members(state, changes)
            return None, PresenceChanged(
                aor=state.address, at_ms=now_ms, availability=state.availability, activity=state.activity,
                containers=sorted(numbers), watchers=sorted(watchers),
            )  # fmt: skip

        await self._repository.change(user, apply, _trace(incoming))
        incoming.reply(200)

    async def _acknowledge(self, incoming: Incoming, user: str) -> None:
        wanted = dict(parse_set_subscribers(incoming.request.body))
        now_ms = self._now_ms()

        def apply(state: pb.Presentity) -> tuple[None, PresenceChanged | None]:
            found = [one for one in state.subscribers if one.user in wanted and one.acknowledged != wanted[one.user]]
            for one in found:
                one.acknowledged = wanted[one.user]
            if not found:
                return None, None
            return None, PresenceChanged(aor=state.address, at_ms=now_ms, subscribers=[one.user for one in found])

        await self._repository.change(user, apply, _trace(incoming))
        incoming.reply(200)

    # Contacts

    async def _change_contacts(self, incoming: Incoming, user: str) -> None:
        call = parse_soap(incoming.request.body)
        now_ms = self._now_ms()

        def apply(contacts: pb.ContactList) -> tuple[list[ContactDelta], list[ContactChanged]]:
            deltas = self._apply_call(contacts, call)
            return deltas, [
                ContactChanged(aor=user, delta=delta.number, at_ms=now_ms, document=contact_delta(delta)) for delta in deltas
            ]

        deltas = await self._repository.change_contacts(user, apply, _trace(incoming))
        if call.method == "addGroup":
            incoming.reply(200, None, (("Content-Type", SOAP_TYPE),), group_added(deltas[0].added_groups[0].id))
        else:
            incoming.reply(200)

    def _apply_call(self, contacts: pb.ContactList, call: SoapCall) -> list[ContactDelta]:
        values = call.values
        external = values.get("externalURI", "")
        match call.method:
            case "setContact":
                return [
                    set_contact(
                        contacts, uri=values.get("URI", ""), name=values.get("displayName", ""),
                        groups=groups_of(values.get("groups", "")),
                        subscribed=values.get("subscribed", "").lower() == "true",
                        external_uri=external, extension=call.extension, limit=self._config.max_contacts,
                    )
                ]  # fmt: skip
            case "deleteContact":
                return [delete_contact(contacts, values.get("URI", ""))]
            case "addGroup":
                return [add_group(contacts, values.get("name", ""), external)]
            case "modifyGroup":
                return [modify_group(contacts, call.number("groupID"), values.get("name", ""), external)]
            case "deleteGroup":
                return delete_group(contacts, call.number("groupID"))
        raise PresenceError(f"no such method: {call.method}", 501)


def _trace(incoming: Incoming) -> str:
    return incoming.span.traceparent if incoming.span is not None else ""
