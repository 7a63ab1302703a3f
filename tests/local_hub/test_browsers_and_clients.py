"""Answers that once differed from the Hub, and requests from other sites that are refused."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx
from local_hub_fixture import Answer, Api, RunningHub
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from x_instruction.local_hub import server
from x_instruction.local_hub.app import Lingering, application
from x_instruction.local_hub.limits import Limits
from x_instruction.local_hub.names import RepoId


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200),
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors"}, 200),
        ({"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8901"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Host": "127.0.0.1.evil.example"}, 403),
    ],
)
def test_requests_from_other_sites_are_refused(local_hub: RunningHub, headers: dict[str, str], status: int) -> None:
    assert local_hub.ask("/api/datasets", token=None, **headers).status == status


def test_requests_from_its_own_pages_are_accepted(local_hub: RunningHub) -> None:
    assert local_hub.ask("/api/datasets", Origin=local_hub.endpoint).status == 200


def test_responses_have_request_ids(local_hub: RunningHub) -> None:
    assert local_hub.ask("/api/datasets", X_Request_Id="mine-1").headers["X-Request-Id"] == "mine-1"
    assert local_hub.ask("/api/datasets", X_Request_Id="a b").headers["X-Request-Id"].startswith("Root=1-")


def test_an_invalid_token_is_refused_before_the_body_is_read(local_hub: RunningHub) -> None:
    host, port = urlsplit(local_hub.endpoint).netloc.split(":")
    head = (
        f"POST /api/repos/create HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer no\r\nContent-Length: 900000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/validate-yaml", {}, 413),
        ("/api/validate-yaml", {"Authorization": "Bearer no"}, 401),
        ("/api/validate-yaml", {"Origin": "https://evil.example"}, 403),
        ("/api/datasets/no/where/commit/main", {}, 401),
        ("/api/datasets", {}, 405),
    ],
)
def test_a_client_that_sends_its_whole_body_can_read_a_refusal(
    local_hub: RunningHub, path: str, headers: dict[str, str], status: int
) -> None:
    for close in ({}, {"Connection": "close"}):
        with contextlib.closing(http.client.HTTPConnection(urlsplit(local_hub.endpoint).netloc, timeout=60)) as plain:
            plain.request("POST", path, bytes(24 << 20), headers | close)
            with plain.getresponse() as answer:
                assert answer.status == status
        assert (
            httpx.post(local_hub.endpoint + path, content=bytes(24 << 20), headers=headers | close).status_code
            == status
        )


def test_a_missing_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("x_instruction.local_hub.app.LINGER", 0.1)
    sent: list[Message] = []

    async def receive() -> Message:
        return await asyncio.Future()

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Lingering(Response("no", 404))({"type": "http", "method": "POST"}, receive, send))
    assert [(one.get("body"), one.get("more_body", False)) for one in sent[1:]] == [(b"no", True), (b"", False)]


@contextlib.asynccontextmanager
async def connected(app: ASGIApp) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, uvicorn.Server]]:
    """A connection to a server in this process, which is configured as the local hub is."""
    listening = server.listen("127.0.0.1", 0)
    serving = uvicorn.Server(server.configure(app))
    task = asyncio.create_task(serving.serve([listening]))
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    try:
        yield reader, writer, serving
    finally:
        writer.close()
        serving.should_exit = True
        await task


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET /none HTTP/1.1\r\nHost: x\r\n\r\nGET / HT"])
@pytest.mark.parametrize("rest", [b"", b"X" * 1000])
def test_a_request_that_never_starts_times_out(monkeypatch: pytest.MonkeyPatch, start: bytes, rest: bytes) -> None:
    monkeypatch.setattr(server, "BEGUN", 0.2)

    async def serve() -> bytes:
        async with connected(Starlette()) as (reader, writer, _):
            writer.write(start)
            found = b""

            async def read() -> None:
                nonlocal found
                # What is sent after the end is refused.
                with contextlib.suppress(ConnectionResetError):
                    while part := await reader.read(4096):
                        found += part

            ended = asyncio.create_task(read())
            for byte in rest:
                # A byte from time to time is not a request.
                writer.write(bytes([byte]))
                if (await asyncio.wait([ended], timeout=0.01))[0]:
                    break
            await asyncio.wait_for(ended, 60)
            return found

    assert asyncio.run(serve())[:12] == (b"HTTP/1.1 404" if b"none" in start else b"")


@pytest.mark.parametrize("body", ["Content-Length: 900000\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"])
@pytest.mark.parametrize(
    "path", ["/api/repos/create", "/api/models/ci/m/commit/main", "/api/models/ci/m/preupload/main"]
)
def test_a_stalled_body_times_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, body: str) -> None:
    monkeypatch.setattr("x_instruction.local_hub.incoming.STALLED", 0.2)
    monkeypatch.setattr("x_instruction.local_hub.app.LINGER", 0.1)
    hub, tokens = server.open_hub(tmp_path, Limits(), {"ci": "write"})
    hub.folder.create(RepoId("model", "ci", "m"), "ci", private=False, sdk=None)

    async def serve() -> bytes:
        async with connected(application(hub)) as (reader, writer, _):
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {tokens['ci']}\r\n"
            writer.write(f"{head}{body}".encode())
            return await asyncio.wait_for(reader.read(), 60)

    answer = asyncio.run(serve())
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"nothing came for 0.2 seconds" in answer


def test_an_unread_response_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "UNREAD", 0.2)
    content = bytes(64 << 20)
    app = Starlette(routes=[Route("/", lambda request: Response(content))])

    async def serve() -> int:
        async with connected(app) as (reader, writer, serving):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(60):
                while serving.server_state.connections:
                    await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionResetError):
                return len(await reader.read())
            return 0

    assert asyncio.run(serve()) < len(content)


def test_repositories_may_be_deleted_during_requests(local_hub: RunningHub) -> None:
    """Each request comes before or after, and lists leave out what is gone."""
    named = {"name": "d", "organization": "races", "type": "dataset"}
    repo = "races/d"
    commit = "\n".join(
        map(json.dumps, [{"key": "header", "value": {"summary": "s"}},
                         {"key": "file", "value": {"path": "a", "content": "x", "encoding": "utf-8"}}])
    ).encode()  # fmt: skip
    asked: list[tuple[str, str, bytes | dict[str, object] | None]] = [
        ("POST", "/api/repos/create", named),
        ("DELETE", "/api/repos/delete", named),
        ("DELETE", "/api/repos/delete", named),
        ("POST", f"/api/datasets/{repo}/commit/main", commit),
        ("GET", f"/api/datasets/{repo}/tree/main", None),
        ("GET", f"/datasets/{repo}/resolve/main/.gitattributes", None),
        ("GET", f"/datasets/{repo}", None),
    ]
    lists = [
        "/api/datasets?full=1",
        "/api/settings/repositories?namespace=races",
        "/",
        "/api/organizations/races/settings/repositories",
    ]
    jobs = [*asked, *(("GET", path, None) for path in lists), asked[0]] * 12
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: (job[1], local_hub.ask(job[1], job[0], job[2]).status), jobs))
    assert {status for path, status in found if path in lists} == {200}
    assert {status for path, status in found if path not in lists} <= {200, 404, 409}
    assert "Traceback" not in local_hub.log.read_text("utf-8")


def test_a_disconnected_client_causes_no_traceback(local_hub: RunningHub) -> None:
    host, port = urlsplit(local_hub.endpoint).netloc.split(":")
    head = f"POST /api/repos/create HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {local_hub.token}\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: 900000\r\n\r\n{{".encode())
    end = time.monotonic() + 60
    while "499" not in local_hub.log.read_text("utf-8"):
        assert time.monotonic() < end, "the request is not in the log"
        local_hub.ask("/api/datasets")
    assert "Traceback" not in local_hub.log.read_text("utf-8")


def _post(local_hub: RunningHub, path: str, text: str, token: str | None = "") -> Answer:
    return local_hub.ask(path, "POST", text.encode(), token)


def test_bodies_of_anonymous_clients_are_small(local_hub: RunningHub) -> None:
    text = json.dumps({"content": "x" * (1 << 20)})
    assert _post(local_hub, "/api/validate-yaml", text, None).status == 413
    assert _post(local_hub, "/api/validate-yaml", text).status == 200


@pytest.mark.parametrize("text", [r'{"name": "half", "organization": "\ud83d"}', r'{"name": "\udc00"}'])
def test_half_a_surrogate_pair_is_refused(local_hub: RunningHub, text: str) -> None:
    answer = _post(local_hub, "/api/repos/create", text)
    assert (answer.status, "surrogate" in answer.text) == (400, True)


def test_a_path_of_spaces_is_not_found(local_hub: RunningHub) -> None:
    repo = local_hub.create("odd/space")
    answer = local_hub.ask(f"/datasets/{repo}/resolve/main/%20%20")
    assert answer.status in (400, 404)


def test_long_revisions_are_refused(local_hub: RunningHub) -> None:
    repo = local_hub.create("odd/long")
    for revision in ("x" * 300, "/".join(["y"] * 3000)):
        assert local_hub.ask(f"/api/datasets/{repo}/revision/{revision.replace('/', '%2F')}").status == 404


@pytest.mark.parametrize(
    ("metadata", "status"),
    [("metrics: acc", 200), ("model-index: foo", 400), ("model-index:\n- name: x\n  results: 3", 400)],
)
def test_metadata_is_validated(local_hub: RunningHub, metadata: str, status: int) -> None:
    text = json.dumps({"content": f"---\nlicense: mit\n{metadata}\n---\n", "repoType": "model"})
    assert _post(local_hub, "/api/validate-yaml", text).status == status


def test_unknown_names_without_a_namespace_are_not_found(api: Api) -> None:
    hub: HfApi = api()
    with pytest.raises(RepositoryNotFoundError):
        hub.model_info("nope", revision="main")
    with pytest.raises(RepositoryNotFoundError):
        hub.list_repo_commits("nope")
    with pytest.raises(RepositoryNotFoundError):
        list(hub.list_repo_tree("nope", repo_type="dataset"))


def test_short_ids_other_case_and_old_names_are_resolved(local_hub: RunningHub, api: Api) -> None:
    hub: HfApi = api()
    repo = local_hub.create("names/Before")
    first = local_hub.commit(repo, {"a.txt": b"one"})
    assert hub.dataset_info(repo, revision=first[:7]).sha == first
    with pytest.raises(RevisionNotFoundError):
        hub.dataset_info(repo, revision=first[:6])
    hub.create_tag(repo, tag="v1", revision=first[:8], repo_type="dataset")
    assert hub.dataset_info("NAMES/before").id == repo
    with pytest.raises(HfHubHTTPError, match="already created"):
        hub.create_repo("names/before", repo_type="dataset")
    hub.move_repo(repo, "names/after", repo_type="dataset")
    assert hub.dataset_info(repo).id == "names/after"
    with open(hub.hf_hub_download(repo, "a.txt", repo_type="dataset"), "rb") as stream:
        assert stream.read() == b"one"
    # A new repository takes its name back.
    hub.create_repo(repo, repo_type="dataset")
    assert hub.dataset_info(repo).id == repo
    assert hub.dataset_info("names/after").id == "names/after"
    hub.delete_repo("names/AFTER", repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        hub.dataset_info("names/after")


def test_deleting_a_folder_as_a_file_deletes_its_files(local_hub: RunningHub, api: Api) -> None:
    repo = local_hub.create("odd/folder")
    local_hub.commit(repo, {"dir/a.txt": b"1", "dir/b.txt": b"2", "c.txt": b"3"})
    hub: HfApi = api()
    hub.delete_file("dir", repo, repo_type="dataset")
    assert "c.txt" in hub.list_repo_files(repo, repo_type="dataset")
    assert not any(name.startswith("dir/") for name in hub.list_repo_files(repo, repo_type="dataset"))


def test_invalid_tags_and_paths_are_refused(local_hub: RunningHub, api: Api) -> None:
    hub: HfApi = api()
    repo = local_hub.create("odd/tags")
    with pytest.raises(RevisionNotFoundError):
        hub.create_tag(repo, tag="a..b", revision="nowhere", repo_type="dataset")
    line = json.dumps({"key": "header", "value": {"summary": "s"}}) + "\n"
    line += json.dumps({"key": "file", "value": {"path": "..\\ddd", "content": "", "encoding": "utf-8"}})
    assert _post(local_hub, f"/api/datasets/{repo}/commit/main", line).status == 422


def test_the_storage_of_a_namespace_is_reported(local_hub: RunningHub, api: Api) -> None:
    hub: HfApi = api()
    repo = local_hub.create("stored/one")
    local_hub.commit(repo, {"a.bin": b"x" * 1000})
    (one,) = hub.list_user_repos("stored")
    assert (one.id, one.type, one.visibility, one.storage >= 1000) == (repo, "dataset", "public", True)
    assert all(one.id.startswith("ci/") for one in hub.list_user_repos())


def test_a_renamed_collection_is_found_under_its_old_address(api: Api) -> None:
    hub: HfApi = api()
    made = hub.create_collection("First title", namespace="slugs")
    renamed = hub.update_collection_metadata(made.slug, title="Other words")
    assert renamed.slug.startswith("slugs/other-words-")
    assert hub.get_collection(made.slug).slug == renamed.slug
    hub.delete_collection(made.slug)
