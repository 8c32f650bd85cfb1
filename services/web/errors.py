"""How a request fails, in HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from parley.platform.rpc.errors import RpcError, http_status


class HttpError(Exception):
    """A request that is answered with a status other than 200; the text is fit for who sent it."""

    def __init__(self, status: int, text: str, *, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers

    @classmethod
    def of(cls, error: RpcError) -> HttpError:
        """For a call to another service that failed."""
        status = http_status(error.code)
        if status >= 500:
            return cls(503, "a service behind this one is away", headers=[("Retry-After", "5")])
        return cls(status, error.message)
