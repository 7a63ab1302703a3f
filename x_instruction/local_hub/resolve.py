"""Routes that give files: whole or in part, with what clients check them by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from x_instruction.local_hub.incoming import Visit, param, visit_of
from x_instruction.local_hub.names import file_path
from x_instruction.local_hub.refused import Refused
from x_instruction.storage.atomic import open_plain

PREFIXES = ("/datasets/{namespace}/{name}", "/spaces/{namespace}/{name}", "/{namespace}/{name}")
# Pictures, so that a card can show them. A drawing may have styles and, in the sandbox, no scripts.
_PICTURES = {
    ".svg": {
        "Content-Type": "image/svg+xml",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    },
    ".png": {"Content-Type": "image/png"},
    ".jpg": {"Content-Type": "image/jpeg"},
    ".webp": {"Content-Type": "image/webp"},
}
PICTURES = tuple(_PICTURES)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_PIECE = 1 << 20
# A file of a repository is never a page of this server: no script of it runs, nothing of it is guessed.
HARMLESS = {
    "Content-Type": "application/octet-stream",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


def resolve(request: Request) -> Response:
    """A file of a revision; of a large one its content."""
    found, commit, path, oid = _asked(request)
    pointer = found.repository.objects.size(oid).pointer
    if pointer is None:
        return _send_bytes(request, found.repository.objects.blob(oid), _headers(commit, path, oid))
    headers = _headers(commit, path, pointer.oid)
    headers |= {"X-Linked-Size": str(pointer.size), "X-Linked-ETag": f'"{pointer.oid}"'}
    return send_file(request, found.repository.large.path(pointer.oid), pointer.size, headers)


def view(request: Request) -> Response:
    """A page of a repository as a page, and the files beside it for its script.

    The page has no origin, so it reads nothing here that needs a token, and connects to the files beside it alone.
    """
    found, commit, path, oid = _asked(request)
    public = not found.settings.private and not found.settings.gated
    # A page without an origin may read only what says so. Nothing but what everyone may read says so.
    shared = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Content-Range"} if public else {}
    if not path.endswith(".html") or found.repository.objects.size(oid).pointer is not None:
        answer = resolve(request)
        answer.headers.update(shared)
        return answer
    files = f"{found.url}/view/{quote(param(request, 'revision'), safe='')}/"
    headers = _headers(commit, path, oid) | {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "sandbox allow-scripts allow-downloads; default-src 'none'; "
        "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
        f"connect-src {files}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    }
    return _send_bytes(request, found.repository.objects.blob(oid), headers | shared)


def raw(request: Request) -> Response:
    """A file of a revision as git has it, to be read as text; of a large one the pointer."""
    found, commit, path, oid = _asked(request)
    headers = _headers(commit, path, oid) | {"Content-Type": "text/plain; charset=utf-8"}
    return _send_bytes(request, found.repository.objects.blob(oid), headers)


def _asked(request: Request) -> tuple[Visit, str, str, str]:
    visit = visit_of(request)
    revision, path = _revision_and_path(param(request, "revision"), param(request, "path"))
    commit = visit.repository.find(revision)
    return visit, commit.oid, path, visit.repository.file(commit, file_path(path)).oid


def _headers(commit: str, path: str, etag: str) -> dict[str, str]:
    name = path.rpartition("/")[2]
    ascii_name = re.sub(r'[^\x20-\x7e]|["\\]', "_", name)
    return (
        HARMLESS
        | _PICTURES.get(PurePosixPath(name).suffix.lower(), {})
        | {
            "ETag": f'"{etag}"',
            "X-Repo-Commit": commit,
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{ascii_name}\";",
        }
    )


def _revision_and_path(revision: str, path: str) -> tuple[str, str]:
    """A ref may come with its slashes as they are."""
    parts = path.split("/")
    if revision == "refs" and len(parts) > 2 and parts[0] in ("pr", "convert"):
        return "/".join([revision, *parts[:2]]), "/".join(parts[2:])
    return revision, path


def send_file(request: Request, path: Path, size: int, headers: dict[str, str]) -> Response:
    """A large file, or the range of it that was asked for."""
    status, begin, end, headers = ranged(request, size, headers)
    if request.method == "HEAD":
        return Response(None, status, headers)
    return StreamingResponse(_pieces(path, begin, end), status, headers)


def _send_bytes(request: Request, data: bytes, headers: dict[str, str]) -> Response:
    status, begin, end, headers = ranged(request, len(data), headers)
    return Response(None if request.method == "HEAD" else data[begin:end], status, headers)


def ranged(request: Request, size: int, headers: dict[str, str]) -> tuple[int, int, int, dict[str, str]]:
    """Status, where to begin and to end, and the headers for it.

    Raises:
        Refused: 416, the range begins after the end.
    """
    begin, end, status = 0, size, 200
    headers = headers | {"Accept-Ranges": "bytes"}
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match and (match[1] or match[2]):
        if match[1]:
            begin, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
        else:
            begin = max(0, size - int(match[2]))
        if begin >= end:
            raise Refused(416, "the range begins after the end", headers={"Content-Range": f"bytes */{size}"})
        status = 206
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - begin)
    return status, begin, end, headers


def _pieces(path: Path, begin: int, end: int) -> Iterator[bytes]:
    with open_plain(path) as stream:
        stream.seek(begin)
        while begin < end:
            piece = stream.read(min(_PIECE, end - begin))
            if not piece:
                raise OSError(f"{path} is shorter than its pointer says")
            begin += len(piece)
            yield piece


routes = [
    Route(f"{prefix}/{verb}/{{revision}}/{{path:path}}", give)
    for prefix in PREFIXES
    for verb, give in (("resolve", resolve), ("raw", raw), ("view", view))
]
