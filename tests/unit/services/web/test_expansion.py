"""What the service of group expansion asks the directory, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from grpc import StatusCode

from parley.addressbook.dlx import ExpansionResult, MembersRequest, MembersResponse
from parley.addressbook.queries import SearchRequest
from parley.platform.clock import FakeClock
from parley.platform.limits import RateLimiter
from parley.platform.rpc.errors import RpcError
from parley.proto.addressbook.v1 import directory_pb2 as pb
from services.web.errors import HttpError
from services.web.expansion.config import ExpansionConfig
from services.web.expansion.service import ExpansionService
from services.web.routes import Urls


class Directory:
    """Answers everything in one way, and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    async def Search(self, request: pb.SearchRequest, *, timeout: float) -> Any:
        return self._answer(request)

    async def Expand(self, request: pb.ExpandRequest, *, timeout: float) -> Any:
        return self._answer(request)

    def _answer(self, request: Any) -> Any:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def post(directory: Directory, body: bytes, **config: Any) -> bytes:
    service = ExpansionService(
        cast("Any", directory), Mock(), Mock(), Urls("https://x"), FakeClock(), ExpansionConfig(**config),
        RateLimiter(1, 1), timeout_s=1.0,
    )  # fmt: skip

    async def read() -> bytes:
        return body

    answer = await service.with_password(cast("Any", SimpleNamespace(read=read)))
    assert isinstance(answer.body, bytes)
    return answer.body


async def test_groups_are_asked_for_as_configured() -> None:
    directory = Directory(pb.ExpandResponse(result=pb.EXPAND_RESULT_OK))
    body = MembersRequest("team@example.test").to_bytes()
    assert MembersResponse.from_bytes(await post(directory, body, largest_group=7)).result is ExpansionResult.OK
    assert directory.asked == [pb.ExpandRequest(name="team@example.test", limit=7)]  # direct members, nobody hidden
    disabled = MembersResponse.from_bytes(await post(directory, body, enabled=False))
    assert disabled == MembersResponse(ExpansionResult.DISABLED)
    assert len(directory.asked) == 1


@pytest.mark.parametrize(
    ("wanted", "limit", "pairs", "any_of"),
    [
        (SearchRequest((("sn", "a"), ("c", "b")), most=3), 3, [("sn", "a"), ("c", "b")], False),
        (SearchRequest(any_of=("sn", "c"), value="a", most=900), 50, [("sn", "a"), ("c", "a")], True),
    ],
)
async def test_searches_are_limited(
    wanted: SearchRequest, limit: int, pairs: list[tuple[str, str]], any_of: bool
) -> None:  # fmt: skip
    directory = Directory(pb.SearchResponse())
    await post(directory, bytes(wanted), most_found=50)
    (asked,) = directory.asked
    assert (asked.limit, asked.criteria.any) == (limit, any_of)
    assert [(item.attribute, item.value) for item in asked.criteria.criteria] == pairs


@pytest.mark.parametrize(
    ("code", "status"),
    [(StatusCode.UNAVAILABLE, 503), (StatusCode.DEADLINE_EXCEEDED, 503), (StatusCode.INVALID_ARGUMENT, 400)],
)
@pytest.mark.parametrize("body", [lambda: bytes(SearchRequest((("sn", "a"),))), lambda: MembersRequest("a@b").to_bytes()])
async def test_failures_of_the_directory_are_told(code: StatusCode, status: int, body: Callable[[], bytes]) -> None:
    with pytest.raises(HttpError) as told:
        await post(Directory(RpcError(code, "why")), body())
    assert told.value.status == status
