"""Routes of the Xet upload. Every repository is a store of its own, for as long as the server runs; the address of a
store never comes again, so a client that remembers what it sent there is right about it.
"""

from __future__ import annotations

import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub.incoming import API, body, hub_of, not_there, param, repo_of, spooled, visit_of
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.repository import Repository
from x_instruction.local_hub.xet import MAX_SHARD, MAX_XORB, Xorbs, files_of

HOURS = 3600 * 2
STORE = "/xet/{plural}/{namespace}/{name}/{store}/v1"


def write_token(request: Request) -> Response:
    """Where to send chunks, and a token for it."""
    visit = visit_of(request, "write")
    name = f"{visit.settings.uid}-{visit.hub.run}"
    store = f"{visit.endpoint}/xet/{visit.repo.plural}/{visit.repo}/{name}"
    token, until = visit.hub.signer.sign("xet", name, seconds=HOURS), int(time.time()) + HOURS
    headers = {"X-Xet-Cas-Url": store, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(until)}
    return JSONResponse({"casUrl": store, "accessToken": token, "exp": until}, headers=headers)


def read_token(request: Request) -> Response:
    """Files are fetched over plain HTTP."""
    visit_of(request)
    raise Refused(404, "nothing is read by Xet here: fetch the file itself")


def _store(request: Request) -> tuple[Repository, Xorbs]:
    hub, repo, name = hub_of(request), repo_of(request), param(request, "store")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Refused(401, "a token for Xet is needed")
    hub.signer.check(token.strip(), "xet", name)
    if not hub.folder.exists(repo) or f"{hub.folder.settings(repo).uid}-{hub.run}" != name:
        raise not_there(None)
    return hub.folder.repository(repo), Xorbs(hub.folder.scratch.folder / f"xet-{name}")


async def put_xorb(request: Request) -> Response:
    """Take a xorb."""
    _, xorbs = await run_in_threadpool(_store, request)
    async with spooled(request, hub_of(request).folder.scratch, MAX_XORB) as stream:
        await run_in_threadpool(xorbs.put, param(request, "xorb"), stream)
    return JSONResponse({"was_inserted": True})


async def put_shard(request: Request) -> Response:
    """Take a shard, and put its files together."""
    repository, xorbs = await run_in_threadpool(_store, request)
    shard = await body(request, MAX_SHARD)
    await run_in_threadpool(
        lambda: xorbs.rebuild(list(files_of(shard)), repository.large, hub_of(request).limits.file_bytes)
    )
    return JSONResponse({"result": 1})


routes = [
    Route(API + "/xet-write-token/{revision}", write_token),
    Route(API + "/xet-read-token/{revision}", read_token),
    Route(STORE + "/xorbs/{prefix}/{xorb}", put_xorb, methods=["POST"]),
    Route(STORE + "/shards", put_shard, methods=["POST"]),
]
