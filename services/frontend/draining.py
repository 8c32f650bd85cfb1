"""The end of a drain: connections are closed, spread out in time, and each once nothing on it waits for an answer.

What is written to a connection in its last moment may arrive while its answer does not. Offered again over the next
connection of that device, a BYE is answered 481 then, and a message is shown twice; so is what a client asks again
elsewhere. A phone that rings takes its call where it was offered, or not at all. Over UDP there is nothing to close, but
whoever asked is still answered from here alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from math import inf
from typing import Final

from parley.sip.transaction import TransactionTable
from services.frontend.flows import Flow, Flows
from services.frontend.proxying.branches import LocalBranch, LocalBranches
from services.frontend.proxying.context import ProxiedRequest

_LOOK_S: Final = 0.05
"""Between two looks at what waits."""
ACK_S: Final = 0.5
"""At the end of a drain, before a connection is closed: the time for the ACK of a call that was just taken."""
_CLOSED_A_SECOND: Final = 2000


def waiting_connections(table: TransactionTable, local: LocalBranches) -> set[int]:
    """Numbers of the flows over which a request was sent or came that has no final answer yet."""
    return {flow.connection_id for flow in _waiting(table)}.union(local.unanswered())


def waits_over_udp(table: TransactionTable) -> bool:
    """Whether somebody on UDP waits for an answer from here, or rings."""
    return any(not flow.reliable for flow in _waiting(table))


def _waiting(table: TransactionTable) -> Iterator[Flow]:
    """The flows of requests that came and have no final answer, and of those that were sent and have a provisional one."""
    for asked in table.unanswered():
        if isinstance(asked.owner, ProxiedRequest):
            yield asked.owner.flow
    for sent in table.proceeding():
        if isinstance(sent.owner, LocalBranch):
            yield sent.owner.flow


def give_up(table: TransactionTable) -> None:
    """Answers all requests that have no final answer yet: the front end stops before one comes."""
    for asked in table.unanswered():
        if isinstance(asked.owner, ProxiedRequest):
            asked.owner.give_up()


async def close_connections(flows: Flows, waiting: Callable[[], Collection[int]], *, until: float) -> None:
    """Closes all flows there are; at ``until`` (seconds, of the loop) also those on which something still waits.

    A flow on which something waited is closed a moment after: the ACK of a call that was just taken is on its way.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    pause = min(max(0.0, until - begun) / max(1, len(flows)), 1 / _CLOSED_A_SECOND)
    later = [(begun + number * pause, flow) for number, flow in enumerate(flows)]
    later.reverse()
    held: list[Flow] = []
    waited: dict[int, float] = {}
    """When something was seen to wait last, by number of the flow."""
    while later or held:
        now = loop.time()
        while later and later[-1][0] <= now:
            held.append(later.pop()[1])
        if held and now < until:
            waited.update(dict.fromkeys(waiting(), now))
        still = [flow for flow in held if now < min(until, waited.get(flow.connection_id, -inf) + ACK_S)]
        for flow in set(held).difference(still):
            flow.close()
        held = still
        if later or held:
            await asyncio.sleep(_LOOK_S)
