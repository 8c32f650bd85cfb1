"""The end of a drain: connections are closed, spread out in time, and each once nothing on it waits for an answer.

What is written to a connection in its last moment may arrive while its answer does not. Offered again over the next
connection of that device, a BYE is answered 481 then, and a message is shown twice; so is what a client asks again
elsewhere. Over UDP there is nothing to close, but whoever asked is still answered from here alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from parley.sip.transaction import TransactionTable
from services.frontend.flows import Flow, Flows
from services.frontend.proxying.branches import LocalBranches
from services.frontend.proxying.context import ProxiedRequest

_LOOK_S: Final = 0.05
"""Between two looks at what waits."""
_CLOSED_A_SECOND: Final = 2000


def waiting_connections(table: TransactionTable, local: LocalBranches) -> set[int]:
    """Numbers of the flows over which a request was sent or came that has no answer yet."""
    asked = {
        transaction.owner.flow.connection_id
        for transaction in table.unanswered()
        if isinstance(transaction.owner, ProxiedRequest)
    }
    return asked.union(local.unanswered())


async def close_connections(flows: Flows, waiting: Callable[[], Collection[int]], *, until: float) -> None:
    """Closes all flows there are; at ``until`` (seconds, of the loop) also those on which something still waits."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    pause = min(max(0.0, until - begun) / max(1, len(flows)), 1 / _CLOSED_A_SECOND)
    later = [(begun + number * pause, flow) for number, flow in enumerate(flows)]
    later.reverse()
    held: list[Flow] = []
    while later or held:
        now = loop.time()
        while later and later[-1][0] <= now:
            held.append(later.pop()[1])
        busy = waiting() if held and now < until else ()
        for flow in held:
            if flow.connection_id not in busy:
                flow.close()
        held = [flow for flow in held if flow.connection_id in busy]
        if later or held:
            await asyncio.sleep(_LOOK_S)
