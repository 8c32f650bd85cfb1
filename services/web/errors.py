"""How a request fails, in HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import StatusCode

from parley.platform.rpc.errors import RpcError, http_status


class HttpError(Exception):
    """A request that is answered with a status other than 200; the text is fit for who sent it."""

    def __init__(self, status: int, text: str, *, headers: Sequence[tuple[str, str]] = (), kind: str = "") -> None:
        """``kind``: detail error keyword of SCIM (RFC 7644 table 9)."""
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers
        self.kind = kind

    @classmethod
    def of(cls, error: RpcError) -> HttpError:
        """For a call to another service that failed.

        One that took too long is 503 as well: only with that do clients take Retry-After for what it says (RFC 9110).
        """
        status = http_status(error.code)
        if status >= 500:
            text = "took too long" if error.code is StatusCode.DEADLINE_EXCEEDED else "is away"
            return cls(503, f"a service behind this one {text}", headers=[("Retry-After", "5")])
        return cls(status, error.message, headers=[("Retry-After", "5")] if status == 429 else ())

    @classmethod
    def of_change(cls, error: RpcError) -> HttpError:
        """For a change, which what is kept may not allow: as with a user who belongs to a directory server."""
        if error.code is StatusCode.FAILED_PRECONDITION:
            return cls(409, error.message)
        return cls.of(error)

    @classmethod
    def of_values(cls, error: RpcError) -> HttpError:
        """The same where values came in a body that could be read: 422 when they cannot be taken."""
        told = cls.of_change(error)
        return cls(422, told.text) if told.status == 400 else told
