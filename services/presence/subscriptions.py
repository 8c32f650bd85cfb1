"""SUBSCRIBE (RFC 6665; MS-SIP section 3.4): who wants to know what, for how long, and the first answer.

Communicator has one subscription of a kind for each endpoint, whatever dialog it comes in; a standard phone one for each
dialog. The first document goes in the 200 where the client takes it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s
from secrets import token_hex
from typing import Final

from parley.platform.applications.host import Incoming
from parley.platform.clock import Clock
from parley.presence.access import relation
from parley.presence.documents.access import parse_roaming_list
from parley.presence.documents.batches import BATCH_TYPE, BatchAction, merged, parse_batch
from parley.presence.documents.contact_lists import contact_list
from parley.presence.documents.provisioning import PROVISIONING_TYPE, group_list, parse_groups
from parley.presence.documents.publications import CATEGORIES_TYPE, ROAMING_SELF_TYPE
from parley.presence.errors import PresenceError, TooLarge
from parley.presence.model import bare
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.presence.v1 import state_pb2 as pb
from parley.sip.errors import SipParseError, interval_too_brief
from parley.sip.message import Request
from parley.sip.outbound import option_tags
from parley.sip.uri import aor, parse_uri
from services.presence.config import PresenceConfig
from services.presence.notifier import Notifier, contact_of
from services.presence.repository import PresenceRepository
from services.presence.users import Users
from services.presence.views import PIDF_TYPE, Document, contacts_document, first_document, own_document

ROAMING_SELF: Final = "vnd-microsoft-roaming-self"
ROAMING_CONTACTS: Final = "vnd-microsoft-roaming-contacts"
PROVISIONING: Final = "vnd-microsoft-provisioning-v2"
PRESENCE: Final = "presence"
OWN_EVENTS: Final = frozenset({ROAMING_SELF, ROAMING_CONTACTS, PROVISIONING})
"""Packages that only the user may subscribe to."""

_UNDERSTOOD: Final = frozenset({"adhoclist", "categorylist", "eventlist", "ms-benotify", "ms-piggyback-first-notify"})
_EMPTY: Final = ("", b"")


@dataclass(frozen=True, slots=True)
class Wish:
    """A SUBSCRIBE as far as its headers tell."""

    event: str
    target: str
    watcher: str
    endpoint: str
    """The epid of Communicator; "" for a standard phone."""
    expires_s: int
    best_effort: bool
    piggyback: bool


class Subscriptions:
    """Takes SUBSCRIBE requests."""

    def __init__(
        self, config: PresenceConfig, repository: PresenceRepository, notifier: Notifier, users: Users, clock: Clock
    ) -> None:
        self._config = config
        self._repository = repository
        self._notifier = notifier
        self._users = users
        self._clock = clock

    async def handle(self, incoming: Incoming) -> None:
        """Answers a SUBSCRIBE. Raises PresenceError, SipParseError, StoreError."""
        request = incoming.request
        wish = self._wish(incoming)
        if wish.event in OWN_EVENTS and wish.watcher != wish.target:
            raise PresenceError("that is for the user alone", 403)
        if wish.event == PROVISIONING:
            names = parse_groups(request.body)
            body = group_list(names, self._config.settings_of(wish.watcher))
            self._answer(incoming, wish, None, (PROVISIONING_TYPE, body), 0)
            return
        known = await self._repository.subscription(wish.watcher, self._id_of(request, wish))
        if wish.expires_s == 0:
            await self._leave(incoming, wish, known)
            return
        if known is None and request.to_tag is not None and not wish.endpoint:
            raise PresenceError("there is no such subscription", 481)
        if known is None and await self._repository.count_subscriptions(wish.watcher) >= self._config.max_subscriptions:
            raise TooLarge("too many subscriptions", 403)
        await self._enter(incoming, wish, known)

    # What is wanted

    def _wish(self, incoming: Incoming) -> Wish:
        request = incoming.request
        unknown = sorted(tag for tag in option_tags(request, "Require") if tag.lower() not in _UNDERSTOOD)
        if unknown:
            raise SipParseError(420, "Bad Extension")
        event = (request.get("Event") or "").partition(";")[0].strip().lower()
        supported = option_tags(request, "Supported") | option_tags(request, "Proxy-Require")
        epid = (request.from_.params.get("epid") or "")[:64]
        expires = request.expires
        if expires is None:
            expires = self._config.max_subscription_seconds if epid else self._config.subscription_seconds
        if 0 < expires < self._config.min_subscription_seconds:
            raise interval_too_brief(self._config.min_subscription_seconds)
        return Wish(
            event, aor(request.uri), incoming.user_aor or aor(request.from_.uri), epid,
            min(expires, self._config.max_subscription_seconds), "ms-benotify" in supported,
            "ms-piggyback-first-notify" in supported,
        )  # fmt: skip

    @staticmethod
    def _id_of(request: Request, wish: Wish) -> str:
        dialog = wish.endpoint or f"{request.call_id}\n{request.from_tag}"
        text = f"{wish.event}\n{wish.watcher}\n{wish.target}\n{dialog}"
        return blake2s(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    # Leaving

    async def _leave(self, incoming: Incoming, wish: Wish, known: pb.Subscription | None) -> None:
        if known is not None:
            await self._repository.end(known)
            self._answer(incoming, wish, known, _EMPTY, 0)
            if not wish.endpoint:
                known.expires_at_ms = 0
                await self._notifier.finish(known, "timeout")
            return
        if wish.endpoint or incoming.request.to_tag is not None:
            self._answer(incoming, wish, None, _EMPTY, 0)
            return
        # A fetch: one NOTIFY with the state, and nothing is kept (RFC 6665 section 4.4.3).
        subscription = await self._made(incoming, wish, None)
        document = await self._first(subscription, incoming)
        self._answer(incoming, wish, subscription, _EMPTY, 0)
        subscription.expires_at_ms = 0
        self._notifier.send(subscription, document)

    # Entering and refreshing

    async def _enter(self, incoming: Incoming, wish: Wish, known: pb.Subscription | None) -> None:
        before = list(known.resources) if known is not None else []
        subscription = await self._made(incoming, wish, known)
        gone = [uri for uri in before if uri not in subscription.resources]
        document = await self._first(subscription, incoming)
        await self._repository.keep(subscription, gone=gone, first=1 if wish.piggyback else 0)
        if wish.piggyback:
            self._answer(incoming, wish, subscription, document, wish.expires_s)
        else:
            self._answer(incoming, wish, subscription, _EMPTY, wish.expires_s)
            self._notifier.send(subscription, document, incoming.span.traceparent if incoming.span else "")

    async def _made(self, incoming: Incoming, wish: Wish, known: pb.Subscription | None) -> pb.Subscription:
        """The subscription as it is after the request."""
        request = incoming.request
        contacts = request.contacts
        target = contacts[0].uri_text if isinstance(contacts, list) and contacts else request.from_.uri_text
        tag = request.to_tag or token_hex(8)
        to = request.get("To") or ""
        made = pb.Subscription(
            id=self._id_of(request, wish), watcher=wish.watcher, event=wish.event, target=wish.target,
            call_id=request.call_id, local_party=to if request.to_tag else f"{to};tag={tag}",
            remote_party=request.get("From") or "", remote_target=target, routes=request.values("Record-Route"),
            expires_at_ms=int((self._clock.wall() + wish.expires_s) * 1000), best_effort=wish.best_effort,
            endpoint=wish.endpoint, watcher_name=incoming.user_name,
        )  # fmt: skip
        made.flow.CopyFrom(incoming.flow)
        await self._choose(made, request, known)
        return made

    async def _choose(self, made: pb.Subscription, request: Request, known: pb.Subscription | None) -> None:
        """Resources, categories and format."""
        content_type = (request.get("Content-Type") or "").partition(";")[0].strip().lower()
        if made.event == ROAMING_SELF:
            made.format = ROAMING_SELF_TYPE
            made.categories.extend(sorted(parse_roaming_list(request.body)))
            made.resources.append(made.target)
        elif made.event == ROAMING_CONTACTS:
            made.resources.append(made.target)
        elif content_type == BATCH_TYPE:
            made.format, made.list = CATEGORIES_TYPE, True
            actions = parse_batch(request.body)
            self._batch(made, actions, list(known.resources) if known is not None and request.to_tag else [])
            made.categories.extend(dict.fromkeys(name for action in actions for name in action.categories))
            if not made.categories and known is not None:
                made.categories.extend(known.categories)
        else:
            accepts = {value.partition(";")[0].strip().lower() for value in request.values("Accept")}
            if known is not None:
                made.format = known.format
            elif CATEGORIES_TYPE in accepts:
                made.format = CATEGORIES_TYPE
            elif not accepts or accepts & {PIDF_TYPE, "*/*", "application/*"}:
                made.format = PIDF_TYPE
            else:
                raise PresenceError("none of the formats accepted is known", 406)
            made.resources.append(made.target)
            if await self._users.name_of(made.target) is None:
                raise PresenceError("there is no such user", 404)

    def _batch(self, made: pb.Subscription, actions: list[BatchAction], before: list[str]) -> None:
        resources = before
        for action in actions:
            resources = merged(resources, _resolved(action))
        if len(resources) > self._config.max_resources:
            raise TooLarge("too many resources in one subscription")
        made.resources.extend(resources)

    # What is told first

    async def _first(self, subscription: pb.Subscription, incoming: Incoming) -> Document:
        if subscription.event == ROAMING_CONTACTS:
            return contacts_document(contact_list(await self._repository.contacts(subscription.target)))
        if subscription.event == ROAMING_SELF:
            state = await self._repository.presentity(subscription.target)
            return own_document(state, None, subscription.categories)
        resources = list(subscription.resources)
        states = await self._users.named(await self._repository.presentities(resources))
        for aor_, state in zip(resources, states, strict=True):
            if aor_ != subscription.watcher:
                await self._note_subscriber(state, subscription, incoming)
        return first_document(subscription, dict(zip(resources, states, strict=True)))

    async def _note_subscriber(self, state: pb.Presentity, subscription: pb.Subscription, incoming: Incoming) -> None:
        """Tells a user once that somebody watches."""
        user = bare(subscription.watcher)
        if any(one.user == user for one in state.subscribers):
            return
        name, kind = incoming.user_name or user, relation(subscription.watcher, state.address)

        def add(current: pb.Presentity) -> tuple[None, PresenceChanged | None]:
            if any(one.user == user for one in current.subscribers) or len(current.subscribers) >= 2_000:
                return None, None
            current.subscribers.add(user=user, display_name=name, type=kind)
            return None, PresenceChanged(aor=current.address, at_ms=int(self._clock.wall() * 1000), subscribers=[user])

        if await self._users.name_of(state.address) is not None:
            await self._repository.change(state.address, add, incoming.span.traceparent if incoming.span else "")

    # Answers

    def _answer(
        self, incoming: Incoming, wish: Wish, subscription: pb.Subscription | None, document: Document, expires_s: int
    ) -> None:
        headers = [
            ("Contact", contact_of(subscription) if subscription is not None else f"<{wish.target};opaque=app:presence>"),
            ("Expires", str(expires_s)),
        ]
        if wish.endpoint or document[0]:
            state = f"active;expires={expires_s}" if expires_s else "terminated;expires=0"
            headers += [("Event", wish.event), ("subscription-state", state), ("ms-piggyback-cseq", "1")]
            headers.append(("Supported", "ms-benotify, ms-piggyback-first-notify"))
        if subscription is not None and subscription.list:
            headers.append(("Require", "eventlist"))
        if document[0]:
            headers.append(("Content-Type", document[0]))
        tag = None
        if subscription is not None:
            tag = subscription.local_party.rpartition(";tag=")[2]
        incoming.reply(200, None, headers, document[1], to_tag=tag or token_hex(8), record_route=True)


def _resolved(action: BatchAction) -> BatchAction:
    """The action with addresses of record in place of what was written; what is no SIP address is left out."""
    resources = []
    for text in action.resources:
        try:
            resources.append(aor_of_text(text))
        except SipParseError:
            continue
    return BatchAction(action.name, tuple(dict.fromkeys(resources)), action.categories)


def aor_of_text(text: str) -> str:
    """The address of record of a URI as it stands in a document. Raises SipParseError."""
    uri = parse_uri(text if ":" in text else f"sip:{text}")
    if not uri.is_sip or not uri.user:
        raise SipParseError(400, "Not an Address")
    return aor(uri)
