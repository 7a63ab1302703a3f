"""Routes of buckets: make, list and change them, put files into them by Xet, and read files by Xet or plain HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from x_instruction.local_hub import xet
from x_instruction.local_hub.buckets import Bucket, BucketFile, BucketFolder, BucketId, BucketSettings
from x_instruction.local_hub.folder import iso
from x_instruction.local_hub.incoming import (
    Hub,
    account_of,
    body,
    endpoint_of,
    flag,
    hub_of,
    not_there,
    param,
    spooled,
    takes_json,
    writer,
)
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.resolve import HARMLESS, ranged
from x_instruction.local_hub.xet_api import HOURS

API = "/api/buckets/{namespace}/{name}"
STORE = "/xet/buckets/{namespace}/{name}/{store}/v1"
MAX_LINES = 20_000
MAX_PATHS = 1000


@dataclass(frozen=True, slots=True)
class Visit:
    """A request to one bucket, by an account that may make it."""

    hub: Hub
    id: BucketId
    bucket: Bucket
    settings: BucketSettings
    endpoint: str

    @property
    def store(self) -> str:
        """Name of its Xet store: another one after each start of the server."""
        return f"{self.settings.uid}-{self.hub.run}"


def _id(request: Request) -> BucketId:
    namespace = param(request, "namespace")
    if namespace == "me" and (account := account_of(request)) is not None:
        namespace = account.name
    return BucketId(namespace, param(request, "name"))


def _visit(request: Request, need: str = "read") -> Visit:
    hub, bucket = hub_of(request), _id(request)
    account = writer(request) if need == "write" else account_of(request)
    if not hub.buckets.exists(bucket):
        raise not_there(account)
    settings = hub.buckets.settings(bucket)
    if settings.private and account is None:
        raise not_there(account)
    return Visit(hub, bucket, hub.buckets.get(bucket), settings, endpoint_of(request))


def create(request: Request, data: dict[str, Any]) -> Response:
    """Make a bucket."""
    writer(request)
    visibility = data.get("visibility", "public")
    if visibility not in ("public", "private"):
        raise Refused(400, f"{visibility!r} is not a visibility: expected public or private")
    bucket = _id(request)
    address = f"{endpoint_of(request)}/buckets/{bucket}"
    try:
        hub_of(request).buckets.create(bucket, visibility == "private")
    except Refused as error:
        error.details["url"] = address
        raise
    return JSONResponse({"url": address, "name": str(bucket), "id": str(bucket)})


def delete(request: Request) -> Response:
    """Remove a bucket."""
    visit = _visit(request, "write")
    visit.hub.buckets.delete(visit.id)
    return Response()


def without_name(request: Request) -> Response:
    """A bucket has a namespace and a name."""
    raise not_there(account_of(request))


def change_settings(request: Request, data: dict[str, Any]) -> Response:
    """Make a bucket private or public."""
    visit = _visit(request, "write")
    private = data.get("private")
    if not isinstance(private, bool):
        raise Refused(400, '"private" must be true or false')
    visit.hub.buckets.set_private(visit.id, private)
    return JSONResponse({"private": private})


def _described(hub: Hub, bucket: BucketId) -> dict[str, Any]:
    settings = hub.buckets.settings(bucket)
    files = [entry for entry in hub.buckets.get(bucket).tree("", True) if isinstance(entry, BucketFile)]
    return {
        "id": str(bucket),
        "author": bucket.namespace,
        "private": settings.private,
        "createdAt": settings.created_at,
        "size": sum(file.size for file in files),
        "totalFiles": len(files),
    }


def info(request: Request) -> Response:
    """One bucket."""
    visit = _visit(request)
    return JSONResponse(_described(visit.hub, visit.id))


def listing(request: Request) -> Response:
    """The buckets of a namespace."""
    hub, account = hub_of(request), account_of(request)
    namespace = param(request, "namespace")
    if namespace == "me":
        if account is None:
            raise Refused(401, "Invalid username or password.")
        namespace = account.name
    buckets = hub.buckets.list(namespace)
    if not buckets and hub.accounts.get(namespace) is None:
        raise Refused(404, "Namespace not found")
    word = request.query_params.get("search", "").lower()
    found = [bucket for bucket in buckets if word in bucket.name.lower()]
    seen = [bucket for bucket in found if account or not hub.buckets.settings(bucket).private]
    return JSONResponse([_described(hub, bucket) for bucket in seen])


def _entry(entry: BucketFile | BucketFolder) -> dict[str, Any]:
    if isinstance(entry, BucketFolder):
        return {"type": "directory", "path": entry.path, "uploadedAt": iso(entry.uploaded)}
    return {
        "type": "file",
        "path": entry.path,
        "size": entry.size,
        "xetHash": entry.hash,
        "mtime": iso(entry.mtime),
        "uploadedAt": iso(entry.uploaded),
    }


def tree(request: Request) -> Response:
    """What is in a folder of a bucket, page by page; also in the folders below it, unless the query says no."""
    visit, recursive = _visit(request), "recursive" not in request.query_params or flag(request, "recursive")
    prefix = param(request, "path").strip("/") if "path" in request.path_params else ""
    entries = [_entry(entry) for entry in visit.bucket.tree(prefix, recursive)]
    after, page = request.query_params.get("cursor", ""), visit.hub.limits.page
    left = [entry for entry in entries if entry["path"] > after]
    headers = {}
    if len(left) > page:
        query = urlencode({**request.query_params, "cursor": left[page - 1]["path"]})
        headers["Link"] = f'<{visit.endpoint}{request.url.path}?{query}>; rel="next"'
    return JSONResponse(left[:page], headers=headers)


def paths_info(request: Request, data: dict[str, Any]) -> Response:
    """The files of some paths, those that are there."""
    visit = _visit(request)
    paths = data.get("paths")
    if not isinstance(paths, list) or len(paths) > MAX_PATHS:
        raise Refused(400, f'"paths" must be a list of at most {MAX_PATHS}')
    found = []
    for path in paths:
        try:
            found.append(_entry(visit.bucket.find(path)))
        except Refused as error:
            if error.status != 404:
                raise
    return JSONResponse(found)


async def batch(request: Request) -> Response:
    """Add, copy and delete files: a line of JSON each. What fails is listed, and does not stop the others."""
    visit = await run_in_threadpool(_visit, request, "write")
    lines = (await body(request, visit.hub.limits.json_bytes)).split(b"\n")
    if len(lines) > MAX_LINES:
        raise Refused(413, f"at most {MAX_LINES} operations are taken at once, not {len(lines)}")
    operations = [_operation(line) for line in lines if line.strip()]
    failed = await run_in_threadpool(_carry_out, visit, operations)
    status = 422 if failed and len(failed) == len(operations) else 200
    done = len(operations) - len(failed)
    return JSONResponse({"success": not failed, "processed": done, "failed": failed}, status)


def _operation(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"a line is not JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("path"), str) or found.get("type") not in _OPERATIONS:
        raise Refused(400, f"a line must be an object with a path and a type: {', '.join(_OPERATIONS)}")
    return found


def _carry_out(visit: Visit, operations: list[dict[str, Any]]) -> list[dict[str, str]]:
    failed = []
    for one in operations:
        try:
            _OPERATIONS[one["type"]](visit, one)
        except Refused as error:
            failed.append({"path": one["path"], "error": error.message})
    return failed


def _add(visit: Visit, one: dict[str, Any]) -> None:
    name = _hash(one)
    file = visit.hub.uploads.get((visit.store, name))
    if file is not None:
        if file.size > visit.hub.limits.file_bytes:
            raise Refused(413, f"a file has at most {visit.hub.limits.file_bytes} bytes, not {file.size}")
        visit.bucket.put(one["path"], _xorbs(visit.hub, visit.store).pieces(file), name, _mtime(one))
    else:
        # Of a client that remembers what it sent before the server was started again.
        _copy_from(visit, visit.bucket, name, one)


def _copy(visit: Visit, one: dict[str, Any]) -> None:
    source = str(one.get("sourceRepoId")).split("/")
    if one.get("sourceRepoType") != "bucket" or len(source) != 2:
        raise Refused(400, "files are copied between buckets only: download the file and upload it")
    _copy_from(visit, visit.hub.buckets.get(BucketId(*source)), _hash(one), one)


def _copy_from(visit: Visit, source: Bucket, name: str, one: dict[str, Any]) -> None:
    if (found := source.of_hash(name)) is None:
        raise Refused(404, f"the file of the Xet hash {name} was not uploaded: upload it again")
    visit.bucket.put(one["path"], source.read(found.path), name, _mtime(one))


def _delete(visit: Visit, one: dict[str, Any]) -> None:
    visit.bucket.delete(one["path"])


_OPERATIONS: dict[str, Callable[[Visit, dict[str, Any]], None]] = {
    "addFile": _add,
    "copyFile": _copy,
    "deleteFile": _delete,
}


def _hash(one: dict[str, Any]) -> str:
    name = one.get("xetHash")
    if not isinstance(name, str) or len(name) != 64:
        raise Refused(400, '"xetHash" must be 64 hex digits')
    return name


def _mtime(one: dict[str, Any]) -> float:
    found = one.get("mtime")
    plausible = isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 1 << 42
    return found / 1000 if plausible and isinstance(found, int) else time.time()


def _token(request: Request, need: str) -> Response:
    visit = _visit(request, need)
    store = f"{visit.endpoint}/xet/buckets/{visit.id}/{visit.store}"
    token, until = visit.hub.signer.sign(f"bucket-{need}", visit.store, seconds=HOURS), int(time.time()) + HOURS
    headers = {"X-Xet-Cas-Url": store, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(until)}
    return JSONResponse({"casUrl": store, "accessToken": token, "exp": until}, headers=headers)


def write_token(request: Request) -> Response:
    """Where to send chunks, and a token for it."""
    return _token(request, "write")


def read_token(request: Request) -> Response:
    """Where to read chunks, and a token for it."""
    return _token(request, "read")


def _stored(request: Request, need: str) -> Visit:
    """The bucket of a store, for a client that has a token of it."""
    hub, bucket, store = hub_of(request), _id(request), param(request, "store")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Refused(401, "a token for Xet is needed")
    hub.signer.check(token.strip(), f"bucket-{need}", store)
    visit = Visit(hub, bucket, hub.buckets.get(bucket), hub.buckets.settings(bucket), endpoint_of(request))
    if visit.store != store:
        raise not_there(None)
    return visit


def _xorbs(hub: Hub, store: str) -> xet.Xorbs:
    return xet.Xorbs(hub.folder.scratch.folder / f"xet-{store}")


async def put_xorb(request: Request) -> Response:
    """Take a xorb."""
    visit = await run_in_threadpool(_stored, request, "write")
    async with spooled(request, visit.hub.folder.scratch, xet.MAX_XORB) as stream:
        await run_in_threadpool(_xorbs(visit.hub, visit.store).put, param(request, "xorb"), stream)
    return JSONResponse({"was_inserted": True})


async def put_shard(request: Request) -> Response:
    """Take a shard; its files are put together when a batch names them."""
    visit = await run_in_threadpool(_stored, request, "write")
    shard = await body(request, xet.MAX_SHARD)
    files = await run_in_threadpool(lambda: list(xet.files_of(shard)))
    visit.hub.uploads.update({(visit.store, file.hash): file for file in files})
    return JSONResponse({"result": 1})


def reconstruct(request: Request) -> Response:
    """The parts of a file, and where to fetch them."""
    visit = _stored(request, "read")
    name = param(request, "hash")
    if (file := visit.bucket.of_hash(name)) is None:
        raise Refused(404, "there is no file of this hash")
    _, begin, end, _ = ranged(request, file.size, {})

    def address(number: int) -> str:
        signature = visit.hub.signer.sign("made", visit.store, name, str(number), seconds=HOURS)
        base = f"{visit.endpoint}/xet/buckets/{visit.id}/{visit.store}/v1/made/{name}/{number}"
        return f"{base}?signature={signature}"

    return JSONResponse(xet.reconstruction(name, file.size, begin, end, address))


def made(request: Request) -> Response:
    """A made-up xorb of a file, or a range of it."""
    hub, bucket = hub_of(request), _id(request)
    store, name, number = param(request, "store"), param(request, "hash"), param(request, "number")
    hub.signer.check(request.query_params.get("signature", ""), "made", store, name, number)
    files = hub.buckets.get(bucket)
    if (file := files.of_hash(name)) is None:
        raise Refused(404, "there is no file of this hash")
    begin = int(number) * xet.MADE_XORB
    xorb = xet.made_xorb(b"".join(files.read(file.path, begin, min(begin + xet.MADE_XORB, file.size))))
    status, first, last, headers = ranged(request, len(xorb), dict(HARMLESS))
    return Response(xorb[first:last], status, headers)


def resolve(request: Request) -> Response:
    """A file of a bucket over plain HTTP, or a range of it."""
    visit = _visit(request)
    file = visit.bucket.find(param(request, "path"))
    headers = HARMLESS | {
        "ETag": f'"{file.hash}"',
        "X-Linked-Size": str(file.size),
        "X-Linked-ETag": f'"{file.hash}"',
        "X-Xet-Hash": file.hash,
        "X-Xet-Refresh-Route": f"{visit.endpoint}/api/buckets/{visit.id}/xet-read-token",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(file.path.rpartition('/')[2])}",
    }
    status, begin, end, headers = ranged(request, file.size, headers)
    pieces: Iterable[bytes] = [] if request.method == "HEAD" else visit.bucket.read(file.path, begin, end)
    return StreamingResponse(pieces, status, headers)


routes = [
    Route("/api/buckets/{namespace}", listing),
    Route("/api/buckets/{namespace}", without_name, methods=["DELETE"]),
    Route(API, info),
    Route(API, takes_json(create), methods=["POST"]),
    Route(API, delete, methods=["DELETE"]),
    Route(API + "/settings", takes_json(change_settings), methods=["PUT"]),
    Route(API + "/tree", tree),
    Route(API + "/tree/{path:path}", tree),
    Route(API + "/paths-info", takes_json(paths_info), methods=["POST"]),
    Route(API + "/batch", batch, methods=["POST"]),
    Route(API + "/xet-write-token", write_token),
    Route(API + "/xet-read-token", read_token),
    Route(STORE + "/xorbs/{prefix}/{xorb}", put_xorb, methods=["POST"]),
    Route(STORE + "/shards", put_shard, methods=["POST"]),
    Route(STORE + "/reconstructions/{hash}", reconstruct),
    Route(STORE + "/made/{hash}/{number:int}", made),
    Route("/buckets/{namespace}/{name}/resolve/{path:path}", resolve),
]
