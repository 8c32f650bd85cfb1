"""What participants are told when they are out: BYE in their focus dialogs, the last NOTIFY of their subscriptions."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from parley.conference.documents import name_of
from parley.conference.roster import Removed
from parley.conference.uris import ConferenceName
from parley.platform.applications.dialogs import DialogSender, request_in
from parley.platform.lifecycle import Tasks
from parley.platform.rpc.errors import RpcError
from parley.platform.store.errors import StoreError
from parley.proto.conference.v1 import state_pb2 as pb
from parley.proto.sip.v1.dialog_pb2 import Dialog
from services.conference.notifier import Notifier
from services.conference.repository import ConferenceRepository, dialog_key

logger = logging.getLogger(__name__)


class Endings:
    """Ends dialogs, each in a task of its own: nobody waits for a client that is slow."""

    def __init__(self, repository: ConferenceRepository, sender: DialogSender, notifier: Notifier, tasks: Tasks) -> None:
        self._repository = repository
        self._sender = sender
        self._notifier = notifier
        self._tasks = tasks

    def of(self, name: ConferenceName, removed: Removed, traceparent: str = "") -> None:
        """Everything of one participant who is out."""
        self.dialogs(name, removed.dialogs, traceparent)
        self.watchers(name, removed.watchers)

    def all_of(self, conference: pb.Conference, reason: str, traceparent: str = "") -> None:
        """Everything of everybody: the conference is gone."""
        name = name_of(conference)
        for found in conference.participants:
            dialogs = tuple(one.dialog for one in found.endpoints if one.HasField("dialog"))
            self.of(name, Removed(found.address, reason, dialogs, ()), traceparent)
        self.watchers(name, conference.watchers)

    def dialogs(self, name: ConferenceName, dialogs: Iterable[Dialog], traceparent: str = "") -> None:
        """Focus dialogs that are over."""
        for dialog in dialogs:
            self._tasks.once("conference bye", self._bye(name, dialog, traceparent))

    def watchers(self, name: ConferenceName, watchers: Iterable[pb.Watcher]) -> None:
        """Subscriptions that are over."""
        for watcher in watchers:
            self._tasks.once("conference last notify", self._notifier.finish(name, watcher))

    async def _bye(self, name: ConferenceName, dialog: Dialog, traceparent: str) -> None:
        key = dialog_key(dialog)
        try:
            number = await self._repository.next_number(name, key)
            await self._sender.request(dialog, request_in(dialog, "BYE", number), traceparent=traceparent)
            await self._repository.forget_numbers(name, key)
        except (RpcError, StoreError) as error:
            logger.info("a participant could not be told of the end: %s", error)
