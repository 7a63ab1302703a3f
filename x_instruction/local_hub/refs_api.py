"""Routes about branches, tags and history."""

from __future__ import annotations

import html
import itertools
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub.folder import iso
from x_instruction.local_hub.incoming import API, Visit, endpoint_of, number, param, takes_json, text_of, visit
from x_instruction.local_hub.names import is_oid, ref_part
from x_instruction.local_hub.refs import BRANCHES, MAIN, PULLS, TAGS
from x_instruction.local_hub.refused import Refused, revision_not_found

COMMITS_PAGE = 50


def refs(request: Request) -> Response:
    """Branches, tags and, when asked for, pull requests."""
    found = visit(request, "see")
    answer = {"branches": _refs(found, BRANCHES), "tags": _refs(found, TAGS), "converts": list[dict[str, str]]()}
    if request.query_params.get("include_prs"):
        answer["pullRequests"] = _refs(found, PULLS)
    return JSONResponse(answer)


def _refs(found: Visit, prefix: str) -> list[dict[str, str]]:
    objects = found.repository.objects
    return [
        {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": objects.peel(oid).oid}
        for ref, oid in found.repository.refs.all(prefix)
    ]


def create_branch(request: Request, data: dict[str, Any]) -> Response:
    """Begin a branch at a revision."""
    found = visit(request, "write")
    ref = BRANCHES + ref_part(param(request, "branch"))
    with found.repository.lock:
        if found.repository.refs.get(ref):
            raise Refused(409, f"Reference already exists: {ref}")
        start = found.repository.find(text_of(data, "startingPoint", "main"))
        found.repository.refs.set(ref, start.oid)
    return Response(status_code=201)


def delete_branch(request: Request) -> Response:
    """Remove a branch."""
    found = visit(request, "write")
    ref = BRANCHES + ref_part(param(request, "branch"))
    if ref == MAIN:
        raise Refused(403, "the main branch cannot be deleted")
    _delete(found, ref)
    return Response(status_code=204)


def _delete(found: Visit, ref: str) -> None:
    with found.repository.lock:
        if not found.repository.refs.get(ref):
            raise revision_not_found(ref)
        found.repository.refs.delete(ref)


def create_tag(request: Request, data: dict[str, Any]) -> Response:
    """Tag a revision; a tag with a message is an object of its own."""
    found = visit(request, "write")
    name = ref_part(data.get("tag"))
    message = text_of(data, "message", "")
    with found.repository.lock:
        if found.repository.refs.get(TAGS + name):
            raise Refused(409, f"Tag reference exists already: {name}")
        oid = found.repository.find(param(request, "revision")).oid
        if message.strip():
            oid = found.repository.objects.write_tag(oid, name, found.author, message)
            found.repository.objects.sync()
        found.repository.refs.set(TAGS + name, oid)
    return Response(status_code=201)


def delete_tag(request: Request) -> Response:
    """Remove a tag."""
    found = visit(request, "write")
    _delete(found, TAGS + ref_part(param(request, "revision")))
    return Response(status_code=204)


def commits(request: Request) -> Response:
    """A page of the history of a revision."""
    found = visit(request, "see")
    head = found.repository.find(param(request, "revision"))
    page, size = number(request, "p", 0, 1_000_000), number(request, "limit", COMMITS_PAGE, 1000) or COMMITS_PAGE
    formatted = "formatted" in request.query_params.getlist("expand[]")
    past = itertools.islice(found.repository.history(head), page * size, (page + 1) * size + 1)
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
    found = visit(request, "write")
    name = param(request, "branch")
    if is_oid(name):
        raise revision_not_found(name)
    ref = name if name.startswith(PULLS) else BRANCHES + ref_part(name.removeprefix(BRANCHES))
    message = text_of(data, "message", f"Super-squash branch '{name}'")
    with found.repository.lock:
        if found.repository.refs.get(ref) is None:
            raise revision_not_found(name)
        files = dict(found.repository.files(found.repository.find(ref)))
        found.repository.write(ref, files, (), found.author, message)
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
