"""Previews: their output, the requests that a later run saves, and their estimates."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from engines.openai_server import OpenAIServer, write_recipe
from rich.cells import cell_len
from rich.console import Console

from x_instruction.config.corpus import Corpus
from x_instruction.config.recipe import Recipe, load
from x_instruction.corpus.sources import measure
from x_instruction.errors import RecipeError
from x_instruction.languages import language
from x_instruction.pipeline import preview as previewing
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.preview import Preview
from x_instruction.pipeline.progress import NullProgress
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

PRICES = {"generate.model.server.prompt_price": 1000.0, "refine.model.server.prompt_price": 500.0}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def served(tmp_path: Path, server: OpenAIServer) -> Recipe:
    return load(write_recipe(tmp_path / "recipe.toml", server.url), PRICES)


def preview(recipe: Recipe, root: Path) -> Preview:
    return previewing.preview(recipe, root, 1, NullProgress())


def run(recipe: Recipe, root: Path) -> RunFolder:
    return execute(recipe, root, 1, False, "curated", NullProgress())


def worked(server: OpenAIServer) -> list[str]:
    """The requests of the work itself, without those that look at the server."""
    texts = [json.dumps(body) for _, body in server.asked]
    return [text for text in texts if "Say yes" not in text and "1 2 3" not in text]


def shards(root: Path) -> dict[str, bytes]:
    paths = [path for path in root.rglob("[0-9]*.parquet") if "preview" not in path.relative_to(root).parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def test_a_run_after_a_preview_sends_only_the_remaining_requests(
    served: Recipe, server: OpenAIServer, tmp_path: Path
) -> None:
    plain = run(served, tmp_path / "plain")
    needed = sorted(worked(server))
    server.asked.clear()
    preview(served, tmp_path / "run")
    shown = worked(server)
    # Three passages of two languages, two candidates each, written and rated.
    assert len(shown) == 24
    server.asked.clear()
    made = run(served, tmp_path / "run")
    assert sorted([*shown, *worked(server)]) == needed
    assert shards(made.root) == shards(plain.root)
    # The tokens of the preview count as the run's, and once.
    stage = StageKey("candidate")
    sums = [[(r.prompt_tokens, r.requests_sent) for r in folder.reports(stage)] for folder in (plain, made)]
    assert sums[0] == sums[1]
    server.asked.clear()
    preview(served, tmp_path / "run")
    assert worked(server) == []
    assert [RunFolder(root).is_preview for root in (made.root, made.root / "preview")] == [False, True]


def test_a_local_run_keeps_the_answers_of_its_preview(recipe_file: Callable[..., Path], tmp_path: Path) -> None:
    recipe = load(recipe_file(), {"languages": ["fi", "th"]})
    found = preview(recipe, tmp_path / "run")
    made = run(recipe, tmp_path / "run")
    for stage in ("candidate", "rated"):
        key = StageKey(stage).shard("fi")
        before = RunFolder(made.root / "preview").report(key)
        report = made.report(key)
        assert before.requests_sent == before.requests
        # 4 passages of this shard were not previewed.
        assert report.requests == report.requests_sent > before.requests
    passages = {sample.passage.id for sample in found.samples}
    written = {
        (record.id, record.candidate): record.instruction  # type: ignore[attr-defined]
        for tag in recipe.languages
        for record in made.read(StageKey("candidate").shard(tag))
        if record.id in passages
    }
    shown = {(s.passage.id, c.number): c.text for s in found.samples for c in s.candidates}
    assert written.items() <= shown.items()
    # A shard that was begun keeps its batches, whatever is previewed later.
    again = run(recipe, tmp_path / "run")
    assert shards(again.root) == shards(made.root)


def test_a_preview_shows_rows_and_estimates(served: Recipe, tmp_path: Path) -> None:
    found = preview(served, tmp_path / "run")
    assert [s.passage.language for s in found.samples] == ["fi"] * 3 + ["th"] * 3
    for sample in found.samples:
        assert {choice.number for choice in sample.candidates} == {0, 1}
        best, second = sample.candidates
        assert (best.rank, best.reason, second.rank, second.reason) == (1, "", 2, "not_best")
        assert (best.score or 0) >= (second.score or 0)
    for width, text in ((80, None), (100, str(found))):
        if text is None:
            console = Console(file=io.StringIO(), width=width, record=True)
            console.print(found)
            text = console.export_text()
        assert max(map(cell_len, text.splitlines())) <= width
        assert text.count("chosen") == 6
        assert "?" not in text.split("Estimate of the run")[1]
    html = found._repr_html_()
    assert "color: #" in html
    assert 'dir="auto"' in html


def test_hostile_passages_are_escaped(tmp_path: Path, server: OpenAIServer) -> None:
    text = "Kissa istui ikkunalla <script>alert(1)</script> ja katseli lintuja, jotka lensivät ohi \u202eevil. " * 4
    (tmp_path / "fi.jsonl").write_text(json.dumps({"text": text}) + "\n", "utf-8")
    corpus = {"source": "files", "paths": [str(tmp_path / "{tag}.jsonl")], "license": "CC0-1.0"}
    recipe = load(
        write_recipe(tmp_path / "recipe.toml", server.url),
        {"languages": ["fi"], "corpus.filters.language_check": False, **{f"corpus.{k}": v for k, v in corpus.items()}},
    )
    found = preview(recipe, tmp_path / "run")
    assert "<script>" not in found._repr_html_()
    assert "\u202e" not in str(found)


def test_the_estimate_equals_the_run(served: Recipe, tmp_path: Path) -> None:
    estimate = preview(served, tmp_path / "run").estimate
    made = run(served, tmp_path / "run")
    for expected in estimate.languages:
        reports = [r for stage in ("candidate", "rated") for r in made.reports(StageKey(stage))]
        own = [report for report in reports if report.key.language == expected.language]
        assert (expected.documents, expected.counted, expected.passages) == (12, True, 12)
        assert expected.requests == sum(report.requests for report in own)
        for name in ("prompt_tokens", "cost"):
            real = sum(getattr(report, name) for report in own)
            assert abs(getattr(expected, name) - real) <= 0.25 * real
    low, high = estimate.interval(estimate.cost)
    assert low < estimate.cost < high < 2 * estimate.cost
    assert "to pay" in estimate.summary()
    assert estimate.memory > 1e7
    assert [(model.name, model.size) for model in estimate.models] == [("test/model", None)]


def test_a_second_preview_keeps_the_startup_time_of_the_model(served: Recipe, tmp_path: Path) -> None:
    first = preview(served, tmp_path / "run").estimate
    low, high = first.interval(first.seconds)
    assert 0 < low <= first.seconds <= high
    kept = tmp_path / "run" / "preview" / "startup.json"
    found = json.loads(kept.read_text("utf-8"))
    assert found["memory"] == first.memory
    kept.write_text(json.dumps(found | {"memory": 10**15}), "utf-8")
    assert preview(served, tmp_path / "run").estimate.memory == 10**15
    kept.write_text(json.dumps(found | {"memory": 10**15, "models": []}), "utf-8")
    assert preview(served, tmp_path / "run").estimate.memory < 10**15


def test_slow_models_are_previewed_in_fewer_languages(
    recipe_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previewing, "SECONDS", 0.0)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    found = preview(load(recipe_file()), tmp_path / "run")
    assert {sample.passage.language for sample in found.samples} == {"fi"}
    assert found.left_out == ("th", "bn")
    assert all(expected.requests for expected in found.estimate.languages)


def test_a_corpus_without_passages_is_reported(served: Recipe, tmp_path: Path) -> None:
    strict = served.replace(
        corpus=served.corpus.replace(filters=served.corpus.filters.replace(min_chars=90_000, max_chars=99_000))
    )
    found = preview(strict, tmp_path / "run")
    assert found.samples == ()
    assert "no passage passed the filters" in str(found)
    assert "too_short" in str(found)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_documents_of_files_are_counted_or_estimated(tmp_path: Path, suffix: str) -> None:
    import gzip

    opened: Callable[..., Any] = gzip.open if suffix.endswith(".gz") else open
    for name in ("a", "b"):
        random = Random(name)
        with opened(tmp_path / f"{name}{suffix}", "wt") as stream:
            stream.writelines(json.dumps({"text": f"{random.randbytes(40).hex()} {n}"}) + "\n" for n in range(60_000))
    corpus = Corpus(source="files", paths=(str(tmp_path / f"*{suffix}"),), license="CC0-1.0")
    assert measure(corpus, language("sw"), 60.0).documents == 120_000
    assert measure(corpus, language("sw"), 60.0).counted
    sampled = measure(corpus, language("sw"), 0.0)
    assert not sampled.counted
    assert sampled.documents == pytest.approx(120_000, rel=0.15)
    assert measure(corpus.replace(documents=50), language("sw"), 0.0).documents == 50


def test_the_batch_engine_cannot_be_previewed(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a preview asks the model"):
        preview(load(write_recipe(tmp_path / "recipe.toml")), tmp_path / "run")
