"""Costs of a run, budgets, and retries of failed requests only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from engines.openai_server import OpenAIServer, reply, write_recipe

from x_instruction.cli import cli
from x_instruction.config.recipe import Recipe, load
from x_instruction.config.section import toml_value
from x_instruction.errors import BudgetReached, RecipeError, RunChanged
from x_instruction.pipeline.costs import priced, spent
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.plan import Plan
from x_instruction.pipeline.pool import WorkerPool
from x_instruction.pipeline.progress import NullProgress
from x_instruction.pipeline.status import money, spending, totals
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

Write = Callable[..., Recipe]
PRICES = {
    "generate.model.server.prompt_price": "1000",
    "generate.model.server.output_price": "2000",
    "refine.model.server.prompt_price": "500",
}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def served_recipe(tmp_path: Path, server: OpenAIServer) -> Write:
    """A recipe that asks the server, with the given keys set."""

    def make(**overrides: str) -> Recipe:
        return load(
            write_recipe(tmp_path / "recipe.toml", server.url),
            {k.replace("__", "."): toml_value(v) for k, v in overrides.items()},
        )

    return make


def go(recipe: Recipe, root: Path, workers: int = 1, until: str = "rated", **more: Any) -> RunFolder:
    return execute(recipe, root, workers, False, until, NullProgress(), **more)


def tokens(server: OpenAIServer) -> int:
    """Requests of the work itself, without those that look at the server."""
    return len(worked(server))


def worked(server: OpenAIServer) -> list[dict[str, Any]]:
    return [body for _, body in server.asked if "Say yes" not in str(body) and "1 2 3" not in str(body)]


def flat(prices: dict[str, Any]) -> dict[str, str]:
    return {key.replace(".", "__"): str(value) for key, value in prices.items()}


# Costs


def test_costs_are_reported_once_by_stage_and_language(served_recipe: Write, tmp_path: Path) -> None:
    recipe = served_recipe(**flat(PRICES))
    run = go(recipe, tmp_path / "run")
    found = {(t.stage, t.language): t for t in totals(run, recipe)}
    one = found["candidate", "fi"]
    assert one.output_tokens == 240
    assert one.cost == pytest.approx((one.prompt_tokens * 1000 + 240 * 2000) / 1e6)
    assert found["rated", "th"].cost == pytest.approx(found["rated", "th"].prompt_tokens * 500 / 1e6)
    assert found["passage", "fi"].cost == 0
    assert spent(run, recipe) == pytest.approx(sum(t.cost for t in found.values()))
    assert sum(report.cost for report in run.reports(StageKey("candidate"))) == pytest.approx(
        one.cost + found["candidate", "th"].cost
    )
    shown = CliRunner().invoke(cli, ["status", str(run.root)]).stdout
    assert "cost" in shown.splitlines()[0]
    assert money(one.cost + found["rated", "fi"].cost) in shown
    assert spending(run, recipe, list(found.values())) == [f"spent: {money(spent(run, recipe))}"]
    before = spent(run, recipe)
    go(recipe, tmp_path / "run")
    assert spent(run, recipe) == before


def test_prices_apply_to_earlier_requests(served_recipe: Write, tmp_path: Path) -> None:
    plain = served_recipe()
    run = go(plain, tmp_path / "run")
    assert not priced(plain)
    assert spent(run, plain) == 0
    assert spending(run, plain, totals(run, plain)) == []
    assert "cost" not in CliRunner().invoke(cli, ["status", str(run.root)]).stdout.splitlines()[0]
    recipe = served_recipe(**flat(PRICES))
    go(recipe, tmp_path / "run")
    assert sum(t.cost for t in totals(run, recipe)) == pytest.approx(spent(run, recipe)) != 0


def test_costs_of_incomplete_shards_are_counted(served_recipe: Write, server: OpenAIServer, tmp_path: Path) -> None:
    recipe = served_recipe(**flat(PRICES))
    run = RunFolder(tmp_path / "run")
    server.fault = lambda path, body: (401, {"error": {"message": "no"}}) if tokens(server) >= 15 else None
    with pytest.raises(Exception, match="401"):
        go(recipe, run.root)
    found = totals(run, recipe)
    assert spent(run, recipe) > sum(t.cost for t in found)
    assert "for shards that are not complete" in spending(run, recipe, found)[0]


# Budgets


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_stops_at_its_budget_and_continues_with_a_larger_one(
    served_recipe: Write, server: OpenAIServer, tmp_path: Path, workers: int
) -> None:
    recipe, root = served_recipe(**flat(PRICES)), tmp_path / "run"
    go(recipe, tmp_path / "whole")
    needed = tokens(server)
    whole = spent(RunFolder(tmp_path / "whole"), recipe)
    server.asked.clear()
    with pytest.raises(BudgetReached, match=r"the budget of 2 is reached .* larger --budget"):
        go(recipe, root, workers, budget=2.0)
    paid = spent(RunFolder(root), recipe)
    assert 2 <= paid < whole
    assert 0 < tokens(server) < needed
    # Costs of all attempts are counted.
    asked = tokens(server)
    with pytest.raises(BudgetReached):
        go(recipe, root, workers, budget=2.0)
    assert tokens(server) == asked
    go(recipe, root, workers, budget=whole * 2)
    assert tokens(server) == needed
    assert spent(RunFolder(root), recipe) == pytest.approx(whole)
    for path in sorted((tmp_path / "whole").rglob("[0-9]*.parquet")):
        assert path.read_bytes() == (root / path.relative_to(tmp_path / "whole")).read_bytes()


@pytest.mark.parametrize("usage", [-1_000_000, 10**30, -1, None])
def test_impossible_token_counts_fail_requests_of_a_run_with_a_budget(
    served_recipe: Write, server: OpenAIServer, tmp_path: Path, usage: int | None
) -> None:
    """It neither gives money back nor spends it: its answers fail, with the reason."""
    odd = {"prompt_tokens": 10, "completion_tokens": usage}
    server.fault = lambda path, body: (200, reply(path, body) | {"usage": odd}) if "/completions" in path else None
    recipe = served_recipe(**flat(PRICES))
    run = go(recipe, tmp_path / "run", until="candidate", budget=50.0)
    reports = list(run.reports(StageKey("candidate")))
    if usage is None:
        assert sum(report.kept for report in reports) > 0
        assert spent(run, recipe) == pytest.approx(sum(report.requests for report in reports) * 10 * 1000 / 1e6)
        return
    assert [set(report.dropped) for report in reports] == [{"engine_bad_answer"}] * len(reports)
    assert spent(run, recipe) == 0


def test_workers_started_after_a_training_know_earlier_costs(
    served_recipe: Write, server: OpenAIServer, tmp_path: Path
) -> None:
    recipe = served_recipe(**flat(PRICES))
    run = go(recipe, tmp_path / "run", until="passage")
    plan = Plan(run, recipe)

    def ask(pool: WorkerPool) -> None:
        pool.run(tasks, lambda *_: None, lambda *_: None, lambda *_: None)

    tasks = plan.tasks(StageKey("candidate"))
    with WorkerPool(run, recipe, 1, 1.0, lambda: spent(run, recipe)) as pool:
        with pytest.raises(BudgetReached):
            ask(pool)
        asked = tokens(server)
        # A training ends the workers.
        pool.shutdown()
        with pytest.raises(BudgetReached):
            ask(pool)
    assert tokens(server) == asked > 0


def test_at_the_budget_requests_in_flight_are_finished(
    served_recipe: Write, server: OpenAIServer, tmp_path: Path
) -> None:
    recipe, root = served_recipe(**flat(PRICES)), tmp_path / "run"
    go(recipe, root, until="passage")

    def slowly(path: str, body: dict[str, Any]) -> None:
        if path.endswith("completions"):
            time.sleep(0.02)

    server.fault = slowly
    with pytest.raises(BudgetReached):
        go(recipe, root, 2, budget=1.0)
    assert sum(report["requests_sent"] for report in _ledgers(root)) == tokens(server)


def _ledgers(root: Path) -> list[dict[str, int]]:
    import sqlite3

    found = []
    for path in root.glob("cache/**/*.sqlite"):
        with sqlite3.connect(path) as file:
            found.append({"requests_sent": file.execute("SELECT COUNT(*) FROM answers").fetchone()[0]})
        file.close()
    return found


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_must_be_an_amount(served_recipe: Write, tmp_path: Path, budget: float) -> None:
    with pytest.raises(RecipeError, match="above 0"):
        go(served_recipe(**flat(PRICES)), tmp_path / "run", budget=budget)


def test_a_budget_needs_prices(served_recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="prompt_price"):
        go(served_recipe(), tmp_path / "run", budget=1.0)
    assert not (tmp_path / "run").exists()


def test_prices_and_timeouts_do_not_repeat_requests(served_recipe: Write, server: OpenAIServer, tmp_path: Path) -> None:
    run = go(served_recipe(), tmp_path / "run")
    for path in run.root.glob("candidate/*/*.parquet"):
        path.unlink()
    server.asked = []
    go(served_recipe(**flat(PRICES), generate__model__server__timeout="99"), run.root)
    assert worked(server) == []


# Retries


def failing(number: int) -> Callable[[str, dict[str, Any]], tuple[int, Any] | None]:
    """Refuses every request whose seed is of one kind."""
    refusal = (422, {"error": {"message": "this one not"}})
    return lambda path, body: refusal if body.get("seed", 1) % 8 == number else None


def test_retry_failed_repeats_only_failed_requests(served_recipe: Write, server: OpenAIServer, tmp_path: Path) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    go(recipe, tmp_path / "whole", until="curated")
    needed = len({str(body) for body in worked(server)})
    server.fault, server.asked = failing(3), []
    run = go(recipe, root, until="curated")
    failed = sum(report.dropped.get("engine_refused", 0) for report in run.reports(StageKey("candidate")))
    assert 0 < failed < 24
    server.fault = lambda path, body: None
    go(recipe, root, until="curated")
    done = {str(body) for body in worked(server)}
    server.asked = []
    go(recipe, root, until="curated", retry_failed=True)
    again = [str(body) for body in worked(server)]
    assert len(again) == len(set(again)) == needed - len(done)
    assert not done & set(again)
    for path in sorted((tmp_path / "whole").rglob("[0-9]*.parquet")):
        assert path.read_bytes() == (root / path.relative_to(tmp_path / "whole")).read_bytes()
    server.asked = []
    go(recipe, root, until="curated", retry_failed=True)
    assert worked(server) == []


def test_requests_that_fail_again_stay_dropped(served_recipe: Write, server: OpenAIServer, tmp_path: Path) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    server.fault = failing(3)
    run = go(recipe, root)
    before = {path: path.stat().st_mtime_ns for path in root.glob("rated/*/*.parquet")}
    reports = [report.dropped for report in run.reports(StageKey("candidate"))]
    go(recipe, root, retry_failed=True)
    assert [report.dropped for report in run.reports(StageKey("candidate"))] == reports
    assert before == {path: path.stat().st_mtime_ns for path in root.glob("rated/*/*.parquet")}


def test_retry_failed_refuses_changed_settings(served_recipe: Write, server: OpenAIServer, tmp_path: Path) -> None:
    server.fault = failing(3)
    go(served_recipe(), tmp_path / "run")
    with pytest.raises(RunChanged, match=r"generate\.temperature"):
        go(served_recipe(generate__temperature="0.1"), tmp_path / "run", retry_failed=True)


def test_an_interrupted_retry_continues_with_the_same_command(
    served_recipe: Write, server: OpenAIServer, tmp_path: Path
) -> None:
    recipe, root = served_recipe(), tmp_path / "run"
    go(recipe, tmp_path / "whole")
    server.fault = failing(3)
    go(recipe, root)
    server.fault = lambda path, body: None
    # Until generate only: candidates are new, what was made from the old ones is still there.
    go(recipe, root, until="candidate", retry_failed=True)
    with pytest.raises(RunChanged, match=r"input\.candidate"):
        go(recipe, root)
    go(recipe, root, retry_failed=True)
    for path in sorted((tmp_path / "whole").rglob("[0-9]*.parquet")):
        assert path.read_bytes() == (root / path.relative_to(tmp_path / "whole")).read_bytes()
