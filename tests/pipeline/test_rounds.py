"""Models that a run trains, and rounds of refinement, with a tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import warm
from click.testing import CliRunner
from looped import TUNE, bytes_of

from x_instruction.cards import records
from x_instruction.cli import cli
from x_instruction.config.recipe import Recipe, load
from x_instruction.errors import CorpusError, RecipeError, RunChanged, ShardError
from x_instruction.pipeline import rounds
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.models import Models
from x_instruction.pipeline.preview import preview
from x_instruction.pipeline.progress import NullProgress
from x_instruction.refine.labels import WEAK_STRATEGIES, examples, split
from x_instruction.seed.pairs import Pair
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import CURATED, EMBEDDED, PASSAGE, StageKey

Write = Callable[..., Path]
# A run whose trainings belong to its process group, as those of every run do.
RUN = "import warm; warm.trainings(); from x_instruction.cli import main; main()"
pytestmark = pytest.mark.usefixtures("warm_trainings")


def go(recipe: Recipe, root: Path, until: str = "curated", **more: Any) -> RunFolder:
    return execute(recipe, root, 1, more.pop("redo", False), until, NullProgress(), **more)


def test_training_needs_seeds(recipe_file: Write) -> None:
    with pytest.raises(RecipeError, match=r"seeds\.paths is empty and \[generate\.train\] is set"):
        load(recipe_file(**{"generate.train": TUNE}))


def test_rounds_need_training(recipe_file: Write) -> None:
    with pytest.raises(RecipeError, match=r"refine\.rounds is 1, expected a section \[generate\.train\]"):
        load(recipe_file(refine={"rater": "pmi", "rounds": 1}))


def test_missing_seeds_are_reported(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = looped(**{"seeds.paths": '["nowhere/{tag}.jsonl"]'})
    with pytest.raises(CorpusError, match=r"seeds\.paths leads to no file for any language: nowhere"):
        go(recipe, tmp_path / "run")


def test_a_preview_trains_nothing(
    looped: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(*_: object) -> None:
        raise AssertionError("a preview trains no model")

    monkeypatch.setattr("x_instruction.pipeline.models.launch", launch)
    summary = preview(looped(), tmp_path / "run", 1, NullProgress()).estimate.summary()
    assert "1 worker" in summary
    assert summary.endswith("training and rounds are not included")


def test_a_served_model_cannot_be_trained(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"generate\.train trains a model on this machine"):
        go(looped(**{"generate.model.engine": "openai"}), tmp_path / "run")


def test_training_and_an_adapter_exclude_each_other(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"set only one of refine\.train and refine\.model\.adapter"):
        go(looped(**{"refine.model.adapter": "mine"}), tmp_path / "run")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"root": tmp_path_factory.mktemp("rounds") / "run"}


def test_later_rounds_write_for_passages_without_a_kept_pair(
    looped: Callable[..., Recipe], tmp_path: Path, once: dict[str, Path]
) -> None:
    recipe = looped()
    run = go(recipe, once["root"])
    made = [f"{role}-{round}" for role in ("generator", "rater") for round in range(3)]
    assert sorted(path.name for path in (run.root / "models").iterdir()) == made
    between = [StageKey(stage, round) for round in range(3) for stage in ("candidate", "rated")]
    assert rounds.stages(recipe) == [PASSAGE, *between, EMBEDDED, CURATED]
    for tag in recipe.languages:
        for key in run.shards(PASSAGE, tag):
            for round in (1, 2):
                before = {(r.id, r.candidate): r for r in run.read(key.at(StageKey("candidate", round - 1)))}  # type: ignore[attr-defined]
                kept = {r.id for r in run.read(key.at(StageKey("rated", round - 1)))}
                now = {(r.id, r.candidate): r for r in run.read(key.at(StageKey("candidate", round)))}  # type: ignore[attr-defined]
                assert before.items() <= now.items(), "earlier candidates are rated again, unchanged"
                for row in now.keys() - before.keys():
                    assert now[row].round == round  # type: ignore[attr-defined]
                    assert row[0] not in kept, "only passages of which nothing was kept are written for again"
    # Kept pairs are guesses: they never calibrate a rater, and they do not outnumber the seeds.
    models = Models(run, recipe, False, lambda text: None)
    seeds = models._seeds("")
    held_out = {pair.document for pair in split(seeds, recipe.refine.validation, recipe.seed)[1]}
    for round in (1, 2):
        trained_on = models._training_part(seeds, round, "")
        assert held_out.isdisjoint(pair.document for pair in trained_on)
        kept_pairs = [pair for pair in models._pairs("rater", round, "") if pair not in seeds]
        assert len(kept_pairs) <= len(seeds)
    none = Models(run, looped(**{"refine.kept_per_seed": "0"}), False, lambda text: None)
    assert none._pairs("rater", 2, "") == seeds
    best = models._best_kept(1, "", len(recipe.languages))
    for tag in {pair.language for pair in best}:
        scores = {pair.id: score for score, pair in models._kept(1, tag)}
        assert [scores[pair.id] for pair in best if pair.language == tag] == [max(scores.values())]
    curated = list(run.read(CURATED.shard("fi", 0)))
    last = {r.id for key in run.shards(StageKey("rated", 2), "fi") for r in run.read(key)}
    assert {record.id for record in curated} <= last
    assert "rated/round-2" in json.dumps(run.report(CURATED.shard("fi", 0)).settings)


@pytest.mark.parametrize(
    ("shares", "convergence_tolerance", "last"),
    [
        ([0.2, 0.5, 0.7, 0.8], 0.01, 3),
        ([0.2, 0.5, 0.505, 0.8], 0.01, 2),
        ([0.2, 0.2, 0.7, 0.8], 0.01, 1),
        ([0.2, 0.2, 0.7, 0.8], 0.0, 3),
        ([0.2, None, None, None], 0.01, 3),
    ],
)
def test_rounds_stop_when_little_changes(
    looped: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shares: list[float | None],
    convergence_tolerance: float,
    last: int,
) -> None:
    monkeypatch.setattr(rounds, "kept_share", lambda run, settings, round: shares[round])
    recipe = looped(**{"refine.rounds": "3", "refine.convergence_tolerance": str(convergence_tolerance)})
    assert rounds.last_round(RunFolder(tmp_path), recipe) == last


def test_models_can_be_trained_per_language(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    """Bengali has no seeds here, so it cannot have a model of its own."""
    one = {"generate.train.per_language": "true", "refine.rounds": "0", "refine.convergence_tolerance": "0.01"}
    run = go(looped(**one, languages='["fi", "th"]'), tmp_path / "run", until="candidate")
    assert sorted(path.name for path in (run.root / "models").iterdir()) == ["generator-0-fi", "generator-0-th"]
    revisions = {
        tag: {r.generator_revision for r in run.read(StageKey("candidate").shard(tag, 0))} for tag in ("fi", "th")
    }  # type: ignore[attr-defined]
    assert not revisions["fi"] & revisions["th"]
    with pytest.raises(CorpusError, match=r"no seed was kept in .* of bn, which generate\.train\.per_language needs"):
        go(looped(**one), tmp_path / "all", until="candidate")
    assert not (tmp_path / "all" / "models").exists(), "refused before any is trained"


@pytest.mark.parametrize("rater", ["full", "lora"])
def test_all_weights_can_be_trained(looped: Callable[..., Recipe], tmp_path: Path, rater: str) -> None:
    """Also for a rater that starts from a generator of which all weights were tuned, by an adapter or by all again."""
    recipe = looped(
        **{
            "generate.train.method": '"full"',
            "refine.train.method": f'"{rater}"',
            "refine.init_from": '"generator"',
            "refine.rounds": "0",
            "refine.convergence_tolerance": "0.01",
            "languages": '["fi", "th"]',
        }
    )
    run = go(recipe, tmp_path / "run", until="rated")
    write, rate = rounds.writing(run, recipe, 0, "fi").model, rounds.rating(run, recipe, 0, "fi").model
    assert (write.name, write.adapter) == (str(run.root / "models" / "generator-0"), None)
    own = str(run.root / "models" / "rater-0")
    assert (rate.name, rate.adapter) == ((own, None) if rater == "full" else (write.name, own))
    assert list(run.read(StageKey("rated").shard("fi", 0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refine.label_strategies": '["pair", "worse"]'}, r"refine\.label_strategies\[1\] is 'worse', expected"),
        ({"refine.label_strategies": '["pair", "shuffled"]'}, "has no strategy for the level 'worst'"),
        ({"refine.validation": "0.0"}, r"refine\.validation is 0"),
        ({"refine.prompt": '"nothing"'}, "nothing"),
        (
            {"generate.train.per_language": "true", "refine.init_from": '"generator"'},
            "makes one generator per language",
        ),
        ({"refine.train.method": '"full"', "refine.init_from": '"generator"'}, "which is an adapter"),
    ],
)
def test_invalid_settings_of_a_rater_are_reported_before_the_corpus_is_read(
    looped: Callable[..., Recipe], tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        go(looped(**changes), tmp_path / "run")
    assert not (tmp_path / "run" / "passage").exists()


def label_file(path: Path, rows: list[tuple[str, str]]) -> str:
    """A file of judged pairs: their languages and labels."""
    lines = [
        {"id": f"p{n}", "instruction": f"Why {n}?", "output": f"Siksi {n}.", "language": tag, "label": label}
        for n, (tag, label) in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


def test_a_rater_is_trained_on_human_judgements(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    rows = [(tag, label) for label in ("good", "flawed", "bad") for tag in ("fi", "th") for _ in range(20)]
    path = label_file(tmp_path / "judged.jsonl", rows)
    recipe = looped(**{"refine.label_files": f"['{path}']"})
    models = Models(RunFolder(tmp_path / "run"), recipe, False, lambda text: None)
    training, validation = models._with_judged([], [], [])
    # No judged pair is lost, none is on both sides, and both have as many of each level.
    assert {e.id for e in training}.isdisjoint(e.id for e in validation)
    for side, least in ((training, 20), (validation, 5)):
        assert len({sum(e.level == level for e in side) for level in ("best", "flawed", "worst")}) == 1
        assert len(side) > 3 * least
    # Judged pairs are kept before made ones.
    made = [
        replace(e, id=f"made-{n}", strategy="pair", level=level)
        for level, number in (("best", 9), ("flawed", 0), ("worst", 9))
        for n, e in enumerate(training[:1] * number)
    ]
    assert [e for e in models._with_judged(made, [], [])[0] if e.strategy == "judged"] == training
    one = looped(**{"refine.label_files": f"['{path}']", "refine.train.per_language": "true"})
    finnish = [Pair(id="a", instruction="b", output="c", language="fi", instruction_language="en", source="d")]
    own = Models(RunFolder(tmp_path / "run"), one, False, lambda text: None)._with_judged([], [], finnish)
    assert {e.language for side in own for e in side} == {"fi"}
    # Another file is another rater, and no other generator.
    before = {role: models.settings(role, 0) for role in ("generator", "rater")}
    label_file(tmp_path / "judged.jsonl", rows[1:])
    after = {role: models.settings(role, 0) for role in ("generator", "rater")}
    assert before["generator"] == after["generator"]
    assert {k for k in before["rater"] if before["rater"][k] != after["rater"][k]} == {"input.labels/0-judged.jsonl"}


def test_files_of_judged_pairs_are_read_before_the_corpus(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    path = label_file(tmp_path / "judged.jsonl", [("fi", "good"), ("fi", "nice")])
    with pytest.raises(CorpusError, match=r"judged\.jsonl, row 2: label is 'nice', expected one of best"):
        go(looped(**{"refine.label_files": f"['{path}']"}), tmp_path / "run")
    with pytest.raises(CorpusError, match=r"cannot read .*none\.jsonl"):
        go(looped(**{"refine.label_files": f"['{tmp_path}/none.jsonl']"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match=r"label_files is set, expected a section \[refine\.train\]"):
        looped().refine.replace(train=None, init_from="base", label_files=(path,))


def test_seeds_of_the_rater_are_checked_first(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = looped(**{"seeds.paths": f"['{tmp_path}/none/{{tag}}.jsonl']", "refine.rounds": "0"})
    recipe = recipe.replace(generate=recipe.generate.replace(train=None))
    with pytest.raises(CorpusError, match=r"seeds\.paths leads to no file"):
        go(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "candidate").exists()


@pytest.mark.parametrize("name", WEAK_STRATEGIES)
def test_a_rater_is_trained_on_output_of_a_weaker_model(
    looped: Callable[..., Recipe], tmp_path: Path, name: str
) -> None:
    # Hot: the tiny model's likeliest answer is a row of empty lines.
    hot = {"generate.temperature": "9.0", "generate.top_k": "0", "generate.top_p": "1.0"}
    builders = {"refine.label_strategies": f'["pair", "{name}", "random-negative"]'}
    recipe = looped(**builders | (hot if name == "weak-response" else {}))
    models = Models(RunFolder(tmp_path / "run"), recipe, False, lambda text: None)
    models.seeds()
    pairs = models._pairs("rater", 0, "")
    written = models._weak_texts(pairs)
    made = [e for e in examples(pairs, recipe.refine.label_strategies, 1, recipe.seed, written) if e.level == "flawed"]
    assert made
    assert not {(e.instruction, e.text) for e in made} & {(pair.asked, pair.output) for pair in pairs}
    kept = {e.text for e in made} if name == "weak-instruction" else {e.instruction for e in made}
    assert kept <= ({pair.output for pair in pairs} if name == "weak-instruction" else {pair.asked for pair in pairs})
    assert models._weak_texts(pairs) == written
    # How the weaker model is asked decides the rater.
    other = recipe.replace(generate=recipe.generate.replace(top_k=3))
    assert Models(models.run, other, False, print).settings("rater", 0) != models.settings("rater", 0)


def test_seeds_of_removed_languages_are_not_used(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    tags = []
    for languages in ('["fi", "th"]', '["fi"]'):
        models = Models(run, looped(**{"seeds.languages": languages}), False, lambda text: None)
        models.seeds()
        tags.append({pair.language for pair in models._pairs("generator", 0, "")})
    assert tags == [{"fi", "th"}, {"fi"}]


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "[" * 100_000, None])
def test_a_damaged_file_beside_seeds_or_a_model_is_named(
    looped: Callable[..., Recipe], tmp_path: Path, text: str | None
) -> None:
    def damage(path: Path) -> None:
        path.unlink(missing_ok=True) if text is None else path.write_text(text, "utf-8")

    run, recipe = RunFolder(tmp_path / "run"), looped()
    Models(run, recipe, False, lambda text: None).seeds()
    damage(run.root / "seeds" / "fi.report.json")
    with pytest.raises(ShardError, match=r"^cannot read .*seeds/fi\.report\.json: .*; remove fi\.jsonl and run again"):
        Models(run, recipe, False, lambda text: None).seeds()
    run.model("generator-0").mkdir(parents=True)
    damage(run.model("generator-0") / "made.json")
    with pytest.raises(
        ShardError, match=r"^cannot read .*generator-0/made\.json: .*; remove .*generator-0 and run again"
    ):
        Models(run, recipe, False, lambda text: None).missing("generator", 0)


def test_models_can_be_trained_without_a_run(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    looped()
    line = ["train", "generator", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 0, done.output
    made = tmp_path / "run" / "models" / "generator-0"
    assert done.output.splitlines()[-1] == str(made)
    record = records.read(made).training
    assert record.languages == ("fi", "th")
    assert str(tmp_path) not in (made / "training.json").read_text("utf-8")
    assert not (tmp_path / "run" / "models" / "rater-0").exists()
    nothing = CliRunner().invoke(cli, ["train", "all", "demo"])
    assert "the recipe demo trains no generator and no rater: add [generate.train] or [refine.train]" in str(
        nothing.exception
    )


def test_a_rater_is_calibrated_on_documents_unseen_by_its_generator(
    looped: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = looped(**{"refine.init_from": '"generator"'})
    models = Models(RunFolder(tmp_path / "run"), recipe, False, lambda text: None)
    models.seeds()
    every = models._pairs("rater", 0, "")
    apart = {pair.id for pair in split(every, recipe.refine.validation, recipe.seed)[1]}
    learned = {pair.id for pair in models._pairs("generator", 0, "")}
    assert apart
    assert learned
    assert not apart & learned
    assert apart | learned == {pair.id for pair in every}


def test_a_second_call_does_nothing(looped: Callable[..., Recipe], once: dict[str, Path]) -> None:
    before = bytes_of(once["root"])
    go(looped(), once["root"])
    assert bytes_of(once["root"]) == before


def test_the_learning_rate_changes_the_model(looped: Callable[..., Recipe], once: dict[str, Path]) -> None:
    with pytest.raises(RunChanged, match=r"model generator-0.*train\.learning_rate was 0\.0002, is 0\.1"):
        go(looped(**{"generate.train.learning_rate": "0.1"}), once["root"])


def test_save_steps_and_device_batch_size_do_not_change_the_model(
    looped: Callable[..., Recipe], once: dict[str, Path]
) -> None:
    go(looped(**{"generate.train.save_steps": "7", "generate.train.device_batch_size": "2"}), once["root"])


def test_a_run_killed_at_every_step_gives_the_same_bytes(looped: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = looped(**{"refine.rounds": "1"})
    go(recipe, tmp_path / "whole")
    root, environment = tmp_path / "killed", os.environ | {"PYTHONPATH": str(Path(warm.__file__).parent)}
    line = [sys.executable, "-c", RUN, "run", str(tmp_path / "recipe.toml"), "--out", str(root)]
    line += ["--workers", "1", "--set", "refine.rounds=1"]
    seen: set[str] = set()
    for _ in range(20):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = warm.start(line, env=environment, process_group=0, **quiet)
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            # Once in each stage and in each tuning.
            steps = {path.parts[-3] for path in root.glob("models/.*.training/checkpoints/checkpoint-1")}
            steps |= {str(path.relative_to(root).parents[1]) for path in root.glob("[cpr]*/**/*.parquet")}
            if new := steps - seen:
                seen |= new
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        process.wait()
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert len(seen & {f".{role}-{round}.training" for role in ("generator", "rater") for round in (0, 1)}) >= 3
    assert seen >= {f"{stage}/round-{round}" for stage in ("candidate", "rated") for round in (0, 1)}
    assert bytes_of(root) == bytes_of(tmp_path / "whole")
