"""Review of the pairs of a run: the sample, answers of scripted raters, and invalid files."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from operator import mul
from pathlib import Path
from typing import Any

import factories
import pytest
from click.testing import CliRunner, Result

from x_instruction.builders import corrections
from x_instruction.cli import cli
from x_instruction.config.recipe import Recipe
from x_instruction.config.seeds import Seeds
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.evaluation.record import read_record
from x_instruction.records import Dropped, Passage, dropped
from x_instruction.refine import label_files
from x_instruction.review import agreement, quality
from x_instruction.review.answers import read_answers
from x_instruction.review.page import write
from x_instruction.review.sample import make
from x_instruction.review.sheet import Item, Sheet, read_key
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import PASSAGE, StageKey

SAMPLE = Path(quality.__file__).parent.parent / "corpus" / "sample" / "sw.jsonl"
PASSAGES = 240
# From here on, most pairs are good.
EDGE = 0.4


def true_quality(number: int) -> bool:
    """Whether the pair of a passage is good: 19 of 20 with a score of ``EDGE`` or more, else 1 of 10."""
    return number * 7 % 20 != 0 if score(number) >= EDGE else number * 7 % 10 == 0


def score(number: int) -> float:
    return round(number / PASSAGES, 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Recipe]:
    """A run in Swahili with a pair for each passage: half are kept, the others below the threshold."""
    root = tmp_path_factory.mktemp("review")
    texts = [json.loads(line)["text"] for line in SAMPLE.read_text("utf-8").splitlines()]
    seeds = [
        {"id": str(number), "instruction": f"What is there to know about subject {number}?", "output": text}
        for number, text in enumerate(texts)
    ]
    (root / "seeds.jsonl").write_text("\n".join(json.dumps(row) for row in seeds), "utf-8")
    recipe = factories.settings(("sw",)).replace(seeds=Seeds(paths=(str(root / "seeds.jsonl"),)))
    run = RunFolder(root / "run")
    passages = [factories.passage(f"Maandishi ya {n}.", document_id=str(n)) for n in range(PASSAGES)]
    rated: list[Passage | Dropped] = []
    for number, passage in enumerate(passages):
        instruction = f"What is text {number}?"
        if score(number) >= 0.5:
            rated.append(factories.rated(passage.text, instruction=instruction, score=score(number)))
        else:
            rated.append(dropped(f"{passage.id}-0", "below_threshold", f"{score(number):.3f}", instruction))
        # A worse candidate of the same passage does not count.
        rated.append(dropped(f"{passage.id}-1", "not_best", f"{score(number) - 0.001:.3f}", "Another one?"))
    run.write(ShardReport(PASSAGE.shard("sw")), passages)
    run.finish(PASSAGE, "sw", 1)
    run.write(ShardReport(StageKey("rated").shard("sw")), rated)
    run.finish(StageKey("rated"), "sw", 1)
    (run.root / "recipe.json").write_text(recipe.model_dump_json(), "utf-8")
    return run, recipe


def number_of(item: Item) -> int:
    return int(item.instruction.split()[-1].strip("?"))


def truth(item: Item) -> bool:
    return item.hidden["level"] == "best" if "level" in item.hidden else true_quality(number_of(item))


def answers(
    sheet: Sheet, path: Path, rater: int, correct: float, change: Callable[[Item], dict[str, Any]] = lambda item: {}
) -> Path:
    """The file of a scripted rater who is right with a probability."""
    source = random.Random(rater)
    found = {}
    for item in sheet.items:
        is_good = truth(item) == (source.random() < correct)
        choices = {"quality": "good"} if is_good else {"quality": "flawed", "flaw": "off_topic"}
        found[item.id] = {"choices": choices, **change(item)}
    table = {"format": "x_instruction answers", "version": 1, "sheet": sheet.id, "rater": rater, "answers": found}
    path.write_text(json.dumps(table), "utf-8")
    return path


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=True)


def test_the_sample_covers_all_scores_and_hides_them_from_raters(
    made: tuple[RunFolder, Recipe], tmp_path: Path
) -> None:
    run, recipe = made
    sheet = make(run, recipe, "sw", 60, 20, 0)
    drawn = [item for item in sheet.items if "level" not in item.hidden]
    assert len(drawn) == 60
    assert sum(item.hidden["weight"] for item in drawn) == pytest.approx(PASSAGES)
    tenths = [int(item.hidden["score"] * 10) for item in drawn]
    assert {tenths.count(tenth) for tenth in range(10)} == {6}
    known = [item.hidden["level"] for item in sheet.items if "level" in item.hidden]
    assert (len(known), known.count("best")) == (20, 10)
    assert sheet == make(run, recipe, "sw", 60, 20, 0)
    first, second = (page.read_text("utf-8") for page in write(sheet, tmp_path, 2))
    assert first != second
    for word in ("truncated", "hidden", "weight", "score", sheet.items[0].hidden.get("passage", "sw-")):
        assert word not in first.split('id="data-sheet">')[1].split("</script>")[0]
    assert read_key(tmp_path) == sheet


def test_precision_and_threshold_are_recovered_from_raters_of_known_accuracy(
    made: tuple[RunFolder, Recipe], tmp_path: Path
) -> None:
    run, recipe = made
    sheet = make(run, recipe, "sw", 60, 20, 0)
    write(sheet, tmp_path, 2)
    files = [answers(sheet, tmp_path / f"answers-{rater}.json", rater, 0.9) for rater in (1, 2)]
    review = quality.read(sheet, read_answers(sheet, files), 0.8)
    assert review.corrected
    for accuracy in review.accuracies.values():
        assert accuracy.interval[0] < 0.9 < accuracy.interval[1]
    for row in [row for row in review.rows if row.judged >= 10]:
        above = [number for number in range(PASSAGES) if score(number) >= row.threshold]
        assert row.low <= sum(map(true_quality, above)) / len(above) <= row.high
        assert row.kept == pytest.approx(len(above) / PASSAGES, abs=0.05)
    # From 0.27 on, 0.8 of the pairs are good: the threshold of the run, 0.5, drops pairs that it need not drop.
    assert review.threshold == pytest.approx(0.27, abs=0.1)
    assert len(review.labels) == 60
    printed = call("review", "collect", *files, "--precision", "0.8")
    assert printed.exit_code == 0, printed.output
    assert f"set refine.min_score = {review.threshold:.3f}" in printed.output
    assert "kappa" in printed.output
    assert max(map(len, printed.stdout.split("\n\n")[0].splitlines())) <= 80
    assert len(label_files.read(tmp_path / "labels.jsonl")) == 60
    assert (tmp_path / "comments.jsonl").read_bytes() == b""
    record = read_record(tmp_path / "review.json")
    assert {metric.name for metric in record.metrics} == {"precision"}


def test_raters_without_rows_of_known_quality_are_averaged(made: tuple[RunFolder, Recipe], tmp_path: Path) -> None:
    sheet = make(*made, "sw", 60, 0, 0)
    files = [answers(sheet, tmp_path / f"{rater}.json", rater, 0.85) for rater in (1, 2)]
    raters = read_answers(sheet, files)
    review = quality.read(sheet, raters, 0.8)
    assert not review.corrected
    lowest = review.rows[0]
    above = [item for item in sheet.items if item.hidden["score"] >= lowest.threshold]
    weights = [item.hidden["weight"] for item in above]
    good = [sum(rater.answers[item.id].choices["quality"] == "good" for rater in raters) / 2 for item in above]
    assert lowest.precision == pytest.approx(sum(map(mul, weights, good)) / sum(weights))
    # Each rater needs known rows: those of another one say nothing about it.
    known = make(*made, "sw", 60, 20, 0)
    one, other = read_answers(known, [answers(known, tmp_path / f"k{n}.json", n, 0.85) for n in (1, 2)])
    planted = {item.id for item in known.items if "level" in item.hidden}
    blind = dataclasses.replace(
        other, answers={id: answer for id, answer in other.answers.items() if id not in planted}
    )
    assert quality.read(known, [one, other], 0.8).corrected
    assert not quality.read(known, [one, blind], 0.8).corrected


@pytest.mark.parametrize(
    ("right", "rows", "expected"),
    [(5, 10, True), (6, 10, True), (7, 10, False), (8, 10, False), (4, 5, False), (0, 10, True), (10, 20, True),
     (13, 20, True), (15, 20, False), (20, 20, False), (110, 200, True), (130, 200, False), (0, 0, False)],
)  # fmt: skip
def test_accuracy_is_tested_against_chance(right: int, rows: int, expected: bool) -> None:
    assert agreement.accuracy([number < right for number in range(rows)]).is_chance == expected


def test_agreement_ignores_rows_of_known_quality(made: tuple[RunFolder, Recipe], tmp_path: Path) -> None:
    """Rows of known quality, on which these raters agree, do not count. Names cannot move the cursor."""
    sheet = make(*made, "sw", 20, 20, 0)
    write(sheet, tmp_path, 2)
    files = []
    for number, name in ((1, "y\x1b]0;pwn\x07"), (2, "\u202egnp")):
        opposite = "good" if number == 1 else "bad"
        file = answers(
            sheet,
            tmp_path / f"{number}.json",
            number,
            1.0,
            lambda item, choice=opposite: {} if "level" in item.hidden else {"choices": {"quality": choice}},
        )
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"name": name}), "utf-8")
        files.append(file)
    printed = call("review", "collect", *files)
    assert printed.exit_code == 0, printed.output
    assert "equal on 0% of 20 pairs" in printed.output
    assert "judged 20 of 20 pairs, right on 100%" in printed.output
    assert not {"\x1b", "\x07", "\u202e"} & set(printed.output)


def test_lone_surrogates_in_answers_are_stored(made: tuple[RunFolder, Recipe], tmp_path: Path) -> None:
    sheet = make(*made, "sw", 5, 0, 0)
    write(sheet, tmp_path, 1)
    broken = {"instruction": "How do people fish in the lake \ud800 ?", "comment": "\ud83d\0"}
    printed = call("review", "collect", answers(sheet, tmp_path / "a.json", 1, 1.0, lambda item: broken))
    assert printed.exit_code == 0, printed.output
    assert all((tmp_path / name).exists() for name in ("labels.jsonl", "corrections.jsonl", "comments.jsonl"))
    assert json.loads((tmp_path / "comments.jsonl").read_text("utf-8").splitlines()[0])["comment"] == "\ufffd"


def test_a_rater_who_guesses_is_excluded(made: tuple[RunFolder, Recipe], tmp_path: Path) -> None:
    run, recipe = made
    sheet = make(run, recipe, "sw", 60, 20, 0)
    files = [answers(sheet, tmp_path / f"{rater}.json", rater, right) for rater, right in ((1, 0.95), (2, 0.5))]
    review = quality.read(sheet, read_answers(sheet, files), 0.8)
    assert review.trusted == ("rater 1",)
    only = quality.read(sheet, read_answers(sheet, files[1:]), 0.8)
    assert (only.rows, only.threshold, only.labels) == ((), None, ())


def test_build_uses_corrected_instructions(made: tuple[RunFolder, Recipe], tmp_path: Path) -> None:
    run, recipe = made
    sheet = make(run, recipe, "sw", 20, 10, 0)
    write(sheet, tmp_path, 1)
    drawn = [item for item in sheet.items if "level" not in item.hidden]
    edits = dict(
        zip(
            [item.id for item in drawn[:4]],
            [
                "How do people fish in the lake?",
                "Je, watu wanavua samaki namna gani ziwani?",
                "Why",
                drawn[3].instruction,
            ],
            strict=True,
        )
    )
    file = answers(
        sheet,
        tmp_path / "a.json",
        1,
        1.0,
        lambda item: {"instruction": edits.get(item.id, ""), "comment": "Good." if item == drawn[0] else ""},
    )
    printed = call("review", "collect", file)
    assert "wrong language, expected English" in printed.output
    assert "'Why': too short" in printed.output
    (comment,) = map(json.loads, (tmp_path / "comments.jsonl").read_text("utf-8").splitlines())
    assert (comment["rater"], comment["comment"], comment["texts"]) == ("rater 1", "Good.", list(drawn[0].texts))
    table = corrections.read([tmp_path / "corrections.jsonl"])
    assert table == {(drawn[0].hidden["passage"], drawn[0].instruction): "How do people fish in the lake?"}
    record = factories.curated(drawn[0].texts[0], instruction=drawn[0].instruction, id=drawn[0].hidden["passage"])
    batch = factories.batch([record, factories.curated("Another.")])
    before = batch.to_pylist()
    edited = {"instruction": "How do people fish in the lake?", "generator": "org/generator+reviewed"}
    assert corrections.corrected(batch, table).to_pylist() == [before[0] | edited, before[1]]


def test_conflicting_corrections_are_reported(made: tuple[RunFolder, Recipe], tmp_path: Path) -> None:
    sheet = make(*made, "sw", 5, 0, 0)
    files = [
        answers(sheet, tmp_path / f"{n}.json", n, 1.0, lambda item, n=n: {"instruction": f"How do {n} people fish?"})
        for n in (1, 2)
    ]
    review = quality.read(sheet, read_answers(sheet, files), 0.8)
    assert (review.corrections, len(review.refused)) == ((), 5)
    assert review.refused[0].rater == "rater 1 and rater 2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sheet": "0" * 32}, "answers another sheet"),
        ({"format": "x"}, "is not a file of answers"),
        ({"version": 2}, "has version 2, expected 1"),
        ({"answers": {"nothing": {"choices": {}}}}, "which is not on the sheet"),
        ({"answers": 3}, "answers is 3"),
        ({"more": 1}, "unknown key more"),
    ],
)
def test_files_of_other_sheets_are_refused(
    change: dict[str, Any], message: str, made: tuple[RunFolder, Recipe], tmp_path: Path
) -> None:
    sheet = make(*made, "sw", 5, 0, 0)
    write(sheet, tmp_path, 1)
    file = answers(sheet, tmp_path / "a.json", 1, 1.0)
    table = json.loads(file.read_text("utf-8")) | change
    file.write_text(json.dumps(table), "utf-8")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert message in str(call("review", "collect", file).exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_two_files_of_a_rater_and_an_unknown_choice_are_refused(made: tuple[RunFolder, Recipe], tmp_path: Path) -> None:
    sheet = make(*made, "sw", 5, 0, 0)
    file = answers(sheet, tmp_path / "a.json", 1, 1.0)
    newer = answers(sheet, tmp_path / "a (1).json", 1, 1.0)
    for path, name, when in ((file, "", "2026-01-01T10:00:00Z"), (newer, "Asha", "2026-01-01T11:00:00Z")):
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"name": name, "saved": when}), "utf-8")
    with pytest.raises(CorpusError, match="are both of page 1: name only one of them; each rater needs"):
        read_answers(sheet, [file, file])
    # The same person with and without a name is one rater.
    for order in ([file, newer], [newer, file]):
        with pytest.raises(CorpusError, match=r"name only the newest, a \(1\).json, saved '2026-01-01T11:00:00'"):
            read_answers(sheet, order)
    answers(sheet, file, 1, 1.0, lambda item: {"choices": {"quality": "great"}})
    with pytest.raises(CorpusError, match="'quality' by 'great', which is no choice"):
        read_answers(sheet, [file])


def test_another_sheet_and_another_folder_are_not_overwritten(made: tuple[RunFolder, Recipe], tmp_path: Path) -> None:
    run, recipe = made
    write(make(run, recipe, "sw", 5, 0, 0), tmp_path, 1)
    before = (tmp_path / "key.json").read_bytes()
    with pytest.raises(RecipeError, match="has another sheet"):
        write(make(run, recipe, "sw", 6, 0, 0), tmp_path, 1)
    assert (tmp_path / "key.json").read_bytes() == before
    with pytest.raises(RecipeError, match="has no th, only sw"):
        make(run, recipe, "th", 5, 0, 0)
    (tmp_path / "key.json").write_bytes(before.replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(CorpusError, match="was changed after it was written"):
        read_key(tmp_path)


def test_make_writes_pages_beside_the_run(made: tuple[RunFolder, Recipe], tmp_path: Path) -> None:
    printed = call("review", "make", made[0].root, "--languages", "swahili", "--rows", "10", "--out", tmp_path / "out")
    assert printed.exit_code == 0, printed.output
    assert "30 pairs, 20 of known quality" in printed.output
    assert sorted(path.name for path in (tmp_path / "out" / "sw").iterdir()) == [
        "key.json",
        "rater-1.html",
        "rater-2.html",
    ]
    refused = call("review", "make", tmp_path, "--languages", "sw")
    assert "is not a run" in str(refused.exception)
