"""Routes about repositories as a whole: who am I, make, list, describe, change, move and delete."""

from __future__ import annotations

import contextlib
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub import cards
from x_instruction.local_hub.buckets import BucketId
from x_instruction.local_hub.folder import iso
from x_instruction.local_hub.incoming import (
    API,
    Visit,
    account_of,
    endpoint_of,
    flag,
    hub_of,
    not_there,
    number,
    param,
    takes_json,
    text_of,
    visit_of,
    writer,
)
from x_instruction.local_hub.names import TYPES, RepoId, repo_id
from x_instruction.local_hub.objects import Commit
from x_instruction.local_hub.refused import Refused

README = "README.md"


def whoami(request: Request) -> Response:
    """The account of the token, and every namespace as an organization of it."""
    account = account_of(request)
    if account is None:
        raise Refused(401, "Invalid username or password.")
    folder = hub_of(request).folder
    spaces = sorted({repo.namespace for kind in TYPES.values() for repo in folder.list(kind)} - {account.name})
    person: dict[str, Any] = {"type": "user", "id": account.sha256[:24], "name": account.name, "fullname": account.name}
    unset: dict[str, Any] = {
        "email": None,
        "emailVerified": False,
        "canPay": False,
        "isPro": False,
        "periodEnd": None,
        "avatarUrl": "",
    }
    orgs = [
        {"type": "org", "id": name, "name": name, "fullname": name, "roleInOrg": account.role} | unset
        for name in spaces
    ]
    auth = {"type": "access_token", "accessToken": {"displayName": account.name, "role": account.role}}
    return JSONResponse(person | unset | {"orgs": orgs, "auth": auth})


def _named(request: Request, data: dict[str, Any], author: str) -> RepoId:
    kind = text_of(data, "type", "model")
    return repo_id(kind, text_of(data, "organization", author) if data.get("organization") else author,
                   text_of(data, "name"))  # fmt: skip


def _private(data: dict[str, Any], otherwise: bool) -> bool:
    visibility = data.get("visibility")
    if visibility not in (None, "public", "private", "protected"):
        raise Refused(400, f"{visibility!r} is no visibility: public or private")
    return visibility != "public" if visibility else bool(data.get("private", otherwise))


def create(request: Request, data: dict[str, Any]) -> Response:
    """Make a repository."""
    account = writer(request)
    repo = _named(request, data, account.name)
    sdk = text_of(data, "sdk") if data.get("sdk") else None
    address = f"{endpoint_of(request)}/{repo.path}"
    try:
        hub_of(request).folder.create(repo, account.name, _private(data, False), sdk)
    except Refused as error:
        error.details["url"] = address
        raise
    return JSONResponse({"url": address, "name": str(repo), "id": str(repo)})


def delete(request: Request, data: dict[str, Any]) -> Response:
    """Remove a repository."""
    account = writer(request)
    repo = _named(request, data, account.name)
    folder = hub_of(request).folder
    folder.delete(folder.current(repo))
    return Response()


def move(request: Request, data: dict[str, Any]) -> Response:
    """Rename a repository."""
    writer(request)
    kind = text_of(data, "type", "model")
    old, new = (text_of(data, key).split("/") for key in ("fromRepo", "toRepo"))
    if len(old) != 2 or len(new) != 2:
        raise Refused(400, "a repository is named namespace/name")
    hub = hub_of(request)
    if kind == "bucket":
        hub.buckets.move(BucketId(*old), BucketId(*new))
    else:
        hub.folder.move(hub.folder.current(repo_id(kind, *old)), repo_id(kind, *new))
    return JSONResponse({"success": True})


def change_settings(request: Request, data: dict[str, Any]) -> Response:
    """Make a repository private, public or gated."""
    visit = visit_of(request, "write")
    gated = data.get("gated", visit.settings.gated)
    if gated not in ("auto", "manual", False):
        raise Refused(400, f"{gated!r} is no way of gating: auto, manual or false")
    private = _private(data, visit.settings.private)
    visit.hub.folder.change(visit.repo, private=private, gated=gated)
    return JSONResponse({"private": private, "gated": gated})


def listing(request: Request) -> Response:
    """The repositories of a type."""
    kind = TYPES.get(param(request, "plural"))
    if kind is None:
        raise Refused(404, "Sorry, we can't find the page you are looking for.")
    account, folder = account_of(request), hub_of(request).folder
    query = request.query_params
    words = [word.lower() for word in query.getlist("search")]
    most = number(request, "limit", 1000, 10_000)
    found: list[dict[str, Any]] = []
    for repo in folder.list(kind):
        if query.get("author", repo.namespace) != repo.namespace or any(w not in str(repo).lower() for w in words):
            continue
        with contextlib.suppress(Refused):
            # One that is deleted meanwhile is left out.
            settings = folder.settings(repo)
            if settings.private and account is None:
                continue
            one = Visit(hub_of(request), repo, folder.repository(repo), settings, account, "")
            described = describe(one, one.repository.find("main"), flag(request, "full"))
            if all(tag in described["tags"] for tag in query.getlist("filter")) and len(found) < most:
                found.append(described)
    return JSONResponse(found)


def info(request: Request) -> Response:
    """One repository, at its head or at a revision."""
    visit = visit_of(request, "see")
    commit = visit.repository.find(param(request, "revision") if "revision" in request.path_params else "main")
    described = describe(visit, commit, True, flag(request, "blobs"))
    if "usedStorage" in request.query_params.getlist("expand"):
        described["usedStorage"] = visit.repository.used()
    return JSONResponse(described)


def describe(visit: Visit, commit: Commit, siblings: bool, blobs: bool = False) -> dict[str, Any]:
    """What the Hub tells of a repository."""
    card = cards.lenient(visit.repository.text(commit, README))
    settings, repo = visit.settings, visit.repo
    answer: dict[str, Any] = {
        "_id": settings.uid,
        "id": str(repo),
        "author": repo.namespace,
        "sha": commit.oid,
        "lastModified": iso(commit.time),
        "createdAt": settings.created_at,
        "private": settings.private,
        "gated": settings.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags(card, repo.kind),
        "cardData": card,
    }
    if repo.kind == "model":
        answer |= {"modelId": str(repo), "library_name": card.get("library_name"), "spaces": []}
        answer |= {"pipeline_tag": card.get("pipeline_tag"), "model-index": card.get("model-index")}
    if repo.kind == "space":
        answer["sdk"] = settings.sdk
    if siblings:
        answer["siblings"] = _siblings(visit, commit, blobs)
    return answer


def _siblings(visit: Visit, commit: Commit, blobs: bool) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for path, entry in visit.repository.files(commit).items():
        one: dict[str, Any] = {"rfilename": path}
        if blobs:
            size, pointer = visit.repository.objects.size(entry.oid)
            one |= {"size": pointer.size if pointer else size, "blobId": entry.oid}
            if pointer:
                one["lfs"] = {"sha256": pointer.oid, "size": pointer.size, "pointerSize": size}
        entries.append(one)
    return entries


def tags(card: dict[str, Any], kind: str) -> list[str]:
    """The tags that a card's metadata gives."""
    found = []
    for key in ("task_categories", "language", "license", "size_categories"):
        values = card.get(key) or []
        plain = key == "language" and kind == "model"
        found += [str(v) if plain else f"{key}:{v}" for v in (values if isinstance(values, list) else [values])]
    own = card.get("tags") or []
    return found + [str(tag) for tag in (own if isinstance(own, list) else [own])]


def auth_check(request: Request) -> Response:
    """Whether the account may read or write."""
    visit_of(request, "write" if request.url.path.endswith("/write") else "read")
    return Response()


def validate_yaml(request: Request, data: dict[str, Any]) -> Response:
    """Whether the front matter of a README is good."""
    content = data.get("content")
    if not isinstance(content, str):
        raise Refused(400, '"content" must be a text')
    errors, warnings = cards.check(content)
    answer = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(answer, 400 if errors else 200)


def storage(request: Request) -> Response:
    """The repositories of a namespace, and the bytes that they use: of the account itself, or of an organization."""
    account = account_of(request)
    if account is None:
        raise Refused(401, "Invalid username or password.")
    folder = hub_of(request).folder
    namespace = param(request, "namespace") if "namespace" in request.path_params else account.name
    found: list[dict[str, Any]] = []
    for repo in (one for kind in TYPES.values() for one in folder.list(kind) if one.namespace == namespace):
        with contextlib.suppress(Refused):
            # One that is deleted meanwhile is left out.
            repository = folder.repository(repo)
            visibility = "private" if folder.settings(repo).private else "public"
            one = {"id": str(repo), "type": repo.kind, "visibility": visibility, "storage": repository.used()}
            found.append(one | {"updatedAt": iso(repository.find("main").time)})
    used = sum(one["storage"] for one in found)
    return JSONResponse([one | {"storagePercent": 100 * one["storage"] / max(1, used)} for one in found])


def without_namespace(request: Request) -> Response:
    """There are no repositories without a namespace."""
    raise not_there(account_of(request))


_PARTS = ("revision", "commits", "tree", "paths-info", "treesize", "preupload", "commit", "branch", "tag")
# After all others, whose addresses have as many parts.
fallbacks = [Route(f"/api/{{plural}}/{{name}}/{part}/{{rest:path}}", without_namespace) for part in _PARTS]

routes = [
    Route("/api/whoami-v2", whoami),
    Route("/api/repos/create", takes_json(create), methods=["POST"]),
    Route("/api/repos/delete", takes_json(delete), methods=["DELETE"]),
    Route("/api/repos/move", takes_json(move), methods=["POST"]),
    Route("/api/validate-yaml", takes_json(validate_yaml), methods=["POST"]),
    Route("/api/settings/repositories", storage),
    Route("/api/organizations/{namespace}/settings/repositories", storage),
    Route("/api/{plural}", listing),
    Route("/api/{plural}/{name}", without_namespace),
    Route("/{name}/resolve/{rest:path}", without_namespace),
    Route(API, info),
    Route(API + "/revision/{revision}", info),
    Route(API + "/settings", takes_json(change_settings), methods=["PUT"]),
    Route(API + "/auth-check", auth_check),
    Route(API + "/auth-check/write", auth_check),
]
