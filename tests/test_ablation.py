"""One thing changed at a time: what each study changes, and that what is common is made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from x_instruction.ablation import STUDIES, _take_over, ablate, variants
from x_instruction.cli.ablate import _STUDIES
from x_instruction.errors import RecipeError
from x_instruction.recipe import load
from x_instruction.run.progress import Quiet

Write = Callable[..., Path]


def test_no_such_study() -> None:
    with pytest.raises(RecipeError, match="no study 'nothing', wanted one of refinement"):
        variants(load("demo"), "nothing")


@pytest.mark.parametrize("study", [name for name in STUDIES if name != "rounds"])
def test_a_variant_changes_what_it_says(study: str) -> None:
    demo = load("demo")
    for name, variant in variants(demo, study).items():
        for key, value in STUDIES[study][name].items():
            section, field = key.split(".")
            assert getattr(getattr(variant, section), field) == value
        assert (variant.corpus, variant.generate) == (demo.corpus, demo.generate)


def test_rounds_want_something_that_learns() -> None:
    with pytest.raises(RecipeError, match="nothing learns"):
        variants(load("demo"), "rounds")


def test_a_rater_that_learns_nothing_takes_its_tuning_along() -> None:
    made = variants(load("adapters", {"refine.rounds": "2", "refine.precision": "0.9"}), "raters")
    assert made["trained"].refine.tune is not None
    assert made["pmi"].refine.tune is None
    assert made["pmi"].refine.precision is None
    assert made["pmi"].refine.start == "base"
    assert made["pmi"].refine.rounds == 2, "the generator still learns"
    assert made["combined"].refine.tune is not None
    assert made["combined"].refine.precision is None, "its thresholds are not those that were measured"


def test_a_rater_that_nobody_tuned_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing says that embedded was"):
        next(ablate(load("demo"), "raters", tmp_path / "runs", 1, False, Quiet()))
    assert not (tmp_path / "runs").exists()


def test_the_command_offers_every_study() -> None:
    assert set(_STUDIES) == set(STUDIES)


@pytest.mark.parametrize(
    ("study", "linked"),
    [
        ("rounds", {"seeds", "passage", "candidate", "rated", "candidate_1", "rated_1", "generator-0", "generator-1"}),
        ("raters", {"seeds", "passage", "candidate", "generator-0"}),
    ],
)
def test_only_what_would_be_made_alike_is_taken_over(study: str, linked: set[str], tmp_path: Path) -> None:
    """Models of later rounds learned from what another rater kept, and a ledger is written into."""
    before, root = tmp_path / "before", tmp_path / "root"
    ages = ["passage", "candidate", "rated", "candidate_1", "rated_1", "curated", "cache", "seeds"]
    for name in (*ages, "models/generator-0", "models/generator-1"):
        (before / name).mkdir(parents=True)
        (before / name / "file").write_text("x", "utf-8")
    _take_over(before, root, study, load("adapters", {"refine.rounds": "2"}))
    found = {path.parent.name for path in root.rglob("file")}
    assert found == linked


def test_variants_share_what_they_have_in_common(recipe_file: Write, tmp_path: Path) -> None:
    recipe = load(recipe_file(), {"languages": '["fi"]', "diversify.quota": "3"})
    found = list(ablate(recipe, "diversification", tmp_path / "out", 1, False, Quiet()))
    assert [one.variant for one in found] == ["whole", "no-diversification"]
    assert found[0].curated == found[1].curated > 0
    assert found[0].kept == found[1].kept
    first, second = ((one.folder / "candidate" / "fi" / "00000.parquet").stat().st_ino for one in found)
    assert first == second, "candidates are the same files"
    again = list(ablate(recipe, "diversification", tmp_path / "out", 1, False, Quiet()))
    assert again == found
    unread = list(ablate(recipe, "refinement", tmp_path / "refinement", 1, False, Quiet()))
    assert unread[1].kept >= unread[0].kept
