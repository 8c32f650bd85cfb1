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
_ETAG: Final = re.compile(r'"([0-9]{1,19})"')
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


def expected_version(request: web.Request) -> int | None:
    """The version that If-Match demands; None when it demands none. Raises HttpError 412 for one that none can have."""
    text = request.headers.get("If-Match", "*").strip()
    if text == "*":
        return None
    found = _ETAG.fullmatch(text.removeprefix("W/"))
    version = int(found[1]) if found is not None else 0
    if not 0 < version < 2**63:
        raise HttpError(412, "If-Match names no version that there is")
    return version


def has_already(request: web.Request, version: int) -> bool:
    """Whether If-None-Match says that the client has this version."""
    given = request.headers.get("If-None-Match", "")
    return any(text.strip().removeprefix("W/") in (f'"{version}"', "*") for text in given.split(",") if text.strip())
