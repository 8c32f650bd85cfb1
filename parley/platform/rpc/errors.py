"""How calls fail, and what that means in SIP and in HTTP: one table each."""

from __future__ import annotations

import random
from typing import Final

import grpc
from grpc import StatusCode

_BY_NUMBER: Final = {code.value[0]: code for code in StatusCode}

_SIP: Final[dict[StatusCode, tuple[int, int]]] = {
    StatusCode.UNAVAILABLE: (503, 5),
    StatusCode.RESOURCE_EXHAUSTED: (503, 5),
    StatusCode.ABORTED: (503, 2),
    StatusCode.DEADLINE_EXCEEDED: (504, 5),
    StatusCode.CANCELLED: (503, 2),
    StatusCode.NOT_FOUND: (404, 0),
    StatusCode.PERMISSION_DENIED: (403, 0),
    StatusCode.UNAUTHENTICATED: (403, 0),
    StatusCode.INVALID_ARGUMENT: (400, 0),
    StatusCode.OUT_OF_RANGE: (400, 0),
    StatusCode.FAILED_PRECONDITION: (480, 0),
    StatusCode.ALREADY_EXISTS: (409, 0),
    StatusCode.UNIMPLEMENTED: (501, 0),
}
"""SIP status and seconds of Retry-After (0: no such header)."""

_HTTP: Final[dict[StatusCode, int]] = {
    StatusCode.UNAVAILABLE: 503,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.ABORTED: 409,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.CANCELLED: 503,
    StatusCode.NOT_FOUND: 404,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.FAILED_PRECONDITION: 412,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.UNIMPLEMENTED: 501,
}


class RpcError(Exception):
    """A call that failed. Servicers raise it, and callers get it, whether a network lies between or not."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message

    @classmethod
    def from_number(cls, number: int, message: str) -> RpcError:
        """From the number of a status, as batches carry it."""
        return cls(_BY_NUMBER.get(number, StatusCode.UNKNOWN), message)

    @classmethod
    def from_grpc(cls, error: grpc.aio.AioRpcError) -> RpcError:
        """From what grpc raises."""
        return cls(error.code(), error.details() or "")

    def again(self) -> RpcError:
        """Another of the same, for another caller: an exception that is raised twice keeps both tracebacks."""
        return RpcError(self.code, self.message)

    @property
    def number(self) -> int:
        """The number of the status."""
        value = self.code.value[0]
        assert isinstance(value, int)
        return value


def sip_status(code: StatusCode, *, spread: bool = True) -> tuple[int, int]:
    """SIP status and Retry-After seconds (0: none) for a failed call.

    ``spread`` adds up to as much again, so that clients do not all come back at once.
    """
    status, retry_after = _SIP.get(code, (500, 0))
    if retry_after and spread:
        retry_after += random.randint(0, retry_after)  # noqa: S311 - no secret
    return status, retry_after


def http_status(code: StatusCode) -> int:
    """HTTP status for a failed call."""
    return _HTTP.get(code, 500)
