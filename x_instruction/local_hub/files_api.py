"""Routes about the files of a revision: listings, and the entries at given paths."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub.folder import iso
from x_instruction.local_hub.incoming import API, Visit, body, endpoint_of, flag, hub_of, number, param, visit_of
from x_instruction.local_hub.names import file_path
from x_instruction.local_hub.objects import FOLDER, Commit, Entry
from x_instruction.local_hub.refused import Refused, entry_not_found

# With the last commit of each entry a page is shorter: each one costs a walk through the history.
EXPANDED_PAGE = 100
MAX_PATHS = 1000


def tree(request: Request) -> Response:
    """A page of a folder's entries."""
    visit = visit_of(request, "see")
    commit = visit.repository.find(param(request, "revision"))
    path = param(request, "path").strip("/") if "path" in request.path_params else ""
    folder = visit.repository.entry(commit, file_path(path)) if path else Entry(FOLDER, commit.tree)
    if folder is None or folder.mode != FOLDER:
        raise entry_not_found(path, commit.oid)
    expand = flag(request, "expand")
    page = number(request, "limit", visit.hub.limits.page, visit.hub.limits.page)
    page = min(page, EXPANDED_PAGE) if expand else max(page, 1)
    begin = _read_cursor(request.query_params.get("cursor"))
    entries = list(visit.repository.walk(folder.oid, f"{path}/" if path else "", flag(request, "recursive")))
    headers = {"X-Repo-Commit": commit.oid}
    if begin + page < len(entries):
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"]
        following = urlencode([*query, ("cursor", _cursor(begin + page))])
        # The address as it came: parts of it may be encoded.
        headers["Link"] = f'<{endpoint_of(request)}{request.scope["path"]}?{following}>; rel="next"'
    return JSONResponse(_described(visit, commit, entries[begin : begin + page], expand), headers=headers)


def _cursor(at: int) -> str:
    return base64.urlsafe_b64encode(str(at).encode()).decode()


def _read_cursor(text: str | None) -> int:
    try:
        return max(0, int(base64.urlsafe_b64decode(text))) if text else 0
    except (ValueError, binascii.Error):
        raise Refused(400, "the cursor is not one of this server") from None


def _described(visit: Visit, commit: Commit, entries: list[tuple[str, Entry]], expand: bool) -> list[dict[str, Any]]:
    last = visit.repository.last_changes(commit, [path for path, _ in entries]) if expand else {}
    listing = []
    for path, entry in entries:
        one = _folder(path, entry) if entry.mode == FOLDER else _file(visit, path, entry)
        if path in last:
            by = last[path]
            one["lastCommit"] = {"id": by.oid, "title": by.title, "date": iso(by.time)}
        listing.append(one)
    return listing


def _folder(path: str, entry: Entry) -> dict[str, Any]:
    return {"type": "directory", "oid": entry.oid, "size": 0, "path": path}


def _file(visit: Visit, path: str, entry: Entry) -> dict[str, Any]:
    size, pointer = visit.repository.objects.size(entry.oid)
    answer: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": pointer.size if pointer else size, "path": path}
    if pointer:
        answer["lfs"] = {"oid": pointer.oid, "size": pointer.size, "pointerSize": size}
    return answer


async def paths_info(request: Request) -> Response:
    """The entries at the given paths; paths without an entry are left out."""
    data = await body(request, hub_of(request).limits.json_bytes)
    paths, expand = _asked(data, request.headers.get("content-type", ""))
    return await run_in_threadpool(_at_paths, request, paths, expand)


def _asked(data: bytes, kind: str) -> tuple[list[str], bool]:
    try:
        if kind.startswith("application/json"):
            table = json.loads(data)
            paths, expand = table["paths"], bool(table.get("expand"))
        else:
            form = parse_qs(data.decode(), max_num_fields=MAX_PATHS + 10)
            paths, expand = form.get("paths", []), form.get("expand", [""])[-1].lower() == "true"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(400, f"expected paths, as a form or as JSON: {error}") from error
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths) or len(paths) > MAX_PATHS:
        raise Refused(400, f"expected at most {MAX_PATHS} paths")
    return paths, expand


def _at_paths(request: Request, paths: list[str], expand: bool) -> Response:
    visit = visit_of(request, "see")
    commit = visit.repository.find(param(request, "revision"))
    there = []
    for path in paths:
        clean = path.strip("/")
        entry = visit.repository.entry(commit, file_path(clean)) if clean else None
        if entry is not None:
            there.append((clean, entry))
    return JSONResponse(_described(visit, commit, there, expand), headers={"X-Repo-Commit": commit.oid})


routes = [
    Route(API + "/tree/{revision}", tree),
    Route(API + "/tree/{revision}/{path:path}", tree),
    Route(API + "/paths-info/{revision}", paths_info, methods=["POST"]),
]
