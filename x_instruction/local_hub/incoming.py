"""What every route asks first: which repository, who is there, may they, and what did they send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from x_instruction.local_hub.accounts import Account, Accounts
from x_instruction.local_hub.buckets import Buckets
from x_instruction.local_hub.collections import Collections
from x_instruction.local_hub.discussions import Discussions
from x_instruction.local_hub.folder import Folder, Settings
from x_instruction.local_hub.jobs import Jobs
from x_instruction.local_hub.limits import Limits, Quota
from x_instruction.local_hub.names import TYPES, RepoId, repo_id
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.repository import Repository
from x_instruction.local_hub.signing import Signer
from x_instruction.local_hub.xet import Rebuilt
from x_instruction.storage.atomic import TempDir

API = "/api/{plural}/{namespace}/{name}"
# Seconds without a byte after which a request is given up.
STALLED = 60.0
# Longest JSON body of a client without a token: it can only ask about paths and large files.
_ANONYMOUS_BYTES = 1 << 20
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
Endpoint = Callable[[Request], Awaitable[Response]]


class Hub:
    """What the routes share.

    Args:
        folder: what is served.
        accounts: its tokens.
        limits: what a client may send.
        jobs: whether accounts that may write can run commands on this machine.
    """

    def __init__(self, folder: Folder, accounts: Accounts, limits: Limits, jobs: bool = False) -> None:
        self.folder = folder
        self.accounts = accounts
        self.limits = limits
        self.signer = Signer()
        self.run = secrets.token_hex(6)
        self.buckets = Buckets(folder.root / "buckets", folder.scratch)
        self.jobs: Jobs | None = None
        if jobs:
            self.jobs = Jobs(folder.root / "jobs", folder.scratch, limits.running_jobs, limits.log_bytes)
        # What was uploaded to buckets by Xet, by store and hash: put together when a batch names it.
        self.uploads: dict[tuple[str, str], Rebuilt] = {}
        self.collections = Collections(folder.root / "collections.json", folder.scratch)
        self.commits = Quota("commits", limits.commits_per_hour, 3600)
        self.requests = Quota("api", limits.requests_per_5_minutes, 300)

    def close(self) -> None:
        """End what still runs."""
        if self.jobs is not None:
            self.jobs.close()


@dataclass(frozen=True, slots=True)
class Visit:
    """A request to one repository, by someone who may make it.

    ``repository`` is for what everyone who can see a gated repository may read: names, sizes, history, the metadata of
    its card. What shows the content of a file reads it from ``contents``.
    """

    hub: Hub
    repo: RepoId
    repository: Repository
    settings: Settings
    account: Account | None
    endpoint: str

    @property
    def contents(self) -> Repository:
        """The repository, for who may see what is in its files.

        Raises:
            Refused: 401 or 403, it is gated and the account was not let in.
        """
        self.check_access()
        return self.repository

    def check_access(self) -> None:
        """Refuse who may not see what is in the files.

        Raises:
            Refused: 401 or 403, it is gated and the account was not let in.
        """
        if not self.settings.gated or (self.account and self.account.role == "write"):
            return
        where = f"Access to {self.repo.kind} {self.repo} is restricted"
        if self.account is None:
            raise Refused(401, f"{where}. You must be authenticated.", "GatedRepo")
        if self.settings.access.get(self.account.name, {}).get("status") != "accepted":
            raise Refused(403, f"{where} and you are not in the authorized list.", "GatedRepo")

    @property
    def author(self) -> str:
        """Who does it."""
        return self.account.name if self.account else "anonymous"

    @property
    def url(self) -> str:
        """Address of the repository's page."""
        return f"{self.endpoint}/{self.repo.path}"

    @property
    def discussions(self) -> Discussions:
        """The repository's discussions."""
        return Discussions(self.repository, self.hub.folder.scratch)


def hub_of(request: Request) -> Hub:
    """What the routes share."""
    found: Hub = request.app.state.hub
    return found


def param(request: Request, name: str) -> str:
    """A part of the address. Parts are split before they are decoded: a revision may have a slash in it."""
    return unquote(str(request.path_params[name]))


def flag(request: Request, name: str) -> bool:
    """Whether the query says yes to something."""
    return request.query_params.get(name, "").lower() in ("1", "true", "yes")


def number(request: Request, name: str, default: int, most: int) -> int:
    """A number of the query, within bounds."""
    text = request.query_params.get(name, "")
    return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 10 else default


def endpoint_of(request: Request) -> str:
    """The server's address as this client sees it."""
    return str(request.base_url).rstrip("/")


def account_of(request: Request) -> Account | None:
    """Who is there, or None.

    Raises:
        Refused: 401, a token that is none.
    """
    return hub_of(request).accounts.by_header(request.headers.get("authorization"))


def writer(request: Request) -> Account:
    """Who is there and may write.

    Raises:
        Refused: 401 or 403.
    """
    account = account_of(request)
    if account is None:
        raise Refused(401, "Invalid username or password.")
    account.needs_write()
    return account


def repo_of(request: Request) -> RepoId:
    """The repository that the address names."""
    first = request.url.path.split("/")[1]
    plural = param(request, "plural") if "plural" in request.path_params else first
    if "plural" in request.path_params and plural not in TYPES:
        raise Refused(404, "Sorry, we can't find the page you are looking for.")
    kind = TYPES.get(plural, "model")
    return repo_id(kind, param(request, "namespace"), param(request, "name").removesuffix(".git"))


def not_there(account: Account | None) -> Refused:
    """No such repository, or none for this account: the answer is the same."""
    if account is None:
        return Refused(401, "Invalid username or password.", "RepoNotFound")
    return Refused(404, "Repository not found", "RepoNotFound")


def visit_of(request: Request, need: str = "read") -> Visit:
    """The repository that the address names, for who may see, read or write it.

    Args:
        request: what came.
        need: ``see`` for the description of a gated repository, ``read`` for its files, ``write``.

    Raises:
        Refused: 401, 403 or 404.
    """
    hub = hub_of(request)
    repo = hub.folder.current(repo_of(request))
    account = writer(request) if need == "write" else account_of(request)
    if not hub.folder.exists(repo):
        raise not_there(account)
    settings = hub.folder.settings(repo)
    if settings.private and account is None:
        raise not_there(account)
    visit = Visit(hub, repo, hub.folder.repository(repo), settings, account, endpoint_of(request))
    if need == "read":
        visit.check_access()
    return visit


async def body(request: Request, most: int) -> bytes:
    """The whole body.

    Raises:
        Refused: 413, it is larger; found out while it comes.
    """
    parts, size = [], 0
    async for part in chunks(request, most):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


async def chunks(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        Refused: 413, it is larger; 408, it stopped coming.
    """
    announced = request.headers.get("content-length", "0")
    size = int(announced) if announced.isascii() and announced.isdigit() else 0
    if size > most:
        raise Refused(413, f"at most {most} bytes are taken here, not {size}")
    size = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(STALLED):
                part = await anext(stream, None)
        except TimeoutError:
            raise Refused(408, f"nothing came for {STALLED:g} seconds", headers={"Connection": "close"}) from None
        if part is None:
            return
        size += len(part)
        if size > most:
            raise Refused(413, f"at most {most} bytes are taken here")
        yield part


@contextlib.asynccontextmanager
async def spooled(request: Request, scratch: TempDir, most: int) -> AsyncIterator[IO[bytes]]:
    """The body in a temporary file."""
    with scratch.file() as stream:
        async for part in chunks(request, most):
            await run_in_threadpool(stream.write, part)
        yield stream


def takes_json(work: Callable[[Request, dict[str, Any]], Response]) -> Endpoint:
    """An endpoint out of a function that takes a JSON object; it runs in a thread."""

    async def endpoint(request: Request) -> Response:
        # The account first: no body is read for a wrong token, and no large one without a token.
        account = await run_in_threadpool(account_of, request)
        most = hub_of(request).limits.json_bytes
        data = await body(request, most if account else min(most, _ANONYMOUS_BYTES))
        return await run_in_threadpool(work, request, read_object(data))

    return endpoint


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object; nothing at all is an empty one.

    Raises:
        Refused: 400.
    """
    try:
        found = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused(400, "the body must be a JSON object")
    if _SURROGATE.search(data):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise Refused(400, "a text of the body has half a surrogate pair, which UTF-8 cannot hold") from error
    return found


def text_of(data: dict[str, Any], key: str, default: str | None = None) -> str:
    """A text of a JSON object.

    Raises:
        Refused: 400, it is missing or no text.
    """
    found = data.get(key, default)
    if not isinstance(found, str) or len(found) > 65_536:
        raise Refused(400, f'"{key}" must be a text of at most 65,536 characters')
    return found
