"""Calls that are answered with a stream, and calls whose requests are one: in the process and over a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from grpc import StatusCode
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.platform.telemetry.tracing import Tracing
from parley.proto.addressbook.v1 import book_files_pb2 as files
from parley.proto.addressbook.v1 import directory_pb2 as directory
from parley.proto.addressbook.v1.book_files_pb2_grpc import (
    AddressBookFilesStub,
    add_AddressBookFilesServicer_to_server,
)
from parley.proto.addressbook.v1.directory_pb2_grpc import DirectoryStub, add_DirectoryServicer_to_server
from tests.support.waiting import eventually

FILES, DIRECTORY = "parley.addressbook.v1.AddressBookFiles", "parley.addressbook.v1.Directory"


class Files:
    """Gives ``count`` numbers, then fails if told to."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.ended = asyncio.Event()
        self.holds = False

    async def ReadFile(self, request: Any, context: Any) -> AsyncIterator[files.ReadFileResponse]:
        try:
            for number in range(request.count):
                yield files.ReadFileResponse(data=b"%d" % number)
            if self.failure is not None:
                raise self.failure
            if self.holds:
                await asyncio.Event().wait()
        finally:
            self.ended.set()


class Directory:
    """Counts what it is sent."""

    async def StartImport(self, requests: Any, context: Any) -> directory.StartImportResponse:
        size = 0
        async for request in requests:
            if not request.data:
                raise RpcError(StatusCode.INVALID_ARGUMENT, "nothing in it")
            size += len(request.data)
        return directory.StartImportResponse(report=directory.ImportReport(rows=size))

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Way:
    """A caller, and what it calls."""

    def __init__(self, remote: bool) -> None:
        self.spans = InMemorySpanExporter()
        self.tracing = Tracing(None, exporter=self.spans)
        self.host = RpcHost(listen=["127.0.0.1:0"], tracer=self.tracing.tracer("addressbook"))
        self.files = Files()
        self.host.add_service(add_AddressBookFilesServicer_to_server, self.files, FILES)
        self.host.add_service(add_DirectoryServicer_to_server, Directory(), DIRECTORY)
        self.caller = RpcHost() if remote else self.host
        self.remote = remote

    def target(self) -> str | None:
        return self.host.addresses[0] if self.remote else None

    def read(self, count: int, **options: Any) -> Any:
        stub: Any = self.caller.channel(FILES, self.target()).stub(AddressBookFilesStub)
        return stub.ReadFile(files.ReadFileRequest(count=count), **options)

    async def read_into(self, seen: list[bytes], count: int) -> None:
        async for answer in self.read(count):
            seen.append(answer.data)

    async def send(self, *parts: bytes) -> int:
        async def requests() -> AsyncIterator[directory.StartImportRequest]:
            for part in parts:
                yield directory.StartImportRequest(data=part)

        stub: Any = self.caller.channel(DIRECTORY, self.target()).stub(DirectoryStub)
        answer = await stub.StartImport(requests())
        return int(answer.report.rows)


@pytest.fixture(params=[False, True], ids=["here", "remote"])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    made = Way(request.param)
    await made.host.start()
    yield made
    if made.caller is not made.host:
        await made.caller.stop(0)
    await made.host.stop(0)
    made.tracing.stop()


async def test_all_answers_come_in_their_order(way: Way) -> None:
    assert [int(answer.data) async for answer in way.read(100)] == list(range(100))
    assert [answer async for answer in way.read(0)] == []


async def test_a_failure_comes_behind_what_was_answered(way: Way) -> None:
    way.files.failure = RpcError(StatusCode.NOT_FOUND, "it was replaced")
    seen: list[bytes] = []
    with pytest.raises(RpcError) as caught:
        await way.read_into(seen, 3)
    assert (caught.value.code, caught.value.message) == (StatusCode.NOT_FOUND, "it was replaced")
    assert seen == [b"0", b"1", b"2"]


async def test_a_defect_is_told_without_its_text(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    way.files.failure = KeyError("secret")
    with pytest.raises(RpcError) as caught:
        assert [answer async for answer in way.read(1)] == []
    assert (caught.value.code, caught.value.message) == (StatusCode.INTERNAL, "internal error")
    assert "ReadFile failed" in caplog.text


async def test_a_stream_that_takes_too_long(way: Way) -> None:
    way.files.holds = True
    with pytest.raises(RpcError) as caught:
        assert [answer async for answer in way.read(1, timeout=0.1)] == []
    assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(way.files.ended.wait(), 5)


async def test_who_stops_reading_ends_the_call(way: Way) -> None:
    way.files.holds = True
    async with aclosing(way.read(2)) as answers:
        async for answer in answers:
            assert answer.data == b"0"
            break
    await asyncio.wait_for(way.files.ended.wait(), 5)


async def test_requests_that_are_a_stream(way: Way) -> None:
    assert await way.send(b"abc", b"de") == 5
    assert await way.send() == 0
    with pytest.raises(RpcError) as caught:
        await way.send(b"abc", b"")
    assert (caught.value.code, caught.value.message) == (StatusCode.INVALID_ARGUMENT, "nothing in it")


async def test_a_stream_is_a_span_under_the_callers(way: Way) -> None:
    with way.tracing.tracer("web").start("outer") as outer:
        assert len([answer async for answer in way.read(2)]) == 2

    async def finished() -> Any:
        way.tracing.flush()
        return next((span for span in way.spans.get_finished_spans() if span.name == "rpc ReadFile"), None)

    inner = await eventually(finished)
    assert inner.parent is not None
    assert f"{inner.parent.span_id:016x}" == outer.span_id


async def test_a_service_that_is_away() -> None:
    caller = RpcHost()
    stub: Any = caller.channel(FILES, "127.0.0.1:1").stub(AddressBookFilesStub)
    with pytest.raises(RpcError) as caught:
        assert [answer async for answer in stub.ReadFile(files.ReadFileRequest(count=1))] == []
    assert caught.value.code is StatusCode.UNAVAILABLE
    await caller.stop(0)
