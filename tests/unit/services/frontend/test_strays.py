"""Responses that come to a front end which did not send the request."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from parley.platform.rpc.errors import RpcError
from parley.sip.message import Request, Response, make_response
from parley.sip.nonce import issuer_id
from parley.sip.proxy.loops import LoopDetector
from services.frontend.proxying import strays as module
from services.frontend.proxying.strays import StrayResponses
from services.frontend.proxying.vias import Branches, maker_of

LOOPS = LoopDetector(b"secret", lambda via: True)
HEADERS = [
    ("From", "<sip:a@example.test>;tag=1"),
    ("To", "<sip:b@example.test>;tag=2"),
    ("Call-ID", "c"),
    ("CSeq", "1 INVITE"),
]
ADDRESS = "192.0.2.2:9090"


def invite(branch: str) -> Request:
    """A request whose top Via has this branch."""
    parameter = f";branch={branch}" if branch else ""
    return Request.create(
        "INVITE", "sip:b@192.0.2.1", headers=[("Via", f"SIP/2.0/TCP sip.example.test{parameter}"), *HEADERS]
    )


def branch_of(edge_uid: str) -> str:
    """A branch as that front end makes it."""
    return Branches(LOOPS, edge_uid).branch(invite(""))


def answer_to(branch: str) -> Response:
    """The answer to a request with this branch."""
    return make_response(invite(branch), 200)


class Site:
    """The front end "one", and others that are asked for."""

    def __init__(self) -> None:
        self.address: str | RpcError = ADDRESS
        self.is_there = True
        self.asked: list[bytes] = []
        self.given: list[tuple[Response, str]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.strays = StrayResponses("one", cast(Any, self), cast(Any, self), self._spawn)
        self._before = {outcome: counted(outcome) for outcome in ("given", "dropped")}

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def address_of_issuer(self, issuer: bytes) -> str:
        self.asked.append(issuer)
        await self.gate.wait()
        if isinstance(self.address, RpcError):
            raise self.address
        return self.address

    def give(self, response: Response, address: str) -> bool:
        self.given.append((response, address))
        return self.is_there

    async def outcomes(self) -> dict[str, int]:
        """How many responses went which way, once all have."""
        await asyncio.gather(*self.tasks)
        return {outcome: counted(outcome) - before for outcome, before in self._before.items()}


def counted(outcome: str) -> int:
    """The metric, by now."""
    return int(REGISTRY.get_sample_value("parley_frontend_stray_responses_total", {"outcome": outcome}) or 0)


async def test_a_response_is_given_to_the_front_end_that_made_its_branch() -> None:
    site = Site()
    response = answer_to(branch_of("two"))
    site.strays.pass_on(response)
    assert await site.outcomes() == {"given": 1, "dropped": 0}
    assert site.given == [(response, ADDRESS)]
    assert site.asked == [issuer_id("two")]


@pytest.mark.parametrize("branch", ["", "z9hG4bK", "z9hG4bK1", "z9hG4bK" + "0" * 40, "1" + "0" * 40 + ".0"])
async def test_a_response_to_no_request_of_ours_is_dropped(branch: str) -> None:
    site = Site()
    site.strays.pass_on(answer_to(branch))
    assert await site.outcomes() == {"given": 0, "dropped": 1}
    assert not site.asked


async def test_a_response_to_a_request_of_our_own_that_is_over_is_dropped() -> None:
    site = Site()
    site.strays.pass_on(answer_to(branch_of("one")))
    assert await site.outcomes() == {"given": 0, "dropped": 1}
    assert not site.asked


@pytest.mark.parametrize("address", ["", RpcError(StatusCode.UNAVAILABLE, ""), ADDRESS])
async def test_a_response_for_a_front_end_that_is_gone_is_dropped(address: str | RpcError) -> None:
    site = Site()
    site.address, site.is_there = address, False
    site.strays.pass_on(answer_to(branch_of("two")))
    assert await site.outcomes() == {"given": 0, "dropped": 1}


async def test_responses_do_not_pile_up_while_the_registrar_does_not_answer() -> None:
    site = Site()
    site.gate.clear()
    for _ in range(module._MOST + 9):
        site.strays.pass_on(answer_to(branch_of("two")))
    await asyncio.sleep(0)
    assert len(site.asked) == module._MOST
    site.gate.set()
    assert await site.outcomes() == {"given": module._MOST, "dropped": 9}
    site.strays.pass_on(answer_to(branch_of("two")))
    assert await site.outcomes() == {"given": module._MOST + 1, "dropped": 9}


@given(st.text(max_size=40))
def test_a_branch_tells_who_made_it(edge_uid: str) -> None:
    branches = Branches(LOOPS, edge_uid)
    made = [branches.branch(invite("")) for _ in range(3)]
    assert [maker_of(branch) for branch in made] == [issuer_id(edge_uid)] * 3
    assert len(set(made)) == 3


@given(st.one_of(st.text(), st.text("0123456789abcdefABCDEF. ").map("z9hG4bK".__add__)))
def test_any_text_as_a_branch_names_somebody_or_nobody(branch: str) -> None:
    maker = maker_of(branch)
    assert maker is None or (len(maker) == len(issuer_id("")) and maker.hex() in branch.lower())
