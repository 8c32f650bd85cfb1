"""One heap of deadlines for many things (transactions, forking contexts).

Entries are never searched for in the heap: a changed deadline that moved later is found out when the old
entry comes up, and removed items leave an empty entry behind. When more than half of the heap is such
leavings it is rebuilt, so its size stays in proportion to what is alive. All operations are O(log n)
amortised.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")

_SLACK = 1024


class DeadlineHeap(Generic[ItemT]):
    """Remembers when each item is due. Items are named by the integer that ``add`` returns."""

    __slots__ = ("_at", "_heap", "_items", "_last_id", "_queued")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._items: dict[int, ItemT] = {}
        self._at: dict[int, float] = {}  # when the item is due
        self._queued: dict[int, float] = {}  # the time of its earliest entry in the heap
        self._last_id: int = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: ItemT, deadline: float | None = None) -> int:
        """Take an item in; its id is returned."""
        self._last_id += 1
        item_id = self._last_id
        self._items[item_id] = item
        self.reschedule(item_id, deadline)
        return item_id

    def remove(self, item_id: int) -> None:
        """Forget an item; unknown ids are ignored."""
        if self._items.pop(item_id, None) is None:
            return
        self._at.pop(item_id, None)
        self._queued.pop(item_id, None)
        self._tidy()

    def reschedule(self, item_id: int, deadline: float | None) -> None:
        """Set or clear when an item is due (monotonic seconds)."""
        if item_id not in self._items:
            return
        if deadline is None:
            self._at.pop(item_id, None)
            return
        self._at[item_id] = deadline
        queued = self._queued.get(item_id)
        if queued is None or deadline < queued:
            self._queued[item_id] = deadline
            heappush(self._heap, (deadline, item_id))
            self._tidy()

    def next_deadline(self) -> float | None:
        """The earliest time something is due, None when nothing is."""
        while self._heap:
            queued_at, item_id = self._heap[0]
            if self._queued.get(item_id) != queued_at:
                heappop(self._heap)
                continue
            due = self._at.get(item_id)
            if due is None:
                heappop(self._heap)
                del self._queued[item_id]
            elif due > queued_at:
                heappop(self._heap)
                self._queued[item_id] = due
                heappush(self._heap, (due, item_id))
            else:
                return queued_at
        return None

    def pop_due(self, now: float) -> list[ItemT]:
        """The items due at ``now``, earliest first; they stay known, without a deadline until rescheduled."""
        due: list[ItemT] = []
        at = self.next_deadline()
        while at is not None and at <= now:
            _, item_id = heappop(self._heap)
            del self._queued[item_id]
            del self._at[item_id]
            due.append(self._items[item_id])
            at = self.next_deadline()
        return due

    def _tidy(self) -> None:
        """Rebuild the heap from what is alive once leavings outnumber it."""
        if len(self._heap) > 2 * len(self._items) + _SLACK:
            self._heap = [(at, item_id) for item_id, at in self._queued.items()]
            heapify(self._heap)
