"""Stream connections: what is closed for being slow, silent or idle, by a clock that is moved."""

from __future__ import annotations

from typing import Any

import pytest

from parley.platform.clock import FakeClock
from parley.sip.errors import SipParseError
from services.frontend.config import LimitsConfig
from services.frontend.flows import Flow, Flows
from services.frontend.transports.stream import Connections, StreamFlow, sweep

MESSAGE = b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n"
LIMITS = LimitsConfig(message_seconds=10, first_message_seconds=30, idle_seconds=100, connections_per_address=2)


class Sink:
    """Notes what a transport hands on."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.errors: list[str] = []
        self.closed: list[Flow] = []

    def on_message(self, data: bytes, flow: Flow) -> None:
        self.messages.append(data)

    def on_framing_error(self, error: SipParseError, flow: Flow) -> None:
        self.errors.append(error.reason)

    def on_closed(self, flow: Flow) -> None:
        self.closed.append(flow)


class Transport:
    """As much of a transport as a flow uses."""

    def __init__(self, address: str = "192.0.2.1") -> None:
        self.written = b""
        self.aborted = False
        self._extra = {"peername": (address, 4000), "sockname": ("192.0.2.9", 5060)}

    def get_extra_info(self, name: str) -> Any:
        return self._extra.get(name)

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > 0

    def is_closing(self) -> bool:
        return self.aborted

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    close = abort


class Stage:
    """One front end's streams."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.flows = Flows()
        self.sink = Sink()
        self.connections = Connections(LIMITS, self.clock)

    def connect(self, address: str = "192.0.2.1") -> tuple[StreamFlow, Transport]:
        flow = StreamFlow("TCP", self.flows, self.sink, self.connections, frozenset())
        transport = Transport(address)
        flow.connection_made(transport)
        return flow, transport

    def sweep(self) -> int:
        return sweep(self.flows, self.clock.monotonic())


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_message_that_comes_too_slowly_ends_its_connection(stage: Stage) -> None:
    flow, transport = stage.connect()
    for byte in MESSAGE[:11]:
        flow.data_received(bytes([byte]))
        assert stage.sweep() == 0
        stage.clock.advance(1)
    assert flow.overdue(stage.clock.monotonic()) == "slow_sender"
    assert stage.sweep() == 1
    assert transport.aborted


def test_each_message_has_its_own_time(stage: Stage) -> None:
    """A reader that is always in the middle of some message is not slow as long as none takes too long."""
    flow, transport = stage.connect()
    flow.data_received(MESSAGE[:20])
    for _ in range(5):
        stage.clock.advance(9)
        flow.data_received(MESSAGE[20:] + MESSAGE[:20])
        assert stage.sweep() == 0
    assert stage.sink.messages == [MESSAGE] * 5
    stage.clock.advance(10.5)
    assert stage.sweep() == 1
    assert transport.aborted


def test_the_first_byte_counts_and_not_the_last(stage: Stage) -> None:
    flow, _ = stage.connect()
    flow.data_received(MESSAGE + MESSAGE[:1])
    stage.clock.advance(9)
    flow.data_received(MESSAGE[1:20])
    assert stage.sweep() == 0
    stage.clock.advance(2)
    assert flow.overdue(stage.clock.monotonic()) == "slow_sender"


def test_line_ends_begin_no_message(stage: Stage) -> None:
    flow, transport = stage.connect()
    flow.data_received(MESSAGE + b"\r\n\r\n\r\n")
    assert transport.written == b"\r\n"
    stage.clock.advance(20)
    assert stage.sweep() == 0
    flow.data_received(MESSAGE[:20])
    stage.clock.advance(9)
    assert stage.sweep() == 0
    flow.data_received(MESSAGE[20:])
    assert stage.sink.messages == [MESSAGE, MESSAGE]


def test_silence(stage: Stage) -> None:
    new, _ = stage.connect()
    old, _ = stage.connect()
    old.data_received(MESSAGE)
    stage.clock.advance(31)
    assert (new.overdue(stage.clock.monotonic()), old.overdue(stage.clock.monotonic())) == ("silent", "")
    stage.clock.advance(70)
    assert old.overdue(stage.clock.monotonic()) == "idle"


def test_connections_of_one_address_are_counted(stage: Stage) -> None:
    first, _ = stage.connect()
    stage.connect()
    assert stage.connect()[1].aborted
    assert not stage.connect("192.0.2.2")[1].aborted
    first.connection_lost(None)
    assert stage.sink.closed == [first]
    assert not stage.connect()[1].aborted
    assert len(stage.flows) == 3


def test_what_cannot_be_cut_ends_the_connection(stage: Stage) -> None:
    flow, transport = stage.connect()
    flow.data_received(b"OPTIONS sip:x SIP/2.0\r\n\r\n")
    assert stage.sink.errors == ["Missing Content-Length"]
    assert transport.aborted
