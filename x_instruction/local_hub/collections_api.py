"""Routes about collections."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub.collections import CHANGEABLE, Collection, add_item, item_of
from x_instruction.local_hub.incoming import account_of, hub_of, number, param, takes_json, text_of, writer
from x_instruction.local_hub.names import is_name
from x_instruction.local_hub.refused import Refused

ONE = "/api/collections/{namespace}/{rest}"
_KINDS = {"title": str, "description": str, "private": bool, "position": int, "theme": str}


def _slug(request: Request) -> str:
    return f"{param(request, 'namespace')}/{param(request, 'rest')}"


def listing(request: Request) -> Response:
    """Collections, by owner and by what is in them, with at most four items each."""
    account, query = account_of(request), request.query_params
    owners, items = query.getlist("owner"), query.getlist("item")
    entries = []
    for one in hub_of(request).collections.all().values():
        inside = {f"{item['type']}s/{item['id']}" for item in one["items"]}
        private = one["private"] and account is None
        if not private and (not owners or one["owner"]["name"] in owners) and (not items or inside & set(items)):
            entries.append(
                {key: value for key, value in one.items() if key != "position"} | {"items": one["items"][:4]}
            )
    return JSONResponse(entries[: number(request, "limit", 100, 1000)])


def create(request: Request, data: dict[str, Any]) -> Response:
    """Make a collection."""
    account = writer(request)
    namespace, title = text_of(data, "namespace", account.name), text_of(data, "title").strip()
    if not is_name(namespace) or not title:
        raise Refused(400, "a collection has a namespace and a title")
    description = text_of(data, "description") if data.get("description") else None
    made = hub_of(request).collections.create(namespace, title, description, bool(data.get("private")))
    return JSONResponse(made)


def get(request: Request) -> Response:
    """One collection."""
    found = hub_of(request).collections.get(_slug(request))
    if account_of(request) is None and found["private"]:
        raise Refused(404, "there is no such collection")
    return JSONResponse(found)


def change(request: Request, data: dict[str, Any]) -> Response:
    """Change a collection's title and the like."""
    writer(request)
    for key, value in data.items():
        if key not in CHANGEABLE or not isinstance(value, _KINDS[key]):
            raise Refused(400, f"{key!r} cannot be changed to {value!r}")
    changed = hub_of(request).collections.change(_slug(request), lambda collection: collection.update(data))
    return JSONResponse({"success": True, "data": changed})


def delete(request: Request) -> Response:
    """Remove a collection."""
    writer(request)
    hub_of(request).collections.delete(_slug(request))
    return JSONResponse({"success": True})


def add(request: Request, data: dict[str, Any]) -> Response:
    """Append an item."""
    writer(request)
    item = data.get("item")
    if not isinstance(item, dict):
        raise Refused(400, '"item" must be an object')

    def edit(collection: Collection) -> None:
        add_item(collection, item.get("type"), item.get("id"), data.get("note"))

    return JSONResponse(hub_of(request).collections.change(_slug(request), edit))


def change_item(request: Request, data: dict[str, Any]) -> Response:
    """Change an item's note or its place."""
    writer(request)

    def edit(collection: Collection) -> None:
        item = item_of(collection, param(request, "item"))
        if isinstance(data.get("note"), str):
            item["note"] = {"text": data["note"]}
        if isinstance(data.get("position"), int):
            collection["items"].remove(item)
            collection["items"].insert(max(0, data["position"]), item)

    hub_of(request).collections.change(_slug(request), edit)
    return JSONResponse({"success": True})


def delete_item(request: Request) -> Response:
    """Take an item out."""
    writer(request)
    item_id = param(request, "item")
    hub_of(request).collections.change(_slug(request), lambda c: c["items"].remove(item_of(c, item_id)))
    return JSONResponse({"success": True})


routes = [
    Route("/api/collections", listing),
    Route("/api/collections", takes_json(create), methods=["POST"]),
    Route(ONE, get),
    Route(ONE, takes_json(change), methods=["PATCH"]),
    Route(ONE, delete, methods=["DELETE"]),
    Route(ONE + "/items", takes_json(add), methods=["POST"]),
    Route(ONE + "/items/{item}", takes_json(change_item), methods=["PATCH"]),
    Route(ONE + "/items/{item}", delete_item, methods=["DELETE"]),
]
