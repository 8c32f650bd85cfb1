"""What a SUBSCRIBE asks for: the package and the dialog by its headers, the users by its target or its body."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s
from typing import Final

from parley.platform.applications.host import Incoming
from parley.presence.documents.access import parse_roaming_list
from parley.presence.documents.batches import BATCH_TYPE, BatchAction, merged, parse_batch
from parley.presence.documents.publications import CATEGORIES_TYPE, ROAMING_SELF_TYPE
from parley.presence.errors import PresenceError, TooLarge
from parley.presence.model import addresses_of
from parley.presence.standard import resource_lists
from parley.presence.standard.errors import DocumentError
from parley.proto.presence.v1 import state_pb2 as pb
from parley.sip.errors import SipParseError, interval_too_brief
from parley.sip.message import Request
from parley.sip.outbound import option_tags
from parley.sip.params import parse_params, unquote
from parley.sip.uri import aor
from services.presence.config import PresenceConfig
from services.presence.lists import CONTACTS, list_named
from services.presence.packages import FORMATS, LISTED, PRESENCE, ROAMING_CONTACTS, ROAMING_SELF
from services.presence.repository import PresenceRepository
from services.presence.users import Users

_UNDERSTOOD: Final = frozenset({
    "adhoclist", "categorylist", "eventlist", "ms-benotify", "ms-piggyback-first-notify", "recipient-list-subscribe",
})  # fmt: skip


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
    takes_lists: bool
    event_id: str = ""
    call: str = ""
    """Call-ID of the only call that is asked for."""
    list_name: str | None = None
    """Of a list that the server keeps."""


def event_of(request: Request) -> str:
    """The event package, in lower case."""
    return (request.get("Event") or "").partition(";")[0].strip().lower()


def content_type_of(request: Request) -> str:
    """The media type of the body, in lower case."""
    return (request.get("Content-Type") or "").partition(";")[0].strip().lower()


def wish_of(incoming: Incoming, config: PresenceConfig) -> Wish:
    """Reads the headers. Raises SipParseError."""
    request = incoming.request
    if not option_tags(request, "Require") <= _UNDERSTOOD:
        raise SipParseError(420, "Bad Extension")
    supported = option_tags(request, "Supported") | option_tags(request, "Proxy-Require")
    epid = (request.from_.params.get("epid") or "")[:64]
    expires = request.expires
    if expires is None:
        expires = config.max_subscription_seconds if epid else config.subscription_seconds
    if 0 < expires < config.min_subscription_seconds:
        raise interval_too_brief(config.min_subscription_seconds)
    _, semicolon, rest = (request.get("Event") or "").partition(";")
    params = parse_params(rest) if semicolon else None
    return Wish(
        event_of(request), aor(request.uri), incoming.user_aor or aor(request.from_.uri), epid,
        min(expires, config.max_subscription_seconds), "ms-benotify" in supported, "ms-piggyback-first-notify" in supported,
        "eventlist" in supported, event_id=(params.get("id") or "")[:64] if params else "",
        call=unquote(params.get("call-id") or "")[:256] if params else "", list_name=list_named(request.uri),
    )  # fmt: skip


def subscription_id(request: Request, wish: Wish) -> str:
    """What a subscription is known by: Communicator's by its endpoint, that of a standard phone by its dialog."""
    dialog = wish.endpoint or f"{request.call_id}\n{request.from_tag}"
    event = f"{wish.event};{wish.event_id}" if wish.event_id else wish.event
    text = f"{event}\n{wish.watcher}\n{wish.target}\n{dialog}"
    return blake2s(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()


class Choice:
    """Finds the users that a subscription is for, and the format of what it is told."""

    def __init__(self, config: PresenceConfig, repository: PresenceRepository, users: Users) -> None:
        self._config = config
        self._repository = repository
        self._users = users

    async def make(self, made: pb.Subscription, wish: Wish, request: Request, known: pb.Subscription | None) -> None:
        """Completes a subscription; ``known``: the one before. Raises PresenceError, SipParseError, StoreError, RpcError."""
        content_type = content_type_of(request)
        if made.event == ROAMING_SELF:
            made.format = ROAMING_SELF_TYPE
            made.categories.extend(sorted(parse_roaming_list(request.body)))
            made.resources.append(made.target)
        elif made.event == ROAMING_CONTACTS:
            made.resources.append(made.target)
        elif content_type == BATCH_TYPE and made.event == PRESENCE:
            self._batch(made, request, known)
        elif made.event not in LISTED:
            made.format = _format(made, request, known)
            made.resources.append(made.target)
        elif _is_list(wish, content_type, known):
            await self._list(made, wish, request, known)
        else:
            made.format = _format(made, request, known)
            made.resources.append(made.target)
            if await self._users.name_of(made.target) is None:
                raise PresenceError("there is no such user", 404)

    def _batch(self, made: pb.Subscription, request: Request, known: pb.Subscription | None) -> None:
        made.format, made.list = CATEGORIES_TYPE, True
        actions = parse_batch(request.body)
        resources = list(known.resources) if known is not None and request.to_tag else []
        for action in actions:
            resources = merged(resources, BatchAction(action.name, tuple(addresses_of(action.resources)), ()))
        if len(resources) > self._config.max_resources:
            raise TooLarge("too many resources in one subscription")
        made.resources.extend(resources)
        made.categories.extend(dict.fromkeys(name for action in actions for name in action.categories))
        if not made.categories and known is not None:
            made.categories.extend(known.categories)

    async def _list(self, made: pb.Subscription, wish: Wish, request: Request, known: pb.Subscription | None) -> None:
        if made.watcher != made.target:
            raise PresenceError("lists are for the user alone", 403)
        if not wish.takes_lists and known is None:
            # RFC 4662 section 4.6
            raise SipParseError(421, "Extension Required", headers=(("Require", "eventlist"),))
        made.list, made.format, made.list_name = True, _format(made, request, known), wish.list_name or ""
        if wish.list_name is not None:
            if wish.list_name != CONTACTS:
                raise PresenceError("there is no such list", 404)
            found = await self._repository.contact_addresses(made.target)
        elif request.body or known is None:
            found = _recipients(request)
        else:
            found = list(known.resources)
        if len(found) > self._config.max_list_resources:
            raise TooLarge("too many resources in one list")
        made.resources.extend(found)


def _is_list(wish: Wish, content_type: str, known: pb.Subscription | None) -> bool:
    kept = known is not None and known.list and known.format != CATEGORIES_TYPE
    return wish.list_name is not None or content_type == resource_lists.CONTENT_TYPE or kept


def _format(made: pb.Subscription, request: Request, known: pb.Subscription | None) -> str:
    """The media type of documents. Raises PresenceError when the client takes none that there is."""
    if known is not None:
        return known.format
    standard = FORMATS[made.event]
    accepts = {value.partition(";")[0].strip().lower() for value in request.values("Accept")}
    if made.event == PRESENCE and CATEGORIES_TYPE in accepts:
        return CATEGORIES_TYPE
    if accepts and not accepts & {standard, "*/*", "application/*"}:
        raise PresenceError("none of the formats accepted is known", 406)
    return standard


def _recipients(request: Request) -> list[str]:
    """The users that a body names (RFC 5367). Raises PresenceError."""
    disposition = (request.get("Content-Disposition") or "").partition(";")[0].strip().lower()
    if content_type_of(request) != resource_lists.CONTENT_TYPE:
        raise PresenceError("the body is no list", 415)
    if disposition != "recipient-list":
        raise PresenceError("the list is not disposed of as recipient-list", 400)
    try:
        lists = resource_lists.parse_resource_lists(request.body)
    except DocumentError as error:
        raise PresenceError(str(error), 400) from None
    return addresses_of(entry.uri for entry in resource_lists.all_entries(lists))
