"""Routes about discussions and pull requests."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from x_instruction.local_hub import merging
from x_instruction.local_hub.discussions import Discussion, comment, event
from x_instruction.local_hub.incoming import API, Visit, number, param, takes_json, text_of, visit_of
from x_instruction.local_hub.objects import Commit, Entry
from x_instruction.local_hub.refs import PULLS
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.repository import Repository

PAGE = 50
_MAX_DIFF = 200_000


def _summary(visit: Visit, one: Discussion) -> dict[str, Any]:
    answer = {key: one[key] for key in ("num", "title", "createdAt", "status", "isPullRequest")}
    return answer | {"author": {"name": one["author"]}, "repo": {"name": str(visit.repo), "type": visit.repo.kind}}


def listing(request: Request) -> Response:
    """A page of discussions, the newest first."""
    visit = visit_of(request, "see")
    query = request.query_params
    kind, status, author = query.get("type", "all"), query.get("status", "all"), query.get("author")
    matching = [
        one
        for one in reversed(visit.discussions.all())
        if kind in ("all", "pull_request" if one["isPullRequest"] else "discussion")
        and status in ("all", "open" if one["status"] in ("open", "draft") else "closed")
        and author in (None, one["author"])
    ]
    start = number(request, "p", 0, 1_000_000) * PAGE
    shown = [_summary(visit, one) for one in matching[start : start + PAGE]]
    return JSONResponse({"discussions": shown, "count": len(matching), "start": start, "numClosedDiscussions": 0})


def create(request: Request, data: dict[str, Any]) -> Response:
    """Begin a discussion, or a pull request, which is a draft until someone opens it."""
    visit = visit_of(request, "write")
    pull = bool(data.get("pullRequest"))
    with visit.repository.lock:
        one = visit.discussions.open(
            visit.author, text_of(data, "title"), text_of(data, "description", ""), pull, "draft" if pull else "open"
        )
        if pull:
            # The ref first: a discussion without one would be a pull request without a branch to push to.
            visit.repository.refs.set(f"{PULLS}{one['num']}", one["base"])
        visit.discussions.put(one)
    return JSONResponse({"num": one["num"], "url": f"{visit.url}/discussions/{one['num']}", "pullRequest": pull})


def _num(request: Request) -> int:
    text = param(request, "num")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused(404, f"there is no discussion {text}")
    return int(text)


def details(request: Request) -> Response:
    """One discussion with everything that happened in it."""
    visit = visit_of(request, "see")
    one = visit.discussions.get(_num(request))
    answer = _summary(visit, one) | {"events": one["events"]}
    if one["isPullRequest"]:
        answer["changes"] = {"base": "refs/heads/main", "mergeCommitId": one["mergeCommitId"]}
        answer["filesWithConflicts"] = conflicts(visit.repository, one)
        answer["diff"] = diff(visit, one) if request.query_params.get("diff") else None
    return JSONResponse(answer)


def conflicts(repository: Repository, one: Discussion) -> list[str]:
    """Files that keep an open pull request from being merged."""
    if one["status"] not in ("open", "draft"):
        return []
    return merging.attempt(repository, f"{PULLS}{one['num']}", one["base"])[2].conflicts


def diff(visit: Visit, one: Discussion) -> str:
    """What a pull request changes, as a unified diff of bounded length.

    Raises:
        Refused: 401 or 403, the visitor may not see what is in the files.
    """
    repository = visit.contents
    return diff_of(repository, repository.find(one["base"]), repository.find(f"{PULLS}{one['num']}"))


def diff_of(repository: Repository, base: Commit | None, head: Commit) -> str:
    """The difference of two commits as a unified diff of bounded length; of a first commit, what it added."""
    text = ""
    for piece in _diffs(repository, base, head):
        text += piece
        if len(text) > _MAX_DIFF:
            return text[:_MAX_DIFF] + "\n[the rest is left out]\n"
    return text


def _diffs(repository: Repository, base: Commit | None, head: Commit) -> Iterator[str]:
    old, new = repository.files(base), repository.files(head)
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before != after:
            yield f"diff --git a/{path} b/{path}\n"
            yield from difflib.unified_diff(
                _lines(repository, before),
                _lines(repository, after),
                f"a/{path}" if before else "/dev/null",
                f"b/{path}" if after else "/dev/null",
            )


def _lines(repository: Repository, entry: Entry | None) -> list[str]:
    if entry is None:
        return []
    if repository.objects.size(entry.oid).bytes > _MAX_DIFF:
        return ["[too long to be shown]\n"]
    return [f"{line}\n" for line in repository.objects.blob(entry.oid).decode("utf-8", "replace").split("\n")]


def _changed(request: Request, happened: Any) -> tuple[Visit, dict[str, Any]]:
    """Let something happen in a discussion, and keep it."""
    visit = visit_of(request, "write")
    with visit.repository.lock:
        one = visit.discussions.get(_num(request))
        new: dict[str, Any] = happened(visit, one)
        one["events"].append(new)
        visit.discussions.put(one)
    return visit, new


def add_comment(request: Request, data: dict[str, Any]) -> Response:
    """Say something."""
    _, new = _changed(request, lambda visit, one: comment(visit.author, text_of(data, "comment")))
    return JSONResponse({"newMessage": new})


def rename(request: Request, data: dict[str, Any]) -> Response:
    """Give another title."""

    def happened(visit: Visit, one: Discussion) -> dict[str, Any]:
        old, one["title"] = one["title"], text_of(data, "title").strip()
        return event("title-change", visit.author, **{"from": old, "to": one["title"]})

    return JSONResponse({"newTitle": _changed(request, happened)[1]})


def change_status(request: Request, data: dict[str, Any]) -> Response:
    """Open or close; opening a draft says that it is ready."""
    status = data.get("status")
    if status not in ("open", "closed"):
        raise Refused(400, f"{status!r} is no status: open or closed")

    def happened(visit: Visit, one: Discussion) -> dict[str, Any]:
        if one["status"] == "merged":
            raise Refused(409, "what is merged is done")
        if data.get("comment"):
            one["events"].append(comment(visit.author, text_of(data, "comment")))
        one["status"] = status
        return event("status-change", visit.author, status=status)

    return JSONResponse({"newStatus": _changed(request, happened)[1]})


def merge(request: Request, data: dict[str, Any]) -> Response:
    """Join a pull request with the main branch."""

    def happened(visit: Visit, one: Discussion) -> dict[str, Any]:
        if not one["isPullRequest"] or one["status"] not in ("open", "draft"):
            raise Refused(409, f"discussion {one['num']} is no open pull request")
        if data.get("comment"):
            one["events"].append(comment(visit.author, text_of(data, "comment")))
        visit.hub.commits.take(visit.author)
        title = f"{one['title']} (#{one['num']})"
        oid = merging.merge(visit.repository, f"{PULLS}{one['num']}", one["base"], visit.author, title)
        one |= {"status": "merged", "mergeCommitId": oid}
        return event("status-change", visit.author, status="merged")

    _, new = _changed(request, happened)
    return JSONResponse({"newStatus": new})


def _edit(request: Request, change: Any) -> Response:
    visit = visit_of(request, "write")
    with visit.repository.lock:
        one = visit.discussions.get(_num(request))
        known = {e["id"]: e for e in one["events"] if e["type"] == "comment"}
        answer = known.get(param(request, "comment"))
        if answer is None:
            raise Refused(404, "there is no such comment")
        change(answer["data"])
        visit.discussions.put(one)
    return JSONResponse({"updatedComment": answer})


def edit_comment(request: Request, data: dict[str, Any]) -> Response:
    """Say it otherwise."""
    text = text_of(data, "content")
    return _edit(request, lambda answer: answer.update(edited=True, latest={"raw": text}))


def hide_comment(request: Request, data: dict[str, Any]) -> Response:
    """Take a comment back, for good."""
    return _edit(request, lambda answer: answer.update(hidden=True, latest={"raw": ""}))


_ONE = API + "/discussions/{num}"
routes = [
    Route(API + "/discussions", listing),
    Route(API + "/discussions", takes_json(create), methods=["POST"]),
    Route(_ONE, details),
    Route(_ONE + "/comment", takes_json(add_comment), methods=["POST"]),
    Route(_ONE + "/comment/{comment}/edit", takes_json(edit_comment), methods=["POST"]),
    Route(_ONE + "/comment/{comment}/hide", takes_json(hide_comment), methods=["POST"]),
    Route(_ONE + "/title", takes_json(rename), methods=["POST"]),
    Route(_ONE + "/status", takes_json(change_status), methods=["POST"]),
    Route(_ONE + "/merge", takes_json(merge), methods=["POST"]),
]
