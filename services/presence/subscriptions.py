"""SUBSCRIBE (RFC 6665; MS-SIP section 3.4): who wants to know what, for how long, and the first answer.

Communicator has one subscription of a kind for each endpoint, whatever dialog it comes in; a standard phone one for each
dialog. The first document goes in the 200 where the client takes it there, and no notification before it; what changed while
it was made is told right after it. Others are sent a NOTIFY, made when the subscription is kept already.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex

from parley.platform.applications.host import Incoming
from parley.platform.clock import Clock
from parley.presence.access import relation
from parley.presence.documents.provisioning import PROVISIONING_TYPE, group_list, parse_groups
from parley.presence.errors import PresenceError, TooLarge
from parley.presence.model import bare
from parley.proto.events.v1.presence_pb2 import PresenceChanged
from parley.proto.presence.v1 import state_pb2 as pb
from services.presence.admission import Admission
from services.presence.config import PresenceConfig
from services.presence.documents import Documents, Made, Pending
from services.presence.notifier import Notifier, contact_of
from services.presence.packages import LISTED, OWN_EVENTS, PRESENCE, PROVISIONING
from services.presence.repository import PresenceRepository
from services.presence.users import Users
from services.presence.views import EMPTY, Changes, Document, all_categories
from services.presence.wishes import Choice, Wish, subscription_id, wish_of


class Subscriptions:
    """Takes SUBSCRIBE requests."""

    def __init__(
        self, config: PresenceConfig, repository: PresenceRepository, notifier: Notifier, documents: Documents, users: Users,
        clock: Clock, has_relay: Callable[[], bool],
    ) -> None:  # fmt: skip
        """``has_relay``: whether clients can have a media relay; asked each time, as services register in any order."""
        self._config = config
        self._repository = repository
        self._notifier = notifier
        self._documents = documents
        self._users = users
        self._choice = Choice(config, repository, users)
        self._clock = clock
        self._has_relay = has_relay

    async def handle(self, incoming: Incoming) -> None:
        """Answers a SUBSCRIBE. Raises PresenceError, SipParseError, StoreError, RpcError."""
        request = incoming.request
        wish = wish_of(incoming, self._config)
        if wish.event in OWN_EVENTS and wish.watcher != wish.target:
            raise PresenceError("that is for the user alone", 403)
        if wish.event == PROVISIONING:
            names = parse_groups(request.body)
            body = group_list(names, self._config.settings_of(wish.watcher, relay=self._has_relay()))
            self._answer(incoming, wish, None, Document(PROVISIONING_TYPE, body), 0)
            return
        known = await self._repository.subscription(wish.watcher, subscription_id(request, wish))
        if wish.expires_s == 0:
            await self._leave(incoming, wish, known)
            return
        if known is None and request.to_tag is not None and not wish.endpoint:
            raise PresenceError("there is no such subscription", 481)
        if known is None and await self._repository.count_subscriptions(wish.watcher) >= self._config.max_subscriptions:
            raise TooLarge("too many subscriptions", 403)
        await self._enter(incoming, wish, known)

    # Leaving

    async def _leave(self, incoming: Incoming, wish: Wish, known: pb.Subscription | None) -> None:
        if known is not None:
            if wish.endpoint:
                await self._repository.end(known, traceparent=_trace(incoming))
            else:
                await self._notifier.finish(known, "timeout", _trace(incoming))
            self._answer(incoming, wish, known, EMPTY, 0)
            return
        if wish.endpoint or incoming.request.to_tag is not None:
            self._answer(incoming, wish, None, EMPTY, 0)
            return
        subscription = await self._made(incoming, wish, None)
        await self._notifier.answer_fetch(subscription, _trace(incoming))
        self._answer(incoming, wish, subscription, EMPTY, 0)

    # Entering and refreshing

    async def _enter(self, incoming: Incoming, wish: Wish, known: pb.Subscription | None) -> None:
        before = list(known.resources) if known is not None else []
        subscription = await self._made(incoming, wish, known)
        here = set(subscription.resources)
        gone = [uri for uri in before if uri not in here]
        states, seen = await self._watched(subscription, incoming)
        if not wish.piggyback:
            await self._repository.keep(subscription, gone=gone, traceparent=_trace(incoming))
            self._answer(incoming, wish, subscription, EMPTY, wish.expires_s)
            self._notifier.begin(subscription, _trace(incoming))
            return
        in_dialog = known is not None and incoming.request.to_tag is not None
        number = await self._repository.next_number(subscription) if in_dialog else 1
        made = await self._documents.make(subscription, Pending(full=True, states=states), number - 1)
        first = None if in_dialog else 1
        await self._repository.keep(subscription, gone=gone, first=first, traceparent=_trace(incoming))
        self._answer(incoming, wish, subscription, made.document, wish.expires_s, number)
        await self._tell_missed(subscription, seen, made, number)

    async def _tell_missed(self, subscription: pb.Subscription, seen: dict[str, int], made: Made, number: int) -> None:
        """Tells what changed after it was read and before the subscription was kept, and what had no room.

        ``made``: what was told in the 200, which stood for notification ``number``. The same is not told again: SIPE takes a
        second document with its user offline for the user's wish to be invisible, and publishes that.
        """
        now = await self._repository.versions(subscription)
        missed = [aor for aor, version in now.items() if version != seen.get(aor, version)]
        if missed and not subscription.list:
            again = await self._documents.make(subscription, Pending(full=True), number - 1)
            if again.document != made.document:
                self._notifier.tell(subscription, Pending(full=True))
        elif missed or made.rest:
            changes = {aor: Changes(set(all_categories(subscription)), calls=True) for aor in missed}
            self._notifier.tell(subscription, Pending(made.rest | changes))

    async def _made(self, incoming: Incoming, wish: Wish, known: pb.Subscription | None) -> pb.Subscription:
        """The subscription as it is after the request. Raises PresenceError when it is refused."""
        request = incoming.request
        contacts = request.contacts
        target = contacts[0].uri_text if isinstance(contacts, list) and contacts else request.from_.uri_text
        to = request.get("To") or ""
        now_ms = int(self._clock.wall() * 1000)
        made = pb.Subscription(
            id=subscription_id(request, wish), watcher=wish.watcher, event=wish.event, target=wish.target,
            call_id=request.call_id, local_party=to if request.to_tag else f"{to};tag={token_hex(8)}",
            remote_party=request.get("From") or "", remote_target=target, routes=request.values("Record-Route"),
            expires_at_ms=now_ms + wish.expires_s * 1000, best_effort=wish.best_effort, endpoint=wish.endpoint,
            watcher_name=incoming.user_name, event_id=wish.event_id, call=wish.call,
            began_at_ms=known.began_at_ms if known is not None else now_ms,
        )  # fmt: skip
        made.flow.CopyFrom(incoming.flow)
        await self._choice.make(made, wish, request, known)
        if made.event in LISTED and not made.list:
            state = await self._repository.presentity(made.target)
            if self._documents.admission(state, made) is Admission.REFUSED:
                raise PresenceError("the user does not want that", 403)
        return made

    async def _watched(
        self, subscription: pb.Subscription, incoming: Incoming
    ) -> tuple[dict[str, pb.Presentity], dict[str, int]]:
        """The states of those who are watched, where they are at hand, and their versions. They learn who watches them."""
        if subscription.event != PRESENCE:
            return {}, await self._repository.versions(subscription)
        aors = list(subscription.resources)
        found = dict(zip(aors, await self._repository.versioned(aors), strict=True))
        noted = [aor for aor, (state, _) in found.items() if await self._note_subscriber(state, subscription, incoming)]
        if noted:
            found.update(zip(noted, await self._repository.versioned(noted), strict=True))
        states = await self._users.named([state for state, _ in found.values()])
        return dict(zip(found, states, strict=True)), {aor: version for aor, (_, version) in found.items()}

    async def _note_subscriber(self, state: pb.Presentity, subscription: pb.Subscription, incoming: Incoming) -> bool:
        """Tells a user once that somebody watches; whether that was now."""
        aor, watcher = state.address, subscription.watcher
        user = bare(watcher)
        if aor == watcher or any(one.user == user for one in state.subscribers) or await self._users.name_of(aor) is None:
            return False
        name, kind = incoming.user_name or user, relation(watcher, aor)

        def add(current: pb.Presentity) -> tuple[None, PresenceChanged | None]:
            if any(one.user == user for one in current.subscribers) or len(current.subscribers) >= 2_000:
                return None, None
            current.subscribers.add(user=user, display_name=name, type=kind)
            return None, PresenceChanged(aor=current.address, at_ms=int(self._clock.wall() * 1000), subscribers=[user])

        await self._repository.change(aor, add, _trace(incoming))
        return True

    # Answers

    def _answer(
        self, incoming: Incoming, wish: Wish, subscription: pb.Subscription | None, document: Document, expires_s: int,
        number: int = 1,
    ) -> None:  # fmt: skip
        """``number``: of the NOTIFY that the answer stands for, when it has a document."""
        headers = [
            ("Contact", contact_of(subscription) if subscription is not None else f"<{wish.target};opaque=app:presence>"),
            ("Expires", str(expires_s)),
        ]
        if wish.endpoint or document.content_type:
            state = f"active;expires={expires_s}" if expires_s else "terminated;expires=0"
            headers += [("Event", wish.event), ("subscription-state", state), ("ms-piggyback-cseq", str(number))]
            headers.append(("Supported", "ms-benotify, ms-piggyback-first-notify"))
        if subscription is not None and subscription.list:
            headers.append(("Require", "eventlist"))
        if document.content_type:
            headers.append(("Content-Type", document.content_type))
        tag = None
        if subscription is not None:
            tag = subscription.local_party.rpartition(";tag=")[2]
        incoming.reply(200, None, headers, document.body, to_tag=tag or token_hex(8), record_route=True)


def _trace(incoming: Incoming) -> str:
    return incoming.span.traceparent if incoming.span is not None else ""
