"""Answers to valid and invalid requests, with the headers that clients depend on."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from local_hub_fixture import RunningHub, start


def test_whoami_describes_the_account(local_hub: RunningHub) -> None:
    account = local_hub.ask("/api/whoami-v2").json
    assert (account["name"], account["type"], account["auth"]["accessToken"]["role"]) == ("ci", "user", "write")
    assert local_hub.ask("/api/whoami-v2", token=local_hub.read_token).json["auth"]["accessToken"]["role"] == "read"
    assert local_hub.ask("/api/whoami-v2", token=None).status == 401
    wrong = local_hub.ask("/api/whoami-v2", token="hf_wrong")
    assert (wrong.status, wrong.headers["X-Error-Message"]) == (401, "Invalid credentials in Authorization header")


@pytest.mark.parametrize(
    ("method", "path", "data"),
    [
        ("POST", "/api/repos/create", {"name": "x", "organization": "roles"}),
        ("DELETE", "/api/repos/delete", {"name": "there", "organization": "roles", "type": "dataset"}),
        ("POST", "/api/repos/move", {"fromRepo": "roles/there", "toRepo": "roles/b", "type": "dataset"}),
        ("PUT", "/api/datasets/roles/there/settings", {"visibility": "private"}),
        ("POST", "/api/datasets/roles/there/preupload/main", {"files": []}),
        ("POST", "/api/datasets/roles/there/commit/main", {"key": "header", "value": {"summary": "x"}}),
        ("POST", "/datasets/roles/there.git/info/lfs/objects/batch", {"operation": "upload", "objects": []}),
        ("POST", "/datasets/roles/there.git/info/lfs/verify", {"oid": "a" * 64, "size": 1}),
        ("GET", "/api/datasets/roles/there/xet-write-token/main", None),
        ("POST", "/api/datasets/roles/there/branch/b", {}),
        ("DELETE", "/api/datasets/roles/there/branch/b", None),
        ("POST", "/api/datasets/roles/there/tag/main", {"tag": "t"}),
        ("DELETE", "/api/datasets/roles/there/tag/t", None),
        ("POST", "/api/datasets/roles/there/super-squash/main", {}),
        ("POST", "/api/datasets/roles/there/discussions", {"title": "t", "description": ""}),
        ("POST", "/api/datasets/roles/there/discussions/1/merge", {}),
        ("POST", "/api/datasets/roles/there/user-access-request/grant", {"user": "reader"}),
        ("POST", "/api/collections", {"title": "t"}),
        ("PATCH", "/api/collections/roles/c", {"title": "t"}),
        ("DELETE", "/api/collections/roles/c", None),
        ("POST", "/api/collections/roles/c/items", {"item": {}}),
    ],
)
def test_writing_needs_a_write_token(local_hub: RunningHub, method: str, path: str, data: dict | None) -> None:  # type: ignore[type-arg]
    local_hub.ask("/api/repos/create", "POST", {"name": "there", "organization": "roles", "type": "dataset"})
    assert local_hub.ask(path, method, data, token=None).status == 401
    assert local_hub.ask(path, method, data, token="hf_wrong").status == 401
    refused = local_hub.ask(path, method, data, token=local_hub.read_token)
    assert (refused.status, "may only read" in refused.headers["X-Error-Message"]) == (403, True)


def test_private_repositories_look_like_missing_ones(local_hub: RunningHub) -> None:
    repo = local_hub.create("private/d", visibility="private")
    local_hub.commit(repo, {"a.txt": b"secret"})
    for path in (
        "/api/datasets/private/{}", "/api/datasets/private/{}/tree/main", "/datasets/private/{}/resolve/main/a.txt",
        "/datasets/private/{}", "/datasets/private/{}/info/refs", "/api/datasets/private/{}/refs",
        "/datasets/private/{}/raw/main/a.txt", "/api/datasets/private/{}/discussions",
    ):  # fmt: skip
        hidden, missing = (local_hub.ask(path.format(name), token=None) for name in ("d", "missing"))
        assert (hidden.status, hidden.headers["X-Error-Code"], hidden.data) == (401, "RepoNotFound", missing.data)
        assert local_hub.ask(path.format("d"), token=local_hub.read_token).status == 200, path
        absent = local_hub.ask(path.format("missing"))
        assert (absent.status, absent.headers["X-Error-Code"]) == (404, "RepoNotFound")
    assert "private/d" not in {one["id"] for one in local_hub.ask("/api/datasets", token=None).json}
    assert "private/d" in {one["id"] for one in local_hub.ask("/api/datasets?author=private").json}
    assert "private/d" not in local_hub.ask("/", token=None).text
    basic = base64.b64encode(f"anyone:{local_hub.read_token}".encode()).decode()
    assert local_hub.ask("/datasets/private/d", token=None, Authorization=f"Basic {basic}").status == 200
    asks = local_hub.ask("/datasets/private/d", token=None)
    assert asks.headers["WWW-Authenticate"].startswith("Basic")


def test_gated_files_need_granted_access(local_hub: RunningHub) -> None:
    repo = local_hub.create("gated/d")
    local_hub.commit(repo, {"a.txt": b"x", "README.md": b"---\nlicense: mit\n---\n# Hidden text"})
    file, api = "/datasets/gated/d/resolve/main/a.txt", "/api/datasets/gated/d"

    def reads() -> tuple[int, str | None]:
        answer = local_hub.ask(file, token=local_hub.read_token)
        return answer.status, answer.headers["X-Error-Code"]

    assert reads() == (200, None)
    assert local_hub.ask(f"{api}/settings", "PUT", {"gated": "sometimes"}).status == 400
    assert local_hub.ask(f"{api}/settings", "PUT", {"gated": "manual"}).status == 200
    assert local_hub.ask(api, token=None).json["gated"] == "manual"
    assert reads() == (403, "GatedRepo")
    anonymous = local_hub.ask(file, token=None)
    assert (anonymous.status, anonymous.headers["X-Error-Code"]) == (401, "GatedRepo")
    assert local_hub.ask(file).status == 200
    assert "Hidden text" not in local_hub.ask("/datasets/gated/d", token=None).text
    assert local_hub.ask("/datasets/gated/d/objects/ab/" + "c" * 38, token=None).status == 401
    batch = {"operation": "download", "objects": []}
    assert local_hub.ask("/datasets/gated/d.git/info/lfs/objects/batch", "POST", batch, token=None).status == 401
    asked = local_hub.ask("/datasets/gated/d/ask-access", "POST", {}, token=local_hub.read_token)
    assert asked.json == {"status": "pending"}
    assert reads() == (403, "GatedRepo")
    [request] = local_hub.ask(f"{api}/user-access-request/pending").json
    assert request["user"]["user"] == "reader"
    handle = {"user": "reader", "status": "accepted"}
    assert local_hub.ask(f"{api}/user-access-request/handle", "POST", handle).status == 200
    assert reads() == (200, None)
    handle["status"] = "rejected"
    assert local_hub.ask(f"{api}/user-access-request/handle", "POST", handle).status == 200
    assert reads() == (403, "GatedRepo")
    assert local_hub.ask(f"{api}/user-access-request/grant", "POST", {"user": "nobody"}).status == 404
    assert local_hub.ask(f"{api}/user-access-request/grant", "POST", {"user": "reader"}).status == 200
    assert reads() == (200, None)
    local_hub.create("gated/auto")
    local_hub.ask("/api/datasets/gated/auto/settings", "PUT", {"gated": "auto"})
    asked = local_hub.ask("/datasets/gated/auto/ask-access", "POST", {}, token=local_hub.read_token)
    assert asked.json == {"status": "accepted"}


def test_errors_have_error_codes(local_hub: RunningHub) -> None:
    repo = local_hub.create("errors/d")
    head = local_hub.commit(repo, {"a/b.txt": b"x"})
    for path, code in (
        ("/datasets/errors/d/resolve/main/missing", "EntryNotFound"),
        ("/datasets/errors/d/resolve/main/a", "EntryNotFound"),
        ("/datasets/errors/d/resolve/none/a/b.txt", "RevisionNotFound"),
        (f"/datasets/errors/d/resolve/{'0' * 40}/a/b.txt", "RevisionNotFound"),
        ("/api/datasets/errors/d/revision/none", "RevisionNotFound"),
        ("/api/datasets/errors/d/tree/main/none", "EntryNotFound"),
        ("/api/datasets/errors/none", "RepoNotFound"),
        ("/api/models/errors/d", "RepoNotFound"),
        ("/gpt2/resolve/main/config.json", "RepoNotFound"),
        ("/api/models/gpt2", "RepoNotFound"),
    ):
        answer = local_hub.ask(path)
        assert (answer.status, answer.headers["X-Error-Code"]) == (404, code), path
    missing = local_hub.ask("/datasets/errors/d/resolve/main/missing")
    assert missing.headers["X-Repo-Commit"] == head
    assert local_hub.ask("/api/agent-harnesses").status == 404
    assert local_hub.ask("/api/datasets/errors/d", "PATCH").status == 405


def test_path_traversal_is_refused_everywhere(local_hub: RunningHub, tmp_path: Path) -> None:
    repo = local_hub.create("traversal/d")
    local_hub.commit(repo, {"a.txt": b"x"})
    (local_hub.folder / "datasets" / "secret.txt").write_text("secret")
    for path in ("../../secret.txt", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "/etc/passwd", "a%00.txt",
                 ".git/config", "hub.json/..", "a.txt%0a", "..%5c..%5csecret.txt"):  # fmt: skip
        for revision in ("main", "..", "..%2f..", "refs%2f..%2fhub.json", "refs%2fheads%2f..%2f..%2fHEAD", "%00"):
            address = f"/datasets/traversal/d/resolve/{revision}/{path}"
            assert local_hub.ask(address).status in (400, 404), address
    for path in ("/datasets/../../etc/passwd", "/datasets/..%2f..%2fetc/d", "/api/datasets/%2e%2e/%2e%2e",
                 "/datasets/traversal/d/objects/..%2f/hub.json", "/datasets/traversal/d/objects/%2e%2e/hub.json",
                 "/local-hub.css/../local-hub.json",
                 "/datasets/traversal/d/info/lfs/objects/..%2f..%2fhub.json"):  # fmt: skip
        answer = local_hub.ask(path)
        assert answer.status in (400, 403, 404), path
        assert b"uid" not in answer.data
    for bad in ("../x", "/x", "a/../x", ".git/config", "a/.GIT/x", "a\0", "a\n", ".gitmodules", "a//b", "./a"):
        line = {"key": "file", "value": {"path": bad, "content": "", "encoding": "utf-8"}}
        data = '{"key":"header","value":{"summary":"x"}}\n' + json.dumps(line)
        assert local_hub.ask("/api/datasets/traversal/d/commit/main", "POST", data.encode()).status == 422, bad
    for branch in ("..%2f..%2fhub.json", "%2e%2e", "a..b", "a%00", "x.lock", "HEAD", "refs%2fheads%2fmain"):
        assert local_hub.ask(f"/api/datasets/traversal/d/branch/{branch}", "POST", {}).status == 400, branch
    for name in ("..", "../x", "a/b", ".x", "x.git"):
        data_ = {"name": name, "organization": "traversal", "type": "dataset"}
        assert local_hub.ask("/api/repos/create", "POST", data_).status == 400, name


def test_a_commit_is_atomic(local_hub: RunningHub) -> None:
    repo = local_hub.create("commits/d")
    first = local_hub.commit(repo, {"a.txt": b"1", "dir/b.txt": b"2", "dir/c.txt": b"3"})
    address = f"/api/datasets/{repo}/commit/main"

    def attempt(*lines: tuple[str, dict], revision: str = "main") -> tuple[int, str]:  # type: ignore[type-arg]
        data = "\n".join(json.dumps({"key": key, "value": value}) for key, value in lines)
        answer = local_hub.ask(address.replace("main", revision), "POST", data.encode())
        return answer.status, str(answer.json.get("error") or answer.json["commitOid"])

    header = ("header", {"summary": "s", "description": "d"})
    stale = ("header", {"summary": "s", "parentCommit": "0" * 40})
    new = ("file", {"path": "new", "content": "bmV3", "encoding": "base64"})
    for lines, status in (
        ((new,), 400),
        ((stale, new), 412),
        ((header, ("file", {"path": "x", "content": "!", "encoding": "base64"})), 400),
        ((header, new, ("deletedFile", {"path": "missing"})), 404),
        ((header, new, ("deletedFolder", {"path": "missing/"})), 404),
        ((header, new, ("lfsFile", {"path": "y", "algo": "sha256", "oid": "a" * 64, "size": 3})), 400),
        ((header, new, ("lfsFile", {"path": "y", "oid": "../../x", "size": 3})), 400),
        ((header, new, ("file", {"path": "a.txt/x", "content": "", "encoding": "utf-8"})), 400),
        ((header, new, ("file", {"path": "dir", "content": "", "encoding": "utf-8"})), 400),
        ((header, new, ("rename", {"path": "x"})), 400),
        ((("header", {"summary": " "}), new), 400),
    ):
        assert attempt(*lines)[0] == status, lines
        assert local_hub.ask(f"/api/datasets/{repo}").json["sha"] == first
    assert attempt(header, new, revision="none")[0] == 404
    assert attempt(header, new, revision=first)[0] == 404
    assert local_hub.ask(address, "POST", b"not json").status == 400
    status, oid = attempt(("header", {"summary": "s", "parentCommit": first}), new, ("deletedFolder", {"path": "dir/"}))
    assert status == 200
    paths = [one["path"] for one in local_hub.ask(f"/api/datasets/{repo}/tree/main?recursive=true").json]
    assert paths == [".gitattributes", "a.txt", "new"]
    assert attempt(header, new) == (200, oid)  # nothing changed, no commit


def test_ranges_of_files_are_served(local_hub: RunningHub) -> None:
    repo = local_hub.create("ranges/d")
    data = bytes(range(256)) * 40
    local_hub.commit(repo, {"a.bin": data})
    address = f"/datasets/{repo}/resolve/main/a.bin"
    for asked, begin, end in (("0-0", 0, 1), ("100-199", 100, 200), ("10000-", 10000, 10240), ("-5", 10235, 10240),
                              ("10000-99999", 10000, 10240), ("-99999", 0, 10240)):  # fmt: skip
        part = local_hub.ask(address, Range=f"bytes={asked}")
        assert (part.status, part.data) == (206, data[begin:end])
        assert part.headers["Content-Range"] == f"bytes {begin}-{end - 1}/10240"
    beyond = local_hub.ask(address, Range="bytes=10240-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, "bytes */10240")
    for odd in ("bytes=-", "items=0-1", "bytes=0-1,3-4", "bytes=5-2x"):
        assert local_hub.ask(address, Range=odd).data == data
    whole = local_hub.ask(address, "HEAD")
    assert (whole.data, whole.headers["Content-Length"], whole.headers["Accept-Ranges"]) == (b"", "10240", "bytes")
    sha1 = hashlib.sha1(b"blob 10240\0" + data, usedforsecurity=False).hexdigest()
    assert whole.headers["ETag"] == f'"{sha1}"'
    assert "sandbox" in whole.headers["Content-Security-Policy"]


def test_listings_are_paged(tmp_path: Path, local_hub: RunningHub) -> None:
    repo = local_hub.create("pages/d")
    local_hub.commit(repo, {f"d{n % 3}/f{n:03}": b"x" for n in range(60)})
    seen: list[str] = []
    address: str | None = f"/api/datasets/{repo}/tree/main?recursive=true&limit=25"
    count = 0
    while address:
        page = local_hub.ask(address)
        seen += [one["path"] for one in page.json]
        link, count = page.headers["Link"], count + 1
        address = link[1 : link.index(">")] if link else None
    assert (count, len(seen), len(set(seen))) == (3, 64, 64)
    for odd in ("cursor=x", "cursor=!!", "cursor=Li4vLi4v"):
        assert local_hub.ask(f"/api/datasets/{repo}/tree/main?{odd}").status == 400
    expanded = local_hub.ask(f"/api/datasets/{repo}/tree/main?expand=true").json
    assert {one["lastCommit"]["title"] for one in expanded} == {"initial commit", "test"}
    form = b"paths=d0&paths=missing&paths=d0/f000&expand=True"
    listing = local_hub.ask(
        f"/api/datasets/{repo}/paths-info/main", "POST", form, Content_Type="application/x-www-form-urlencoded"
    ).json
    assert [(one["type"], one["path"]) for one in listing] == [("directory", "d0"), ("file", "d0/f000")]
    assert all(one["lastCommit"]["title"] == "test" for one in listing)


def test_signed_addresses_are_valid_for_one_purpose(local_hub: RunningHub) -> None:
    repo = local_hub.create("lfs/d")
    data = b"x" * 1000
    oid = hashlib.sha256(data).hexdigest()
    batch = {"operation": "upload", "objects": [{"oid": oid, "size": len(data)}]}
    [upload] = local_hub.ask(f"/datasets/{repo}.git/info/lfs/objects/batch", "POST", batch).json["objects"]
    href = upload["actions"]["upload"]["href"]
    assert local_hub.ask(href, "PUT", data[:-1] + b"y", token=None).status == 400
    assert local_hub.ask(href, "PUT", data[:-1], token=None).status == 400
    assert local_hub.ask(href, "PUT", data * 2, token=None).status == 413
    for wrong in (href.replace("size=1000", "size=2000"), href.replace(oid, "0" * 64), href[:-2] + "zz"):
        assert local_hub.ask(wrong, "PUT", data, token=None).status == 403
    assert local_hub.ask(href, "GET", token=None).status == 403
    assert not list(local_hub.folder.glob("datasets/lfs/d.git/lfs/objects/*/*/*"))
    assert local_hub.ask(href, "PUT", data, token=None).status == 200
    [again] = local_hub.ask(f"/datasets/{repo}.git/info/lfs/objects/batch", "POST", batch).json["objects"]
    assert "actions" not in again
    batch["operation"] = "download"
    [fetch] = local_hub.ask(f"/datasets/{repo}.git/info/lfs/objects/batch", "POST", batch, token=None).json["objects"]
    assert local_hub.ask(fetch["actions"]["download"]["href"], token=None).data == data


def test_xet_tokens_are_valid_for_one_repository(local_hub: RunningHub) -> None:
    one, other = local_hub.create("stores/one"), local_hub.create("stores/other")
    store, token = (
        local_hub.ask(f"/api/datasets/{one}/xet-write-token/main").json[k] for k in ("casUrl", "accessToken")
    )
    elsewhere = local_hub.ask(f"/api/datasets/{other}/xet-write-token/main").json["casUrl"]
    assert local_hub.ask(f"{elsewhere}/v1/shards", "POST", b"x", token=token).status == 403
    assert local_hub.ask(f"{store}/v1/shards", "POST", b"x").status == 403
    assert local_hub.ask(f"{store}/v1/shards", "POST", b"x", token=None).status == 401
    assert local_hub.ask(f"{store}/v1/shards", "POST", b"x", token=token).status == 400
    assert local_hub.ask(f"{store}/v1/xorbs/default/{'a' * 64}", "POST", b"", token=token).status == 400
    assert local_hub.ask(f"{store}/v1/xorbs/default/..%2f..%2fx", "POST", b"\0" * 8, token=token).status == 400
    assert local_hub.ask(f"{store}/v1/chunks/default-merkledb/{'a' * 64}", token=token).status == 404


def test_front_matter_is_checked(local_hub: RunningHub) -> None:
    def check(content: str) -> tuple[int, dict]:  # type: ignore[type-arg]
        answer = local_hub.ask("/api/validate-yaml", "POST", {"content": content, "repoType": "dataset"}, token=None)
        return answer.status, answer.json

    assert check("---\nlanguage: [no]\n---\n")[0] == 400
    assert check("---\na: [\n---\n")[0] == 400
    status, result = check("---\nlanguage: ['no']\n---\n")
    assert (status, result["errors"], len(result["warnings"])) == (200, [], 1)


def test_the_answer_to_a_batch_of_many_large_files_is_short(local_hub: RunningHub) -> None:
    repo = local_hub.create("lfs/many")
    objects = [{"oid": f"{number:064x}", "size": 50 << 30} for number in range(1000)]
    batch = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": objects}
    answer = local_hub.ask(f"/datasets/{repo}.git/info/lfs/objects/batch", "POST", batch)
    assert len(answer.data) < 8 << 20
    parts = [len(one["actions"]["upload"].get("header", ())) for one in answer.json["objects"]]
    # As many in parts as fit, the others in one piece.
    assert parts[:24] == [401] * 24
    assert parts[24:] == [0] * 976


def test_large_bodies_are_refused_while_they_are_read(tmp_path: Path) -> None:
    with start(tmp_path, "--max-file-size", "1") as hub:
        repo = hub.create("big/d")
        data = b"x" * (2 << 20)
        oid = hashlib.sha256(data).hexdigest()
        batch = {"operation": "upload", "objects": [{"oid": oid, "size": len(data)}]}
        [upload] = hub.ask(f"/datasets/{repo}.git/info/lfs/objects/batch", "POST", batch).json["objects"]
        assert upload["error"]["code"] == 413
        files = {"files": [{"path": "a.bin", "size": len(data), "sample": ""}]}
        assert hub.ask(f"/api/datasets/{repo}/preupload/main", "POST", files).status == 413
        # Sent without a length, so that only counting finds out.
        place = urlsplit(hub.endpoint)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        pieces = iter([b'{"key":"header","value":{"summary":"s"}}\n', *[b" " * 65_536] * 40])
        address, headers = f"/api/datasets/{repo}/commit/main", {"Authorization": f"Bearer {hub.token}"}
        try:
            connection.request("POST", address, pieces, headers, encode_chunked=True)
            status = connection.getresponse().status
        except (BrokenPipeError, ConnectionResetError):
            status = 413  # the server hung up before all was sent
        finally:
            connection.close()
        assert status == 413
        assert "413" in hub.requests()[-1]
        assert not list((hub.folder / "tmp").iterdir())


def test_regular_files_have_a_size_limit(local_hub: RunningHub) -> None:
    repo = local_hub.create("regular/d")
    content = base64.b64encode(b"x" * (11 << 20)).decode()
    lines = [{"key": "header", "value": {"summary": "s"}},
             {"key": "file", "value": {"path": "a", "content": content, "encoding": "base64"}}]  # fmt: skip
    data = "\n".join(map(json.dumps, lines)).encode()
    assert local_hub.ask(f"/api/datasets/{repo}/commit/main", "POST", data).status == 413


def test_secrets_are_not_logged(local_hub: RunningHub) -> None:
    repo = local_hub.create("log/d")
    batch = {"operation": "upload", "objects": [{"oid": "a" * 64, "size": 5}]}
    [upload] = local_hub.ask(f"/datasets/{repo}.git/info/lfs/objects/batch", "POST", batch).json["objects"]
    local_hub.ask(upload["actions"]["upload"]["href"], "PUT", b"hello", token=None)
    local_hub.ask(f"/api/datasets/{repo}?token={local_hub.token}")
    text = local_hub.log.read_text("utf-8")
    assert f"PUT /datasets/{repo}.git/info/lfs/objects/{'a' * 64} 400" in text
    for secret in (local_hub.token, local_hub.read_token, "signature", "Bearer", "Basic"):
        assert secret not in text


def test_revisions_may_contain_slashes(local_hub: RunningHub) -> None:
    repo = local_hub.create("slashes/d")
    local_hub.commit(repo, {"a b/ش?.txt": b"x"})
    assert local_hub.ask(f"/api/datasets/{repo}/branch/{quote('feature/one', safe='')}", "POST", {}).status == 201
    assert local_hub.ask(f"/api/datasets/{repo}/branch/feature", "POST", {}).status == 409
    for revision in ("main", "feature%2Fone", "refs%2Fheads%2Ffeature%2Fone"):
        assert local_hub.ask(f"/datasets/{repo}/resolve/{revision}/{quote('a b/ش?.txt')}").data == b"x"
        assert local_hub.ask(f"/api/datasets/{repo}/tree/{revision}/{quote('a b', safe='')}").json[0]["size"] == 1
        assert local_hub.ask(f"/api/datasets/{repo}/revision/{revision}").status == 200
