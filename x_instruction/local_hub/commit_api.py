"""Routes that change a repository's files: what must be uploaded how, and the commit."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub import attributes
from x_instruction.local_hub.discussions import committed
from x_instruction.local_hub.incoming import (
    API,
    Visit,
    chunks,
    flag,
    hub_of,
    param,
    read_object,
    takes_json,
    text_of,
    visit_of,
)
from x_instruction.local_hub.names import file_path, is_sha256
from x_instruction.local_hub.objects import FILE, FOLDER, Commit, Entry
from x_instruction.local_hub.refs import BRANCHES, PULLS
from x_instruction.local_hub.refused import Refused, entry_not_found, revision_not_found
from x_instruction.local_hub.repository import Files

MAX_OPERATIONS = 100_000


@dataclass(slots=True)
class Proposed:
    """A commit as it was sent: its header, and what it does, in order."""

    header: dict[str, Any] | None = None
    operations: list[tuple[str, str, Entry | None]] = field(default_factory=list)

    def apply(self, files: Files) -> list[str]:
        """Change the files in place; gives the paths of large files."""
        for kind, path, entry in self.operations:
            if entry is not None:
                files[path] = entry
            elif kind == "deletedFile" and path in files:
                del files[path]
            else:
                # A folder: the Hub takes one as deletedFile, too.
                inside = [one for one in files if one.startswith(f"{path}/")]
                if not inside:
                    raise entry_not_found(path)
                for one in inside:
                    del files[one]
        return [path for kind, path, _ in self.operations if kind == "lfsFile"]


def preupload(request: Request, data: dict[str, Any]) -> Response:
    """How each file must be uploaded, and the object that the path has now."""
    visit = visit_of(request, "write")
    # A client that opens a pull request names the revision that it starts from.
    commit = visit.repository.find(param(request, "revision"))
    files = data.get("files")
    if not isinstance(files, list) or not all(isinstance(one, dict) for one in files) or len(files) > 1000:
        raise Refused(400, '"files" must be a list of at most 1000 files')
    ignore = data.get("gitIgnore")
    rules = attributes.Attributes(visit.repository.text(commit, attributes.NAME) or "")
    ignored = attributes.Ignored(ignore if isinstance(ignore, str) else _gitignore(visit, commit))
    return JSONResponse({"files": [_mode(visit, commit, one, rules, ignored) for one in files]})


def _gitignore(visit: Visit, commit: Commit) -> str:
    return visit.repository.text(commit, ".gitignore") or ""


def _mode(
    visit: Visit, commit: Commit, one: dict[str, Any], rules: attributes.Attributes, ignored: attributes.Ignored
) -> dict[str, Any]:
    path, size = file_path(one.get("path"), 422), one.get("size")
    if not isinstance(size, int) or not 0 <= size <= visit.hub.limits.file_bytes:
        raise Refused(413, f"{path} has {size} bytes: a file has at most {visit.hub.limits.file_bytes}")
    try:
        sample = base64.b64decode(text_of(one, "sample", ""))
    except binascii.Error as error:
        raise Refused(400, f"the sample of {path} is not base64") from error
    large = size > 0 and (rules.large(path) or size > visit.hub.limits.regular_bytes or b"\0" in sample)
    answer: dict[str, Any] = {
        "path": path,
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": path in ignored,
    }
    there = visit.repository.entry(commit, path)
    if there is not None and there.mode != FOLDER:
        pointer = visit.repository.objects.size(there.oid).pointer
        answer["oid"] = pointer.oid if pointer else there.oid
    return answer


async def commit(request: Request) -> Response:
    """Make a commit out of lines of JSON; files go to the disk as they come, and count only when all is well."""
    visit = await run_in_threadpool(visit_of, request, "write")
    headers = visit.hub.commits.take(visit.author)
    proposed = Proposed()
    async for lines in _lines(request, visit.hub.limits.regular_bytes * 4 // 3 + 65_536):
        await run_in_threadpool(_receive, visit, proposed, lines)
    answer = await run_in_threadpool(_finish, request, visit, proposed)
    return JSONResponse(answer, headers=headers)


async def _lines(request: Request, most: int) -> AsyncIterator[list[bytes]]:
    """The whole lines of each piece of the body; one line at most is held that is not whole."""
    rest = bytearray()
    async for part in chunks(request, hub_of(request).limits.file_bytes):
        rest += part
        *whole, last = rest.split(b"\n") if b"\n" in part else [rest]
        rest = last
        if len(rest) > most or any(len(line) > most for line in whole):
            raise Refused(413, "a file of a commit is too large: large files are uploaded before the commit")
        if whole:
            yield [bytes(line) for line in whole]
    yield [bytes(rest)]


def _receive(visit: Visit, proposed: Proposed, lines: list[bytes]) -> None:
    for line in lines:
        if not line.strip():
            continue
        item = read_object(line)
        kind, value = item.get("key"), item.get("value")
        if not isinstance(value, dict):
            raise Refused(400, "a line of a commit has a key and a value")
        if kind == "header":
            proposed.header = value
        elif kind in ("file", "lfsFile", "deletedFile", "deletedFolder"):
            path = file_path(value["path"].rstrip("/") if isinstance(value.get("path"), str) else None, 422)
            proposed.operations.append((kind, path, _entry(visit, kind, path, value)))
        else:
            raise Refused(400, f"{kind!r} is nothing that a commit can do")
        if len(proposed.operations) > MAX_OPERATIONS:
            raise Refused(400, f"a commit does at most {MAX_OPERATIONS} things")


def _entry(visit: Visit, kind: str, path: str, value: dict[str, Any]) -> Entry | None:
    if kind == "lfsFile":
        oid, size = value.get("oid"), value.get("size")
        if value.get("algo", "sha256") != "sha256" or not is_sha256(oid) or not isinstance(size, int | None):
            raise Refused(400, f"{path}: a large file has a sha256 and a size")
        return visit.repository.pointer(str(oid), size)
    if kind != "file":
        return None
    content = value.get("content")
    try:
        if not isinstance(content, str):
            raise Refused(400, f"{path} has no content")
        plain = value.get("encoding") == "utf-8"
        data = content.encode() if plain else base64.b64decode(content, validate=True)
    except ValueError as error:
        raise Refused(400, f"the content of {path} is not what its encoding says") from error
    if len(data) > visit.hub.limits.regular_bytes:
        raise Refused(413, f"{path} is too large for a commit: upload it as a large file")
    if path.rpartition("/")[2] == attributes.NAME:
        attributes.check(data)
    return Entry(FILE, visit.repository.objects.write("blob", data))


def _finish(request: Request, visit: Visit, proposed: Proposed) -> dict[str, Any]:
    header = proposed.header
    if header is None:
        raise Refused(400, "a commit begins with a header")
    title, text = text_of(header, "summary"), text_of(header, "description", "")
    if not title.strip():
        raise Refused(400, "a commit has a summary")
    parent = header.get("parentCommit")
    message = f"{title}\n\n{text}" if text else title
    ref = _ref(param(request, "revision"))
    with visit.repository.lock:
        if visit.repository.refs.get(ref) is None:
            raise revision_not_found(ref)
        if flag(request, "create_pr"):
            return _as_pull_request(visit, proposed, ref, title, text, message, parent)
        with _on_pull_request(visit, ref) as record:
            oid = visit.repository.commit(ref, visit.author, message, proposed.apply, parent)
            record(oid, title)
    return _told(visit, oid)


def _told(visit: Visit, oid: str) -> dict[str, Any]:
    return {"success": True, "commitOid": oid, "commitUrl": f"{visit.url}/commit/{oid}", "hookOutput": ""}


def _ref(revision: str) -> str:
    """Only branches and pull requests take commits."""
    if revision.startswith((BRANCHES, PULLS)):
        return revision
    if revision.startswith("refs/"):
        raise revision_not_found(revision)
    return f"{BRANCHES}{revision}"


def _as_pull_request(
    visit: Visit, proposed: Proposed, ref: str, title: str, text: str, message: str, parent: str | None
) -> dict[str, Any]:
    discussion = visit.discussions.open(visit.author, title, text, pull=True, status="open")
    num = discussion["num"]
    discussion["base"] = visit.repository.find(ref).oid
    oid = visit.repository.commit(ref, visit.author, message, proposed.apply, parent, target=f"{PULLS}{num}")
    discussion["events"].append(committed(visit.author, oid, title))
    visit.discussions.put(discussion)
    address = f"{visit.url}/discussions/{num}"
    return _told(visit, oid) | {"pullRequestUrl": address, "pullRequest": {"num": num}}


@contextlib.contextmanager
def _on_pull_request(visit: Visit, ref: str) -> Any:
    """Refuse commits to a pull request that is done, and note those to one that is not."""
    number = ref.removeprefix(PULLS)
    if not ref.startswith(PULLS) or not number.isdigit():
        yield lambda oid, title: None
        return
    discussion = visit.discussions.get(int(number))
    if discussion["status"] not in ("open", "draft"):
        raise Refused(403, f"the pull request {number} is {discussion['status']}: it takes no commits")

    def record(oid: str, title: str) -> None:
        discussion["events"].append(committed(visit.author, oid, title))
        visit.discussions.put(discussion)

    yield record


routes = [
    Route(API + "/preupload/{revision}", takes_json(preupload), methods=["POST"]),
    Route(API + "/commit/{revision}", commit, methods=["POST"]),
]
