"""Publishing to a running hub, as users do, and reading it back with their own tools."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from built_set import with_report
from local_hub_fixture import RunningHub

MODES = pytest.mark.parametrize("mode", [{}, {"HF_HUB_DISABLE_XET": "1"}], ids=["xet", "lfs"])
Make = Callable[..., Path]


def card(hub: RunningHub, repo: str, revision: str = "main") -> dict[str, Any]:
    text = hub.ask(f"/datasets/{repo}/resolve/{revision}/README.md").text
    head: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return head


@MODES
def test_published_data_sets_load(local_hub: RunningHub, make: Make, publish: Any, mode: dict[str, str]) -> None:
    repo = f"round/{'lfs' if mode else 'xet'}"
    folder = make("sw", "th", test=0.3)
    planned, missing, done = publish.many((folder, repo), (folder, f"{repo}-not"), (folder, repo, "--yes"), **mode)
    for result in (planned, missing):
        assert "nothing was published" in result.ok()
        assert ": new, " in result.out
    assert "card: new, 2 languages (sw, th), 16 rows" in planned.out
    assert local_hub.ask(f"/api/datasets/{repo}-not").status == 404
    (line,) = done.ok().splitlines()
    assert f"{local_hub.endpoint}/datasets/{repo}/tree/{publish.head(repo)}" in line
    assert "rows: sw 8, th 8" in line
    assert f'load_dataset("{repo}", "sw")' in line
    assert f'"{repo}"' in local_hub.ask(f"/datasets/{repo}/resolve/main/README.md").text
    publish.loads((repo, None, {"sw": 8, "th": 8}), **mode)


def test_the_commands_of_the_readme_run(make: Make, publish: Any) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("x-instruction hub push-dataset")]
    dry, real = publish.many(
        *(
            (make("sw"), "readme/data", *options)
            for _, _, _, _, _, *options in (shlex.split(line, comments=True) for line in lines)
        )
    )
    assert "nothing was published" in dry.ok()
    assert 'load_dataset("readme/data", "sw")' in real.ok()


def test_the_command_publishes_and_reports_errors(make: Make, publish: Any) -> None:
    folder = make("sw")
    assert "round/alone" in publish(folder, "round/alone", "--yes").ok()
    failed = publish(folder / "none", "round/alone", "--yes")
    assert failed.code == 1
    assert failed.err.startswith("error: ")


def test_publishing_again_adds_and_replaces_languages(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo, first, more = "round/grows", make("sw", "th"), make("ur", rows=6)
    publish.many((first, repo, "--yes"), (first, repo, "--yes"), (more, repo, "--yes"))
    assert publish.git(repo, "rev-list", "--count", "main").strip() == "3", "the first, sw and th, ur"
    changed = publish.git(repo, "diff", "--name-only", "main~1", "main").split()
    assert sorted({path.rpartition("/")[0] for path in changed}) == ["", "data/ur"]
    old, new = card(local_hub, repo, publish.git(repo, "rev-parse", "main~1").strip()), card(local_hub, repo)
    by_name = {config["config_name"]: config for config in new["configs"]}
    for config in old["configs"]:
        assert config["config_name"] == "all" or by_name[config["config_name"]] == config
    assert new["language"] == ["sw", "th", "ur", "en"]
    assert by_name["sw"]["default"] is True

    fewer = make("th", rows=3, seed=1)
    before = set(publish.files(repo))
    (result,) = publish.many((fewer, repo, "--yes"))
    assert "rows: sw 8, th 3, ur 6" in result.ok()
    assert "1 added, 2 deleted" in result.err
    after = set(publish.files(repo))
    assert {path for path in before ^ after if "/th/" not in path} == set()
    assert sorted(path for path in after if "/th/" in path) == ["data/th/train-00000-of-00001.parquet"]
    publish.loads((repo, None, {"sw": 8, "th": 3, "ur": 6}))
    (again,) = publish.many((fewer, repo))
    assert "nothing to publish" in again.out


def test_a_report_is_published_if_it_shows_every_language(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo, folder = "round/report", with_report(make("sw"), b"<!doctype html>")
    first, again, more = publish.many((folder, repo, "--yes"), (folder, repo), (make("ur"), repo, "--yes"))
    assert "report.html: added" in first.err
    assert "nothing to publish" in again.out
    more.ok()
    assert "report.html" not in publish.files(repo)
    assert "(report.html)" not in local_hub.ask(f"/datasets/{repo}/resolve/main/README.md").text
    publish.loads((repo, None, {"sw": 8, "ur": 8}))


def test_pull_requests_and_branches_are_published(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo, first, more = "round/pulls", make("sw"), make("ur")
    publish.many((first, repo, "--yes"))
    head = publish.head(repo)
    left, again, branch, onto = publish.many(
        (more, repo, "--create-pr", "--yes"),
        (more, repo, "--create-pr", "--yes"),
        (more, repo, "--revision", "next/one", "--yes"),
        (make("th"), repo, "--revision", "refs/pr/1", "--yes"),
    )
    assert publish.head(repo) == head
    assert f"{local_hub.endpoint}/datasets/{repo}/discussions/1" in left.ok()
    assert "discussions/1" in again.ok(), "the same pull request, and not another"
    assert 'revision="next/one"' in branch.ok()
    onto.ok()
    assert local_hub.ask(f"/api/datasets/{repo}/discussions/1").json["status"] == "open"
    publish.loads(
        (repo, None, {"sw": 8}),
        (repo, "refs/pr/1", {"sw": 8, "ur": 8, "th": 8}),
        (repo, "next/one", {"sw": 8, "ur": 8}),
    )


def test_many_files_are_published_by_a_merged_pull_request(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo, small = (
        "round/large",
        "import x_instruction.hub.pull_requests as pulls\npulls.MAX_CHANGES, pulls.CHANGES_PER_COMMIT = 10, 6\n",
    )
    folder = make("sw", "th", rows=20, rows_per_file=2)
    planned, done, again = publish.many((folder, repo), (folder, repo, "--yes"), (folder, repo, "--yes"), before=small)
    planned.ok()
    assert "rows: sw 20, th 20" in done.ok()
    again.ok()
    assert local_hub.ask(f"/api/datasets/{repo}/discussions/1").json["status"] == "merged"
    assert local_hub.ask(f"/api/datasets/{repo}/discussions?p=0").json["count"] == 1
    assert int(publish.git(repo, "rev-list", "--count", "refs/pr/1")) >= 5
    publish.loads((repo, None, {"sw": 20, "th": 20}))


def test_an_outdated_pull_request_is_replaced(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo, folder, other = "round/overtaken", make("sw", rows_per_file=1), make("th")
    publish.many((make("fi"), repo, "--yes"))[0].ok()
    overtake = f"""
import x_instruction.hub.pull_requests as pulls
from click.testing import CliRunner
from x_instruction.cli import cli
pulls.MAX_CHANGES, pulls.CHANGES_PER_COMMIT = 4, 3
real = pulls.fill
def fill(*arguments):
    done = real(*arguments)
    pulls.fill, pulls.MAX_CHANGES = real, 1_000
    assert CliRunner().invoke(cli, ["hub", "push-dataset", {str(other)!r}, {repo!r}, "--yes"]).exit_code == 0
    pulls.MAX_CHANGES = 4
    return done
pulls.fill = fill
"""
    (result,) = publish.many((folder, repo, "--yes"), before=overtake)
    assert "rows: fi 8, th 8, sw 8" in result.ok()
    pulls = [local_hub.ask(f"/api/datasets/{repo}/discussions/{number}").json["status"] for number in (1, 2)]
    assert pulls == ["closed", "merged"]
    publish.loads((repo, None, {"fi": 8, "th": 8, "sw": 8}))


def test_tags_collections_and_visibility_are_set(local_hub: RunningHub, make: Make, publish: Any) -> None:
    repo, folder, more = "round/marks", make("sw"), make("th")
    options = ("--tag", "v1.0.0", "--collection", "Low resources", "--private", "--yes")
    one, again, two, moved = publish.many(
        (folder, repo, *options),
        (folder, repo, *options),
        (more, repo, "--tag", "v1.0.0", "--yes"),
        (more, repo, "--tag", "v1.0.0", "--move-tag", "--public", "--yes"),
    )
    one.ok()
    again.ok()
    assert two.code == 1
    assert "pass --move-tag" in two.err
    moved.ok()
    assert "moved from" in moved.err
    refs = local_hub.ask(f"/api/datasets/{repo}/refs").json
    assert [(tag["name"], tag["targetCommit"]) for tag in refs["tags"]] == [("v1.0.0", publish.head(repo))]
    assert local_hub.ask(f"/api/datasets/{repo}").json["private"] is False
    (slug,) = (found["slug"] for found in local_hub.ask("/api/collections").json if found["title"] == "Low resources")
    (result,) = publish.many((more, f"{repo}-2", "--collection", slug, "--private", "--yes"))
    result.ok()
    assert local_hub.ask(f"/api/datasets/{repo}-2", token=None).status == 401
    items = local_hub.ask(f"/api/collections/{slug}").json["items"]
    assert [(item["type"], item["id"]) for item in items] == [("dataset", repo), ("dataset", f"{repo}-2")]
