"""One thing changed at a time: what each study changes, and that what is common is made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from x_instruction.ablation import STUDIES, Outcome, _take_over, ablate, variants
from x_instruction.cli import cli
from x_instruction.cli.ablate import _STUDIES
from x_instruction.errors import EngineError, RecipeError
from x_instruction.recipe import load
from x_instruction.refine.compare import KEEP_ALL
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


def test_raters_that_learn_and_that_do_not() -> None:
    recipe = load("adapters", {"refine.rounds": "2", "refine.precision": "0.9", "refine.prompt": '"rate-trained"'})
    made = variants(recipe, "raters")
    assert made["trained"] == recipe
    for name in ("pmi", "prompted"):
        assert made[name].refine.tune is None
        assert made[name].refine.rounds == 2, "the generator still learns"
        assert made[name].refine.prompt == "auto"
    both = made["combined"].refine
    assert (both.tune, both.prompt, both.rounds) == (recipe.refine.tune, "rate-trained", 2)
    assert {name: (one.refine.precision, one.refine.min_score) for name, one in made.items()} == {
        "trained": (0.9, 0.0),
        "pmi": (None, KEEP_ALL),
        "prompted": (None, KEEP_ALL),
        "combined": (None, KEEP_ALL),
    }, "a threshold is in its own rater's scale"


def test_an_adapter_is_for_raters_that_read_what_was_tuned() -> None:
    recipe = load("english-pages", {"refine.rater": '"trained"', "refine.model.adapter": '"embedded-rater"'})
    adapters = {name: one.refine.model.adapter for name, one in variants(recipe, "raters").items()}
    assert adapters == {"trained": "embedded-rater", "combined": "embedded-rater", "pmi": None, "prompted": None}
    assert {name: one.refine.min_score for name, one in variants(load("english-pages"), "raters").items()} == {
        "pmi": 4.0,
        "trained": KEEP_ALL,
        "prompted": KEEP_ALL,
        "combined": KEEP_ALL,
    }


def test_without_a_rating_nothing_learns_from_it() -> None:
    recipe = load("adapters", {"refine.rounds": "2"})
    without = variants(recipe, "refinement")["no-refinement"]
    assert (without.refine.rounds, without.refine.tune) == (0, None)
    assert without.generate == recipe.generate


def test_a_rater_that_nobody_tuned_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing says that embedded was"):
        next(ablate(load("demo"), "raters", tmp_path / "runs", 1, False, Quiet()))
    assert not (tmp_path / "runs").exists()


def test_what_is_done_is_shown_when_a_later_variant_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(*_: object) -> Iterator[Outcome]:
        yield Outcome("whole", 1_234, 5, 4, 0.5, 0.25, Path("runs"))
        raise EngineError("no more")

    monkeypatch.setattr("x_instruction.ablation.ablate", one)
    done = CliRunner().invoke(cli, ["ablate", "demo", "refinement"])
    assert str(done.exception) == "no more"
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["variant", "passages", "kept", "curated", "score", "distinct", "folder"],
        ["whole", "1,234", "5", "4", "0.500", "0.250", "runs"],
    ]


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
