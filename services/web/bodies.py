"""What comes and goes as JSON: bodies and queries checked by models, answers with their version as ETag (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from services.web.errors import HttpError
from services.web.routes import JSON, body_limit

ModelT = TypeVar("ModelT", bound=BaseModel)

_PIECE: Final = 65_536
_ETAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_MAX_TAGS: Final = 4_096
_MAX_PROBLEMS: Final = 5


async def read_json(request: web.Request, model: type[ModelT]) -> ModelT:
    """The body, as a model. Raises HttpError 400 for what is no JSON, 422 for values that cannot be taken."""
    data = await request.read()
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise _problem(error) from None


def read_query(request: web.Request, model: type[ModelT]) -> ModelT:
    """The query string, as a model. Raises HttpError 400."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise HttpError(400, f"{name[:64]} is there twice")
        given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise HttpError(400, _problem(error).text) from None


def _problem(error: ValidationError) -> HttpError:
    """Says where and what, without the values: they may be secrets."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    if problems[0]["type"] == "json_invalid":
        return HttpError(400, "the body is no JSON")
    texts = [f"{'.'.join(map(str, item['loc'])) or 'the body'}: {item['msg']}" for item in problems[:_MAX_PROBLEMS]]
    return HttpError(422, "; ".join(texts)[:500])


async def pieces(request: web.Request) -> AsyncIterator[bytes]:
    """A body of any size, piece by piece, within the limit of its route. Raises web.HTTPRequestEntityTooLarge."""
    limit, size = body_limit(request), 0
    async for data in request.content.iter_chunked(_PIECE):
        size += len(data)
        if size > limit:
            raise web.HTTPRequestEntityTooLarge(limit, size)
        yield data


def json_answer(value: BaseModel | dict[str, Any], *, status: int = 200, version: int | None = None) -> web.Response:
    """An answer. ``version``: of what it shows, for its ETag."""
    text = value.model_dump_json() if isinstance(value, BaseModel) else None
    response = web.json_response(value, status=status) if text is None else web.Response(text=text, status=status)
    response.content_type = JSON
    if version is not None:
        response.headers["ETag"] = f'"{version}"'
    return response


def expected_version(request: web.Request, present: int) -> int | None:
    """The present version, when If-Match demands it; None when it demands none. Raises HttpError 412 when it names others.

    A weak tag counts: a version is told by a weak one in SCIM, and where the answer was compressed.
    """
    if ",".join(request.headers.getall("If-Match", ["*"])).strip() == "*":
        return None
    if not _names(request, "If-Match", f'"{present}"'):
        raise HttpError(412, "it was changed by somebody else; read it again")
    return present


def has_already(request: web.Request, tag: int | str) -> bool:
    """Whether If-None-Match says that the client has a version, or what has an ETag."""
    if ",".join(request.headers.getall("If-None-Match", [])).strip() == "*":
        return True
    return _names(request, "If-None-Match", f'"{tag}"' if isinstance(tag, int) else tag)


def _names(request: web.Request, header: str, tag: str) -> bool:
    """Whether a list of tags has one (RFC 9110 section 8.8.3), weak or not."""
    given = ",".join(request.headers.getall(header, []))
    return tag in (found[1] for found in _ETAG.finditer(given[:_MAX_TAGS]))
