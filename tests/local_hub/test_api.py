"""``HfApi`` for everything but files: refs, history, pull requests, collections, access."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_ratelimit_headers
from local_hub_fixture import Api, RunningHub, start

# The client's upload without Xet uses a deprecated feature of its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def fails(status: int, call: Any, *arguments: Any, kind: type[HfHubHTTPError] = HfHubHTTPError, **more: Any) -> None:
    with pytest.raises(kind) as error:
        call(*arguments, **more)
    assert error.value.response.status_code == status


def add(path: str, data: bytes = b"x") -> CommitOperationAdd:
    return CommitOperationAdd(path, data)


def test_repositories_are_created_described_moved_and_deleted(api: Api) -> None:
    hub = api()
    for kind in ("model", "dataset"):
        url = hub.create_repo("life/r", repo_type=kind)
        assert (url.repo_id, url.repo_type) == ("life/r", kind)
        fails(409, hub.create_repo, "life/r", repo_type=kind)
        assert hub.create_repo("life/r", repo_type=kind, exist_ok=True).repo_id == "life/r"
    assert hub.create_repo("life/space", repo_type="space", space_sdk="static").repo_type == "space"
    assert hub.space_info("life/space").sdk == "static"
    assert hub.create_repo("alone", repo_type="dataset").repo_id == "ci/alone"
    info = hub.dataset_info("life/r", files_metadata=True)
    assert (info.author, info.private, info.gated, len(info.sha)) == ("life", False, False, 40)
    assert [(one.rfilename, one.size > 0, one.lfs) for one in info.siblings] == [(".gitattributes", True, None)]
    assert info.last_modified >= info.created_at.replace(microsecond=0)
    assert [one.id for one in hub.list_datasets(author="life")] == ["life/r"]
    assert [one.id for one in hub.list_models(search="IFE/R")] == ["life/r"]
    assert not list(hub.list_datasets(author="nobody"))
    hub.move_repo("life/r", "other/moved", repo_type="dataset")
    assert hub.repo_exists("other/moved", repo_type="dataset")
    assert hub.dataset_info("life/r").id == "other/moved"
    fails(409, hub.move_repo, "life/r", "life/r", repo_type="model")
    fails(404, hub.move_repo, "life/none", "life/x", repo_type="model", kind=RepositoryNotFoundError)
    hub.delete_repo("other/moved", repo_type="dataset")
    fails(404, hub.dataset_info, "other/moved", kind=RepositoryNotFoundError)
    fails(404, hub.delete_repo, "other/moved", repo_type="dataset", kind=RepositoryNotFoundError)
    hub.delete_repo("other/moved", repo_type="dataset", missing_ok=True)
    hub.create_repo("other/moved", repo_type="dataset")
    assert len(hub.list_repo_commits("other/moved", repo_type="dataset")) == 1


def test_commits_can_be_made_and_listed(api: Api, local_hub: RunningHub) -> None:
    hub, d = api(), {"repo_id": "apis/commits", "repo_type": "dataset"}
    hub.create_repo(**d)
    first = hub.create_commit(**d, operations=[add("a/x"), add("a/y"), add("b")], commit_message="one",
                              commit_description="more\nwords")  # fmt: skip
    hub.create_commit(
        **d,
        operations=[CommitOperationDelete("a/"), CommitOperationCopy("b", "c"), add("d")],
        commit_message="two",
        parent_commit=first.oid,
    )
    fails(412, hub.create_commit, **d, operations=[add("e")], commit_message="late", parent_commit=first.oid)
    assert set(hub.list_repo_files(**d)) == {".gitattributes", "b", "c", "d"}
    assert set(hub.list_repo_files(**d, revision=first.oid)) == {".gitattributes", "a/x", "a/y", "b"}
    commits = hub.list_repo_commits(**d, formatted=True)
    assert [one.title for one in commits] == ["two", "one", "initial commit"]
    assert (commits[1].message, commits[1].authors, commits[1].commit_id) == ("more\nwords", ["ci"], first.oid)
    [info] = hub.get_paths_info(**d, paths=["b", "none"], expand=True)
    assert (info.path, info.last_commit.oid) == ("b", first.oid)
    fails(404, hub.create_commit, **d, operations=[CommitOperationDelete("none")], commit_message="x",
          kind=RemoteEntryNotFoundError)  # fmt: skip
    for number in range(60):
        local_hub.commit("apis/commits", {"n": str(number).encode()})
    assert len(hub.list_repo_commits(**d)) == 63
    hub.super_squash_history(**d, commit_message="squashed")
    assert [one.title for one in hub.list_repo_commits(**d)] == ["squashed"]
    assert set(hub.list_repo_files(**d)) == {".gitattributes", "b", "c", "d", "n"}


def test_branches_and_tags_can_be_created_and_deleted(api: Api) -> None:
    hub, d = api(), {"repo_id": "apis/refs", "repo_type": "dataset"}
    hub.create_repo(**d)
    one = hub.upload_file(**d, path_or_fileobj=b"1", path_in_repo="f").oid
    hub.create_tag(**d, tag="v1", tag_message="with words")
    hub.create_tag(**d, tag="plain", revision=one)
    fails(409, hub.create_tag, **d, tag="v1")
    hub.create_tag(**d, tag="v1", exist_ok=True)
    hub.create_branch(**d, branch="dev/x", revision="v1")
    fails(409, hub.create_branch, **d, branch="dev/x")
    hub.create_branch(**d, branch="dev/x", exist_ok=True)
    fails(404, hub.create_branch, **d, branch="y", revision="none", kind=RevisionNotFoundError)
    hub.upload_file(**d, path_or_fileobj=b"2", path_in_repo="f", revision="dev/x")
    refs = hub.list_repo_refs(**d)
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": one, "plain": one}
    assert {ref.name for ref in refs.branches} == {"main", "dev/x"}
    assert Path(hub.hf_hub_download(**d, filename="f", revision="dev/x")).read_bytes() == b"2"
    assert Path(hub.hf_hub_download(**d, filename="f", revision="v1")).read_bytes() == b"1"
    fails(404, hub.upload_file, **d, path_or_fileobj=b"2", path_in_repo="f", revision="none",
          kind=RevisionNotFoundError)  # fmt: skip
    hub.delete_tag(**d, tag="v1")
    hub.delete_branch(**d, branch="dev/x")
    hub.create_branch(**d, branch="dev")
    fails(404, hub.delete_tag, **d, tag="v1", kind=RevisionNotFoundError)
    fails(403, hub.delete_branch, **d, branch="main")


def test_pull_requests_can_be_opened_and_merged(api: Api) -> None:
    hub, d = api(), {"repo_id": "apis/pulls", "repo_type": "dataset"}
    hub.create_repo(**d)
    hub.create_commit(**d, operations=[add("a"), add("b"), add("c")], commit_message="base")
    one = hub.create_commit(**d, operations=[add("a", b"pr"), CommitOperationDelete("c")], commit_message="change a",
                            create_pr=True)  # fmt: skip
    assert (one.pr_num, one.pr_revision) == (1, "refs/pr/1")
    assert set(hub.list_repo_files(**d)) == {".gitattributes", "a", "b", "c"}
    assert set(hub.list_repo_files(**d, revision="refs/pr/1")) == {".gitattributes", "a", "b"}
    two = hub.create_pull_request(**d, title="change a otherwise")
    assert (two.num, two.status, two.git_reference) == (2, "draft", "refs/pr/2")
    hub.create_commit(**d, operations=[add("a", b"other")], commit_message="x", revision="refs/pr/2")
    hub.create_commit(**d, operations=[add("b", b"main")], commit_message="meanwhile")
    hub.merge_pull_request("apis/pulls", 1, comment="good", repo_type="dataset")
    contents = {f: Path(hub.hf_hub_download(**d, filename=f)).read_bytes() for f in ("a", "b")}
    assert contents == {"a": b"pr", "b": b"main"}
    assert "c" not in hub.list_repo_files(**d)
    merged = hub.get_discussion_details("apis/pulls", 1, repo_type="dataset")
    assert (merged.status, merged.merge_commit_oid) == ("merged", hub.dataset_info("apis/pulls").sha)
    assert [event.type for event in merged.events] == ["commit", "comment", "status-change"]
    assert "-x" in merged.diff
    assert "+pr" in merged.diff
    fails(409, hub.merge_pull_request, "apis/pulls", 1, repo_type="dataset")
    fails(403, hub.create_commit, **d, operations=[add("z")], commit_message="late", revision="refs/pr/1")
    head = hub.dataset_info("apis/pulls").sha
    assert hub.get_discussion_details("apis/pulls", 2, repo_type="dataset").conflicting_files == ["a"]
    fails(409, hub.merge_pull_request, "apis/pulls", 2, repo_type="dataset")
    assert hub.dataset_info("apis/pulls").sha == head
    hub.change_discussion_status("apis/pulls", 2, "closed", comment="no", repo_type="dataset")
    assert [p.num for p in hub.get_repo_discussions("apis/pulls", repo_type="dataset", discussion_status="open")] == []
    assert [r.name for r in hub.list_repo_refs(**d, include_pull_requests=True).pull_requests] == ["1", "2"]


def test_a_pull_request_survives_a_squash(api: Api) -> None:
    hub, d = api(), {"repo_id": "apis/squashed", "repo_type": "model"}
    hub.create_repo(**d)
    hub.create_commit(**d, operations=[add("b")], commit_message="new", create_pr=True)
    hub.upload_file(**d, path_or_fileobj=b"y", path_in_repo="c")
    hub.super_squash_history(**d)
    hub.merge_pull_request("apis/squashed", 1)
    assert {"b", "c"} <= set(hub.list_repo_files(**d))


def test_a_folder_can_be_uploaded_as_a_pull_request(api: Api, tmp_path: Path) -> None:
    hub, d = api(), {"repo_id": "apis/folder", "repo_type": "dataset"}
    hub.create_repo(**d)
    for number in range(5):
        (tmp_path / f"{number}.bin").write_bytes(os.urandom(50))
    made = hub.upload_folder(**d, folder_path=tmp_path, create_pr=True)
    assert len(hub.list_repo_files(**d)) == 1
    assert len(hub.list_repo_files(**d, revision=made.pr_revision)) == 6
    hub.merge_pull_request("apis/folder", made.pr_num, repo_type="dataset")
    assert len(hub.list_repo_files(**d)) == 6


def test_discussions_can_be_opened_and_edited(api: Api, local_hub: RunningHub) -> None:
    hub, d = api(), {"repo_id": "apis/talk", "repo_type": "dataset"}
    hub.create_repo(**d)
    one = hub.create_discussion(**d, title="A question", description="Why?")
    assert (one.num, one.status, one.is_pull_request, one.author) == (1, "open", False, "ci")
    comment = hub.comment_discussion("apis/talk", 1, "Because. <b>", repo_type="dataset")
    assert comment.content == "Because. <b>"
    edited = hub.edit_discussion_comment("apis/talk", 1, comment.id, "Therefore", repo_type="dataset")
    assert (edited.content, edited.edited) == ("Therefore", True)
    assert hub.rename_discussion("apis/talk", 1, "An answer", repo_type="dataset").new_title == "An answer"
    assert hub.change_discussion_status("apis/talk", 1, "closed", repo_type="dataset").new_status == "closed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert hub.hide_discussion_comment("apis/talk", 1, comment.id, repo_type="dataset").hidden
    discussion = hub.get_discussion_details("apis/talk", 1, repo_type="dataset")
    assert (discussion.title, discussion.status) == ("An answer", "closed")
    assert [event.type for event in discussion.events] == ["comment", "comment", "title-change", "status-change"]
    for _ in range(55):
        local_hub.ask("/api/datasets/apis/talk/discussions", "POST", {"title": "more", "description": ""})
    assert len(list(hub.get_repo_discussions("apis/talk", repo_type="dataset"))) == 56
    fails(404, hub.get_discussion_details, "apis/talk", 99, repo_type="dataset")
    fails(409, hub.merge_pull_request, "apis/talk", 1, repo_type="dataset")


def test_collections_can_be_created_and_edited(api: Api, local_hub: RunningHub) -> None:
    hub = api()
    made = hub.create_collection("My list ش", namespace="lists", description="of things")
    assert made.slug.startswith("lists/my-list-")
    fails(409, hub.create_collection, "My list ش", namespace="lists")
    assert hub.create_collection("My list ش", namespace="lists", exists_ok=True).slug == made.slug
    hub.create_repo("lists/d", repo_type="dataset")
    hub.add_collection_item(made.slug, "lists/d", "dataset", note="first")
    found = hub.add_collection_item(made.slug, "lists/m", "model")
    fails(409, hub.add_collection_item, made.slug, "lists/m", "model")
    hub.add_collection_item(made.slug, "lists/m", "model", exists_ok=True)
    assert [(item.item_id, item.note) for item in found.items] == [("lists/d", "first"), ("lists/m", None)]
    hub.update_collection_item(made.slug, found.items[1].item_object_id, position=0, note="second")
    hub.delete_collection_item(made.slug, found.items[0].item_object_id)
    fails(404, hub.delete_collection_item, made.slug, found.items[0].item_object_id)
    [item] = hub.get_collection(made.slug).items
    assert (item.item_id, item.note, item.position) == ("lists/m", "second", 0)
    other = hub.update_collection_metadata(made.slug, title="Other", private=True)
    assert other.title == "Other"
    assert [one.slug for one in hub.list_collections(owner="lists", item="models/lists/m")] == [other.slug]
    assert not list(api(False).list_collections(owner="lists"))
    fails(404, api(False).get_collection, made.slug)
    hub.delete_collection(made.slug)
    hub.delete_collection(made.slug, missing_ok=True)
    fails(404, hub.get_collection, made.slug)


def test_clients_read_private_and_gated_repositories_as_on_the_hub(api: Api, local_hub: RunningHub) -> None:
    hub, reader, anonymous = api(), api(local_hub.read_token), api(False)
    d: dict[str, Any] = {"repo_id": "apis/closed", "repo_type": "dataset"}
    hub.create_repo(**d, private=True)
    hub.upload_file(**d, path_or_fileobj=b"x", path_in_repo="a.txt")
    assert hub.dataset_info("apis/closed").private
    assert reader.dataset_info("apis/closed").private
    fails(401, anonymous.dataset_info, "apis/closed", kind=RepositoryNotFoundError)
    fails(401, anonymous.hf_hub_download, **d, filename="a.txt", kind=RepositoryNotFoundError)
    fails(403, reader.upload_file, **d, path_or_fileobj=b"y", path_in_repo="a.txt")
    fails(403, reader.create_repo, "apis/new", repo_type="dataset")
    fails(401, api("hf_wrong").dataset_info, "apis/closed")
    hub.update_repo_settings(**d, private=False, gated="manual")
    assert anonymous.dataset_info("apis/closed").gated == "manual"
    fails(401, anonymous.hf_hub_download, **d, filename="a.txt", kind=GatedRepoError)
    fails(403, reader.hf_hub_download, **d, filename="a.txt", kind=GatedRepoError)
    fails(403, reader.auth_check, **d, kind=GatedRepoError)
    fails(403, reader.auth_check, **d, write=True)
    hub.auth_check(**d, write=True)
    hub.grant_access("apis/closed", "reader", repo_type="dataset")
    assert [one.username for one in hub.list_accepted_access_requests(**d)] == ["reader"]
    assert Path(reader.hf_hub_download(**d, filename="a.txt")).read_bytes() == b"x"
    hub.reject_access_request("apis/closed", "reader", repo_type="dataset", rejection_reason=None)
    fails(403, reader.auth_check, **d, kind=GatedRepoError)


def test_clients_raise_the_errors_of_the_hub(api: Api) -> None:
    hub, d = api(), {"repo_id": "apis/errors", "repo_type": "dataset"}
    hub.create_repo(**d)
    fails(404, hub.hf_hub_download, **d, filename="none", kind=RemoteEntryNotFoundError)
    fails(404, hub.hf_hub_download, **d, filename="none", revision="none", kind=RevisionNotFoundError)
    fails(404, hub.snapshot_download, "apis/none", kind=RepositoryNotFoundError)
    fails(400, hub.create_branch, **d, branch="a..b", kind=BadRequestError)
    with pytest.raises(RemoteEntryNotFoundError):
        list(hub.list_repo_tree(**d, path_in_repo="none"))


def test_large_files_are_uploaded_in_parts(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(tmp_path, faulty=True) as running:
        hub, d = api(hub=running), {"repo_id": "apis/parts", "repo_type": "model"}
        hub.create_repo(**d)
        data = os.urandom(130 << 20)
        hub.upload_file(**d, path_or_fileobj=data, path_in_repo="big.bin")
        puts = [line for line in running.requests() if line.startswith("PUT")]
        assert len(puts) == 2
        assert Path(hub.hf_hub_download(**d, filename="big.bin")).read_bytes() == data
        assert not list((running.folder / "tmp").iterdir())


def test_clients_can_read_the_rate_limit_headers(api: Api, tmp_path: Path) -> None:
    with start(tmp_path, "--commits-per-hour", "2", "--requests-per-5-minutes", "20") as running:
        hub = api(hub=running)
        hub.create_repo("q/d", repo_type="dataset")
        running.commit("q/d", {"a": b"1"})
        running.commit("q/d", {"a": b"2"})
        with pytest.raises(HfHubHTTPError, match="'commits' rate limit") as error:
            hub.create_commit("q/d", [add("a", b"3")], commit_message="m", repo_type="dataset")
        limit = parse_ratelimit_headers(error.value.response.headers)
        assert (limit.limit, limit.remaining, limit.window_seconds) == (2, 0, 3600)
        for _ in range(20 - len(running.requests())):
            hub.dataset_info("q/d")
        with pytest.raises(HfHubHTTPError, match="'api' rate limit") as error:
            hub.dataset_info("q/d")
        limit = parse_ratelimit_headers(error.value.response.headers)
        assert (limit.limit, limit.remaining, limit.window_seconds) == (20, 0, 300)
        assert 0 < int(error.value.response.headers["Retry-After"]) <= 300
        assert api(running.read_token, hub=running).dataset_info("q/d").id == "q/d"
