"""What the self-test makes of the answers of a Jaeger: late, incomplete, of another trace, and of something else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from parley.selftest.report import StepFailed
from parley.selftest.signalling import Trace, Traced
from parley.selftest.traces import Jaeger, of_call, of_sign_in

TRACED = Traced(Trace("ab" * 16, "cd" * 8), "call-1")
ID_PATH, SEARCH_PATH = f"/api/traces/{TRACED.trace.trace_id}", "/api/traces"
FRONT_END, REGISTRAR = "parley-frontend", "parley-registrar"


def trace(*spans: tuple[str, str], edge: str = "edge-0") -> dict[str, Any]:
    """As Jaeger tells one: names of spans and services."""
    services = sorted({service for _, service in spans})
    return {
        "processes": {f"p{index}": {"serviceName": service} for index, service in enumerate(services)},
        "spans": [
            {
                "operationName": name, "processID": f"p{services.index(service)}",
                "tags": [{"key": "parley.edge", "value": edge}] if service == FRONT_END else None,
            }
            for name, service in spans
        ],
    }  # fmt: skip


SIGN_IN = trace(("sip.server REGISTER", FRONT_END), ("registrar.update", REGISTRAR))


class Fake:
    """A query service; ``answers`` are asked by path, with how often it was asked for before."""

    def __init__(self) -> None:
        self.answers: Callable[[str, int], web.Response] = lambda path, before: web.json_response({"data": []})
        self.asked: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        before = self.asked.count(request.path)
        self.asked.append(request.path)
        self.queries.append(dict(request.query))
        return self.answers(request.path, before)


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    server = Fake()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


def found(*traces: dict[str, Any]) -> web.Response:
    return web.json_response({"data": list(traces)})


async def test_a_trace_that_comes_in_parts_is_waited_for(fake: Fake) -> None:
    def answers(path: str, before: int) -> web.Response:
        if path == SEARCH_PATH:
            return found()
        parts = [web.Response(status=404), found(trace(("sip.server REGISTER", FRONT_END))), found(SIGN_IN)]
        return parts[before]

    fake.answers = answers
    detail = await Jaeger(fake.url + "/").see(TRACED, of_sign_in())
    assert detail == f"2 spans of {FRONT_END}, {REGISTRAR}: {fake.url}/trace/{TRACED.trace.trace_id}"
    assert fake.asked.count(ID_PATH) == 3


async def test_front_ends_that_begin_traces_of_their_own_are_found_by_the_call_id(fake: Fake) -> None:
    fake.answers = lambda path, before: found(SIGN_IN) if path == SEARCH_PATH else web.Response(status=404)
    assert (await Jaeger(fake.url).see(TRACED, of_sign_in())).startswith("2 spans")
    query = fake.queries[-1]
    assert (query["service"], json.loads(query["tags"])) == (FRONT_END, {"sip.call_id": "call-1"})


async def test_a_trace_that_stays_incomplete_is_told_with_what_it_lacks(fake: Fake) -> None:
    spans = (("sip.server INVITE", FRONT_END), ("sip.client INVITE", FRONT_END))
    fake.answers = lambda path, before: found(trace(*spans))
    with pytest.raises(StepFailed) as raised:
        await Jaeger(fake.url, patience_s=0.01).see(TRACED, of_call(2))
    assert raised.value.came == (
        f"2 spans (sip.client INVITE of {FRONT_END}, sip.server INVITE of {FRONT_END}), without registrar.lookup of "
        f"{REGISTRAR}; edge.deliver INVITE of {FRONT_END}; spans of 2 front ends, not only of edge-0"
    )


async def test_no_trace_at_all_points_at_the_services(fake: Fake) -> None:
    with pytest.raises(StepFailed) as raised:
        await Jaeger(fake.url, patience_s=0.01).see(TRACED, of_sign_in())
    assert raised.value.came == "no span of it within 0.01 s"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in raised.value.look_at


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>"),
        lambda: web.Response(status=500),
        lambda: web.json_response({"data": [{"spans": []}]}),
        lambda: web.json_response([]),
    ],
)
async def test_something_else_than_jaeger_is_told_of(fake: Fake, answer: Callable[[], web.Response]) -> None:
    fake.answers = lambda path, before: answer()
    with pytest.raises(StepFailed) as raised:
        await Jaeger(fake.url, patience_s=0.01).see(TRACED, of_sign_in())
    assert raised.value.came.startswith(f"{fake.url} does not answer as Jaeger does: ")
    assert "16686" in raised.value.look_at
