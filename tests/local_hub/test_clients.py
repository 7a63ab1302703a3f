"""The Hub's own clients, unmodified, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from local_hub_fixture import RunningHub

HF = str(Path(sys.executable).parent / "hf")
# With Xet, as clients are installed, and without, as git-lfs.
MODES = pytest.mark.parametrize("mode", [{}, {"HF_HUB_DISABLE_XET": "1"}], ids=["xet", "lfs"])

UPLOADS = """
    import hashlib, os, pathlib, sys
    from huggingface_hub import HfApi, CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
    from huggingface_hub import hf_hub_download, snapshot_download
    repo, folder, kind = sys.argv[1], pathlib.Path(sys.argv[2]), "dataset"
    api = HfApi()
    api.create_repo(repo, repo_type=kind)
    api.create_repo(repo, repo_type=kind, exist_ok=True)
    (folder / "sub").mkdir(parents=True)
    text = b"row\\n" * 400_000
    contents = {"a.txt": b"small", "empty.txt": b"", "b.bin": os.urandom(300_000), "sub/c.parquet": text,
                "sub/floats.bin": b"".join(n.to_bytes(4, "little") for n in range(100_000)), "sub/ش ?.txt": b"y"}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    one = api.upload_file(path_or_fileobj=b"alone", path_in_repo="alone.bin", repo_id=repo, repo_type=kind)
    api.upload_folder(repo_id=repo, repo_type=kind, folder_path=folder)
    listed = set(api.list_repo_files(repo, repo_type=kind))
    assert listed == {*contents, "alone.bin", ".gitattributes"}, listed
    head = api.repo_info(repo, repo_type=kind).sha
    again = api.upload_folder(repo_id=repo, repo_type=kind, folder_path=folder)
    assert again.oid == head, "what did not change makes no commit"
    info = {e.path: e for e in api.list_repo_tree(repo, repo_type=kind, recursive=True)}
    assert info["sub/c.parquet"].lfs.sha256 == hashlib.sha256(text).hexdigest()
    assert info["a.txt"].lfs is None and info["sub/c.parquet"].size == len(text)
    api.create_commit(repo, repo_type=kind, commit_message="three things", parent_commit=head, operations=[
        CommitOperationAdd("new.bin", b"n" * 1000),
        CommitOperationCopy("sub/c.parquet", "copy.parquet"),
        CommitOperationCopy("a.txt", "copy.txt"),
        CommitOperationDelete("b.bin"),
    ])
    del contents["b.bin"]
    contents |= {"new.bin": b"n" * 1000, "copy.parquet": text, "copy.txt": b"small", "alone.bin": b"alone"}
    got = pathlib.Path(snapshot_download(repo, repo_type=kind))
    for name, data in contents.items():
        assert (got / name).read_bytes() == data, name
    assert not (got / "b.bin").exists()
    old = hf_hub_download(repo, "b.bin", repo_type=kind, revision=head)
    assert pathlib.Path(old).read_bytes() == (folder / "b.bin").read_bytes()
    local = snapshot_download(repo, repo_type=kind, local_dir=folder / "local", allow_patterns="*.txt")
    assert (pathlib.Path(local) / "sub/ش ?.txt").read_bytes() == b"y" and not (pathlib.Path(local) / "new.bin").exists()
    bad = api.verify_repo_checksums(repo, repo_type=kind, local_dir=local)
    assert not bad.mismatches, bad
    from huggingface_hub import HfFileSystem
    with HfFileSystem().open(f"datasets/{repo}/sub/c.parquet", block_size=1000) as stream:
        stream.seek(1_000_000)
        assert stream.read(8) == text[1_000_000:1_000_008]
"""


@MODES
def test_files_are_uploaded_and_downloaded(local_hub: RunningHub, tmp_path: Path, mode: dict[str, str]) -> None:
    repo = f"uploads/{'lfs' if mode else 'xet'}"
    before = len(local_hub.requests())
    local_hub.python(UPLOADS, repo, str(tmp_path / "files"), **mode)
    made = local_hub.requests()[before:]
    assert any("/xet/" in line for line in made) is not bool(mode)
    assert any("info/lfs/objects/batch" in line for line in made) is bool(mode)
    git = ["git", "-C", str(local_hub.folder / "datasets" / f"{repo}.git")]
    assert not subprocess.run([*git, "fsck", "--strict"], check=True, capture_output=True, text=True).stdout


PUBLISH = """
    import sys
    from datasets import Dataset, DatasetDict
    from huggingface_hub import DatasetCard, DatasetCardData, HfApi
    repo = sys.argv[1]
    for tag, word in (("sw", "habari"), ("ur", "سلام")):
        rows = {"instruction": [f"Say {n}" for n in range(50)], "output": [f"{word} {n}" for n in range(50)]}
        sets = DatasetDict(train=Dataset.from_dict(rows), test=Dataset.from_dict({k: v[:5] for k, v in rows.items()}))
        sets.push_to_hub(repo, tag, set_default=tag == "sw")
    api = HfApi()
    api.create_tag(repo, repo_type="dataset", tag="v1.0", tag_message="the first")
    api.create_branch(repo, repo_type="dataset", branch="old")
    card = DatasetCard.load(repo)
    card.data.license, card.data.language = "apache-2.0", ["sw", "ur"]
    card.push_to_hub(repo)
    Dataset.from_dict({"instruction": ["x"], "output": ["tatu"]}).push_to_hub(repo, "sw", create_pr=True)
    card.data.language = ["sw", False]
    try:
        card.push_to_hub(repo)
    except ValueError as error:
        assert "must be a string" in str(error), error
    else:
        raise AssertionError("bad metadata was taken")
"""
LOAD = """
    import json, sys
    from datasets import get_dataset_config_names, load_dataset
    repo = sys.argv[1]
    assert get_dataset_config_names(repo) == ["sw", "ur"]
    assert load_dataset(repo, split="train")[0] == {"instruction": "Say 0", "output": "habari 0"}
    assert load_dataset(repo, "ur", split="test")[4]["output"] == "سلام 4"
    assert next(iter(load_dataset(repo, "ur", split="train", streaming=True)))["output"] == "سلام 0"
    for revision in ("v1.0", "old"):
        assert len(load_dataset(repo, "sw", split="train", revision=revision)) == 50
    assert load_dataset(repo, "sw", split="train", revision="refs/pr/1")[0]["output"] == "tatu"
    import pandas
    files = f"hf://datasets/{repo}/ur/train-*.parquet"
    assert len(load_dataset("parquet", data_files=files, split="train")) == 50
    assert len(pandas.read_parquet(f"hf://datasets/{repo}/ur/test-00000-of-00001.parquet")) == 5
"""


@MODES
def test_data_sets_are_published_and_loaded(local_hub: RunningHub, mode: dict[str, str]) -> None:
    repo = f"sets/{'lfs' if mode else 'xet'}"
    local_hub.create(repo)
    local_hub.python(PUBLISH, repo, **mode)
    local_hub.python(LOAD, repo, token=None, **mode)
    info = local_hub.ask(f"/api/datasets/{repo}").json
    assert info["cardData"]["language"] == ["sw", "ur"]
    assert {"license:apache-2.0", "language:ur"} <= set(info["tags"])


MODELS = """
    import sys, torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from huggingface_hub import HfApi, ModelCard, ModelCardData
    repo, folder = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.push_to_hub(repo, max_shard_size="200KB")
    AutoTokenizer.from_pretrained(folder).push_to_hub(repo)
    data = ModelCardData(license="mit", language="sw", library_name="transformers", pipeline_tag="text-generation")
    ModelCard(f"---\\n{data.to_yaml()}\\n---\\n# A model").push_to_hub(repo)
    back = AutoModelForCausalLM.from_pretrained(repo)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), back.parameters(), strict=True))
    new, old = AutoTokenizer.from_pretrained(repo), AutoTokenizer.from_pretrained(folder)
    assert new("rice").input_ids == old("rice").input_ids
    info = HfApi().model_info(repo)
    assert (info.pipeline_tag, info.library_name, info.card_data.license) == ("text-generation", "transformers", "mit")
    assert sum(name.endswith(".safetensors") for name in (s.rfilename for s in info.siblings)) > 1
"""


def test_models_are_published_and_loaded(local_hub: RunningHub, tiny_model: Path) -> None:
    local_hub.python(MODELS, "models-org/tiny", str(tiny_model))


def test_the_command_line_client_works(local_hub: RunningHub, tmp_path: Path) -> None:
    env = local_hub.env(home="cli")
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "a.txt").write_text("hello")
    (tmp_path / "up" / "b.parquet").write_bytes(b"PAR1" * 100)
    (tmp_path / "up" / ".gitignore").write_text("*.log\n")
    (tmp_path / "up" / "c.log").write_text("not this")
    assert "ci" in local_hub.run([HF, "auth", "whoami"], env)
    local_hub.run([HF, "repos", "create", "cli/d", "--repo-type", "dataset"], env)
    local_hub.run([HF, "upload", "cli/d", str(tmp_path / "up"), ".", "--repo-type", "dataset"], env)
    local_hub.run([HF, "download", "cli/d", "--repo-type", "dataset", "--local-dir", str(tmp_path / "down")], env)
    assert (tmp_path / "down" / "a.txt").read_text() == "hello"
    assert (tmp_path / "down" / "b.parquet").read_bytes() == b"PAR1" * 100
    assert not (tmp_path / "down" / "c.log").exists()
    shown = local_hub.run([HF, "datasets", "info", "cli/d", "--json"], env)
    assert json.loads(shown)["id"] == "cli/d"


def test_git_can_clone(local_hub: RunningHub, tmp_path: Path) -> None:
    repo = local_hub.create("git/d", visibility="private")
    first = local_hub.commit(repo, {"a.txt": b"one", "data/b/c.txt": "سلام".encode()})
    for path, data in ((f"tag/{first}", {"tag": "v1", "message": "with words"}), ("tag/main", {"tag": "plain"}),
                       ("branch/feature%2Fx", {})):  # fmt: skip
        assert local_hub.ask(f"/api/datasets/{repo}/{path}", "POST", data).status == 201
    local_hub.commit(repo, {"a.txt": b"two"})
    env = local_hub.env(token=None)
    address = f"{local_hub.endpoint}/datasets/{repo}"
    refused = subprocess.run(
        ["git", "clone", "-q", address, tmp_path / "no"], env=env, capture_output=True, check=False
    )
    assert refused.returncode != 0
    signed = address.replace("//", f"//user:{local_hub.read_token}@")
    for suffix in ("", ".git"):
        clone = tmp_path / f"clone{suffix}"
        local_hub.run(["git", "clone", "-q", signed + suffix, str(clone)], env)
        assert (clone / "a.txt").read_text() == "two"
        assert (clone / "data/b/c.txt").read_text("utf-8") == "سلام"
        assert "error" not in local_hub.run(["git", "-C", str(clone), "fsck", "--strict"], env)
        assert local_hub.run(["git", "-C", str(clone), "show", "v1:a.txt"], env) == "one"
        branches = local_hub.run(["git", "-C", str(clone), "branch", "-r"], env)
        assert "origin/feature/x" in branches
    pushed = subprocess.run(["git", "-C", clone, "push", "-q", "origin", "HEAD:refs/heads/y"], env=env,
                            capture_output=True, text=True, check=False)  # fmt: skip
    assert pushed.returncode != 0


def test_git_clones_have_pointers_of_large_files(local_hub: RunningHub, tmp_path: Path) -> None:
    code = """
        import sys
        from huggingface_hub import HfApi
        HfApi().upload_file(path_or_fileobj=b"\\0" * 5000, path_in_repo="odd name.dat", repo_id=sys.argv[1])
    """
    repo = local_hub.create("git/m", "model")
    local_hub.python(code, repo)
    # A global git-lfs of this machine would turn the pointer into the file.
    env = local_hub.env(GIT_LFS_SKIP_SMUDGE="1")
    local_hub.run(["git", "clone", "-q", f"{local_hub.endpoint}/{repo}", str(tmp_path / "clone")], env)
    assert (tmp_path / "clone/odd name.dat").read_text().startswith("version https://git-lfs.github.com/spec/v1\noid")
    tracked = local_hub.run(["git", "-C", str(tmp_path / "clone"), "check-attr", "filter", "odd name.dat"], env)
    assert tracked.strip().endswith("filter: lfs")
