"""The pages: what they show, and that nothing of a repository runs in them."""

from __future__ import annotations

import hashlib
import io
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_hub_fixture import RunningHub

CARD = """---
license: apache-2.0
language: [ur, en]
configs:
- config_name: ur
  data_files: [{split: train, path: data/ur/train-*.parquet}, {split: test, path: data/ur/test-*.parquet}]
- config_name: broken
  data_files: data/broken.parquet
- config_name: none
  data_files: missing/*
---
# A card with <script>alert("card")</script>

See [the rows](data/ur/) and **bold**.

| a | b |
|---|---|
| 1 | 2 |
"""
EVIL = '<img src=x onerror=alert("row")>'


def parquet(rows: list[dict[str, object]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


@pytest.fixture(scope="module")
def repo(local_hub: RunningHub) -> str:
    repo = local_hub.create("pages-org/d")
    rows: list[dict[str, object]] = [
        {"instruction": EVIL, "output": "یہ اردو کا متن ہے", "instruction_language": "en", "turns": [{"a": 1}]},
        {"instruction": "x" * 5000, "output": "b", "instruction_language": "en", "turns": []},
    ]
    train = parquet(rows * 50)
    oid = hashlib.sha256(train).hexdigest()
    batch = {"operation": "upload", "objects": [{"oid": oid, "size": len(train)}]}
    [told] = local_hub.ask(f"/datasets/{repo}.git/info/lfs/objects/batch", "POST", batch).json["objects"]
    assert local_hub.ask(told["actions"]["upload"]["href"], "PUT", train, token=None).status == 200
    lines = (
        '{"key":"header","value":{"summary":"Rows <script>x</script>"}}\n{"key":"lfsFile","value":'
        f'{{"path":"data/ur/train-00000-of-00001.parquet","oid":"{oid}","size":{len(train)}}}}}'
    )
    assert local_hub.ask(f"/api/datasets/{repo}/commit/main", "POST", lines.encode()).status == 200
    files = {"README.md": CARD.encode(), "data/broken.parquet": b"PAR1 no", "data/ur/test-0.parquet": parquet(rows)}
    local_hub.commit(repo, files | {f"more/{n}.txt": b"x" for n in range(20)} | {'odd "<b>.txt': b"x"})
    data = {"title": "Change <script>it</script>", "description": EVIL, "pullRequest": True}
    assert local_hub.ask(f"/api/datasets/{repo}/discussions", "POST", data).status == 200
    return repo


def test_a_data_set_is_shown(local_hub: RunningHub, repo: str) -> None:
    answer = local_hub.ask(f"/datasets/{repo}", token=None)
    page = answer.text
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert '<td dir="auto" lang="ur">یہ اردو کا متن ہے</td>' in page
    assert '<td dir="auto" lang="en">&lt;img src=x onerror=alert(&#34;row&#34;)&gt;</td>' in page
    assert re.search("x{300}…</td>", page)
    assert "x" * 301 not in page
    assert "100 rows in the first file" in page
    assert "train: 1 file" in page
    assert "data/broken.parquet cannot be read" in page
    assert "No Parquet file." in page
    assert "<strong>bold</strong>" in page
    assert f'href="/datasets/{repo}/resolve/main/data/ur/"' in page
    assert "apache-2.0" in page
    assert "LFS" in page
    assert "Change &lt;script&gt;it" in page
    assert f"git clone {local_hub.endpoint}/datasets/{repo}" in page


def test_nothing_of_a_repository_runs(local_hub: RunningHub, repo: str) -> None:
    for path in ("/", f"/datasets/{repo}", f"/datasets/{repo}/discussions/1", f"/datasets/{repo}/tree/main"):
        page = local_hub.ask(path, token=None)
        assert page.status == 200
        assert not re.search(r"<script|<img|<iframe|javascript:|<[a-z]+ [^>]*\son[a-z]+=", page.text), path
        assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_other_pages(local_hub: RunningHub, repo: str) -> None:
    home = local_hub.ask("/", token=None).text
    assert f'href="/datasets/{repo}"' in home
    assert local_hub.ask("/local-hub.css", token=None).headers["Content-Type"].startswith("text/css")
    head = local_hub.ask(f"/api/datasets/{repo}").json["sha"]
    assert local_hub.ask(f"/datasets/{repo}/commit/{head}", token=None).status == 200
    assert "A card with" not in local_hub.ask(f"/datasets/{repo}/tree/refs%2Fpr%2F9", token=None).text
    local_hub.create("pages-org/m", "model")
    local_hub.commit("pages-org/m", {"README.md": b"# My model\n\njust text"}, kind="models")
    assert '<h1 dir="auto">My model</h1>' in local_hub.ask("/pages-org/m", token=None).text
    for path in ("/pages-org/none", f"/datasets/{repo}/discussions/7", f"/datasets/{repo}/tree/none", "/none"):
        assert local_hub.ask(path).status == 404, path


def test_an_empty_hub_says_what_to_do(tmp_path, local_hub: RunningHub) -> None:  # type: ignore[no-untyped-def]
    from local_hub_fixture import start

    with start(tmp_path) as hub:
        assert f"export HF_ENDPOINT={hub.endpoint}" in hub.ask("/", token=None).text
