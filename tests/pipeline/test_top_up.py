"""Top-up: more of the corpus is drawn until each language has its pairs, with the same bytes in every case."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Say
from engines.openai_server import OpenAIServer, write_recipe
from scale.small_run import same_bytes

from x_instruction.config.recipe import Recipe, load
from x_instruction.errors import BudgetReached, RecipeError, ShardsMissing
from x_instruction.pipeline import top_up
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.progress import NullProgress
from x_instruction.pipeline.status import totals
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import PASSAGE

# Of three Finnish pages one is kept, of ten Thai pages one.
SHARES = {"fi": 3, "th": 10}
PAGES = 120


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A server that refuses to write for most pages."""

    def refuse(path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        asked = json.dumps(body)
        if "Useless" not in asked or body.get("logprobs"):
            return None
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "no"}}
        return 200, {"object": "completion", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}

    with OpenAIServer(fault=refuse) as running:
        yield running


def pages(folder: Path, tag: str, share: int | None, number: int = PAGES) -> None:
    """Pages without duplicates. One of ``share`` is useful; none if it is None."""
    chance = random.Random(tag)
    with open(folder / f"{tag}.jsonl", "w", encoding="utf-8") as out:
        for row in range(number):
            words = " ".join("".join(chance.choices("aeiouklmnprst", k=7)) for _ in range(60))
            mark = "Good" if share is not None and row % share == 0 else "Useless"
            out.write(json.dumps({"id": f"{tag}-{row}", "text": f"{mark} {words}."}) + "\n")


@pytest.fixture
def recipe(server: OpenAIServer, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe with a target of so many pairs, over pages of two languages."""
    for tag, share in SHARES.items():
        pages(tmp_path, tag, share)
    file = write_recipe(tmp_path / "recipe.toml", server.url)
    file.write_text(file.read_text("utf-8").replace(", quota = 8", ""), "utf-8")

    def made(target: int | None, **changes: Any) -> Recipe:
        filters = {f"corpus.filters.{name}": False for name in ("language_check", "whole_sentences", "near_duplicates")}
        fixed = {
            "corpus.source": "files",
            "corpus.paths": [str(tmp_path / "{tag}.jsonl")],
            "corpus.license": "CC0-1.0",
            "corpus.shard_size": 4,
            "corpus.filters.max_line_documents": 1.0,
            "generate.min_chars": 5,
            "generate.candidates": 1,
            "diversify.target": target,
        }
        return load(str(file), {**fixed, **filters, **changes})

    return made


def make(recipe: Recipe, root: Path, workers: int = 1, until: str = "rated", **more: Any) -> RunFolder:
    """The run up to the last ratings: loading an encoder takes longer than all else."""
    return execute(recipe, root, workers, False, until, NullProgress(), **more)


def found(run: RunFolder, recipe: Recipe) -> dict[str, tuple[int, int | None, str]]:
    """Pairs, passages and reason of each language."""
    return {step.language: (step.rows, step.passages, step.reason) for step in top_up.reached(run, recipe)}


def rows(run: RunFolder, recipe: Recipe, stage: str = "rated") -> dict[str, int]:
    return {total.language: total.kept for total in totals(run, recipe) if total.stage == stage}


def test_more_is_drawn_until_each_language_has_its_pairs(
    recipe: Callable[..., Recipe], tmp_path: Path, say: Say
) -> None:
    settings = recipe(8)
    run = make(settings, tmp_path / "run", until="curated")
    assert rows(run, settings, "curated") == {"fi": 8, "th": 8}
    steps = found(run, settings)
    assert {reason for _, _, reason in steps.values()} == {top_up.MET}
    # Whole shards, no more than needed, and none without passages.
    for tag, share in SHARES.items():
        passages = steps[tag][1] or 0
        assert passages % 4 == 0
        assert 8 * share - share < passages <= 8 * share * 1.5 + 4
        assert rows(run, settings, "passage")[tag] == passages == 4 * (run.count(PASSAGE, tag) or 0)
    kept = json.loads((run.root / "target.json").read_text("utf-8"))
    assert [entry["reason"] for entry in kept["languages"]] == [top_up.MET] * 2
    _, out, _ = say("status", run.root)
    assert f"fi: {steps['fi'][0]} of 8 pairs, target met" in out


def test_passages_equal_those_of_a_single_draw(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    settings = recipe(8, languages=["th"])
    made = make(settings, tmp_path / "run")
    at_once = recipe(None, languages=["th"]).replace(
        corpus=settings.corpus.replace(passages=found(made, settings)["th"][1]),
        diversify=settings.diversify.replace(target=None),
    )
    same_bytes(make(at_once, tmp_path / "at-once").root, made.root, "rated")


def test_a_corpus_that_is_too_small_ends_the_top_up(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    settings = recipe(30)
    run = make(settings, tmp_path / "run")
    assert rows(run, settings)["th"] == 12
    steps = found(run, settings)
    assert steps["fi"][0] >= 30
    assert (steps["fi"][2], steps["th"][2]) == (top_up.MET, top_up.ENDED)
    assert rows(run, settings, "passage")["th"] == PAGES


@pytest.mark.parametrize("pages_of_th", [16, 18])
def test_a_corpus_may_end_at_a_step_or_within_a_shard(
    recipe: Callable[..., Recipe], tmp_path: Path, pages_of_th: int
) -> None:
    pages(tmp_path, "th", 10, pages_of_th)
    settings = recipe(4, languages=["th"])
    run = make(settings, tmp_path / "run")
    assert rows(run, settings) == {"th": 2}
    assert found(run, settings)["th"][2] == top_up.ENDED


def test_corpus_passages_is_an_upper_limit(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    settings = recipe(8, **{"corpus.passages": 30})
    run = make(settings, tmp_path / "run")
    assert rows(run, settings, "passage")["th"] == 30
    assert found(run, settings)["th"] == (3, 30, top_up.LIMIT)
    assert found(run, settings)["fi"][2] == top_up.MET


def test_a_language_that_keeps_nothing_is_drawn_once(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    pages(tmp_path, "th", None)
    settings = recipe(8)
    run = make(settings, tmp_path / "run")
    assert rows(run, settings)["th"] == 0
    assert found(run, settings)["fi"][2] == top_up.MET
    assert found(run, settings)["th"] == (0, 8, top_up.NOTHING)


def test_a_target_met_by_the_first_draw_draws_no_more(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    settings = recipe(1)
    run = make(settings, tmp_path / "run")
    assert rows(run, settings, "passage") == {"fi": 4, "th": 4}
    assert found(run, settings) == {tag: (1 if tag == "th" else 2, 4, top_up.MET) for tag in SHARES}


def test_two_workers_and_two_ranks_make_the_same_bytes(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    # Workers also share the slices of each corpus.
    settings = recipe(8, **{"corpus.slice_rows": 7})
    one = make(settings, tmp_path / "one")
    same_bytes(one.root, make(settings, tmp_path / "two", workers=2).root, "rated")
    left = {0, 1}
    for _ in range(40):
        for rank in sorted(left):
            try:
                make(settings, tmp_path / "ranks", rank=rank, of=2)
                left.discard(rank)
            except ShardsMissing:
                continue
        if not left:
            break
    assert not left
    same_bytes(one.root, tmp_path / "ranks", "rated")
    assert not list((one.root / ".screened").rglob("*.parquet"))


def test_a_run_that_is_killed_in_several_steps_continues_with_the_same_bytes(
    recipe: Callable[..., Recipe], server: OpenAIServer, tmp_path: Path
) -> None:
    settings = recipe(8, **{"generate.model.server.concurrency": 2, "refine.model.server.concurrency": 2})
    answer, asked, running = server.fault, 0, list[Any]()

    def counts(path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        nonlocal asked
        asked += 1
        if running and asked == kill:
            os.kill(running[-1].pid, signal.SIGKILL)
        return answer(path, body)

    server.fault, kill = counts, 0
    whole = make(settings, tmp_path / "whole")
    needed = asked
    # Requests of the attempt after which it is killed: in the first step, and in later ones.
    for requests in (9, needed // 3, needed // 4):
        asked, kill = 0, requests
        running.append(multiprocessing.get_context("spawn").Process(target=make, args=(settings, tmp_path / "run")))
        running[-1].start()
        running[-1].join()
        assert running[-1].exitcode == -signal.SIGKILL
    running.clear()
    asked = 0
    made = make(settings, tmp_path / "run")
    assert asked < needed
    same_bytes(whole.root, made.root, "rated")


def test_a_kill_within_a_step_is_repaired(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    settings = recipe(8, languages=["th"])
    whole = make(settings, tmp_path / "whole")
    again = make(settings, tmp_path / "again", until="rated")
    # A kill while the passages of a step are written leaves some of them, and no number of shards.
    (again.root / "passage" / "th" / "index.json").unlink()
    for shard in range(3, again.count(PASSAGE, "th") or 9):
        again.remove(PASSAGE.shard("th", shard))
    same_bytes(whole.root, make(settings, tmp_path / "again").root, "rated")


def test_a_spent_budget_is_reported(recipe: Callable[..., Recipe], tmp_path: Path, say: Say) -> None:
    prices = {f"{section}.model.server.prompt_price": 1_000_000.0 for section in ("generate", "refine")}
    settings = recipe(8, **prices)
    with pytest.raises(BudgetReached):
        make(settings, tmp_path / "run", budget=2_000.0)
    run = RunFolder(tmp_path / "run")
    assert found(run, settings)["th"][2] == top_up.BUDGET
    _, out, _ = say("status", run.root)
    assert "of 8 pairs, budget spent" in out
    done = make(settings, tmp_path / "run", budget=1e9)
    assert {reason for _, _, reason in found(done, settings).values()} == {top_up.MET}
    same_bytes(make(recipe(8, **prices), tmp_path / "whole").root, done.root, "rated")


def test_repeated_instructions_count_once(recipe: Callable[..., Recipe], server: OpenAIServer, tmp_path: Path) -> None:
    first = server.fault

    def repeats(path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
        if body.get("logprobs") or "Good" not in json.dumps(body) or len(json.dumps(body)) % 2:
            return first(path, body)
        message = {"role": "assistant", "content": "How does one cook rice today?"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return 200, {"object": "completion", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}

    server.fault = repeats
    settings = recipe(8, languages=["fi"])
    run = make(settings, tmp_path / "run")
    rated = [record for report in run.reports(top_up.RATED) for record in run.read(report.key)]
    instructions = {record.instruction for record in rated}  # type: ignore[attr-defined]
    assert len(rated) > len(instructions) >= 8
    assert found(run, settings)["fi"][0] == len(instructions)


def test_a_target_sets_the_default_quota() -> None:
    settings = load("demo").diversify.replace(target=None)
    fixed = {name: value for name, value in dict(settings).items() if name not in ("quota", "target")}
    assert type(settings)(**fixed, target=500).quota == 500
    assert type(settings)(**fixed, target=500, quota=600).quota == 600
    with pytest.raises(RecipeError, match=r"target is 500, expected at most quota, which is 400"):
        type(settings)(**fixed, target=500, quota=400)
