"""Pages for people: every repository, and of each its card, first rows, files, history and pull requests.

They are made here and run no script; everything that comes from a repository is escaped.
"""

from __future__ import annotations

import functools
import itertools
from importlib import resources
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from x_instruction.local_hub import cards, rows
from x_instruction.local_hub.discussions_api import conflicts, diff
from x_instruction.local_hub.folder import iso
from x_instruction.local_hub.incoming import Visit, account_of, endpoint_of, hub_of, param, visit_of
from x_instruction.local_hub.names import PLURALS
from x_instruction.local_hub.objects import Commit
from x_instruction.local_hub.refs import BRANCHES, TAGS
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.rendering import render
from x_instruction.local_hub.resolve import PREFIXES

MAX_FILES = 500
MAX_COMMITS = 30
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@functools.cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("x_instruction.local_hub"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": size, "address": lambda text: quote(str(text), safe="/")}
    return environment


def size(count: int) -> str:
    """Bytes as a person reads them."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def _page(name: str, status: int = 200, **values: Any) -> Response:
    return HTMLResponse(_templates().get_template(name).render(values), status, _HEADERS)


def style(request: Request) -> Response:
    """How pages look."""
    text = resources.files("x_instruction.local_hub").joinpath("templates/style.css").read_text("utf-8")
    return Response(text, media_type="text/css", headers=_HEADERS)


def home(request: Request) -> Response:
    """Every repository that this visitor may see."""
    folder, account = hub_of(request).folder, account_of(request)
    shown: dict[str, list[dict[str, Any]]] = {}
    for kind, plural in PLURALS.items():
        for repo in folder.list(kind):
            settings = folder.settings(repo)
            if not settings.private or account:
                head = folder.repository(repo).find("main")
                one = {"repo": repo, "settings": settings, "when": iso(head.time)[:10], "title": head.title}
                shown.setdefault(plural, []).append(one)
    return _page("home.html", shown=shown, account=account, endpoint=endpoint_of(request))


def repository(request: Request) -> Response:
    """One repository at its head, or at a revision."""
    visit = visit_of(request, "see")
    revision = param(request, "revision") if "revision" in request.path_params else "main"
    commit = visit.repository.find(revision)
    closed = _closed(visit)
    files = visit.repository.files(commit)
    readme = "" if closed else visit.contents.text(commit, "README.md") or ""
    card = cards.lenient(readme)
    address = f"/{visit.repo.path}/resolve/{quote(revision, safe='')}"
    values = {
        "card": card,
        "body": render(cards.split(readme)[1], address),
        "configs": _configs(visit, commit, card) if visit.repo.kind == "dataset" and not closed else [],
        "files": _files(visit, commit),
        "more": max(0, len(files) - MAX_FILES),
        "total": sum(one["size"] for one in _sizes(visit, commit)),
        "commits": list(itertools.islice(visit.repository.history(commit), MAX_COMMITS)),
    }
    refs = visit.repository.refs
    names = [ref.removeprefix(prefix) for prefix in (BRANCHES, TAGS) for ref, _ in refs.all(prefix)]
    return _page(
        "repository.html",
        visit=visit,
        revision=revision,
        address=address,
        closed=closed,
        iso=iso,
        names=names,
        discussions=list(reversed(visit.discussions.all())),
        **values,
    )


def _closed(visit: Visit) -> bool:
    """Whether what is in the files is hidden: of a gated repository everyone sees only that it is there."""
    try:
        visit.check_access()
    except Refused:
        return True
    return False


def _configs(visit: Visit, commit: Commit, card: dict[str, Any]) -> list[rows.Config]:
    files = visit.repository.files(commit)
    entries = rows.configs(card, files)
    for config in entries:
        rows.fill(visit.contents, files, config)
    return entries


def _sizes(visit: Visit, commit: Commit) -> list[dict[str, Any]]:
    entries = []
    for path, entry in visit.repository.files(commit).items():
        count, pointer = visit.repository.objects.size(entry.oid)
        entries.append({"path": path, "size": pointer.size if pointer else count, "large": pointer is not None})
    return entries


def _files(visit: Visit, commit: Commit) -> list[dict[str, Any]]:
    return sorted(_sizes(visit, commit), key=lambda one: str(one["path"]))[:MAX_FILES]


def commit_page(request: Request) -> Response:
    """A commit is shown as the files that it left."""
    visit = visit_of(request, "see")
    return RedirectResponse(f"/{visit.repo.path}/tree/{visit.repository.find(param(request, 'revision')).oid}")


def discussion(request: Request) -> Response:
    """One discussion or pull request."""
    visit = visit_of(request, "see")
    text = param(request, "num")
    one = visit.discussions.get(int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0)
    pull = bool(one["isPullRequest"])
    return _page(
        "discussion.html",
        visit=visit,
        one=one,
        diff=diff(visit, one) if pull and not _closed(visit) else "",
        conflicts=conflicts(visit.repository, one) if pull else [],
    )


routes = [Route("/", home), Route("/local-hub.css", style)] + [
    Route(f"{prefix}{end}", show)
    for prefix in PREFIXES
    for end, show in (
        ("", repository),
        ("/tree/{revision}", repository),
        ("/commit/{revision}", commit_page),
        ("/discussions/{num}", discussion),
    )
]
