"""The Python API: the functions that the command line calls, from a script."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pytest

import x_instruction
from x_instruction.pipeline.progress import NullProgress

Write = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Passages of the sample in Finnish."""
    import json

    sample = Path(x_instruction.__file__).parent / "corpus" / "sample" / "fi.jsonl"
    return [json.loads(line)["text"] for line in sample.read_text("utf-8").splitlines()]


def make(recipe: object, out: Path, **options: object) -> x_instruction.Run:
    return x_instruction.run(recipe, out, workers=1, until="rated", progress=NullProgress(), **options)  # type: ignore[arg-type]


def test_a_run_can_be_made_and_read(recipe_file: Write, tmp_path: Path) -> None:
    run = make(recipe_file(), tmp_path / "run", languages=["Finnish"], limit=3)
    status = run.status()
    assert list(status["stage"]) == ["passage", "candidate", "rated"]
    assert status["kept"].iloc[0] == 3
    dropped = run.dropped()
    assert dropped.loc[dropped["reason"] == "passage_limit", "rows"].sum() == 9
    rows = run.rows("fi", stage="passage")
    assert isinstance(rows, datasets.Dataset)
    assert len(rows) == 3
    assert {"id", "text"} <= set(rows.column_names)
    assert len(run.rows("fi", stage="rated")) == list(status["kept"])[-1]
    assert x_instruction.Run(tmp_path / "run").recipe == run.recipe
    assert "fi" in repr(run)


def test_recipes_may_be_dicts_or_objects(recipe_file: Write, tmp_path: Path) -> None:
    recipe = x_instruction.Run(make(recipe_file(), tmp_path / "a", languages=["fi"], limit=2).folder).recipe
    again = make(recipe, tmp_path / "b")
    plain = make(recipe.model_dump(), tmp_path / "c")
    assert again.rows("fi", "rated").to_list() == plain.rows("fi", "rated").to_list()


@pytest.mark.parametrize("form", ["strings", "mappings", "dataset"])
def test_passages_may_be_given_in_memory(recipe_file: Write, tmp_path: Path, texts: list[str], form: str) -> None:
    given: object = {
        "strings": texts[:4],
        "mappings": [{"text": text, "id": f"doc-{number}"} for number, text in enumerate(texts[:4])],
        "dataset": datasets.Dataset.from_dict({"text": texts[:4], "license": ["CC0-1.0"] * 4}),
    }[form]
    run = make(recipe_file(), tmp_path / "run", languages=["fi"], passages=given)
    rows = run.rows("fi", "passage")
    assert len(rows) == 4
    if form == "dataset":
        assert set(rows["license"]) == {"CC0-1.0"}
    before = (tmp_path / "run" / "rated").rglob("*.parquet")
    made = {path: path.stat().st_mtime_ns for path in before}
    make(recipe_file(), tmp_path / "run", languages=["fi"], passages=given)
    assert made == {path: path.stat().st_mtime_ns for path in made}


def test_other_passages_change_the_settings(recipe_file: Write, tmp_path: Path, texts: list[str]) -> None:
    make(recipe_file(), tmp_path / "run", languages=["fi"], passages=texts[:3])
    with pytest.raises(x_instruction.RunChanged, match="fi"):
        make(recipe_file(), tmp_path / "run", languages=["fi"], passages=texts[3:6])


def broken(texts: list[str]) -> Iterator[str]:
    yield texts[0]
    raise OSError("the connection was closed")


def test_unusable_passages_are_refused(recipe_file: Write, tmp_path: Path, texts: list[str]) -> None:
    def refused(given: object, message: str, **options: object) -> None:
        with pytest.raises(x_instruction.RecipeError, match=message):
            make(recipe_file(), tmp_path / "run", passages=given, **options)
        assert not list((tmp_path / "run").rglob("*.parquet"))

    refused("one text", "passages is one string")
    refused([], "passages for fi ended before the first text", languages=["fi"])
    refused([1], "item 0: got int, expected a string", languages=["fi"])
    refused([{"body": "x"}], r"whose 'text' is a string \(corpus.text_column", languages=["fi"])
    refused(texts, "one iterable and the recipe has 3 languages")
    refused({"fi": texts}, "no texts for th, bn")
    with pytest.raises(x_instruction.CorpusError, match="passages for fi ended early, after 1 text: OSError"):
        make(recipe_file(), tmp_path / "run", passages=broken(texts), languages=["fi"])
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_bad_arguments_write_nothing(recipe_file: Write, tmp_path: Path) -> None:
    def refused(message: str, recipe: object = None, **options: object) -> None:
        with pytest.raises(x_instruction.XInstructionError, match=message):
            x_instruction.run(recipe or recipe_file(), tmp_path / "run", progress=NullProgress(), **options)  # type: ignore[arg-type]
        assert not (tmp_path / "run").exists()

    refused("until is 'done', expected one of passage", until="done")
    refused(r"languages is 'fi', expected a list such as \['fi'\]", languages="fi")
    refused("did you mean 'candidates'", overrides={"generate.candidate": 2})
    refused("generate.candidates", overrides={"generate.candidates": "many"})
    refused("rank is 8", rank=8, of=8)
    refused("expected a path, a name, a dict or a recipe", recipe=3)
    refused("languages", recipe={"name": "x", "languages": 3})


def test_missing_runs_and_shards_are_reported(recipe_file: Write, tmp_path: Path) -> None:
    with pytest.raises(x_instruction.RecipeError, match=r"is not a run: it has no recipe\.json"):
        x_instruction.Run(tmp_path)
    run = make(recipe_file(), tmp_path / "run", languages=["fi"], limit=2)
    with pytest.raises(x_instruction.RecipeError, match="no complete shard of th"):
        run.rows("th")
    with pytest.raises(x_instruction.RecipeError, match="expected one of"):
        run.rows("fi", stage="done")


def test_the_package_lists_its_names_and_imports_nothing_heavy() -> None:
    assert {"run", "Run", "load", "publish", "train", "evaluate", "RecipeError"} <= set(dir(x_instruction))
    assert all(getattr(x_instruction, name).__doc__ for name in x_instruction.__all__ if not name.startswith("__"))
    code = "import sys, x_instruction; print(*{'datasets', 'pydantic', 'numpy', 'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
