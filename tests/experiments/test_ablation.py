"""Ablations: the settings that each study changes, and that common parts are made once."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from x_instruction.cli import cli
from x_instruction.cli.experiment.ablate import STUDIES as NAMED
from x_instruction.config.corpus import Corpus
from x_instruction.config.recipe import Recipe, load
from x_instruction.config.section import toml_value
from x_instruction.corpus.sources import Document, read
from x_instruction.errors import EngineError, RecipeError
from x_instruction.experiments.ablation import STUDIES, Outcome, _link_common, ablate, variants
from x_instruction.languages import language
from x_instruction.pipeline.progress import NullProgress
from x_instruction.refine.compare import KEEP_ALL
from x_instruction.storage.run_folder import RunFolder
from x_instruction.training.job import TrainingExample, TrainJob, TrainResult

Write = Callable[..., Path]


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(RecipeError, match="study is 'nothing', expected one of refinement"):
        variants(load("demo"), "nothing")


@pytest.mark.parametrize("study", [name for name in STUDIES if name != "rounds"])
def test_a_variant_changes_only_its_own_settings(study: str) -> None:
    demo = load("demo")
    for name, variant in variants(demo, study).items():
        for key, value in STUDIES[study][name].items():
            section, field = key.split(".")
            assert getattr(getattr(variant, section), field) == value
        assert (variant.corpus, variant.generate) == (demo.corpus, demo.generate)


def test_rounds_need_training() -> None:
    with pytest.raises(RecipeError, match=r"refine\.rounds is 1, expected a section \[generate\.train\]"):
        variants(load("demo"), "rounds")


def test_raters_without_training_drop_the_training_settings() -> None:
    recipe = load("adapters", {"refine.rounds": 2, "refine.precision": 0.9, "refine.prompt": "rate-trained"})
    made = variants(recipe, "raters")
    assert made["trained"] == recipe
    for name in ("pmi", "prompted"):
        assert made[name].refine.train is None
        assert made[name].refine.rounds == 2, "the generator still learns"
        assert made[name].refine.prompt == "auto"
    both = made["combined"].refine
    assert (both.train, both.prompt, both.rounds) == (recipe.refine.train, "rate-trained", 2)
    assert {name: (one.refine.precision, one.refine.min_score) for name, one in made.items()} == {
        "trained": (0.9, 0.0),
        "pmi": (None, KEEP_ALL),
        "contrastive": (None, KEEP_ALL),
        "consensus": (None, KEEP_ALL),
        "prompted": (None, KEEP_ALL),
        "combined": (None, KEEP_ALL),
    }, "a threshold is in its own rater's scale"


def test_only_trained_and_combined_raters_keep_the_adapter() -> None:
    recipe = load("english-pages", {"refine.rater": "trained", "refine.model.adapter": "embedded-rater"})
    adapters = {name: one.refine.model.adapter for name, one in variants(recipe, "raters").items()}
    assert {name for name, adapter in adapters.items() if adapter} == {"trained", "combined"}
    assert {adapters["trained"], adapters["combined"]} == {"embedded-rater"}
    assert {name: one.refine.min_score for name, one in variants(load("english-pages"), "raters").items()} == {
        "pmi": KEEP_ALL,
        "trained": KEEP_ALL,
        "contrastive": KEEP_ALL,
        "consensus": KEEP_ALL,
        "prompted": KEEP_ALL,
        "combined": load("english-pages").refine.min_score,
    }


def test_without_a_rater_no_rounds_are_trained() -> None:
    recipe = load("adapters", {"refine.rounds": 2})
    without = variants(recipe, "refinement")["no-refinement"]
    assert (without.refine.rounds, without.refine.train) == (0, None)
    assert without.generate == recipe.generate


def test_an_untrained_rater_is_reported_before_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="answer with levels, which embedded does not"):
        next(ablate(load("demo"), "raters", tmp_path / "runs", 1, False, NullProgress()))
    assert not (tmp_path / "runs").exists()


def test_finished_variants_are_shown_if_a_later_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(*_: object) -> Iterator[Outcome]:
        yield Outcome("whole", 1_234, 5, 4, 0.5, 0.25, Path("runs"))
        raise EngineError("no more")

    monkeypatch.setattr("x_instruction.experiments.ablation.ablate", one)
    done = CliRunner().invoke(cli, ["experiment", "ablate", "demo", "refinement"])
    assert str(done.exception) == "no more"
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["variant", "passages", "kept", "curated", "score", "distinct", "folder"],
        ["whole", "1,234", "5", "4", "0.500", "0.250", "runs"],
    ]


def test_the_command_offers_every_study() -> None:
    assert set(NAMED) == set(STUDIES)


@pytest.fixture
def learning(recipe_file: Write, tiny_model: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """A Finnish recipe whose generator and rater are tuned in two steps, the rater from the generator."""
    pages = [found.text for found in read(Corpus(source="sample"), language("fi")) if isinstance(found, Document)]
    rows = [
        {"id": f"{n}", "instruction": f"Explain thing {n} in detail.", "output": text} for n, text in enumerate(pages)
    ]
    (tmp_path / "fi.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    tune = {"steps": 2, "batch_size": 4, "device_batch_size": 4, "rank": 2, "threads": 1, "device": "cpu"}
    model = {"name": str(tiny_model), "batch_size": 8}
    rater = {
        "rater": "trained",
        "init_from": "generator",
        "response_tokens": 32,
        "validation": 0.3,
        "convergence_tolerance": 0.0,
    }

    def make(**overrides: str) -> Recipe:
        file = recipe_file(
            **{
                "seeds": {"paths": [str(tmp_path / "{tag}.jsonl")], "near_duplicate_jaccard": 1.0},
                "corpus": {"source": "sample", "shard_size": 2, "passages": 3},
                "generate": {"candidates": 2, "max_tokens": 8, "passage_tokens": 32, "min_chars": 1},
                "generate.model": model,
                "generate.train": tune,
                "refine": rater | {"label_strategies": ["pair", "shuffled", "random-negative"]},
                "refine.model": model,
                "refine.train": tune,
            }
        )
        return load(file, {"languages": ["fi"]} | {key: toml_value(value) for key, value in overrides.items()})

    return make


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tunings that take no time and make another adapter each; the models that they made."""
    made: list[str] = []

    def launch(
        job: TrainJob, examples: list[TrainingExample], target: Path, finish: Callable[[Path, TrainResult], None]
    ) -> TrainResult:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        base = AutoModelForCausalLM.from_pretrained(job.model.name)
        folder = target.with_name(f".{target.name}.new")
        get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")).save_pretrained(
            folder
        )
        done = TrainResult(
            rows=len(examples),
            lengths={"max_tokens": 64},
            steps=2,
            tokens=1,
            seconds=1.0,
            loss=1.0,
            losses=[],
            parameters=1,
            trainable=1,
            flops=1.0,
            hardware="none",
            software={"none": "0"},
        )
        finish(folder, done)
        folder.rename(target)
        made.append(f"{target.parts[-3]}/{target.name}")
        return done

    monkeypatch.setattr("x_instruction.pipeline.models.launch", launch)
    return made


def inodes(root: Path) -> dict[str, int]:
    """The files of a run by name."""
    return {str(path.relative_to(root)): path.stat().st_ino for path in root.rglob("*") if path.is_file()}


def test_models_are_reused_if_they_would_be_identical(
    learning: Callable[..., Recipe], tuned: list[str], tmp_path: Path
) -> None:
    """A generator is not trained on documents reserved for its rater, so another rater may leave it more documents."""
    raters = [one.variant for one in ablate(learning(), "raters", tmp_path, 1, False, NullProgress())]
    assert raters == ["trained", "pmi", "contrastive", "consensus", "prompted", "combined"]
    assert tuned[:2] == ["trained/generator-0", "trained/rater-0"]
    assert not {"prompted/generator-0", "combined/generator-0", "combined/rater-0"} & set(tuned)
    files = {name: inodes(tmp_path / name) for name in raters}
    for one, other, common in (
        ("trained", "combined", ["seeds", "passage", "candidate", "models"]),
        ("pmi", "prompted", ["seeds", "passage", "candidate", "models"]),
        ("trained", "pmi", ["seeds", "passage"]),
    ):
        for name in common:
            of_one, of_other = (
                {file: node for file, node in files[run].items() if file.startswith(f"{name}/")} for run in (one, other)
            )
            assert of_one == of_other != {}
    rated = [name for name in files["trained"] if name.startswith("rated/")]
    assert not {files["trained"][name] for name in rated} & {files["combined"][name] for name in rated}
    caches = [{node for file, node in files[name].items() if file.startswith("cache/")} for name in raters]
    assert len(set.union(*caches)) == sum(map(len, caches)), "request caches are written to"


def test_later_rounds_reuse_earlier_ones(learning: Callable[..., Recipe], tuned: list[str], tmp_path: Path) -> None:
    done = list(ablate(learning(**{"refine.init_from": '"base"'}), "rounds", tmp_path, 1, False, NullProgress()))
    assert [one.variant for one in done] == [f"{number}-rounds" for number in range(4)]
    assert tuned == [f"{number}-rounds/{role}-{number}" for number in range(4) for role in ("generator", "rater")]


def test_a_kill_while_files_are_reused_leaves_no_partial_variant(
    learning: Callable[..., Recipe], tuned: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variant's folder appears only once it is complete."""
    recipe = learning()
    next(ablate(recipe, "diversification", tmp_path, 1, False, NullProgress()))
    variant = variants(recipe, "diversification")["no-diversification"]
    whole, root = RunFolder(tmp_path / "whole"), tmp_path / "no-diversification"
    _link_common([whole], tmp_path / "undisturbed", variant)
    expected = inodes(tmp_path / "undisturbed")
    # The version of the layout is written, and not linked.
    del expected["run.json"]
    link = os.link
    for last in range(len(expected)):
        left = itertools.count(last, -1)

        def killed(source: str, target: str, left: Iterator[int] = left, **more: Any) -> None:
            if next(left) == 0:
                raise KeyboardInterrupt
            link(source, target, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, "link", killed)
            with pytest.raises(KeyboardInterrupt):
                _link_common([whole], root, variant)
        assert not root.exists()
    outcomes = list(ablate(recipe, "diversification", tmp_path, 1, False, NullProgress()))
    assert outcomes[0].kept == outcomes[1].kept > 0
    assert expected.items() <= inodes(root).items()
    assert {name.split("/")[0] for name in expected} == {"seeds", "passage", "models", "candidate", "rated"}
    assert tuned == ["whole/generator-0", "whole/rater-0"]
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_rater_may_start_from_the_generator(learning: Callable[..., Recipe], tmp_path: Path) -> None:
    learning()
    line = ["experiment", "ablate", str(tmp_path / "recipe.toml"), "refinement", "--languages", "fi", "--workers", "1"]
    done = CliRunner().invoke(cli, [*line, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert [row.split()[0] for row in done.stdout.splitlines()] == ["variant", "whole", "no-refinement"]
    whole, without = (tmp_path / "out" / name for name in ("whole", "no-refinement"))
    assert {path.name for path in (whole / "models").iterdir()} == {"generator-0", "rater-0"}
    assert {path.name for path in (without / "models").iterdir()} == {"generator-0"}
    for name in ("seeds", "passage"):
        assert inodes(whole / name) == inodes(without / name) != {}
    again = CliRunner().invoke(cli, [*line, "--out", str(tmp_path / "out")])
    assert again.stdout == done.stdout


def test_variants_share_common_files(recipe_file: Write, tmp_path: Path) -> None:
    recipe = load(recipe_file(), {"languages": ["fi"], "diversify.quota": 3})
    found = list(ablate(recipe, "diversification", tmp_path / "out", 1, False, NullProgress()))
    assert [one.variant for one in found] == ["whole", "no-diversification"]
    assert found[0].curated == found[1].curated > 0
    assert found[0].kept == found[1].kept
    first, second = ((one.folder / "candidate" / "round-0" / "fi" / "00000.parquet").stat().st_ino for one in found)
    assert first == second, "candidates are the same files"
    again = list(ablate(recipe, "diversification", tmp_path / "out", 1, False, NullProgress()))
    assert again == found
    unread = list(ablate(recipe, "refinement", tmp_path / "refinement", 1, False, NullProgress()))
    assert unread[1].kept >= unread[0].kept
