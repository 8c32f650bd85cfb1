"""The serving end of a stream on its own: what it holds is bounded, and what waits leaves together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc import StatusCode

from parley.platform.rpc.streams import ServerStream, method_of, stream_error
from parley.proto.registrar.v1.registrar_pb2 import BindingLookup, BindingLookupResult, LookupRequest, LookupResponse
from tests.unit.platform.rpc.servers import Registrar


class Connection:
    """A client that sends messages of one item, and takes answers when it is told to."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.read = 0
        self.written: list[list[int]] = []
        self.taking = asyncio.Event()
        self.taking.set()

    async def requests(self) -> AsyncIterator[LookupRequest]:
        for number in range(1, self._count + 1):
            self.read += 1
            yield LookupRequest(items=[BindingLookup(id=number)])

    async def write(self, response: LookupResponse) -> None:
        await self.taking.wait()
        self.written.append([item.id for item in response.items])


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def result(number: int) -> BindingLookupResult:
    return BindingLookupResult(id=number)


async def test_no_more_is_read_than_may_be_held() -> None:
    connection: Any = Connection(10)
    stream = ServerStream(LookupResponse, limit=3)
    taken: list[int] = []

    def take(items: Sequence[Any]) -> None:
        stream.hold(len(items))
        taken.extend(item.id for item in items)

    serving = asyncio.create_task(stream.run(connection.requests(), connection, take))
    await settle()
    assert taken == [1, 2, 3]
    stream.send([result(1)])
    stream.hold(-1)
    await settle()
    assert taken == [1, 2, 3, 4]
    assert connection.written == [[1]]
    done = 1
    while done < 10:
        done += 1
        stream.send([result(done)])
        stream.hold(-1)
        await settle()
    await serving
    assert sorted(number for batch in connection.written for number in batch) == list(range(1, 11))


async def test_answers_that_the_client_does_not_take_count_too() -> None:
    connection: Any = Connection(10)
    connection.taking.clear()
    stream = ServerStream(LookupResponse, limit=3)

    def take(items: Sequence[Any]) -> None:
        stream.send([result(item.id) for item in items])
        stream.hold(0)

    serving = asyncio.create_task(stream.run(connection.requests(), connection, take))
    await settle()
    assert connection.read < 10
    connection.taking.set()
    await serving
    assert sum(len(batch) for batch in connection.written) == 10


async def test_what_waits_leaves_together_and_leaving_is_an_empty_message() -> None:
    connection: Any = Connection(0)
    connection.taking.clear()
    stream = ServerStream(LookupResponse, limit=1000)
    stream.hold(1)
    serving = asyncio.create_task(stream.run(connection.requests(), connection, lambda items: None))
    stream.send([result(1)])
    await settle()
    stream.send([result(2)])
    stream.send([result(3)])
    stream.leave()
    await settle()
    stream.hold(-1)
    connection.taking.set()
    await serving
    assert connection.written == [[1], [], [2, 3]]


async def test_method_of() -> None:
    assert method_of(Registrar().Lookup) is not None
    assert method_of(Registrar().ListEdges) is None
    assert method_of(None) is None


async def test_statuses_of_broken_streams() -> None:
    nothing = grpc.aio.Metadata()

    def status(code: StatusCode) -> StatusCode:
        return stream_error(grpc.aio.AioRpcError(code, nothing, nothing, "text", None)).code

    assert status(StatusCode.CANCELLED) is StatusCode.UNAVAILABLE
    assert status(StatusCode.INTERNAL) is StatusCode.UNAVAILABLE
    assert status(StatusCode.UNIMPLEMENTED) is StatusCode.UNIMPLEMENTED
    assert stream_error(asyncio.InvalidStateError()).code is StatusCode.UNAVAILABLE
