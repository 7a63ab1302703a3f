"""Runs of experiments: their results, also after a kill, a failure and with bad input."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import warm
from claims_run import Shared, WriteDesign
from command_line import Say

from x_instruction.cli.experiment.run import PROFILES
from x_instruction.errors import RecipeError
from x_instruction.experiments.claims import design, parts, run
from x_instruction.experiments.claims.design import Claim, load
from x_instruction.experiments.claims.parts import Part

# The whole command, in a process that has the slow imports behind it.
COMMAND = (
    "import warm; warm.trainings(); from x_instruction.experiments.claims import analysis; analysis.DRAWS = 200; "
    "from x_instruction.cli import main; main()"
)


def figures(results: dict[str, Any], experiment: str) -> list[dict[str, Any]]:
    return [figure for figure in results["figures"] if figure["experiment"] == experiment]


def test_every_part_is_made_and_every_claim_is_measured(shared: Shared) -> None:
    assert shared.outcome.left == {}
    results = shared.results()
    assert results["profile"] == "small"
    assert [claim["id"] for claim in results["claims"]] == [claim.id for claim in load().claims]
    assert [row["claim"] for row in results["verdicts"] if row["figure"] is None] == []
    assert not list(shared.folder.rglob("*.failed"))


def test_results_are_json_without_local_paths(shared: Shared) -> None:
    text = (shared.folder / run.RESULTS).read_text("utf-8")
    assert str(shared.folder.parent) not in text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_identical_arms_are_trained_once(shared: Shared) -> None:
    def training(part: str) -> Any:
        return json.loads((shared.folder / "parts" / f"{part}.json").read_text("utf-8"))["result"]["training"]

    # Seconds differ between any two trainings.
    assert training("curve/n-16-0") == training("language/tagged-0") == training("multilingual/all-0")
    assert training("curve/n-8-0") != training("curve/n-16-0")


def test_answers_are_shared_between_experiments_without_their_likelihoods(shared: Shared) -> None:
    def rows(part: str) -> Any:
        return json.loads((shared.folder / "parts" / f"{part}.json").read_text("utf-8"))["result"]["rows"]

    whole, answers = rows("language/tagged-0"), rows("multilingual/all-0")
    assert any(row["gain"] is not None for row in whole)
    assert answers == [row | {"gain": None, "found": None} for row in whole]


def test_a_killed_run_continues_to_the_same_figures(shared: Shared, tmp_path: Path) -> None:
    line = [sys.executable, "-c", COMMAND, "experiment", "run", str(shared.design), "--profile", "small"]
    line += ["--pool", str(shared.pool), "--out", str(tmp_path / "run"), "--only", "alignment", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(Path(warm.__file__).parent)}
    process = warm.start(line, env=environment, process_group=0)
    end = time.monotonic() + 240
    while not list(tmp_path.glob("run/models/.*.training/job.json")):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "run" / "parts" / "alignment" / "before.json").exists()
    assert not (tmp_path / "run" / run.RESULTS).exists()
    process = warm.start(line, env=environment)
    assert process.wait(240) == 0
    resumed = run.read_results(tmp_path / "run" / run.RESULTS)
    assert figures(resumed, "alignment") == figures(shared.results(), "alignment")
    assert resumed["left"] == {}


@pytest.mark.usefixtures("warm_trainings")
def test_a_failed_part_is_named_and_the_others_are_made(
    write_design: WriteDesign, small_pool: Path, tmp_path: Path, say: Say
) -> None:
    # The alignment needs two rows at once.
    broken = write_design(tmp_path / "design.toml", align_train={"batch_size": 1, "device_batch_size": 1})
    words = ["experiment", "run", broken, "--profile", "small", "--pool", small_pool, "--out", tmp_path / "run"]
    code, shown, error = say(*words, "--only", "alignment", "--device", "cpu")
    assert code == 1
    assert re.search(r"left: alignment/after-0: .*device_batch_size to 2 or more", error)
    assert error.endswith("1 part is left: rerun the same command to continue\n")
    assert re.search(r"^alignment +not measured +- ", shown, re.MULTILINE)
    results = run.read_results(tmp_path / "run" / run.RESULTS)
    assert list(results["left"]) == ["alignment/after-0"]
    assert {figure["arm"] for figure in results["figures"]} == {"before"}


def test_an_unexpected_error_in_a_part_is_kept_with_its_traceback(tmp_path: Path) -> None:
    def broken() -> parts.Result:
        raise ZeroDivisionError("a defect")

    left: dict[str, str] = {}
    made = [Part("one/bad", 1, broken), Part("one/good", 1, lambda: {"value": 1})]
    parts.make(tmp_path, made, math.inf, lambda line: None, left)
    assert parts.read(tmp_path, made[1]) == {"value": 1}
    assert left["one/bad"].startswith("ZeroDivisionError: a defect (traceback: ")
    assert "in broken" in (tmp_path / "parts" / "one" / "bad.failed").read_text("utf-8")
    # Once it is made, nothing says that it failed.
    parts.make(tmp_path, [Part("one/bad", 1, lambda: {})], math.inf, lambda line: None, left := {})
    assert left == {}
    assert not (tmp_path / "parts" / "one" / "bad.failed").exists()


def test_no_part_starts_after_the_time_limit(tmp_path: Path) -> None:
    left: dict[str, str] = {}
    parts.make(tmp_path, [Part("one/late", 1, lambda: pytest.fail("begun"))], 0.0, lambda line: None, left)
    assert left == {"one/late": "no time was left"}


def test_a_run_of_another_design_is_refused(shared: Shared) -> None:
    other = load(shared.design).with_model("org/model")
    with pytest.raises(RecipeError, match=r"holds results of another design.*model was .*, is 'org/model'"):
        run.run(other, "small", shared.folder, documents=shared.pool, device="cpu")
    with pytest.raises(RecipeError, match=r"before\.json was made with another design, pool or model"):
        parts.read(shared.folder, Part("alignment/before", {"other": "settings"}, dict))


def test_a_design_with_another_model_leaves_out_the_trained_rater() -> None:
    own = load().with_model("org/model")
    assert (own.model, own.rater_adapter, "trained" in own.raters) == ("org/model", "", False)
    assert load().with_model(load().model) == load()


BAD = [
    (["no-such.toml"], "cannot read the design no-such.toml"),
    (["claims", "--only", "speed"], "experiment is 'speed', expected one of raters, language"),
    (["claims", "--pool", "no-titles.jsonl"], "has no title"),
    (["claims", "--pool", "nowhere"], "nowhere does not exist"),
    (["claims", "--device", "cuda"], "device is cuda, and no GPU is visible"),
    (["claims", "--rank", "2", "--of", "2"], "rank is 2, expected 0 to 1"),
]


@pytest.mark.parametrize(("words", "text"), BAD, ids=[text for _, text in BAD])
def test_bad_input_is_reported_before_any_work(
    words: list[str], text: str, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    row = {"id": "a", "language": "sw", "text": "Jambo.", "text_en": "Hello."}
    Path("no-titles.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    code, _, error = say("experiment", "run", *words)
    assert code == 1
    assert error.count("\n") == 1
    assert text in error
    assert not Path("runs").exists()


def test_a_missing_package_is_reported_before_any_work(
    say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "PACKAGES", ("no_such_package",))
    code, _, error = say("experiment", "run", "claims", "--out", tmp_path / "run")
    assert (code, error) == (
        1, "error: the package 'no_such_package' is not installed: pip install 'x_instruction[train]'\n",
    )  # fmt: skip


def test_show_prints_the_design(say: Say) -> None:
    code, shown, _ = say("experiment", "show", "claims")
    assert code == 0
    for claim in load().claims:
        assert claim.statement in shown
    code, shown, _ = say("experiment", "show", "claims", "--json")
    assert [row["claim"] for row in json.loads(shown)] == [claim.id for claim in load().claims for _ in claim.expect]


def test_the_command_offers_every_profile() -> None:
    assert set(load().profiles) == set(PROFILES) == set(design.Profile.__args__)  # type: ignore[attr-defined]


def test_every_experiment_has_a_claim() -> None:
    claims: list[Claim] = list(load().claims)
    assert {claim.experiment for claim in claims} == set(run.EXPERIMENTS)
