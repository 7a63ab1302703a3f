"""Buckets: the Hub's own client over them, with Xet, and requests that no client makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from local_hub_fixture import RunningHub, start

from x_instruction.local_hub import buckets
from x_instruction.local_hub.buckets import Bucket
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.xet import MADE_CHUNK, MADE_XORB, made_xorb, reconstruction
from x_instruction.storage.atomic import TempDir, file_digest

CLIENT = """
    import os, sys
    from pathlib import Path
    from huggingface_hub import HfApi, HfFileSystem
    from huggingface_hub.errors import BucketNotFoundError
    api, fs, home = HfApi(), HfFileSystem(), Path(os.environ["HF_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    url = api.create_bucket("life/b", private=True)
    assert (url.bucket_id, api.create_bucket("life/b", exist_ok=True).bucket_id) == ("life/b", "life/b")
    assert api.create_bucket("alone").bucket_id == "ci/alone"
    large = os.urandom(17 << 20)
    (home / "large").write_bytes(large)
    api.batch_bucket_files("life/b", add=[(b"hello", "a/x y.txt"), (b"", "a/empty"), (home / "large", "large.bin")])
    info = api.bucket_info("life/b")
    assert (info.private, info.size, info.total_files) == (True, len(large) + 5, 3)
    assert [bucket.id for bucket in api.list_buckets(namespace="life", search="B")] == ["life/b"]
    assert [entry.path for entry in api.list_bucket_tree("life/b", recursive=False)] == ["a", "large.bin"]
    tree = {entry.path: entry.size for entry in api.list_bucket_tree("life/b")}
    assert tree == {"a/empty": 0, "a/x y.txt": 5, "large.bin": len(large)}, tree
    [one] = api.get_bucket_paths_info("life/b", ["a/x y.txt", "none"])
    assert (one.path, one.size) == ("a/x y.txt", 5)
    files = [("a/x y.txt", home / "x"), ("a/empty", home / "empty"), ("large.bin", home / "back")]
    api.download_bucket_files("life/b", files)
    assert [(home / name).read_bytes() for name in ("x", "empty", "back")] == [b"hello", b"", large]

    assert fs.cat_file("buckets/life/b/a/x y.txt") == b"hello"
    with fs.open("buckets/life/b/large.bin") as stream:
        stream.seek(MADE_XORB - 10)
        assert stream.read(20) == large[MADE_XORB - 10 : MADE_XORB + 10]
    fs.pipe_file("buckets/life/b/new", b"1", mode="create")
    try:
        fs.pipe_file("buckets/life/b/new", b"2", mode="create")
    except FileExistsError:
        pass
    else:
        raise AssertionError
    fs.cp_file("buckets/life/b/a/x y.txt", "buckets/ci/alone/copy.txt")
    fs.rm("buckets/life/b/new")
    found = [path.removeprefix("buckets/life/b/") for path in fs.find("buckets/life/b")]
    assert found == ["a/empty", "a/x y.txt", "large.bin"]
    assert fs.cat_file("buckets/ci/alone/copy.txt") == b"hello"

    (home / "sync").mkdir()
    (home / "sync" / "1.txt").write_text("one")
    plan = api.sync_bucket(str(home / "sync"), "hf://buckets/life/b/sync", quiet=True)
    assert plan.summary()["uploads"] == 1
    assert api.sync_bucket(str(home / "sync"), "hf://buckets/life/b/sync", quiet=True).summary()["skips"] == 1
    api.update_bucket_settings("life/b", private=False)
    api.move_bucket("life/b", "life/c")
    assert not api.bucket_info("life/c").private
    api.delete_bucket("life/c")
    api.delete_bucket("life/c", missing_ok=True)
    try:
        api.bucket_info("life/c")
    except BucketNotFoundError:
        print("done")
""".replace("MADE_XORB", str(MADE_XORB))


def test_a_bucket_can_be_created_filled_and_deleted(local_hub: RunningHub) -> None:
    assert local_hub.python(CLIENT).splitlines()[-1] == "done"


def test_uploads_are_remembered_after_a_restart(tmp_path: Path) -> None:
    add = {"type": "addFile", "xetHash": "", "mtime": 0}
    with start(tmp_path) as hub:
        hub.python("from huggingface_hub import HfApi; HfApi().create_bucket('a/b')")
        hub.python("from huggingface_hub import HfApi; HfApi().batch_bucket_files('a/b', add=[(b'kept', 'one')])")
        [one] = hub.ask("/api/buckets/a/b/tree").json
        lines = [
            add | {"path": path, "xetHash": digest} for path, digest in (("two", one["xetHash"]), ("no", "0" * 64))
        ]
    with start(tmp_path) as hub:
        answer = hub.ask("/api/buckets/a/b/batch", "POST", "\n".join(map(json.dumps, lines)).encode())
        assert (answer.status, [one["path"] for one in answer.json["failed"]]) == (200, ["no"])
        assert "upload it again" in answer.json["failed"][0]["error"]
        assert hub.ask("/buckets/a/b/resolve/two").data == b"kept"


def test_a_tree_is_listed_in_pages(local_hub: RunningHub) -> None:
    files = make(local_hub, "pages/b")
    for number in range(1005):
        (files / f"{number:04d}").touch()
    first = local_hub.ask("/api/buckets/pages/b/tree?recursive=true")
    address, _, rel = first.headers["Link"].partition(";")
    second = local_hub.ask(address.strip("<>"))
    assert (rel.strip(), len(first.json), second.headers["Link"]) == ('rel="next"', 1000, None)
    assert [one["path"] for one in first.json + second.json] == [f"{number:04d}" for number in range(1005)]


def make(hub: RunningHub, bucket: str, **more: Any) -> Path:
    assert hub.ask(f"/api/buckets/{bucket}", "POST", more).status == 200
    return hub.folder / "buckets" / bucket / "files"


def test_files_written_by_a_job_are_in_the_bucket(local_hub: RunningHub, tmp_path: Path) -> None:
    files = make(local_hub, "mount/b")
    (files / "in").mkdir(parents=True)
    (files / "in" / "one").write_text("first")
    (tmp_path / "secret").write_text("secret")
    (files / "link").symlink_to(tmp_path / "secret")
    (files / "out").symlink_to(tmp_path)

    def tree() -> dict[str, str]:
        answer = local_hub.ask("/api/buckets/mount/b/tree?recursive=true").json
        return {one["path"]: one["xetHash"] for one in answer}

    before = tree()
    assert list(before) == ["in/one"]
    (files / "in" / "one").write_text("other")
    assert tree()["in/one"] != before["in/one"]
    assert local_hub.ask("/buckets/mount/b/resolve/in/one").data == b"other"
    for path in ("link", "out/secret"):
        assert local_hub.ask(f"/buckets/mount/b/resolve/{path}").status == 404
        assert local_hub.ask("/api/buckets/mount/b/paths-info", "POST", {"paths": [path]}).json == []
    delete = {"type": "deleteFile", "path": "out/secret"}
    assert local_hub.ask("/api/buckets/mount/b/batch", "POST", delete).status == 422
    assert (tmp_path / "secret").exists()


def test_permissions_are_enforced(local_hub: RunningHub) -> None:
    make(local_hub, "roles/b", visibility="private")
    writes: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", "/api/buckets/roles/new", {}),
        ("DELETE", "/api/buckets/roles/b", None),
        ("PUT", "/api/buckets/roles/b/settings", {"private": False}),
        ("POST", "/api/buckets/roles/b/batch", {"type": "deleteFile", "path": "x"}),
        ("GET", "/api/buckets/roles/b/xet-write-token", None),
        ("POST", "/api/repos/move", {"fromRepo": "roles/b", "toRepo": "roles/c", "type": "bucket"}),
    ]
    for method, path, data in writes:
        assert local_hub.ask(path, method, data, token=None).status == 401, path
        assert local_hub.ask(path, method, data, token=local_hub.read_token).status == 403, path
    for path in ("", "/tree", "/tree/x", "/xet-read-token"):
        hidden, missing = (local_hub.ask(f"/api/buckets/roles/{name}{path}", token=None) for name in ("b", "missing"))
        assert (hidden.status, hidden.headers["X-Error-Code"], hidden.data) == (401, "RepoNotFound", missing.data)
        assert local_hub.ask(f"/api/buckets/roles/b{path}", token=local_hub.read_token).status == 200
        assert local_hub.ask(f"/api/buckets/roles/missing{path}").status == 404
    assert local_hub.ask("/api/buckets/roles", token=None).json == []
    assert local_hub.ask("/api/buckets/me", token=None).status == 401


def test_a_token_is_valid_for_one_store_and_purpose(local_hub: RunningHub) -> None:
    make(local_hub, "store/a")
    make(local_hub, "store/b")
    a, b = (local_hub.ask(f"/api/buckets/store/{name}/xet-write-token").json for name in "ab")
    read = local_hub.ask("/api/buckets/store/a/xet-read-token").json
    assert local_hub.ask(f"{a['casUrl']}/v1/shards", "POST", b"x", token=b["accessToken"]).status == 403
    assert local_hub.ask(f"{a['casUrl']}/v1/shards", "POST", b"x", token=read["accessToken"]).status == 403
    assert local_hub.ask(f"{a['casUrl']}/v1/shards", "POST", b"x", token=a["accessToken"]).status == 400
    assert local_hub.ask(f"{a['casUrl']}/v1/shards", "POST", b"x", token=None).status == 401
    made = f"{a['casUrl']}/v1/made/{'0' * 64}/0"
    assert local_hub.ask(made, token=read["accessToken"]).status == 403
    assert local_hub.ask(f"{read['casUrl']}/v1/reconstructions/{'0' * 64}", token=read["accessToken"]).status == 404


@pytest.mark.parametrize(
    "path", ["../../escape", "/etc/passwd", "a/../b", "a//b", ".git/config", "a\\b", "a\0b", "", "x" * 1025]
)
def test_paths_outside_of_the_bucket_are_refused(local_hub: RunningHub, path: str) -> None:
    local_hub.ask("/api/buckets/hostile/b", "POST", {})
    lines = [{"type": kind, "path": path, "xetHash": "0" * 64} for kind in ("addFile", "copyFile", "deleteFile")]
    lines[1] |= {"sourceRepoType": "bucket", "sourceRepoId": "../hostile"}
    answer = local_hub.ask("/api/buckets/hostile/b/batch", "POST", "\n".join(map(json.dumps, lines)).encode())
    assert (answer.status, len(answer.json["failed"])) == (422, 3)
    assert local_hub.ask("/api/buckets/hostile/b/paths-info", "POST", {"paths": [path]}).status == 400
    assert local_hub.ask(f"/buckets/hostile/b/resolve/{quote(path, safe='')}").status in (400, 404)
    assert local_hub.ask(f"/api/buckets/hostile/b/tree/{quote(path, safe='')}").status in (200, 400)


@pytest.mark.parametrize(
    ("method", "path", "data", "status"),
    [
        ("POST", "%2e%2e/x", {}, 400),
        ("POST", "a/%2e%2e%2fx", {}, 400),
        ("POST", "api/x", {}, 400),
        ("GET", "%2e%2e/%2e%2e", None, 404),
        ("GET", "%2e%2e%2f..%2f..", None, 404),
        ("POST", "hostile/b/batch", b"[]", 400),
        ("POST", "hostile/b/batch", b"{", 400),
        ("POST", "hostile/b/batch", b"[" * 100_000, 400),
        ("POST", "hostile/b/batch", {"type": "addFile", "path": 1}, 400),
        ("POST", "hostile/b/batch", {"type": "rename", "path": "a"}, 400),
        ("POST", "hostile/b/batch", {"type": "addFile", "path": "a", "xetHash": 1}, 422),
        ("POST", "hostile/b/batch", b"\n" * 30_000, 413),
        ("POST", "hostile/b/paths-info", {"paths": "a"}, 400),
        ("POST", "hostile/b/paths-info", {"paths": [1]}, 400),
        ("PUT", "hostile/b/settings", {"private": "no"}, 400),
        ("POST", "hostile/other", {"visibility": "everyone"}, 400),
    ],
)
def test_hostile_requests_are_refused(local_hub: RunningHub, method: str, path: str, data: Any, status: int) -> None:
    local_hub.ask("/api/buckets/hostile/b", "POST", {})
    answer = local_hub.ask(f"/api/buckets/{path}", method, data)
    assert answer.status == status, answer.text


def test_a_huge_batch_is_refused(local_hub: RunningHub) -> None:
    make(local_hub, "huge/b")
    assert local_hub.ask("/api/buckets/huge/b/batch", "POST", b"{}", Content_Length="99999999").status == 413


def test_a_file_cannot_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    bucket = Bucket(tmp_path / "b", TempDir(tmp_path / "tmp"))
    bucket.put("a/b", [b"x"], "0" * 64, 0)
    for path in ("a", "a/b/c"):
        with pytest.raises(Exception, match="a file and a folder of one name"):
            bucket.put(path, [b"y"], "1" * 64, 0)
    bucket.delete("a")
    assert bucket.find("a/b").hash == "0" * 64
    bucket.delete("a/b")
    assert not list(bucket.files.iterdir())


def test_a_file_removed_during_listing_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def removed(path: Path) -> str:
        path.unlink()
        return file_digest(path)

    (tmp_path / "bucket" / "files").mkdir(parents=True)
    bucket = Bucket(tmp_path / "bucket", TempDir(tmp_path / "scratch"))
    bucket.put("kept", [b"1"], "0" * 64, 0.0)
    (bucket.files / ".part.tmp").write_bytes(b"2")
    monkeypatch.setattr(buckets, "file_digest", removed)
    assert [entry.path for entry in bucket.tree("", True)] == ["kept"]
    (bucket.files / "gone").write_bytes(b"3")
    with pytest.raises(Refused) as error:
        bucket.find("gone")
    assert error.value.status == 404
    bucket.close()


def test_reconstructions_cover_every_range() -> None:
    size = 2 * MADE_XORB + MADE_CHUNK + 7
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    xorbs = [made_xorb(data[at : at + MADE_XORB]) for at in range(0, size, MADE_XORB)]
    for begin, end in ((0, size), (5, 6), (MADE_XORB - 1, MADE_XORB + 1), (size - 3, size), (MADE_CHUNK, MADE_XORB)):
        plan = reconstruction("f" * 64, size, begin, end, str)
        found = b""
        for term in plan["terms"]:
            [part] = plan["fetch_info"][term["hash"]]
            span = part["url_range"]
            packed = xorbs[int(part["url"])][span["start"] : span["end"] + 1]
            chunks = term["range"]["end"] - term["range"]["start"]
            plain = b"".join(packed[at + 8 : at + 8 + MADE_CHUNK] for at in range(0, len(packed), 8 + MADE_CHUNK))
            assert (len(plain), chunks) == (term["unpacked_length"], -(-len(plain) // MADE_CHUNK))
            found += plain
        offset = plan["offset_into_first_range"]
        assert found[offset : offset + end - begin] == data[begin:end]
