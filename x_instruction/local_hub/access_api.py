"""Routes about who is let into a gated repository."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub.folder import now
from x_instruction.local_hub.incoming import API, Visit, account_of, param, takes_json, text_of, visit_of
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.resolve import PREFIXES

STATUSES = ("accepted", "rejected", "pending")


def ask(request: Request, data: dict[str, Any]) -> Response:
    """Ask to be let in; where gating is automatic, that is enough."""
    visit = visit_of(request, "see")
    account = account_of(request)
    if account is None:
        raise Refused(401, "Invalid username or password.")
    if not visit.settings.gated:
        raise Refused(400, f"{visit.repo} is not gated: its files are there for the taking")
    status = _set(visit, account.name, "accepted" if visit.settings.gated == "auto" else "pending", fresh=True)
    return JSONResponse({"status": status})


def _set(visit: Visit, user: str, status: str, fresh: bool = False) -> str:
    """Note a status; a fresh request changes nothing where one was made before."""
    with visit.repository.lock:
        access = dict(visit.hub.folder.settings(visit.repo).access)
        known = access.get(user)
        if known is None or not fresh:
            request_id = known["requestId"] if known else secrets.token_hex(12)
            access[user] = {"status": status, "timestamp": now(), "requestId": request_id}
            visit.hub.folder.change(visit.repo, access=access)
        return access[user]["status"]


def requests(request: Request) -> Response:
    """The accounts of one status."""
    visit = visit_of(request, "write")
    status = param(request, "status")
    if status not in STATUSES:
        raise Refused(400, f"{status!r} is none of {', '.join(STATUSES)}")
    entries = [
        {"user": {"user": user, "fullname": user, "email": None}, "fields": None} | one
        for user, one in visit.settings.access.items()
        if one["status"] == status
    ]
    return JSONResponse(entries)


def handle(request: Request, data: dict[str, Any]) -> Response:
    """Let someone in who asked, or not."""
    visit = visit_of(request, "write")
    status = data.get("status")
    if status not in STATUSES:
        raise Refused(400, f"{status!r} is none of {', '.join(STATUSES)}")
    asked = {one["requestId"]: user for user, one in visit.settings.access.items()}
    user = data.get("user") or asked.get(str(data.get("requestId")))
    known = visit.settings.access.get(str(user))
    if known is None:
        raise Refused(404, "there is no such request")
    if known["status"] == status:
        raise Refused(400, f"the request of {user} is {status} already")
    _set(visit, str(user), str(status))
    return Response()


def grant(request: Request, data: dict[str, Any]) -> Response:
    """Let someone in who did not ask."""
    visit = visit_of(request, "write")
    user = text_of(data, "user")
    if visit.hub.accounts.get(user) is None:
        raise Refused(404, f"there is no account {user}")
    if visit.settings.access.get(user, {}).get("status") == "accepted":
        raise Refused(400, f"{user} was let in already")
    _set(visit, user, "accepted")
    return JSONResponse({"user": user, "status": "accepted"})


routes = [
    Route(API + "/user-access-request/handle", takes_json(handle), methods=["POST"]),
    Route(API + "/user-access-request/grant", takes_json(grant), methods=["POST"]),
    Route(API + "/user-access-request/{status}", requests),
    *(Route(f"{prefix}/ask-access", takes_json(ask), methods=["POST"]) for prefix in PREFIXES),
]
