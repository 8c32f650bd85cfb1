"""How failures are written: a SOAP fault, problem details (RFC 9457), or an Error message of SCIM (RFC 7644)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from aiohttp import web

from parley.webticket.soap import fault
from services.web.errors import HttpError
from services.web.openapi import PROBLEM
from services.web.routes import XML, Style, request_id

SCIM_JSON: Final = "application/scim+json"
SCIM_ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"
_INCOMPLETE: Final = frozenset({408, 413})
"""Answers before the request was read whole."""


def failure(request: web.Request, error: HttpError, style: Style) -> web.Response:
    """The answer that tells of a failure."""
    match style:
        case Style.SOAP:
            code = "Server" if error.status >= 500 else "Client"
            response = web.Response(body=fault(code, error.text), status=error.status, content_type=XML)
        case Style.PROBLEM:
            said = {
                "type": "about:blank", "title": HTTPStatus(error.status).phrase, "status": error.status,
                "detail": error.text, "request_id": request_id(request),
            }  # fmt: skip
            response = web.Response(body=json.dumps(said).encode(), status=error.status, content_type=PROBLEM)
        case Style.SCIM:
            said = {"schemas": [SCIM_ERROR], "status": str(error.status), "detail": error.text}
            if error.kind:
                said["scimType"] = error.kind
            response = web.Response(body=json.dumps(said).encode(), status=error.status, content_type=SCIM_JSON)
    response.headers.extend(error.headers)
    if error.status in _INCOMPLETE:
        response.force_close()
    return response
