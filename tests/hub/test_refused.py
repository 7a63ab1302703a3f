"""Refusals, and that nothing is published after one."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from built_set import built
from local_hub_fixture import RunningHub

from x_instruction.errors import RecipeError, ShardError
from x_instruction.hashing import unsealed
from x_instruction.hub.client import check_repo, check_revision, check_tag
from x_instruction.hub.dataset_folder import check_folder

Make = Callable[..., Path]
FILE = "data/sw/train-00000-of-00002.parquet"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("refused") / "set", ("sw", "th"))


@pytest.fixture
def folder(once: Path, tmp_path: Path) -> Path:
    shutil.copytree(once, tmp_path / "set")
    return tmp_path / "set"


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, and the digests of files that were changed with it."""
    manifest = unsealed(json.loads((folder / "manifest.json").read_text()))
    change(manifest)
    for name in manifest["files"]:
        if (folder / name).exists():
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            manifest["files"][name] = digest
            for tag in manifest["languages"]:
                for split in manifest["languages"][tag]["splits"].values():
                    if name in split["files"]:
                        split["files"][name] = digest
    (folder / "manifest.json").write_text(json.dumps(manifest))


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def damaged_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def older_layout(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(version="0.1"))


def changed(folder: Path) -> None:
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-1])


def changed_card(folder: Path) -> None:
    (folder / "README.md").write_text((folder / "README.md").read_text() + "more")


def missing(folder: Path) -> None:
    (folder / FILE).unlink()


def extra(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def mixed(folder: Path) -> None:
    table = pq.read_table(folder / FILE)
    pq.write_table(table.append_column("more", table["id"]), folder / FILE)
    edit(folder, lambda manifest: None)


def not_parquet(folder: Path) -> None:
    (folder / FILE).write_bytes(b"PAR1 no, it is not PAR1")
    edit(folder, lambda manifest: None)


def lost_rows(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / FILE).slice(1), folder / FILE)
    edit(folder, lambda manifest: None)


def no_rows(folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["languages"]["sw"]["splits"] = {}
        manifest["configs"]["sw"] = {}

    edit(folder, change)


def reserved(folder: Path) -> None:
    edit(folder, lambda manifest: manifest["languages"].update(all=manifest["languages"]["sw"]))


def renamed(folder: Path, name: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for part in ("languages", "configs"):
            manifest[part][name] = manifest[part].pop("sw")
        manifest["default"] = name

    edit(folder, change)


def alias(folder: Path) -> None:
    renamed(folder, "swh")


def unknown(folder: Path) -> None:
    renamed(folder, "../sw")


def no_licence(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(re.sub(r"^license:.*\n", "", text, flags=re.MULTILINE))
    edit(folder, lambda manifest: None)


def bad_yaml(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    edit(folder, lambda manifest: None)


def outside(folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"]["../other.txt"] = "0"

    edit(folder, change)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_manifest, "expected a folder that `x-instruction build` wrote"),
        (damaged_manifest, "not a manifest of this version"),
        (older_layout, "has the layout 0.1, expected"),
        (changed, "was changed after the manifest"),
        (changed_card, "README.md was changed after"),
        (missing, "is in the manifest and is missing"),
        (extra, "has 'notes.txt', which is not in its manifest"),
        (mixed, "differs from the published columns in"),
        (not_parquet, "is not a Parquet file"),
        (lost_rows, "has 7 rows in split train, and the manifest says 8"),
        (no_rows, "the config 'sw' is empty"),
        (reserved, "the language 'all' is not named by its tag"),
        (alias, r"the language 'swh' is not named by its tag \('sw'"),
        (unknown, r"unknown language '\.\./sw'"),
        (no_licence, "states no licence"),
        (bad_yaml, "cannot read the metadata of"),
        (outside, "which is outside of the folder"),
    ],
)
def test_a_changed_folder_is_refused(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    check_folder(folder)
    damage(folder)
    with pytest.raises(ShardError, match=message):
        check_folder(folder)


@pytest.mark.parametrize(
    "repo", ["x", "a/b/c", "../b", "a/..", "a/b..c", "a/-b", "a/b--c", "a/b.git", "a/ü", "a/", "a/b\n"]
)
def test_invalid_repository_names_are_refused(repo: str) -> None:
    with pytest.raises(RecipeError, match=r"expected NAMESPACE/NAME|not a name that the Hub accepts"):
        check_repo(repo)


@pytest.mark.parametrize("name", ["", "a b", "a..b", "/a", "a/", "a.lock", "v1~", "refs/heads/x", "0" * 40, "-x"])
def test_invalid_revisions_and_tags_are_refused(name: str) -> None:
    with pytest.raises(RecipeError):
        check_revision(name)
    with pytest.raises(RecipeError):
        check_tag(name)


def test_nothing_is_written_after_a_refusal(local_hub: RunningHub, make: Make, publish: Any, tmp_path: Path) -> None:
    repo, folder, more = "refused/d", make("sw"), make("th")
    publish.many((folder, repo, "--tag", "v1", "--yes"))[0].ok()
    (tmp_path / "empty").mkdir()
    local_hub.create("refused/model", "model")
    local_hub.create("refused/foreign")
    local_hub.commit("refused/foreign", {"data/sw/train-1.parquet": b"x", "README.md": b"---\nlicense: mit\n---\n"})
    manifest = (folder / "manifest.json").read_text()

    def tampered(name: str, change: Callable[[dict[str, Any]], object]) -> str:
        """A repository with a manifest that someone changed."""
        table = unsealed(json.loads(manifest))
        change(table)
        local_hub.commit(local_hub.create(f"refused/{name}"), {"manifest.json": json.dumps(table).encode()})
        return f"refused/{name}"

    numbers = tampered("number", lambda table: table["languages"]["sw"]["splits"]["train"].update(rows=10**400))
    alias = tampered("alias", lambda table: table["languages"].update(swh=table["languages"].pop("sw")))
    false = tampered("false", lambda table: table["languages"]["sw"].update(tag="../x"))
    deep = local_hub.create("refused/deep")
    local_hub.commit(deep, {"manifest.json": b"[" * 100_000})
    before = publish.head(repo), publish.head("refused/foreign"), state(local_hub)
    cases = {
        "--tag v1 would move": ((more, repo, "--tag", "v1"), "pass --move-tag"),
        "bad tag": ((more, repo, "--tag", "a b"), "not a valid tag name"),
        "commit": ((more, repo, "--revision", before[0]), "is a commit"),
        "no such pull request": ((more, repo, "--revision", "refs/pr/9"), "no pull request refs/pr/9"),
        "both": ((more, repo, "--revision", "x", "--create-pr"), "leave out --revision"),
        "collection": ((more, repo, "--collection", f"refused/x-{'0' * 24}"), "has no collection"),
        "no folder": ((tmp_path / "none", repo), "`x-instruction build` wrote"),
        "empty": ((tmp_path / "empty", repo), "`x-instruction build` wrote"),
        "name": ((more, "refused/a..b"), "not a name that the Hub accepts"),
        "model": ((more, "refused/model"), "is a model"),
        "foreign card": ((more, "refused/foreign"), "not written by publishing"),
        "huge number": ((more, numbers), r"languages\.sw\.splits\.train\.rows: .* less than or equal"),
        "alias of a language": ((more, alias), r"the language 'swh' is not named by its tag \('sw', 'sw'\)"),
        "false language": ((more, false), r"the language 'sw' is not named by its tag \('sw', '\.\./x'\)"),
        "nested": ((more, deep), "cannot be read .*recursion"),
        "foreign rows": ((more, "refused/foreign", "--replace-card"), "are in no manifest"),
    }
    for (name, (_, message)), result in zip(
        cases.items(), publish.many(*((*case, "--yes") for case, _ in cases.values())), strict=True
    ):
        assert result.code == 1, name
        assert re.search(message, result.err), (name, result.err)
    assert (publish.head(repo), publish.head("refused/foreign"), state(local_hub)) == before


def state(hub: RunningHub) -> list[str]:
    """Every ref of every repository, and every stored large file."""
    refs = [f"{path}: {path.read_text()}" for path in hub.folder.rglob("refs/*/*") if path.is_file()]
    return sorted([*refs, *(str(path) for path in hub.folder.rglob("lfs/objects/*/*/*"))])


@pytest.mark.parametrize(
    ("token", "env", "message"),
    [
        (None, {}, "no token for .*hf auth login"),
        ("hf_wrong", {}, "does not know this token"),
        ("reader", {}, "the token of reader is read-only"),
        ("", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
def test_tokens_without_write_access_are_refused(
    local_hub: RunningHub, make: Make, publish: Any, token: str | None, env: dict[str, str], message: str
) -> None:
    before = state(local_hub)
    secret = local_hub.read_token if token == "reader" else token
    (result,) = publish.many((make("sw"), "refused/token", "--yes"), token=secret, **env)
    assert result.code == 1
    assert re.search(message, result.err), result.err
    assert "hf_wrong" not in result.err
    assert state(local_hub) == before


def test_a_token_for_another_namespace_is_refused(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo = "refused/others"
    publish.many((make("sw"), repo, "--yes"))[0].ok()
    before = state(local_hub)
    fine = (
        "import huggingface_hub\n"
        "person = {'name': 'reader', 'auth': {'accessToken': {'role': 'fineGrained'}}}\n"
        "huggingface_hub.HfApi.whoami = lambda self: person\n"
    )
    there, new = publish.many(
        (make("th"), repo, "--yes"), (make("th"), f"{repo}-new", "--yes"), token=local_hub.read_token, before=fine
    )
    assert "this token has no write access to" in there.err
    assert "this token has no permission for that" in new.err
    assert state(local_hub) == before


def test_an_edited_card_is_not_overwritten(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo = "refused/card"
    publish.many((make("sw"), repo, "--yes"))[0].ok()
    text = local_hub.ask(f"/datasets/{repo}/resolve/main/README.md").text
    changed = local_hub.commit(repo, {"README.md": f"{text}\nWords of ours.\n".encode()})
    refused, replaced = publish.many((make("th"), repo, "--yes"), (make("th"), repo, "--replace-card", "--yes"))
    assert "changed by hand" in refused.err
    assert publish.git(repo, "rev-parse", "main~1").strip() == changed
    assert "rows: sw 8, th 8" in replaced.ok()


def test_removed_files_are_detected(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo = "refused/gone"
    publish.many((make("sw"), repo, "--yes"))[0].ok()
    line = {"key": "deletedFile", "value": {"path": FILE}}
    header = {"key": "header", "value": {"summary": "gone", "description": ""}}
    data = "\n".join(map(json.dumps, [header, line])).encode()
    assert local_hub.ask(f"/api/datasets/{repo}/commit/main", "POST", data).status == 200
    refused, mended = publish.many((make("th"), repo, "--yes"), (make("sw"), repo, "--yes"))
    assert "is missing: publish the language 'sw' again" in refused.err
    assert "rows: sw 8" in mended.ok()
