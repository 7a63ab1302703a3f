"""The operations of one client with a hub, one by one: ``python operations.py CLIENT REPO OTHER``.

Run by interpreters that have other versions of the Hub's libraries, so it imports them only where they are used.
Prints one JSON object: operation to "ok" or to what went wrong. ``HF_TOKEN`` may write; ``READER`` is the token of an
account that may read; ``OTHER`` names a model folder for the client ``transformers``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPERATIONS = (
    "create", "push", "load", "stream", "resume", "pr", "tag", "collection", "private", "gated", "delete",
)  # fmt: skip
ROWS = {"instruction": [f"Say {n}" for n in range(40)], "output": [f"سلام {n}" for n in range(40)]}


def folder_of_a_data_set(path: Path) -> Path:
    """Two configs as Parquet with a card, as ``build`` lays them out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    card = ["---", "license: apache-2.0", "configs:"]
    for tag in ("sw", "ur"):
        (path / tag).mkdir(parents=True)
        pq.write_table(pa.table(ROWS), path / tag / "train-00000-of-00001.parquet")
        card += [f"- config_name: {tag}", "  data_files:", "  - split: train", f"    path: {tag}/train-*.parquet"]
    (path / "README.md").write_text("\n".join([*card, "---", "# A set"]), "utf-8")
    return path


class Hub:
    """huggingface_hub alone."""

    kind = "dataset"

    def __init__(self, repo: str, other: str) -> None:
        from huggingface_hub import HfApi

        self.api, self.repo, self.other = HfApi(), repo, other
        self.reader = HfApi(token=os.environ["READER"])
        self.anonymous = HfApi(token=False)
        self.work = Path(tempfile.mkdtemp())

    def create(self) -> None:
        self.api.create_repo(self.repo, repo_type=self.kind)
        self.api.create_repo(self.repo, repo_type=self.kind, exist_ok=True)

    def push(self) -> None:
        folder = folder_of_a_data_set(self.work / "set")
        self.api.upload_folder(repo_id=self.repo, repo_type=self.kind, folder_path=folder)
        assert "ur/train-00000-of-00001.parquet" in self.api.list_repo_files(self.repo, repo_type=self.kind)

    def load(self) -> None:
        got = Path(self.anonymous.snapshot_download(self.repo, repo_type=self.kind))
        for path in (self.work / "set").rglob("*.*"):
            assert (got / path.relative_to(self.work / "set")).read_bytes() == path.read_bytes()

    def stream(self) -> None:
        from huggingface_hub import HfFileSystem

        whole = (self.work / "set/ur/train-00000-of-00001.parquet").read_bytes()
        with HfFileSystem().open(f"datasets/{self.repo}/ur/train-00000-of-00001.parquet", block_size=64) as stream:
            stream.seek(100)
            assert stream.read(50) == whole[100:150]

    def resume(self) -> None:
        from huggingface_hub import CommitOperationAdd

        operation = CommitOperationAdd("late.bin", os.urandom(200_000))
        self.api.preupload_lfs_files(self.repo, [operation], repo_type=self.kind)
        self.api.create_commit(self.repo, [operation], commit_message="late", repo_type=self.kind)
        head = self.api.repo_info(self.repo, repo_type=self.kind).sha
        again = self.api.upload_folder(repo_id=self.repo, repo_type=self.kind, folder_path=self.work / "set")
        assert again.oid == head, "what is there was sent again"

    def pr(self) -> None:
        made = self.api.upload_file(
            path_or_fileobj=b"x", path_in_repo="pr.txt", repo_id=self.repo, repo_type=self.kind, create_pr=True
        )
        assert "pr.txt" not in self.api.list_repo_files(self.repo, repo_type=self.kind)
        self.api.merge_pull_request(self.repo, made.pr_num, repo_type=self.kind)
        assert "pr.txt" in self.api.list_repo_files(self.repo, repo_type=self.kind)

    def tag(self) -> None:
        self.api.create_tag(self.repo, repo_type=self.kind, tag="v1.0.0")
        assert [tag.name for tag in self.api.list_repo_refs(self.repo, repo_type=self.kind).tags] == ["v1.0.0"]
        self.api.snapshot_download(self.repo, repo_type=self.kind, revision="v1.0.0")

    def collection(self) -> None:
        made = self.api.create_collection(f"Sets of {self.repo.split('/')[1]}", namespace="ci")
        self.api.add_collection_item(made.slug, self.repo, self.kind)
        assert [item.item_id for item in self.api.get_collection(made.slug).items] == [self.repo]

    def private(self) -> None:
        from huggingface_hub.utils import RepositoryNotFoundError

        repo = f"{self.repo}-private"
        self.api.create_repo(repo, repo_type=self.kind, private=True)
        assert self.api.repo_info(repo, repo_type=self.kind).private
        try:
            self.anonymous.repo_info(repo, repo_type=self.kind)
        except RepositoryNotFoundError:
            return
        raise AssertionError("an anonymous client sees a private repository")

    def gated(self) -> None:
        from huggingface_hub.utils import GatedRepoError

        self.api.update_repo_settings(self.repo, repo_type=self.kind, gated="manual")
        try:
            self.reader.hf_hub_download(self.repo, "late.bin", repo_type=self.kind)
        except GatedRepoError:
            self.api.update_repo_settings(self.repo, repo_type=self.kind, gated=False)
            return
        raise AssertionError("a gated file was given")

    def delete(self) -> None:
        self.api.delete_file("pr.txt", self.repo, repo_type=self.kind)
        self.api.delete_repo(self.repo, repo_type=self.kind)
        assert not self.api.repo_exists(self.repo, repo_type=self.kind)


class Datasets(Hub):
    """datasets, over the Hub's library."""

    def push(self) -> None:
        from datasets import Dataset

        for tag in ("sw", "ur"):
            Dataset.from_dict(ROWS).push_to_hub(self.repo, tag, set_default=tag == "sw")

    def load(self) -> None:
        from datasets import get_dataset_config_names, load_dataset

        assert get_dataset_config_names(self.repo) == ["sw", "ur"]
        assert load_dataset(self.repo, "ur", split="train")[39]["output"] == "سلام 39"

    def stream(self) -> None:
        from datasets import load_dataset

        assert next(iter(load_dataset(self.repo, "ur", split="train", streaming=True)))["output"] == "سلام 0"

    def resume(self) -> None:
        from datasets import Dataset, load_dataset

        # Pushed again with other rows: the new shard takes the old one's place in one commit.
        Dataset.from_dict({name: values[:7] for name, values in ROWS.items()}).push_to_hub(self.repo, "ur")
        assert len(load_dataset(self.repo, "ur", split="train")) == 7
        assert len(load_dataset(self.repo, "sw", split="train")) == 40

    def pr(self) -> None:
        from datasets import Dataset, load_dataset

        Dataset.from_dict({name: values[:3] for name, values in ROWS.items()}).push_to_hub(
            self.repo, "sw", create_pr=True
        )
        assert len(load_dataset(self.repo, "sw", split="train", revision="refs/pr/1")) == 3
        assert len(load_dataset(self.repo, "sw", split="train")) == 40

    def tag(self) -> None:
        from datasets import load_dataset

        self.api.create_tag(self.repo, repo_type=self.kind, tag="v1.0.0")
        assert len(load_dataset(self.repo, "sw", split="train", revision="v1.0.0")) == 40

    def private(self) -> None:
        from datasets import Dataset, load_dataset

        repo = f"{self.repo}-private"
        Dataset.from_dict(ROWS).push_to_hub(repo, "sw", private=True)
        assert len(load_dataset(repo, "sw", split="train", token=os.environ["HF_TOKEN"])) == 40
        try:
            # In a cache of its own: datasets uses its cache if the Hub gives nothing.
            load_dataset(repo, "sw", split="train", token=False, cache_dir=str(self.work / "nobody"))
        except Exception as error:
            # Which of the two depends on what an earlier call left in the cache.
            assert type(error).__name__ in ("DatasetNotFoundError", "RepositoryNotFoundError"), error
            return
        raise AssertionError("an anonymous client loads a private data set")

    def gated(self) -> None:
        from datasets import load_dataset

        self.api.update_repo_settings(self.repo, repo_type=self.kind, gated="manual")
        try:
            cache = str(self.work / "reader")
            load_dataset(self.repo, "sw", split="train", token=os.environ["READER"], cache_dir=cache)
        except Exception as error:
            assert "gated" in str(error), error
            return
        raise AssertionError("a gated set was loaded")

    def delete(self) -> None:
        self.api.delete_repo(self.repo, repo_type=self.kind)
        assert not self.api.repo_exists(self.repo, repo_type=self.kind)

    collection = None  # type: ignore[assignment]


class Reader(Datasets):
    """datasets as a reader: the repository is made and pushed by plain files."""

    push = Hub.push
    resume = None  # type: ignore[assignment]
    pr = None  # type: ignore[assignment]

    def private(self) -> None:
        from datasets import load_dataset

        repo = f"{self.repo}-private"
        self.api.create_repo(repo, repo_type=self.kind, private=True)
        self.api.upload_folder(repo_id=repo, repo_type=self.kind, folder_path=self.work / "set")
        assert len(load_dataset(repo, "sw", split="train", token=os.environ["HF_TOKEN"])) == 40


class Transformers(Hub):
    """transformers: a model and its tokenizer."""

    kind = "model"

    def push(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        AutoModelForCausalLM.from_pretrained(self.other).push_to_hub(self.repo)
        AutoTokenizer.from_pretrained(self.other).push_to_hub(self.repo)

    def load(self, **more: Any) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model, own = (AutoModelForCausalLM.from_pretrained(n, **m) for n, m in ((self.repo, more), (self.other, {})))
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), own.parameters(), strict=True))
        assert AutoTokenizer.from_pretrained(self.repo, **more)("rice").input_ids

    def pr(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(self.other)
        with torch.no_grad():
            next(iter(model.parameters())).zero_()
        model.push_to_hub(self.repo, create_pr=True, commit_message="zeros")
        changed = AutoModelForCausalLM.from_pretrained(self.repo, revision="refs/pr/1")
        assert not next(iter(changed.parameters())).any()

    def tag(self) -> None:
        self.api.create_tag(self.repo, tag="v1.0.0")
        self.load(revision="v1.0.0")

    def private(self) -> None:
        from transformers import AutoTokenizer

        repo = f"{self.repo}-private"
        AutoTokenizer.from_pretrained(self.other).push_to_hub(repo, private=True)
        AutoTokenizer.from_pretrained(repo)

    def gated(self) -> None:
        from transformers import AutoConfig

        self.api.update_repo_settings(self.repo, gated="manual")
        try:
            cache = str(self.work / "reader")
            AutoConfig.from_pretrained(self.repo, token=os.environ["READER"], cache_dir=cache)
        except OSError as error:
            assert "gated" in str(error), error
            return
        raise AssertionError("a gated model was loaded")

    delete = Datasets.delete
    stream = resume = collection = None  # type: ignore[assignment]


class Line:
    """The ``hf`` command."""

    def __init__(self, repo: str, other: str) -> None:
        self.repo, self.work = repo, Path(tempfile.mkdtemp())
        self.program = str(Path(sys.executable).parent / "hf")

    def run(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [self.program, *arguments], capture_output=True, text=True, check=False, env=os.environ | environment
        )
        if done.returncode:
            raise RuntimeError(f"hf {' '.join(arguments)}: {done.stdout} {done.stderr}")
        return done.stdout

    def create(self) -> None:
        self.run("repos", "create", self.repo, "--repo-type", "dataset")

    def push(self) -> None:
        folder = folder_of_a_data_set(self.work / "set")
        self.run("upload", self.repo, str(folder), ".", "--repo-type", "dataset")

    def load(self) -> None:
        self.run("download", self.repo, "--repo-type", "dataset", "--local-dir", str(self.work / "down"))
        name = "ur/train-00000-of-00001.parquet"
        assert (self.work / "down" / name).read_bytes() == (self.work / "set" / name).read_bytes()

    def resume(self) -> None:
        (self.work / "set" / "more.txt").write_text("more")
        self.run("upload", self.repo, str(self.work / "set"), ".", "--repo-type", "dataset")

    def pr(self) -> None:
        (self.work / "pr.txt").write_text("x")
        self.run("upload", self.repo, str(self.work / "pr.txt"), "pr.txt", "--repo-type", "dataset", "--create-pr")

    def tag(self) -> None:
        self.run("repos", "tag", "create", self.repo, "v1.0.0", "--repo-type", "dataset")
        assert "v1.0.0" in self.run("repos", "tag", "list", self.repo, "--repo-type", "dataset")

    def private(self) -> None:
        self.run("repos", "create", f"{self.repo}-private", "--repo-type", "dataset", "--private")

    def delete(self) -> None:
        self.run("repos", "delete", self.repo, "--repo-type", "dataset", "--yes")


class Git:
    """Plain ``git``: what it can do is clone and fetch."""

    def __init__(self, repo: str, other: str) -> None:
        from huggingface_hub import HfApi

        self.api, self.repo, self.work = HfApi(), repo, Path(tempfile.mkdtemp())
        self.address = f"{os.environ['HF_ENDPOINT']}/datasets/{repo}"
        self.api.create_repo(repo, repo_type="dataset")
        self.api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder_of_a_data_set(self.work / "set"))

    def run(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"git {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def load(self) -> None:
        clone = self.work / "clone"
        self.run("clone", "-q", self.address, str(clone))
        assert (clone / "README.md").read_text("utf-8") == (self.work / "set/README.md").read_text("utf-8")
        self.run("-C", str(clone), "fsck", "--strict")

    def tag(self) -> None:
        self.api.create_tag(self.repo, repo_type="dataset", tag="v1.0.0")
        self.run("clone", "-q", "--branch", "v1.0.0", self.address, str(self.work / "tagged"))

    def pr(self) -> None:
        self.api.upload_file(
            path_or_fileobj=b"x", path_in_repo="pr.txt", repo_id=self.repo, repo_type="dataset", create_pr=True
        )
        clone = str(self.work / "clone")
        self.run("-C", clone, "fetch", "-q", "origin", "refs/pr/1:pr")
        assert self.run("-C", clone, "show", "pr:pr.txt") == "x"

    def private(self) -> None:
        repo = f"{self.repo}-private"
        self.api.create_repo(repo, repo_type="dataset", private=True)
        address = self.address + "-private"
        try:
            self.run("clone", "-q", address, str(self.work / "no"))
        except RuntimeError:
            signed = address.replace("//", f"//user:{os.environ['READER']}@")
            self.run("clone", "-q", signed, str(self.work / "yes"))
            return
        raise AssertionError("an anonymous client clones a private repository")


CLIENTS: dict[str, Any] = {
    "hub": Hub, "datasets": Datasets, "reader": Reader, "transformers": Transformers, "hf": Line, "git": Git,
}  # fmt: skip


def perform(name: str, operation: Callable[[], None]) -> str:
    try:
        operation()
    except Exception:
        return traceback.format_exc()[-1_500:]
    return "ok"


if __name__ == "__main__":
    client = CLIENTS[sys.argv[1]](*sys.argv[2:4])
    found = {n: perform(n, getattr(client, n)) for n in OPERATIONS if getattr(client, n, None) is not None}
    print(json.dumps(found))
