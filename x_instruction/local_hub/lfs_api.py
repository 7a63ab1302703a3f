"""Routes of git-lfs: what must be sent, the sending, in one piece or in parts, and the fetching."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub.incoming import (
    Visit,
    body,
    chunks,
    hub_of,
    not_there,
    param,
    read_object,
    repo_of,
    spooled,
    takes_json,
    visit_of,
)
from x_instruction.local_hub.names import RepoId, is_sha256
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.repository import Repository
from x_instruction.local_hub.resolve import PREFIXES, send_file
from x_instruction.storage.atomic import open_plain, rename_into_place

HOURS = 3600 * 12
MAX_OBJECTS = 1000
# Addresses of parts in one answer. Further files are sent in one piece.
MAX_PARTS = 10_000
_PIECE = 1 << 20
_JSON = "application/vnd.git-lfs+json"


def batch(request: Request, data: dict[str, Any]) -> Response:
    """Where each of some large files is to be sent to, or fetched from."""
    operation = data.get("operation")
    if operation not in ("upload", "download"):
        raise Refused(400, f"{operation!r} is nothing that can be done with large files")
    visit = visit_of(request, "write" if operation == "upload" else "read")
    objects = data.get("objects")
    if not isinstance(objects, list) or not all(isinstance(one, dict) for one in objects) or len(objects) > MAX_OBJECTS:
        raise Refused(400, f'"objects" must be a list of at most {MAX_OBJECTS}')
    transfers = data.get("transfers")
    left = MAX_PARTS if isinstance(transfers, list) and "multipart" in transfers else 0
    entries = []
    for one in objects:
        entry = _download(visit, one) if operation == "download" else _upload(visit, one, left)
        left -= len(entry.get("actions", {}).get("upload", {}).get("header", ()))
        entries.append(entry)
    multipart = any("chunk_size" in one.get("actions", {}).get("upload", {}).get("header", {}) for one in entries)
    return JSONResponse(
        {"transfer": "multipart" if multipart else "basic", "objects": entries, "hash_algo": "sha256"}, media_type=_JSON
    )


def _asked(one: dict[str, Any]) -> tuple[str, int]:
    oid, size = one.get("oid"), one.get("size")
    if not is_sha256(oid) or not isinstance(size, int) or size < 0:
        raise Refused(400, "a large file has an oid, its SHA-256, and a size")
    return str(oid), size


def _download(visit: Visit, one: dict[str, Any]) -> dict[str, Any]:
    oid, size = _asked(one)
    stored = visit.repository.large.size(oid)
    if stored is None:
        return {"oid": oid, "size": size, "error": {"code": 404, "message": "Object does not exist"}}
    return {"oid": oid, "size": stored, "actions": {"download": {"href": _address(visit, oid, "get", stored)}}}


def _upload(visit: Visit, one: dict[str, Any], most_parts: int) -> dict[str, Any]:
    oid, size = _asked(one)
    answer: dict[str, Any] = {"oid": oid, "size": size}
    most, part = visit.hub.limits.file_bytes, visit.hub.limits.part_bytes
    if size > most:
        return answer | {"error": {"code": 413, "message": f"a file has at most {most} bytes"}}
    if visit.repository.large.size(oid) == size:
        return answer
    upload: dict[str, Any] = {"href": _address(visit, oid, "put", size)}
    parts = -(-size // part)
    if 1 < parts <= most_parts:
        upload = {"href": _address(visit, oid, "join", size), "header": {"chunk_size": str(part)}}
        for number in range(1, parts + 1):
            upload["header"][str(number)] = _address(visit, f"{oid}/{number}", "part", size)
    verify = {"href": f"{visit.url}.git/info/lfs/verify"}
    return answer | {"actions": {"upload": upload, "verify": verify}}


def _address(visit: Visit, what: str, purpose: str, size: int) -> str:
    signature = visit.hub.signer.sign(purpose, visit.settings.uid, what, str(size), seconds=HOURS)
    return f"{visit.endpoint}/{visit.repo.path}.git/info/lfs/objects/{what}?size={size}&signature={signature}"


def _signed(request: Request, purpose: str, what: str) -> tuple[RepoId, Repository, str, int]:
    """Repository, its uid and the size, of an address that this server signed."""
    hub, repo, size = hub_of(request), repo_of(request), request.query_params.get("size", "")
    if not hub.folder.exists(repo):
        raise not_there(None)
    uid = hub.folder.settings(repo).uid
    hub.signer.check(request.query_params.get("signature", ""), purpose, uid, what, size)
    return repo, hub.folder.repository(repo), uid, int(size)


async def put(request: Request) -> Response:
    """Take a large file in one piece."""
    oid = param(request, "oid")
    _, repository, _, size = await run_in_threadpool(_signed, request, "put", oid)
    with repository.large.receive(oid) as receiving:
        async for piece in chunks(request, size):
            await run_in_threadpool(receiving.write, piece)
        await run_in_threadpool(receiving.finish, size)
    return Response(headers={"ETag": f'"{oid}"'})


async def put_part(request: Request) -> Response:
    """Take one part of a large file."""
    oid, number = param(request, "oid"), param(request, "part")
    _, _, uid, _ = await run_in_threadpool(_signed, request, "part", f"{oid}/{number}")
    hub = hub_of(request)
    async with spooled(request, hub.folder.scratch, hub.limits.part_bytes) as stream:
        await run_in_threadpool(rename_into_place, stream, _parts(request, uid, oid) / number)
    return Response(headers={"ETag": f'"{oid}-{number}"'})


def _parts(request: Request, uid: str, oid: str) -> Path:
    return hub_of(request).folder.scratch.folder / f"parts-{uid}-{oid}"


async def join(request: Request) -> Response:
    """Put the parts of a large file together."""
    oid = param(request, "oid")
    _, repository, uid, size = await run_in_threadpool(_signed, request, "join", oid)
    read_object(await body(request, hub_of(request).limits.json_bytes))
    await run_in_threadpool(_join, repository, _parts(request, uid, oid), oid, size, hub_of(request).limits.part_bytes)
    return Response()


def _join(repository: Repository, folder: Path, oid: str, size: int, part: int) -> None:
    with repository.large.receive(oid) as receiving:
        for number in range(1, -(-size // part) + 1):
            try:
                with open_plain(folder / str(number)) as stream:
                    while piece := stream.read(_PIECE):
                        receiving.write(piece)
            except FileNotFoundError:
                raise Refused(400, f"part {number} of {oid} was not sent") from None
        receiving.finish(size)
    shutil.rmtree(folder)


def get(request: Request) -> Response:
    """Give a large file."""
    oid = param(request, "oid")
    _, repository, _, size = _signed(request, "get", oid)
    return send_file(request, repository.large.path(oid), size, {"Content-Type": "application/octet-stream"})


def verify(request: Request, data: dict[str, Any]) -> Response:
    """Whether a large file is there."""
    visit = visit_of(request, "write")
    oid, size = _asked(data)
    if visit.repository.large.size(oid) != size:
        raise Refused(404, f"{oid} was not uploaded, or has another size")
    return Response()


_OBJECTS = "/info/lfs/objects"
routes = [
    route
    for prefix in PREFIXES
    for route in (
        Route(f"{prefix}{_OBJECTS}/batch", takes_json(batch), methods=["POST"]),
        Route(f"{prefix}/info/lfs/verify", takes_json(verify), methods=["POST"]),
        Route(f"{prefix}{_OBJECTS}/{{oid}}", put, methods=["PUT"]),
        Route(f"{prefix}{_OBJECTS}/{{oid}}", join, methods=["POST"]),
        Route(f"{prefix}{_OBJECTS}/{{oid}}", get),
        Route(f"{prefix}{_OBJECTS}/{{oid}}/{{part}}", put_part, methods=["PUT"]),
    )
]
