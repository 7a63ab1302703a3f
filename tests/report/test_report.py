"""Reports: content, default path, bad input, and the report that ``build`` writes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from report_run import TEXTS, rows, write_run

from x_instruction.api import Run, build, report
from x_instruction.builders import schema
from x_instruction.builders.manifest import Manifest
from x_instruction.builders.readback import verify
from x_instruction.cli import cli
from x_instruction.errors import MissingExtra, RecipeError, XInstructionError
from x_instruction.evaluation.metric import Data, Metric, ModelInfo
from x_instruction.evaluation.record import write_record
from x_instruction.report import charts
from x_instruction.report.rows import FIELDS, sample
from x_instruction.report.similar import positions
from x_instruction.report.source import COLUMNS
from x_instruction.storage.run_folder import RunFolder


def data(page: Path, name: str) -> Any:
    """What a page holds for its script."""
    text = page.read_text("utf-8")
    found = re.search(rf'id="data-{name}">(.*?)</script>', text, re.DOTALL)
    assert found, name
    return json.loads(found[1])


@pytest.mark.parametrize("stage", ["curated", "rated/round-0"])
def test_changed_bytes_of_a_shard_reach_neither_a_report_nor_a_data_set(
    run: RunFolder, tmp_path: Path, stage: str
) -> None:
    """A flipped bit in a Parquet file is often read as another value, without an error."""
    folder = tmp_path / "run"
    shutil.copytree(run.root, folder)
    path = folder / stage / "sw" / "00000.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    damaged = rf"{stage}/sw/00000\.parquet is damaged: its bytes are not those"
    for use in (
        lambda: report(folder, tmp_path / "page.html"),
        lambda: Run(folder).rows("sw", stage.partition("/")[0]),
        lambda: build(folder, tmp_path / "set"),
    ):
        with pytest.raises(XInstructionError, match=damaged):
            use()
    assert not (tmp_path / "page.html").exists()


def test_a_report_has_the_rows_dropped_rows_and_candidates_of_a_run(run: RunFolder, tmp_path: Path) -> None:
    page = report(run.root, tmp_path / "page.html")
    held, summary = data(page, "rows"), data(page, "set")
    assert tuple(held["fields"]) == FIELDS
    assert (summary["total"], summary["sampled"], len(summary["languages"])) == (60, 60, 10)
    state = held["fields"].index("state")
    states = [held["pools"]["state"][row[state]] for row in held["rows"]]
    assert {name: states.count(name) for name in states} == {"kept": 60, "too_short": 10, "empty": 10, "not_best": 60}
    first = rows("sw")[0]
    assert held["candidates"][first.id] == [
        [f"A worse one: {first.instruction}", "question", 0.01, 0, "not_best"],
        [first.instruction, "question", 0.1, 0, "kept"],
    ]
    # A dropped candidate is shown beside its passage.
    lost = [dict(zip(FIELDS, row, strict=True)) for row in held["rows"] if row[state] != states.index("kept")]
    beside = next(row for row in lost if row["id"] == f"{rows('ur')[0].id}-0")
    assert beside["output"] == rows("ur")[0].text
    for heading in ("Funnel", "Lengths", "Scores", "Verbs and nouns", "Map", "Near-duplicates", "Sources", "Cost"):
        assert f">{heading}" in page.read_text("utf-8")


def test_equal_runs_give_equal_bytes(run: RunFolder, tmp_path: Path) -> None:
    one = report(run.root, tmp_path / "a" / "page.html").read_bytes()
    assert report(run.root, tmp_path / "b" / "page.html").read_bytes() == one
    assert report(run.root, tmp_path / "a" / "page.html").read_bytes() == one


def test_two_sets_are_compared(run: RunFolder, other: RunFolder, tmp_path: Path) -> None:
    page = report(run.root, tmp_path / "page.html", compare=other.root)
    others = data(page, "rows")["others"]
    assert len(others) == 3 * 6
    assert all(values[0][0].endswith(" Answer briefly.") for values in others.values())
    text = page.read_text("utf-8")
    assert "6 responses in both sets, 0 only in scripts, 0 only in other." in text
    assert "Only scripts has he, ta" in text


def test_runs_of_one_recipe_have_unique_names(run: RunFolder, tmp_path: Path) -> None:
    base, _ = write_run(tmp_path / "first" / "run", ("sw",))
    adapter, _ = write_run(tmp_path / "second" / "run", ("sw",), " Answer briefly.")
    page = report(base.root, tmp_path / "page.html", compare=adapter.root)
    assert "6 responses in both sets, 0 only in first/run, 0 only in second/run." in page.read_text("utf-8")
    assert data(page, "set")["other"] == "second/run"
    renamed = base.root.rename(tmp_path / "base")
    text = report(renamed, compare=adapter.root).read_text("utf-8")
    assert "0 only in base, 0 only in run." in text
    assert "<title>Report of X-Instruction: base</title>" in text
    assert "<h1>X-Instruction: base</h1>" in text
    with pytest.raises(RecipeError, match="is compared with itself"):
        report(run.root, tmp_path / "page.html", compare=run.root)


def test_results_of_evaluations_are_shown(run: RunFolder, tmp_path: Path) -> None:
    metric = Metric(
        task="belebele", name="accuracy", value=0.41, low=0.38, high=0.44, n=900, data=Data(name="b"), language="sw"
    )
    write_record(tmp_path / "results", "benchmarks", ModelInfo(name="org/model"), [metric], [], settings={})
    page = report(run.root, tmp_path / "page.html", results=[tmp_path / "results"]).read_text("utf-8")
    assert "org/model" in page
    assert "0.38 to 0.44" in page


def test_build_writes_a_report_beside_the_data_set(run: RunFolder, tmp_path: Path) -> None:
    first, second = (build(run.root, tmp_path / name, lambda line: None) for name in ("a", "b"))
    assert (first / "report.html").read_bytes() == (second / "report.html").read_bytes()
    assert "report.html" in Manifest.read(first).files
    assert "(report.html)" in (first / "README.md").read_text("utf-8")
    verify(first)
    # The set says where its files are, and has the run's candidates.
    assert data(first / "report.html", "set")["files"]["sw"] == ["data/sw/train-00000-of-00001.parquet"]
    assert data(first / "report.html", "rows")["candidates"]
    # A set alone has the same rows and no candidates; its report is beside it, because the set is complete.
    page = report(first)
    assert page == tmp_path / "a-report.html"
    assert data(page, "set")["sampled"] == 60
    assert data(page, "rows")["candidates"] == {}
    with pytest.raises(RecipeError, match="choose another --out"):
        report(first, first / "report.html")


def test_a_missing_plotting_package_is_reported(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'x_instruction[report]'")):
        report(run.root, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    # The data set does not depend on it.
    lines: list[str] = []
    built = build(run.root, tmp_path / "set", lines.append)
    assert "x_instruction[report]" in lines[0]
    assert not (built / "report.html").exists()
    assert "report.html" not in (built / "README.md").read_text("utf-8")
    verify(built)


def test_only_reports_are_replaced(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "notes.html").write_text("<p>mine", "utf-8")
    with pytest.raises(RecipeError, match="is not a report"):
        report(run.root, tmp_path / "notes.html")
    assert (tmp_path / "notes.html").read_text("utf-8") == "<p>mine"
    with pytest.raises(RecipeError, match="is a folder"):
        report(run.root, tmp_path)
    assert report(run.root) == run.root / "report.html" == report(run.root)
    (run.root / "report.html").unlink()


def damaged(folder: Path, name: str) -> Path:
    """A source that cannot be reported on."""
    target = folder / name
    write_run(target, ("sw",))
    shard = target / "curated/sw/00000.parquet"
    if name == "empty":
        pq.write_table(pq.read_table(shard).slice(0, 0), shard)
        table = json.loads(shard.with_suffix(".report.json").read_text("utf-8"))
        del table["checksum"]
        shard.with_suffix(".report.json").write_text(json.dumps(table | {"kept": 0}), "utf-8")
    elif name == "broken":
        shard.write_bytes(b"PAR1 not parquet PAR1")
    elif name == "unfinished":
        shutil.rmtree(target / "curated")
    elif name == "nothing":
        shutil.rmtree(target)
        target.mkdir()
        (target / "letter.txt").write_text("hello", "utf-8")
    return target


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "has no rows to report on"),
        ("broken", "is damaged: its bytes are not those that its report describes"),
        ("unfinished", "has no rows to report on"),
        ("nothing", "expected a built data set"),
        ("absent", "is not a folder"),
        ("no-such", "no-such does not exist: expected the folder of a run or of a built data set"),
    ],
)
def test_invalid_sources_are_reported_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    absent = {"absent": tmp_path / "absent" / "x" / "y", "no-such": Path("no-such")}
    source = absent[name] if name in absent else damaged(tmp_path, name)
    page = tmp_path / "page.html"
    with pytest.raises(XInstructionError, match=message) as raised:
        report(source, page)
    assert "\n" not in str(raised.value)
    assert not page.exists()


def test_two_sets_without_a_common_language_are_refused(other: RunFolder, tmp_path: Path) -> None:
    bengali, _ = write_run(tmp_path / "bengali", ("bn",))
    with pytest.raises(RecipeError, match="expected a language that both have"):
        report(other.root, tmp_path / "page.html", compare=bengali.root)
    assert not (tmp_path / "page.html").exists()


def test_the_command_prints_the_path(other: RunFolder, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = CliRunner().invoke(cli, ["report", str(other.root), "--out", str(page)], catch_exceptions=False)
    assert (result.exit_code, result.output) == (0, f"{page}\n")
    assert page.read_bytes().startswith(b"<!doctype html>")


@pytest.mark.parametrize(("rows_of_set", "most"), [(5, 10), (1_000, 10), (11, 10), (3, 1)])
def test_a_sample_spreads_over_the_scores(rows_of_set: int, most: int) -> None:
    scores = np.random.default_rng(0).permutation(rows_of_set).astype(float)
    chosen = sample(scores, most)
    assert len(chosen) == len(set(chosen)) == min(rows_of_set, most)
    if 1 < most < rows_of_set:
        picked = np.sort(scores[chosen])
        assert (picked[0], picked[-1]) == (0, rows_of_set - 1)
        assert np.diff(picked).max() <= 2 * rows_of_set / most


def test_the_map_places_similar_instructions_near_each_other() -> None:
    texts = ["write a story of rivers", "write a long story of rivers", "list the fields", "list the big fields"] * 3
    points = positions(texts)
    near = np.linalg.norm(points[0] - points[1])
    far = np.linalg.norm(points[0] - points[2])
    assert near < far / 2
    assert positions(["one", "two", "three"]).tolist() == [[0, 0]] * 3
    assert (points == positions(texts)).all()


@pytest.mark.parametrize(("rows", "vocabulary"), [(60, 12), (30, 200), (2, 3)])
def test_the_map_shows_the_first_components(rows: int, vocabulary: int) -> None:
    chance = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in chance.integers(vocabulary, size=9)) for _ in range(rows)]
    found = [text.split() for text in texts]
    names = sorted({word for one in found for word in one if sum(word in other for other in found) > 1})
    counts = np.array([[one.count(name) for name in names] for one in found])
    values = np.log1p(counts) * np.log(rows / (counts > 0).sum(axis=0))
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    values /= np.where(norms > 0, norms, 1)
    left, sizes, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    assert np.abs(positions(texts)) == pytest.approx(np.abs(left[:, :2] * sizes[:2]), abs=1e-3)


def test_published_data_sets_have_the_columns_that_a_report_needs() -> None:
    assert set(COLUMNS) <= {column.name for column in schema.COLUMNS}


def test_every_language_of_the_run_is_shown(run: RunFolder, tmp_path: Path) -> None:
    page = report(run.root, tmp_path / "page.html")
    assert [tag for tag, _, _ in data(page, "set")["languages"]] == list(TEXTS)


def test_names_in_a_chart_are_escaped() -> None:
    """Stages and reasons come from manifests that others published."""
    hostile = '</text><script>alert(1)</script>" onload="x'
    drawn = charts.funnel([{"stage": hostile, "fate": hostile, "records": 1}], [hostile])
    root = ElementTree.fromstring(drawn)
    assert {element.tag.partition("}")[2] for element in root.iter()} <= {"svg", "g", "path", "text", "line", "rect"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]
    assert "alert(1)" in "".join(root.itertext())
    assert not re.search(r"\sstyle=", drawn)
