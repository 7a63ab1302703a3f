"""Routes about branches, tags and history."""

from __future__ import annotations

import html
import itertools
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub.folder import iso
from x_instruction.local_hub.incoming import API, Visit, endpoint_of, number, param, takes_json, text_of, visit_of
from x_instruction.local_hub.names import is_oid, ref_part
from x_instruction.local_hub.refs import BRANCHES, MAIN, PULLS, TAGS
from x_instruction.local_hub.refused import Refused, revision_not_found

COMMITS_PAGE = 50


def refs(request: Request) -> Response:
    """Branches, tags and, when asked for, pull requests."""
    visit = visit_of(request, "see")
    answer = {"branches": _refs(visit, BRANCHES), "tags": _refs(visit, TAGS), "converts": list[dict[str, str]]()}
    if request.query_params.get("include_prs"):
        answer["pullRequests"] = _refs(visit, PULLS)
    return JSONResponse(answer)


def _refs(visit: Visit, prefix: str) -> list[dict[str, str]]:
    objects = visit.repository.objects
    return [
        {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": objects.peel(oid).oid}
        for ref, oid in visit.repository.refs.all(prefix)
    ]


def create_branch(request: Request, data: dict[str, Any]) -> Response:
    """Begin a branch at a revision."""
    visit = visit_of(request, "write")
    ref = BRANCHES + ref_part(param(request, "branch"))
    with visit.repository.lock:
        if visit.repository.refs.get(ref):
            raise Refused(409, f"Reference {ref} already exists")
        start = visit.repository.find(text_of(data, "startingPoint", "main"))
        visit.repository.refs.set(ref, start.oid)
    return Response(status_code=201)


def delete_branch(request: Request) -> Response:
    """Remove a branch."""
    visit = visit_of(request, "write")
    ref = BRANCHES + ref_part(param(request, "branch"))
    if ref == MAIN:
        raise Refused(403, f"Cannot delete {MAIN}")
    _delete(visit, ref)
    return Response(status_code=204)


def _delete(visit: Visit, ref: str) -> None:
    with visit.repository.lock:
        if not visit.repository.refs.get(ref):
            raise revision_not_found(ref)
        visit.repository.refs.delete(ref)


def create_tag(request: Request, data: dict[str, Any]) -> Response:
    """Tag a revision; a tag with a message is an object of its own."""
    visit = visit_of(request, "write")
    message = text_of(data, "message", "")
    with visit.repository.lock:
        # The revision first, as on the Hub: clients tell a missing one from a bad name.
        oid = visit.repository.find(param(request, "revision")).oid
        name = ref_part(data.get("tag"))
        if visit.repository.refs.get(TAGS + name):
            raise Refused(409, f"Tag reference exists already: {name}")
        if message.strip():
            oid = visit.repository.objects.write_tag(oid, name, visit.author, message)
            visit.repository.objects.sync()
        visit.repository.refs.set(TAGS + name, oid)
    return Response(status_code=201)


def delete_tag(request: Request) -> Response:
    """Remove a tag."""
    visit = visit_of(request, "write")
    _delete(visit, TAGS + ref_part(param(request, "revision")))
    return Response(status_code=204)


def commits(request: Request) -> Response:
    """A page of the history of a revision."""
    visit = visit_of(request, "see")
    head = visit.repository.find(param(request, "revision"))
    page, size = number(request, "p", 0, 1_000_000), number(request, "limit", COMMITS_PAGE, 1000) or COMMITS_PAGE
    formatted = "formatted" in request.query_params.getlist("expand[]")
    past = itertools.islice(visit.repository.history(head), page * size, (page + 1) * size + 1)
    entries: list[dict[str, Any]] = []
    for commit in past:
        one: dict[str, Any] = {"id": commit.oid, "title": commit.title, "message": commit.body}
        one |= {"date": iso(commit.time), "authors": [{"user": commit.author}]}
        if formatted:
            one["formatted"] = {"title": html.escape(commit.title), "message": html.escape(commit.body)}
        entries.append(one)
    headers = {}
    if len(entries) > size:
        extra = "&expand[]=formatted" if formatted else ""
        address = f"{endpoint_of(request)}{request.scope['path']}?p={page + 1}&limit={size}{extra}"
        headers["Link"] = f'<{address}>; rel="next"'
    return JSONResponse(entries[:size], headers=headers)


def super_squash(request: Request, data: dict[str, Any]) -> Response:
    """Replace the history of a branch by one commit of the same files."""
    visit = visit_of(request, "write")
    name = param(request, "branch")
    if is_oid(name):
        raise revision_not_found(name)
    ref = name if name.startswith(PULLS) else BRANCHES + ref_part(name.removeprefix(BRANCHES))
    message = text_of(data, "message", f"Super-squash branch '{name}'")
    with visit.repository.lock:
        if visit.repository.refs.get(ref) is None:
            raise revision_not_found(name)
        files = dict(visit.repository.files(visit.repository.find(ref)))
        visit.repository.write(ref, files, (), visit.author, message)
    return Response()


routes = [
    Route(API + "/refs", refs),
    Route(API + "/branch/{branch}", takes_json(create_branch), methods=["POST"]),
    Route(API + "/branch/{branch}", delete_branch, methods=["DELETE"]),
    Route(API + "/tag/{revision}", takes_json(create_tag), methods=["POST"]),
    Route(API + "/tag/{revision}", delete_tag, methods=["DELETE"]),
    Route(API + "/commits/{revision}", commits),
    Route(API + "/super-squash/{branch}", takes_json(super_squash), methods=["POST"]),
]
