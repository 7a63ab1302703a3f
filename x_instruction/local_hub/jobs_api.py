"""Routes of jobs: run, list, describe, cancel, and the log as it grows."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from x_instruction.local_hub.accounts import Account
from x_instruction.local_hub.buckets import BucketId
from x_instruction.local_hub.incoming import Hub, account_of, endpoint_of, hub_of, number, param, takes_json, writer
from x_instruction.local_hub.jobs import Job, Jobs, JobSpec, Volume
from x_instruction.local_hub.names import file_path
from x_instruction.local_hub.refused import Refused

API = "/api/jobs/{namespace}"
# Name, description, cores, memory, and the accelerators: model, how many, memory of each.
FLAVORS: dict[str, tuple[str, int, int, tuple[str, int, int] | None]] = {
    "cpu-basic": ("CPU Basic", 2, 16, None),
    "cpu-upgrade": ("CPU Upgrade", 8, 32, None),
    "cpu-performance": ("CPU Performance", 32, 256, None),
    "t4-small": ("Nvidia T4 - small", 4, 15, ("T4", 1, 16)),
    "l4x1": ("Nvidia L4", 8, 30, ("L4", 1, 24)),
    "a10g-large": ("Nvidia A10G - large", 12, 46, ("A10G", 1, 24)),
    "l40sx1": ("Nvidia L40S", 8, 62, ("L40S", 1, 48)),
    "a100-large": ("Nvidia A100 - large", 12, 142, ("A100", 1, 80)),
    "a100x4": ("4x Nvidia A100", 48, 568, ("A100", 4, 80)),
    "h200": ("Nvidia H200", 23, 256, ("H200", 1, 141)),
    "h200x8": ("8x Nvidia H200", 184, 2048, ("H200", 8, 141)),
}
MAX_TEXTS = 1000
MAX_TEXT = 65_536
MAX_SECONDS = 30 * 86_400
MAX_ATTEMPTS = 10
# What a job of the Hub may have, and one of this machine has not.
UNSUPPORTED = ("expose", "ssh", "network")
POLL_SECONDS = 0.2
KEEP_ALIVE_SECONDS = 30
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_LABEL = re.compile(r"[A-Za-z0-9._-]{0,100}")


def _jobs(request: Request, need: str = "read") -> tuple[Hub, Jobs, Account]:
    """The jobs, for an account that may read or write.

    Raises:
        Refused: 401 or 403.
    """
    hub = hub_of(request)
    account = writer(request) if need == "write" else account_of(request)
    if account is None:
        raise Refused(401, "Invalid username or password.")
    if hub.jobs is None:
        raise Refused(403, "This local hub runs no jobs: serve it with --jobs")
    return hub, hub.jobs, account


def _job(request: Request, need: str = "read") -> tuple[Jobs, Job, Account]:
    _, jobs, account = _jobs(request, need)
    return jobs, jobs.get(param(request, "namespace"), param(request, "job")), account


def run(request: Request, data: dict[str, Any]) -> Response:
    """Run a job."""
    hub, jobs, account = _jobs(request, "write")
    values = _variables(data, "secrets")
    spec = _spec(hub, data, list(values))
    job = jobs.submit(param(request, "namespace"), account.name, spec, values, endpoint_of(request))
    return JSONResponse(job.describe())


def _spec(hub: Hub, data: dict[str, Any], names: list[str]) -> JobSpec:
    if unsupported := [key for key in UNSUPPORTED if data.get(key)]:
        raise Refused(400, f'"{unsupported[0]}" is not supported by this local hub')
    flavor = data.get("flavor", "cpu-basic")
    if not isinstance(flavor, str) or flavor not in FLAVORS:
        raise Refused(400, f"{flavor!r} is not a flavor: expected one of {', '.join(FLAVORS)}")
    command = _texts(data, "command")
    if not command:
        raise Refused(400, '"command" must have at least one text')
    seconds = data.get("timeoutSeconds")
    return JobSpec(
        command=command,
        arguments=_texts(data, "arguments"),
        environment=_variables(data, "environment"),
        secrets=names,
        flavor=flavor,
        image=_optional(data, "dockerImage"),
        space=_optional(data, "spaceId"),
        seconds=None if seconds is None else _whole(data, "timeoutSeconds", MAX_SECONDS),
        attempts=_whole(data, "attempts", MAX_ATTEMPTS, 1),
        labels=_labels(data),
        volumes=_volumes(hub, data.get("volumes", [])),
    )


def _texts(data: dict[str, Any], key: str) -> list[str]:
    found = data.get(key, [])
    if not isinstance(found, list) or len(found) > MAX_TEXTS or not all(_is_text(one) for one in found):
        raise Refused(400, f'"{key}" must be a list of at most {MAX_TEXTS} texts without NUL')
    return list(found)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value


def _optional(data: dict[str, Any], key: str) -> str | None:
    found = data.get(key)
    if found is not None and not _is_text(found):
        raise Refused(400, f'"{key}" must be a text')
    return found


def _whole(data: dict[str, Any], key: str, most: int, default: int | None = None) -> int:
    found = data.get(key, default)
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= most:
        raise Refused(400, f'"{key}" must be a whole number from 1 to {most}')
    return found


def _variables(data: dict[str, Any], key: str) -> dict[str, str]:
    found = data.get(key) or {}
    if not isinstance(found, dict) or len(found) > MAX_TEXTS:
        raise Refused(400, f'"{key}" must be an object of at most {MAX_TEXTS} texts')
    table = {name: str(value) if isinstance(value, int | float) else value for name, value in found.items()}
    # A value may be a secret: the message has the name alone.
    for name, value in table.items():
        if not _VARIABLE.fullmatch(name) or not _is_text(value):
            raise Refused(400, f'"{key}": {name!r} is not the name of a variable, or its value is not a text')
    return table


def _labels(data: dict[str, Any]) -> dict[str, str]:
    found = data.get("labels") or {}
    if not isinstance(found, dict) or len(found) > MAX_TEXTS:
        raise Refused(400, '"labels" must be an object of texts')
    for pair in found.items():
        if not all(isinstance(text, str) and _LABEL.fullmatch(text) for text in pair):
            raise Refused(400, '"labels": letters, digits, ".", "-" and "_", at most 100 of them')
    return found


def _volumes(hub: Hub, found: object) -> list[Volume]:
    if not isinstance(found, list) or len(found) > MAX_TEXTS or not all(isinstance(one, dict) for one in found):
        raise Refused(400, '"volumes" must be a list of objects')
    volumes = [_volume(hub, one) for one in found]
    targets = sorted(f"{volume.target}/" for volume in volumes)
    if any(below.startswith(above) for above, below in itertools.pairwise(targets)):
        raise Refused(400, "the volumes of a job must not be mounted at one path, or within each other")
    return volumes


def _volume(hub: Hub, one: dict[str, Any]) -> Volume:
    if one.get("type") != "bucket":
        raise Refused(400, f"a volume of type {one.get('type')!r} is not supported by this local hub: expected bucket")
    source, target, folder = str(one.get("source")).split("/"), one.get("mountPath"), one.get("path")
    if not isinstance(target, str) or not target.startswith("/"):
        raise Refused(400, '"mountPath" must be an absolute path')
    file_path(target.strip("/"))
    if len(source) != 2:
        raise Refused(400, f"the source {one.get('source')!r} is not a bucket: expected NAMESPACE/NAME")
    bucket = hub.buckets.get(BucketId(*source))
    path = bucket.files if folder in (None, "") else bucket.path(str(folder))
    if not path.is_dir():
        raise Refused(400, f"the bucket {one['source']} has no folder {folder}")
    kept: dict[str, Any] = {key: one[key] for key in ("type", "source", "mountPath", "readOnly", "path") if key in one}
    return Volume(kept, str(path.resolve()), f"/{target.strip('/')}", one.get("readOnly") is True)


def listing(request: Request) -> Response:
    """The jobs of a namespace, the newest first."""
    _, jobs, _ = _jobs(request)
    query, page = request.query_params, hub_of(request).limits.page
    stages, labels = query.getlist("stage"), [label.partition("=")[::2] for label in query.getlist("label")]
    found = [
        job.describe()
        for job in jobs.list(param(request, "namespace"))
        if (not stages or job.stage in stages) and all(job.spec.labels.get(key) == value for key, value in labels)
    ]
    begin = number(request, "skip", 0, 1 << 30)
    headers = {}
    if len(found) > begin + page:
        pairs = [(key, value) for key, value in query.multi_items() if key != "skip"]
        address = request.url.replace(query=urlencode([*pairs, ("skip", begin + page)]))
        headers["Link"] = f'<{address}>; rel="next"'
    return JSONResponse(found[begin : begin + page], headers=headers)


def inspect(request: Request) -> Response:
    """One job."""
    return JSONResponse(_job(request)[1].describe())


def cancel(request: Request) -> Response:
    """End a job; one that has ended stays as it is."""
    jobs, job, _ = _job(request, "write")
    jobs.cancel(job)
    return JSONResponse(jobs.get(job.namespace, job.id).describe())


def duplicate(request: Request) -> Response:
    """Run a job again."""
    jobs, job, account = _job(request, "write")
    return JSONResponse(jobs.rerun(job, account.name, endpoint_of(request)).describe())


def label(request: Request, data: dict[str, Any]) -> Response:
    """Replace the labels of a job."""
    jobs, job, _ = _job(request, "write")
    return JSONResponse(jobs.label(job, _labels(data)).describe())


def hardware(request: Request) -> Response:
    """The flavors. Nothing is charged here."""
    return JSONResponse([_hardware(name, *flavor) for name, flavor in FLAVORS.items()])


def _hardware(name: str, pretty: str, cores: int, memory: int, gpus: tuple[str, int, int] | None) -> dict[str, Any]:
    accelerator = None
    if gpus:
        model, quantity, vram = gpus
        accelerator = {"type": "gpu", "model": model, "quantity": str(quantity), "manufacturer": "Nvidia"}
        accelerator["vram"] = f"{vram * quantity} GB"
    return {
        "name": name,
        "prettyName": pretty,
        "cpu": f"{cores} vCPU",
        "ram": f"{memory} GB",
        "accelerator": accelerator,
        "unitCostMicroUSD": 0,
        "unitCostUSD": 0,
        "unitLabel": "minute",
    }


async def logs(request: Request) -> Response:
    """What a job writes, as server-sent events, until it ends."""
    jobs, job, _ = await run_in_threadpool(_job, request)
    tail = number(request, "tail", 0, 1 << 30)
    return StreamingResponse(_events(jobs, job, tail), media_type="text/event-stream")


async def _events(jobs: Jobs, job: Job, tail: int) -> AsyncIterator[bytes]:
    path, at, quiet = jobs.folder(job) / "log.ndjson", 0, 0.0
    while True:
        # Asked before reading: what is written until the end is read then.
        ended = jobs.get(job.namespace, job.id).ended
        lines, at = await run_in_threadpool(_lines, path, at)
        for line in lines[-tail:]:
            yield b"data: " + line + b"\n\n"
        tail, quiet = 0, 0.0 if lines else quiet + POLL_SECONDS
        if ended:
            return
        if quiet >= KEEP_ALIVE_SECONDS:
            quiet = 0.0
            yield b": keep-alive\n\n"
        await asyncio.sleep(POLL_SECONDS)


def _lines(path: Path, at: int) -> tuple[list[bytes], int]:
    """The complete lines after a position, and the position after them."""
    if not path.exists():
        return [], at
    with open(path, "rb") as stream:
        stream.seek(at)
        data = stream.read()
    data = data[: data.rfind(b"\n") + 1]
    return data.splitlines(), at + len(data)


routes = [
    Route("/api/jobs/hardware", hardware),
    Route(API, listing),
    Route(API, takes_json(run), methods=["POST"]),
    Route(API + "/{job}", inspect),
    Route(API + "/{job}/cancel", cancel, methods=["POST"]),
    Route(API + "/{job}/duplicate", duplicate, methods=["POST"]),
    Route(API + "/{job}/labels", takes_json(label), methods=["PUT"]),
    Route(API + "/{job}/logs", logs),
]
