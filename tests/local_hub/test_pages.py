"""The pages: their content, and that scripts of a repository do not run."""

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
    [upload] = local_hub.ask(f"/datasets/{repo}.git/info/lfs/objects/batch", "POST", batch).json["objects"]
    assert local_hub.ask(upload["actions"]["upload"]["href"], "PUT", train, token=None).status == 200
    lines = (
        '{"key":"header","value":{"summary":"Rows <script>x</script>"}}\n{"key":"lfsFile","value":'
        f'{{"path":"data/ur/train-00000-of-00001.parquet","oid":"{oid}","size":{len(train)}}}}}'
    )
    assert local_hub.ask(f"/api/datasets/{repo}/commit/main", "POST", lines.encode()).status == 200
    files = {"README.md": CARD.encode(), "data/broken.parquet": b"PAR1 no", "data/ur/test-0.parquet": parquet(rows)}
    local_hub.commit(repo, files | {f"more/{n}.txt": b"x" for n in range(20)} | {'odd "<b>.txt': b"x"})
    data = {"title": "Change <script>it</script> \u202e\x07", "description": EVIL + "\u202e\x1b", "pullRequest": True}
    assert local_hub.ask(f"/api/datasets/{repo}/discussions", "POST", data).status == 200
    return repo


def test_a_data_set_is_shown(local_hub: RunningHub, repo: str) -> None:
    answer = local_hub.ask(f"/datasets/{repo}", token=None)
    page = answer.text
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert '<td data-name="output" dir="rtl" lang="ur" class="text">یہ اردو کا متن ہے</td>' in page
    assert 'data-name="instruction" dir="ltr" lang="en" class="text">&lt;img src=x onerror=alert(&quot;row' in page
    assert re.search("x{1000}…</td>", page)
    assert "x" * 1001 not in page
    assert "100 rows" in page
    assert "Page 1 of 5" in page
    assert "train: 1 file" in page
    for config in ("ur", "broken", "none"):
        assert f'href="/datasets/{repo}/viewer/{config}"' in page
    assert "<strong>bold</strong>" in page
    assert f'href="/datasets/{repo}/resolve/main/data/ur/"' in page
    assert "apache-2.0" in page
    assert "LFS" in page
    assert "Change &lt;script&gt;it" in page
    assert f"git clone {local_hub.endpoint}/datasets/{repo}" in page


def test_instruction_and_output_come_first(local_hub: RunningHub, repo: str) -> None:
    page = local_hub.ask(f"/datasets/{repo}/viewer/ur", token=None).text
    assert re.findall(r"<th[^>]*>(\w+)<small>", page) == ["instruction", "output", "instruction_language", "turns"]


def test_rows_are_paged(local_hub: RunningHub, repo: str) -> None:
    last = local_hub.ask(f"/datasets/{repo}/viewer/ur/train?p=4", token=None).text
    assert "Page 5 of 5" in last
    assert last.count("<tr>") == 1 + 20
    assert "There are no more rows." in local_hub.ask(f"/datasets/{repo}/viewer/ur/train?p=99", token=None).text
    assert "Page 1 of 5" in local_hub.ask(f"/datasets/{repo}/viewer/ur/train?p=-3", token=None).text
    test = local_hub.ask(f"/datasets/{repo}/viewer/ur/test", token=None).text
    assert "2 rows" in test
    assert "Page 1" not in test
    broken = local_hub.ask(f"/datasets/{repo}/viewer/broken", token=None).text
    assert "data/broken.parquet cannot be read" in broken
    for path in ("viewer/ur/none", "viewer/fi"):
        assert local_hub.ask(f"/datasets/{repo}/{path}", token=None).status == 404, path


def test_rows_are_paged_over_files_and_row_groups(local_hub: RunningHub) -> None:
    repo = local_hub.create("pages-org/long")
    for number in range(3):
        sink = io.BytesIO()
        rows = [{"output": f"row {number * 30 + place}."} for place in range(30)]
        pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=7)
        local_hub.commit(repo, {f"data/train-{number}.parquet": sink.getvalue()})
    found: list[str] = []
    for number in range(5):
        found += re.findall(r"row \d+\.", local_hub.ask(f"/datasets/{repo}/viewer/default?p={number}", token=None).text)
    assert found == [f"row {number}." for number in range(90)]


def test_files_folders_and_commits_have_pages(local_hub: RunningHub, repo: str) -> None:
    page = local_hub.ask(f"/datasets/{repo}/blob/main/README.md", token=None)
    assert page.status == 200
    assert "# A card with &lt;script&gt;" in page.text
    odd = local_hub.ask(f"/datasets/{repo}/blob/main/odd%20%22%3Cb%3E.txt", token=None)
    assert "odd &quot;&lt;b&gt;.txt" in odd.text
    assert (
        "sha256" in local_hub.ask(f"/datasets/{repo}/blob/main/data/ur/train-00000-of-00001.parquet", token=None).text
    )
    folder = local_hub.ask(f"/datasets/{repo}/tree/main/data/ur", token=None).text
    assert folder.count("/blob/main/data/ur/") == 2
    head = local_hub.ask(f"/api/datasets/{repo}").json["sha"]
    commit = local_hub.ask(f"/datasets/{repo}/commit/{head}", token=None).text
    assert ">added<" in commit
    assert "+# A card with &lt;script&gt;" in commit
    commits = local_hub.ask(f"/datasets/{repo}/commits/main", token=None).text
    assert f"/datasets/{repo}/commit/{head}" in commits
    first = re.findall(rf"/datasets/{repo}/commit/(\w+)", commits)[-1]
    assert "initial commit" in local_hub.ask(f"/datasets/{repo}/commit/{first}", token=None).text
    for path in ("blob/main/none.txt", "tree/main/none", "commit/none", "commits/none", "blob/none/README.md"):
        assert local_hub.ask(f"/datasets/{repo}/{path}", token=None).status == 404, path


def test_every_repository_type_has_a_page(local_hub: RunningHub, repo: str) -> None:
    local_hub.create("pages-org/kind", "model")
    data, models = (local_hub.ask(f"/{plural}", token=None).text for plural in ("datasets", "models"))
    assert f'href="/datasets/{repo}"' in data
    assert 'href="/pages-org/kind"' not in data
    assert 'href="/pages-org/kind"' in models
    assert repo not in models


def test_pictures_are_served_and_html_is_sandboxed(local_hub: RunningHub) -> None:
    repo = local_hub.create("pages-org/report")
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    local_hub.commit(repo, {"plot.svg": drawing, "report.html": b"<script>1</script>", "README.md": b"![p](plot.svg)"})
    assert f'src="/datasets/{repo}/resolve/main/plot.svg"' in local_hub.ask(f"/datasets/{repo}", token=None).text
    picture = local_hub.ask(f"/datasets/{repo}/resolve/main/plot.svg", token=None)
    assert picture.headers["Content-Type"].startswith("image/svg+xml")
    assert picture.headers["Content-Security-Policy"].endswith("sandbox")
    assert f'href="/datasets/{repo}/view/main/report.html"' in local_hub.ask(f"/datasets/{repo}", token=None).text
    page = local_hub.ask(f"/datasets/{repo}/view/main/report.html", token=None)
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none'")
    assert "allow-same-origin" not in policy
    assert page.headers["Access-Control-Allow-Origin"] == "*"
    # Elsewhere it is no page, and a private one is not shared.
    assert (
        local_hub.ask(f"/datasets/{repo}/resolve/main/report.html").headers["Content-Type"]
        == "application/octet-stream"
    )
    other = local_hub.ask(f"/datasets/{repo}/view/main/plot.svg", token=None)
    assert other.headers["Content-Security-Policy"].endswith("sandbox")
    local_hub.ask(f"/api/datasets/{repo}/settings", "PUT", {"private": True})
    assert "Access-Control-Allow-Origin" not in local_hub.ask(f"/datasets/{repo}/view/main/report.html").headers
    assert local_hub.ask(f"/datasets/{repo}/view/main/report.html", token=None).status in (401, 404)


def test_scripts_of_a_repository_do_not_run(local_hub: RunningHub, repo: str) -> None:
    for path in ("/", f"/datasets/{repo}", f"/datasets/{repo}/discussions/1", f"/datasets/{repo}/tree/main"):
        page = local_hub.ask(path, token=None)
        assert page.status == 200
        assert not re.search(r"<script|<img|<iframe|javascript:|<[a-z]+ [^>]*\son[a-z]+=", page.text), path
        assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_hidden_characters_are_marked(local_hub: RunningHub, repo: str) -> None:
    """In texts, and in names of files, configurations and columns."""
    name = "ro\u202ews"
    files = {
        "README.md": f'---\nconfigs: [{{config_name: "{name}", data_files: "*.parquet"}}]\n---\n# Set\n'.encode(),
        f"{name}.parquet": parquet([{name: "a\u202eb"}]),
        f"{name}/{name}.txt": b"a",
    }
    odd = local_hub.create("pages-org/odd")
    local_hub.commit(odd, files)
    path = "ro%E2%80%AEws"
    pages = [f"/datasets/{repo}", f"/datasets/{repo}/discussions/1", f"/datasets/{odd}"]
    pages += [
        f"/datasets/{odd}/viewer/{path}",
        f"/datasets/{odd}/tree/main/{path}",
        f"/datasets/{odd}/blob/main/{path}/{path}.txt",
    ]
    for address in (*pages, f"/datasets/{odd}/commit/main"):
        page = local_hub.ask(address, token=None)
        assert page.status == 200, address
        assert not re.search(r"[\u202e\x07\x1b]", page.text), address
        assert '<span class="hidden-char">U+202E</span>' in page.text, address
        assert not re.search(r'"[^">]*<span', page.text), address


def test_other_pages_are_shown(local_hub: RunningHub, repo: str) -> None:
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


def test_an_empty_hub_shows_instructions(tmp_path, local_hub: RunningHub) -> None:  # type: ignore[no-untyped-def]
    from local_hub_fixture import start

    with start(tmp_path) as hub:
        assert f"export HF_ENDPOINT={hub.endpoint}" in hub.ask("/", token=None).text
