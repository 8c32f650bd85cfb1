"""What the OpenAPI document (3.1) says of a route, and the document made of the table of routes.

A route says with its `Operation` what it takes and gives, as models; nothing is written twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.web.routes import JSON, Access, Handler, Route, Style

PROBLEM: Final = "application/problem+json"
IF_MATCH: Final = {"If-Match": "The version that is to be changed, as ETag has it"}
"""Headers of operations that depend on a version."""


class Problem(BaseModel):
    """Why a request failed (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the document."""

    summary: str
    query: type[BaseModel] | None = None
    """The parameters of the query string."""
    body: type[BaseModel] | None = None
    """JSON that it takes; None: none, or what ``Route.content_types`` says, as bytes."""
    result: type[BaseModel] | None = None
    """JSON that it gives; None: none, or bytes of ``result_type``."""
    result_type: str = ""
    status: int = 200
    """Of success."""
    failures: tuple[int, ...] = ()
    """Statuses of its own; those that every route may have are added."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers that it minds, and what for."""
    tag: str = ""
    """What it belongs to; see `rows_of`."""


class RowMaker(Protocol):
    """Makes rows of one part of the REST interface."""

    def __call__(
        self, method: str, path: str, handler: Handler, operation: Operation, access: Access = Access.ADMIN, *,
        body_bytes: int = 0, content_types: tuple[str, ...] = (), seconds: float = 0.0,
    ) -> Route:  # fmt: skip
        """A row whose failures are problem details."""


def rows_of(tag: str) -> RowMaker:
    """Makes rows; ``tag``: what the document calls this part."""

    def row(
        method: str, path: str, handler: Handler, operation: Operation, access: Access = Access.ADMIN, *,
        body_bytes: int = 0, content_types: tuple[str, ...] = (), seconds: float = 0.0,
    ) -> Route:  # fmt: skip
        types = (JSON,) if operation.body is not None else content_types
        return Route(
            method, path, handler, access, Style.PROBLEM, body_bytes, types, seconds, operation=replace(operation, tag=tag)
        )

    return row


_REASONS: Final = {
    304: "Nothing changed", 400: "The request is wrong", 401: "Nobody has signed in", 403: "Not allowed", 404: "None here",
    406: "Not acceptable", 408: "It took too long", 409: "Another one is in the way", 412: "It was changed meanwhile",
    413: "The body is too large", 415: "Not that type of content", 416: "No such range", 422: "The values cannot be taken",
    428: "If-Match is missing", 429: "Too many requests", 500: "A mistake of ours",
    503: "A service behind this one is away, or took too long; Retry-After says when to ask again",
}  # fmt: skip
_SCHEMES: Final[dict[str, Any]] = {
    "basic": {"type": "http", "scheme": "basic"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "negotiate": {"type": "http", "scheme": "negotiate"},
    "session": {"type": "apiKey", "in": "cookie", "name": "__Host-parley"},
}


def document(routes: Sequence[Route], *, base: str, version: str) -> dict[str, Any]:
    """The document about all routes that have an operation. ``base``: URL of the server."""
    described = [(route, route.operation) for route in routes if route.operation is not None]
    models: dict[str, type[BaseModel]] = {"Problem": Problem}
    for _, operation in described:
        for model in (operation.body, operation.result):
            if model is not None:
                models[model.__name__] = model
    _, schemas = models_json_schema(
        [(model, "validation") for model in models.values()], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for route, operation in described:
        path = route.path.replace("...}", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Parley", "version": version, "description": "Users, directory and what goes on, over HTTP."},
        "servers": [{"url": base}],
        "paths": paths,
        "components": {"schemas": schemas["$defs"], "securitySchemes": _SCHEMES},
    }


def _operation(route: Route, operation: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": _identifier(route),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(route), *_query_parameters(operation), *_header_parameters(operation)],
        "responses": _responses(route, operation),
        "security": [] if route.access is Access.OPEN else [{name: []} for name in _SCHEMES],
    }
    content: dict[str, Any] = {}
    if operation.body is not None:
        content = {JSON: {"schema": _reference(operation.body)}}
    elif route.content_types:
        content = {kind: {} for kind in route.content_types}
    if content:
        said["requestBody"] = {"required": True, "content": content}
    return said


def _identifier(route: Route) -> str:
    words = [word for word in route.path.replace("...", "").replace("-", "_").split("/") if word]
    return "_".join([route.method.lower(), *(word.strip("{}") for word in words)]).replace(".", "_")


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = [part.strip("{}").removesuffix("...") for part in route.path.split("/") if part.startswith("{")]
    schema = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema()
    required = schema.get("required", [])
    return [
        {
            "name": name, "in": "query", "required": name in required, "description": value.get("description", ""),
            "schema": {key: item for key, item in value.items() if key not in ("title", "description")},
        }
        for name, value in schema.get("properties", {}).items()
    ]  # fmt: skip


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in operation.headers.items()
    ]


def _responses(route: Route, operation: Operation) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done"}
    if operation.result is not None:
        success["content"] = {JSON: {"schema": _reference(operation.result)}}
    elif operation.result_type:
        success["content"] = {operation.result_type: {}}
    failures = {400, 408, 413, 429, 500, 503, *operation.failures}
    if route.access is not Access.OPEN:
        failures |= {401, 403}
    if operation.body is not None or route.content_types:
        failures.add(415)
    problem = {"content": {PROBLEM: {"schema": _reference(Problem)}}}
    said: dict[str, Any] = {str(operation.status): success}
    for status in sorted(failures):
        said[str(status)] = {"description": _REASONS[status], **(problem if status >= 400 else {})}
    # A request that is no HTTP, or whose line is too long, is answered before it is anybody's.
    said["400"] = {"description": _REASONS[400], "content": {**problem["content"], "text/plain": {}}}
    return said
