"""What the endpoint says of itself (RFC 7643 sections 5 to 7)."""

from __future__ import annotations

from typing import Any, Final

from services.web.scim.resources import ENTERPRISE, GROUP, USER

MAX_RESULTS: Final = 200
_CORE: Final = "urn:ietf:params:scim:schemas:core:2.0"


def provider_config(base: str) -> dict[str, Any]:
    """ServiceProviderConfig: no bulk, no sorting, passwords by PUT and PATCH of ``password``."""
    return {
        "schemas": [f"{_CORE}:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_RESULTS},
        "changePassword": {"supported": True},
        "sort": {"supported": False},
        "etag": {"supported": True},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken", "name": "Bearer token", "primary": True,
                "description": "The static token of web.scim.token, or an OIDC token with the scope of web.scim.scope",
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }  # fmt: skip


def resource_types(base: str) -> list[dict[str, Any]]:
    """ResourceTypes."""
    extension = [{"schema": ENTERPRISE, "required": False}]
    return [_resource_type(base, "User", USER, extension), _resource_type(base, "Group", GROUP, [])]


def _resource_type(base: str, name: str, schema: str, extensions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schemas": [f"{_CORE}:ResourceType"], "id": name, "name": name, "endpoint": f"/{name}s", "schema": schema,
        "schemaExtensions": extensions,
        "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{name}"},
    }  # fmt: skip


def schemas(base: str) -> list[dict[str, Any]]:
    """Schemas: what is kept, and nothing else."""
    typed = [_text("value"), _text("type"), _attribute("primary", "boolean")]
    user = [
        _text("userName", required=True, uniqueness="server"), _text("externalId"), _text("displayName"), _text("nickName"),
        _text("title"), _attribute("active", "boolean"), _text("password", mutability="writeOnly", returned="never"),
        _complex("name", [_text("formatted"), _text("givenName"), _text("familyName")]),
        _complex("emails", typed, several=True), _complex("phoneNumbers", typed, several=True),
        _complex("addresses", [_text("type"), _text("locality"), _text("region"), _text("country")], several=True),
    ]  # fmt: skip
    group = [
        _text("displayName", required=True), _text("externalId"),
        _complex("members", [_text("value", mutability="immutable")], several=True),
    ]  # fmt: skip
    enterprise = [_text("department"), _text("organization")]
    said = ((USER, "User", user), (GROUP, "Group", group), (ENTERPRISE, "EnterpriseUser", enterprise))
    return [
        {
            "schemas": [f"{_CORE}:Schema"], "id": id, "name": name, "attributes": attributes,
            "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{id}"},
        }
        for id, name, attributes in said
    ]  # fmt: skip


def _attribute(name: str, kind: str, **more: Any) -> dict[str, Any]:
    usual = {"multiValued": False, "required": False, "mutability": "readWrite", "returned": "default", "uniqueness": "none"}
    return {"name": name, "type": kind, "description": name, "caseExact": False, **usual, **more}


def _text(name: str, **more: Any) -> dict[str, Any]:
    return _attribute(name, "string", **more)


def _complex(name: str, parts: list[dict[str, Any]], *, several: bool = False) -> dict[str, Any]:
    return _attribute(name, "complex", multiValued=several, subAttributes=parts)
