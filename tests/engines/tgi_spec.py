"""Text Generation Inference's own description of its API, to check messages by and to make them from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiohttp import web
from openapi_core import OpenAPI
from openapi_core.contrib.aiohttp import AIOHTTPOpenAPIWebRequest, AIOHTTPOpenAPIWebResponse
from openapi_schema_validator import OAS30Validator

SPEC: dict[str, Any] = json.loads((Path(__file__).parent / "tgi-openapi.json").read_text("utf-8"))
ROUTES = ["/generate", "/generate_stream", "/tokenize", "/chat_tokenize", "/v1/chat/completions", "/info"]


def _plain(value: Any) -> Any:
    """The description as strict OpenAPI 3.0; otherwise a validator would skip half of it.

    It writes exclusive bounds as numbers, as later versions do, defaults as texts, and a discriminator over schemas
    that have no names; without that, ``oneOf`` tells them apart.
    """
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _plain(item) for key, item in value.items() if key not in ("default", "discriminator")}
    bound = value.get("exclusiveMinimum")
    if isinstance(bound, int | float) and not isinstance(bound, bool):
        value |= {"minimum": bound, "exclusiveMinimum": True}
    return value


_PLAIN = _plain(SPEC)
_API = OpenAPI.from_dict(_PLAIN)


def wrong_request(request: web.Request, body: bytes) -> list[str]:
    """What is wrong with a request."""
    return [_said(error) for error in _API.iter_request_errors(AIOHTTPOpenAPIWebRequest(request, body=body))]


def wrong_response(request: web.Request, body: bytes, response: web.Response) -> list[str]:
    """What is wrong with an answer to it."""
    asked, answered = AIOHTTPOpenAPIWebRequest(request, body=body), AIOHTTPOpenAPIWebResponse(response)
    return [_said(error) for error in _API.iter_response_errors(asked, answered)]


def wrong_value(value: Any, schema: str) -> list[str]:
    """What is wrong with a value of one of the schemas."""
    known = {"$ref": f"#/components/schemas/{schema}", "components": _PLAIN["components"]}
    return [error.message for error in OAS30Validator(known).iter_errors(value)]


def _said(error: Any) -> str:
    below = [_said(inner) for inner in getattr(error.__cause__, "schema_errors", ())]
    return f"{error} {error.__cause__ or ''} {below or ''}"


def errors(path: str) -> dict[int, dict[str, Any]]:
    """The error bodies that a route's description gives, by status."""
    method = next(iter(SPEC["paths"][path].values()))
    found = {}
    for status, response in method["responses"].items():
        for content in response.get("content", {}).values():
            if int(status) >= 400:
                found[int(status)] = example("ErrorResponse") | content.get("example", {})
    return found


def example(schema: str, required: bool = False) -> Any:
    """A value of a schema, from its examples.

    Args:
        required: without anything that may be left out.
    """
    value = _example({"$ref": f"#/components/schemas/{schema}"}, required)
    assert wrong_value(value, schema) == []
    return value


def _example(schema: dict[str, Any], required: bool) -> Any:
    if "$ref" in schema:
        return _example(SPEC["components"]["schemas"][schema["$ref"].rpartition("/")[2]], required)
    if "allOf" in schema:
        parts = [_example(part, required) for part in schema["allOf"]]
        return {key: value for part in parts for key, value in part.items()} if len(parts) > 1 else parts[0]
    if "oneOf" in schema:
        return _example(schema["oneOf"][0], required)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        expected = schema.get("required", []) if required else schema.get("properties", {})
        return {name: _example(schema["properties"][name], required) for name in expected}
    if schema.get("type") == "array":
        return [_example(schema["items"], required)]
    shown, kind = schema.get("example"), schema.get("type", "string")
    if kind == "boolean":
        return shown in (True, "true")
    try:
        return {"integer": int, "number": float, "string": str}[kind](shown or "")
    except ValueError:
        return {"integer": 1, "number": -0.5}[kind]
