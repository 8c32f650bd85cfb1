"""What a process says over its own unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from parley.platform.needs import Need
from parley.platform.process_socket import ProcessSocket, ProcessSurface
from parley.platform.rpc.errors import RpcError
from parley.platform.rpc.host import RpcHost
from parley.proto.platform.v1 import process_pb2 as pb
from parley.proto.platform.v1.process_pb2_grpc import ProcessStub
from tests.unit.platform.test_running import Life, turns


class Rig:
    """A process of two services, and who asks it."""

    def __init__(self, folder: Path, life: Life) -> None:
        self.life = life
        surface = ProcessSurface(life.runner, [life.first, life.second], life.waiting)
        self.socket = ProcessSocket(folder, surface)
        self.caller = RpcHost()
        self.stub: Any = self.caller.channel("parley.platform.v1.Process", f"unix:{self.socket.path}").stub(ProcessStub)

    async def state(self) -> pb.ProcessState:
        state: pb.ProcessState = (await self.stub.Status(pb.StatusRequest())).state
        return state


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, Life(Need.STORE))
    await made.socket.start()
    yield made
    await made.caller.stop(0)
    await made.socket.stop()
    await made.life.runner.stop()


async def test_start_that_waits(rig: Rig) -> None:
    starting = asyncio.create_task(rig.life.runner.start(rig.life.waiting))
    await rig.life.waited.wait()
    state = await rig.state()
    assert (state.phase, state.ready) == (pb.PHASE_STARTING, False)
    assert [(waiting.what, waiting.reason) for waiting in state.waiting] == [("Redis", "away")]
    assert [(service.name, service.started) for service in state.services] == [("first", False), ("second", True)]
    with pytest.raises(RpcError) as refused:
        await rig.stub.Drain(pb.DrainRequest())
    assert refused.value.code is StatusCode.FAILED_PRECONDITION
    rig.life.store_there.set()
    await starting
    state = await rig.state()
    assert (state.phase, state.ready, len(state.waiting)) == (pb.PHASE_RUNNING, True, 0)


async def test_drain_tells_what_is_left_and_undrain_ends_it(rig: Rig) -> None:
    rig.life.store_there.set()
    await rig.life.runner.start(rig.life.waiting)
    state = (await rig.stub.Drain(pb.DrainRequest())).state
    assert (state.phase, state.ready, state.ending, state.drain_seconds) == (pb.PHASE_DRAINING, False, False, 60)
    rig.life.first.empty.set()
    await turns()
    state = await rig.state()
    left = {service.name: dict(service.remaining) for service in state.services}
    assert left == {"first": {"calls": 0}, "second": {"calls": 3}}
    rig.life.second.empty.set()
    await turns()
    assert (await rig.state()).phase == pb.PHASE_DRAINED
    state = (await rig.stub.Undrain(pb.UndrainRequest())).state
    assert (state.phase, state.ready) == (pb.PHASE_RUNNING, True)


async def test_socket_is_the_owners_alone_and_goes_with_the_process(rig: Rig) -> None:
    assert rig.socket.path.stat().st_mode & 0o777 == 0o600
    await rig.socket.stop()
    assert not rig.socket.path.exists()


async def test_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "process.sock").touch()
    rig = Rig(tmp_path, Life())
    await rig.socket.start()
    assert (await rig.state()).phase == pb.PHASE_STARTING
    await rig.caller.stop(0)
    await rig.socket.stop()


async def test_folder_with_a_long_path_goes_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    socket = Rig(folder, Life()).socket
    await socket.start()
    assert not socket.path.exists()
    assert "the path of the data folder is too long" in caplog.text
    await socket.stop()
