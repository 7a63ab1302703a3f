"""No route of a gated repository shows the content of files to accounts without access."""

from __future__ import annotations

import contextlib
import io
import re
import urllib.parse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_hub_fixture import Answer, RunningHub, start
from starlette.routing import Route

from x_instruction.local_hub.app import ROUTES

# This text is in every file of the repository, and in no name, title or comment.
SECRET = "quincunx"
REPO = "gates/d"


@dataclass(frozen=True)
class Gated:
    hub: RunningHub
    # What to put for each part of a route's address.
    parts: dict[str, str]


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with start(tmp_path_factory.mktemp("gated")) as hub:
        hub.create(REPO)
        table = io.BytesIO()
        pq.write_table(pa.table({"text": [SECRET]}), table, compression=None)
        readme = f"---\nlicense: mit\n---\n# {SECRET}"
        head = hub.commit(REPO, {"a.txt": SECRET.encode(), "t.parquet": table.getvalue(), "README.md": readme.encode()})
        answer = hub.ask(
            f"/api/datasets/{REPO}/commit/main?create_pr=1",
            "POST",
            b'{"key": "header", "value": {"summary": "A pull request"}}\n'
            b'{"key": "file", "value": {"path": "a.txt", "encoding": "utf-8", "content": "other %s"}}\n'
            % SECRET.encode(),
        )
        assert answer.json["pullRequest"]["num"] == 1
        hub.ask(f"/api/datasets/{REPO}/settings", "PUT", {"gated": "manual"})
        blob = {one["path"]: one["oid"] for one in hub.ask(f"/api/datasets/{REPO}/tree/main").json}["a.txt"]
        yield Gated(
            hub,
            {
                **{"plural": "datasets", "namespace": "gates", "name": "d", "revision": "main", "path": "a.txt"},
                **{"num": "1", "status": "pending", "first": blob[:2], "rest": blob[2:], "oid": "0" * 64},
                **{"slug": "none", "branch": "main", "id": head, "config": "default", "split": "train"},
            },
        )


def addresses(parts: dict[str, str]) -> list[str]:
    """Every route that answers GET and names a repository, as an address of the gated one."""
    found = []
    for route in ROUTES:
        assert isinstance(route, Route)
        if "GET" not in (route.methods or ()) or "{namespace}" not in route.path:
            continue
        if not route.path.startswith(("/api/", "/datasets/")) or route.path.startswith(("/api/jobs/", "/api/buckets/")):
            continue
        names = re.findall(r"\{(\w+)(?::\w+)?\}", route.path)
        if "slug" in names:
            continue
        values = {name: urllib.parse.quote(parts[name], safe="") for name in names}
        found.append(re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: values[match[1]], route.path))  # noqa: B023
    return [f"{address}{query}" for address in found for query in ("", "?diff=1&expand=1&full=1&blobs=1&recursive=1")]


def shows(answer: Answer) -> bool:
    with contextlib.suppress(zlib.error):
        # A loose object of git.
        return SECRET.encode() in zlib.decompress(answer.data)
    return SECRET.encode() in answer.data


def test_no_route_shows_files_to_accounts_without_access(gated: Gated) -> None:
    asked = addresses(gated.parts)
    assert len(asked) > 30
    seen = {address for address in asked if shows(gated.hub.ask(address))}
    # Check of the test itself: an account with access sees the content.
    for address in (
        f"/datasets/{REPO}/resolve/main/a.txt",
        f"/datasets/{REPO}/raw/main/a.txt",
        f"/datasets/{REPO}/objects/{gated.parts['first']}/{gated.parts['rest']}",
        f"/datasets/{REPO}",
        f"/datasets/{REPO}/discussions/1",
        f"/datasets/{REPO}/blob/main/a.txt",
        f"/datasets/{REPO}/view/main/a.txt",
        f"/datasets/{REPO}/viewer/default/train",
        f"/datasets/{REPO}/commit/main",
        f"/api/datasets/{REPO}/discussions/1?diff=1&expand=1&full=1&blobs=1&recursive=1",
    ):
        assert address in seen
    for token in (None, gated.hub.read_token):
        assert [address for address in asked if shows(gated.hub.ask(address, token=token))] == []
    paths = {"paths": ["a.txt", "README.md"], "expand": True}
    answer = gated.hub.ask(
        f"/api/datasets/{REPO}/paths-info/main", "POST", paths, None, Content_Type="application/json"
    )
    assert answer.status == 200
    assert not shows(answer)


@pytest.mark.parametrize(("reader", "status"), [(False, 401), (True, 403)])
def test_the_diff_of_a_pull_request_is_hidden_like_a_file(gated: Gated, reader: bool, status: int) -> None:
    token = gated.hub.read_token if reader else None
    for path in (f"/api/datasets/{REPO}/discussions/1?diff=1", f"/datasets/{REPO}/resolve/main/a.txt"):
        answer = gated.hub.ask(path, token=token)
        assert (answer.status, answer.headers["X-Error-Code"]) == (status, "GatedRepo")
    discussion = gated.hub.ask(f"/api/datasets/{REPO}/discussions/1", token=token)
    assert (discussion.status, discussion.json["title"], discussion.json["diff"]) == (200, "A pull request", None)
    page = gated.hub.ask(f"/datasets/{REPO}/discussions/1", token=token)
    assert (page.status, "A pull request" in page.text) == (200, True)
