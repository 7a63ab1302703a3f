"""Pages for people: every repository, and of each its card, rows, files, history and pull requests.

They are made here and run no script; everything that comes from a repository is escaped.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from importlib import resources
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from x_instruction.local_hub import cards, rows
from x_instruction.local_hub.discussions_api import conflicts, diff, diff_of
from x_instruction.local_hub.folder import iso
from x_instruction.local_hub.incoming import Visit, account_of, endpoint_of, hub_of, param, visit_of
from x_instruction.local_hub.names import PLURALS
from x_instruction.local_hub.objects import FOLDER, Commit
from x_instruction.local_hub.refs import BRANCHES, TAGS
from x_instruction.local_hub.refused import Refused, entry_not_found
from x_instruction.local_hub.rendering import render
from x_instruction.local_hub.resolve import PICTURES, PREFIXES
from x_instruction.pages.text import escape, visible

MAX_FILES = 500
MAX_COMMITS = 30
COMMITS_PAGE = 100
MAX_TEXT = 200_000
REPORT = "report.html"
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
        # Hidden characters become elements. In an attribute or a title, "plain" is applied first.
        finalize=lambda value: value if isinstance(value, Markup) else Markup(escape(value)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["texts"] = rows.TEXTS
    environment.filters |= {
        "size": size,
        "address": lambda text: quote(str(text), safe="/"),
        "part": lambda text: quote(str(text), safe=""),
        "plain": visible,
    }
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


def icon(request: Request) -> Response:
    """Browsers ask for it with every page. There is none."""
    return Response(None, 204, _HEADERS)


def home(request: Request) -> Response:
    """Every repository that this visitor may see, or those of the type that the address names."""
    folder, account = hub_of(request).folder, account_of(request)
    only = request.url.path.strip("/")
    shown: dict[str, list[dict[str, Any]]] = {}
    for kind, plural in PLURALS.items():
        if only not in ("", plural):
            continue
        for repo in folder.list(kind):
            with contextlib.suppress(Refused):
                # One that is deleted meanwhile is left out.
                settings = folder.settings(repo)
                if not settings.private or account:
                    head = folder.repository(repo).find("main")
                    one = {"repo": repo, "settings": settings, "when": iso(head.time)[:10], "title": head.title}
                    shown.setdefault(plural, []).append(one)
    return _page("home.html", shown=shown, account=account, endpoint=endpoint_of(request), only=only)


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
        **_first_rows(visit, commit, card, closed),
        "files": _files(visit, commit),
        "more": max(0, len(files) - MAX_FILES),
        "report": REPORT if REPORT in files and not closed else "",
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


def _first_rows(visit: Visit, commit: Commit, card: dict[str, Any], closed: bool) -> dict[str, Any]:
    """The configs of a data set, and the first rows of the default one."""
    files = visit.repository.files(commit)
    configs = rows.configs(card, files) if visit.repo.kind == "dataset" and not closed else []
    shown = next((config for config in configs if config.files), None)
    split = next(iter(shown.files)) if shown else ""
    page = rows.page(visit.contents, files, shown, split, 0) if shown else rows.Page()
    return {"configs": configs, "config": shown, "split": split, "page": page, "number": 0, "last": _last(page)}


def _last(page: rows.Page) -> int:
    """Number of the last page."""
    return max(0, -(-page.total // rows.ROWS) - 1)


def viewer(request: Request) -> Response:
    """Rows of one split of a config, page by page."""
    visit = visit_of(request)
    commit = visit.repository.find("main")
    files = visit.repository.files(commit)
    configs = rows.configs(cards.lenient(visit.contents.text(commit, "README.md") or ""), files)
    config = next((config for config in configs if config.name == param(request, "config")), None)
    if config is None or not config.files:
        raise Refused(404, f"{visit.repo} has no config {param(request, 'config')} with files")
    split = param(request, "split") if "split" in request.path_params else next(iter(config.files))
    if split not in config.files:
        raise Refused(404, f"the config {config.name} has no split {split}")
    text = request.query_params.get("p", "0")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    page = rows.page(visit.contents, files, config, split, number)
    return _page(
        "viewer.html",
        visit=visit,
        configs=configs,
        config=config,
        split=split,
        page=page,
        number=number,
        last=_last(page),
    )


def file_page(request: Request) -> Response:
    """One file: its text or picture, or the folder of this path."""
    visit = visit_of(request)
    revision, path = param(request, "revision"), param(request, "path").strip("/")
    commit = visit.repository.find(revision)
    entry = visit.repository.entry(commit, path)
    if entry is None or entry.mode == FOLDER:
        return _folder_page(visit, revision, commit, path)
    count, pointer = visit.repository.objects.size(entry.oid)
    text = None
    if pointer is None and count <= MAX_TEXT:
        with contextlib.suppress(UnicodeDecodeError):
            text = visit.contents.objects.blob(entry.oid).decode("utf-8")
    return _page(
        "file.html",
        visit=visit,
        revision=revision,
        path=path,
        address=f"/{visit.repo.path}/resolve/{quote(revision, safe='')}",
        size=pointer.size if pointer else count,
        digest=pointer.oid if pointer else "",
        text=None if path.endswith(PICTURES) else text,
        picture=path.endswith(PICTURES),
        is_report=path == REPORT,
        changed=visit.repository.last_changes(commit, [path]).get(path),
        iso=iso,
    )


def _folder_page(visit: Visit, revision: str, commit: Commit, path: str) -> Response:
    inside = [one for one in _sizes(visit, commit) if str(one["path"]).startswith(f"{path}/")]
    if not inside:
        raise entry_not_found(path, commit.oid)
    return _page("folder.html", visit=visit, revision=revision, path=path, files=inside[:MAX_FILES], total=len(inside))


def _sizes(visit: Visit, commit: Commit) -> list[dict[str, Any]]:
    entries = []
    for path, entry in visit.repository.files(commit).items():
        count, pointer = visit.repository.objects.size(entry.oid)
        entries.append({"path": path, "size": pointer.size if pointer else count, "large": pointer is not None})
    return entries


def _files(visit: Visit, commit: Commit) -> list[dict[str, Any]]:
    return sorted(_sizes(visit, commit), key=lambda one: str(one["path"]))[:MAX_FILES]


def commit_page(request: Request) -> Response:
    """What a commit changed."""
    visit = visit_of(request, "see")
    commit = visit.repository.find(param(request, "revision"))
    parents = [visit.repository.objects.peel(oid) for oid in commit.parents]
    base = parents[0] if parents else None
    old, new = visit.repository.files(base), visit.repository.files(commit)
    changes = [
        {"path": path, "kind": "added" if path not in old else "removed" if path not in new else "changed"}
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
    return _page(
        "commit.html",
        visit=visit,
        commit=commit,
        parents=parents,
        changes=changes[:MAX_FILES],
        total=len(changes),
        diff="" if _closed(visit) else diff_of(visit.contents, base, commit),
        iso=iso,
    )


def commits_page(request: Request) -> Response:
    """The history of a revision."""
    visit = visit_of(request, "see")
    revision = param(request, "revision")
    text = request.query_params.get("p", "0")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    history = visit.repository.history(visit.repository.find(revision))
    found = list(itertools.islice(history, number * COMMITS_PAGE, (number + 1) * COMMITS_PAGE + 1))
    return _page(
        "commits.html",
        visit=visit,
        revision=revision,
        commits=found[:COMMITS_PAGE],
        more=len(found) > COMMITS_PAGE,
        number=number,
        iso=iso,
    )


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


routes = [Route("/", home), *(Route(f"/{plural}", home) for plural in PLURALS.values())]
routes += [Route("/local-hub.css", style), Route("/favicon.ico", icon)] + [
    Route(f"{prefix}{end}", show)
    for prefix in PREFIXES
    for end, show in (
        ("", repository),
        ("/tree/{revision}", repository),
        ("/tree/{revision}/{path:path}", file_page),
        ("/blob/{revision}/{path:path}", file_page),
        ("/viewer/{config}", viewer),
        ("/viewer/{config}/{split}", viewer),
        ("/commit/{revision}", commit_page),
        ("/commits/{revision}", commits_page),
        ("/discussions/{num}", discussion),
    )
]
