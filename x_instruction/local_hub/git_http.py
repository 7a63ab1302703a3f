"""Routes for ``git clone``: git's plain protocol, in which objects are files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from x_instruction.local_hub.incoming import Visit, param, visit_of
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.resolve import PREFIXES
from x_instruction.storage.atomic import open_plain

_FRESH = {"Cache-Control": "no-cache"}


def refs(request: Request) -> Response:
    """Every ref and the object that it names; for an annotated tag its commit, too."""
    if request.query_params.get("service") == "git-receive-pack":
        raise Refused(403, "git push is not served: commit through the Hub's API, as `hf upload` does")
    visit = visit_of(request)
    lines = "".join(f"{oid}\t{ref}\n" for ref, oid in _refs(visit))
    return Response(lines, media_type="text/plain", headers=_FRESH)


def _refs(visit: Visit) -> Iterator[tuple[str, str]]:
    objects = visit.repository.objects
    for ref, oid in visit.repository.refs.all("refs/"):
        yield ref, oid
        commit = objects.peel(oid).oid
        if commit != oid:
            yield f"{ref}^{{}}", commit


def head(request: Request) -> Response:
    """The branch that a clone begins with."""
    visit_of(request)
    return Response("ref: refs/heads/main\n", media_type="text/plain", headers=_FRESH)


def loose(request: Request) -> Response:
    """A loose object."""
    visit = visit_of(request)
    oid = param(request, "first") + param(request, "rest")
    if not re.fullmatch(r"[0-9a-f]{40}", oid):
        raise Refused(404, "there is no such object")
    try:
        with open_plain(visit.repository.objects.path(oid)) as stream:
            data = stream.read()
    except FileNotFoundError:
        raise Refused(404, "there is no such object") from None
    return Response(data, media_type="application/x-git-loose-object")


def packs(request: Request) -> Response:
    """There are none."""
    visit_of(request)
    return Response("\n", media_type="text/plain", headers=_FRESH)


routes = [
    route
    for prefix in PREFIXES
    for route in (
        Route(f"{prefix}/info/refs", refs),
        Route(f"{prefix}/HEAD", head),
        Route(f"{prefix}/objects/info/packs", packs),
        Route(f"{prefix}/objects/{{first}}/{{rest}}", loose),
    )
]
