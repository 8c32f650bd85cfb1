"""Statuses of gRPC, SIP and HTTP."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from parley.platform.rpc.errors import RpcError, http_status, sip_status


@pytest.mark.parametrize(
    ("code", "sip", "http"),
    [
        (StatusCode.UNAVAILABLE, 503, 503),
        (StatusCode.DEADLINE_EXCEEDED, 504, 504),
        (StatusCode.RESOURCE_EXHAUSTED, 503, 429),
        (StatusCode.NOT_FOUND, 404, 404),
        (StatusCode.PERMISSION_DENIED, 403, 403),
        (StatusCode.INVALID_ARGUMENT, 400, 400),
        (StatusCode.INTERNAL, 500, 500),
        (StatusCode.UNKNOWN, 500, 500),
        (StatusCode.DATA_LOSS, 500, 500),
    ],
)
def test_statuses(code: StatusCode, sip: int, http: int) -> None:
    assert sip_status(code)[0] == sip
    assert http_status(code) == http


@pytest.mark.parametrize("code", list(StatusCode))
def test_retry_after_goes_with_what_may_pass(code: StatusCode) -> None:
    status, retry_after = sip_status(code, spread=False)
    assert (retry_after > 0) == (status in {503, 504})
    assert 400 <= status < 600
    assert 400 <= http_status(code) < 600


def test_retry_after_is_spread() -> None:
    _, least = sip_status(StatusCode.UNAVAILABLE, spread=False)
    seen = {sip_status(StatusCode.UNAVAILABLE)[1] for _ in range(200)}
    assert min(seen) >= least
    assert max(seen) <= 2 * least
    assert len(seen) > 1


def test_rpc_error() -> None:
    error = RpcError.from_number(5, "no such user")
    assert (error.code, error.number, str(error)) == (StatusCode.NOT_FOUND, 5, "NOT_FOUND: no such user")
    assert RpcError.from_number(99, "").code is StatusCode.UNKNOWN
    again = error.again()
    assert again is not error
    assert (again.code, again.message) == (error.code, error.message)
