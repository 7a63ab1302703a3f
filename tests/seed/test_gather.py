"""Seeds of a recipe by language: what is missing, what is dropped, what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from x_instruction.config.corpus import Corpus
from x_instruction.config.diversify import Diversify
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import Refine
from x_instruction.config.seeds import Seeds
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.seed.gather import gather

# Sentences of our own.
SWAHILI = [
    "Mvua hunyesha kwa wingi katika miezi ya Machi na Aprili, na wakulima hupanda mahindi na maharagwe wakati huo.",
    "Watoto wengi katika kijiji chetu hutembea umbali mrefu kila asubuhi ili kufika shuleni kabla ya kengele kulia.",
]
FINNISH = [
    "Järven rannalla on vanha sauna, jonka isoisä rakensi hirsistä ennen kuin tie tehtiin kylään asti.",
    "Kun pakkanen kiristyy, lumi narskuu kenkien alla ja savu nousee suoraan ylös jokaisesta piipusta.",
]


def settings(**seeds: Any) -> Recipe:
    model = Model(name="m")
    return Recipe(
        name="test",
        languages=("sw", "fi", "th"),
        corpus=Corpus(source="sample"),
        generate=Generate(model=model),
        refine=Refine(rater="pmi", model=model),
        diversify=Diversify(embedder="embedded"),
        seeds=Seeds(**seeds),
    )


def write(path: Path, texts: list[str], **columns: str) -> Path:
    rows = [
        {"id": f"{n}", "instruction": f"Tell me about topic {n}.", "output": text} | columns
        for n, text in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_missing_seeds_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no seeds: seeds.paths is empty, expected paths"):
        gather(settings())
    with pytest.raises(CorpusError, match=r"no file matches seeds.paths \(.*/\{tag\}\.jsonl\) for sw, fi, th"):
        gather(settings(paths=(f"{tmp_path}/{{tag}}.jsonl",)))


def test_an_error_is_raised_if_no_seed_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "sw.jsonl", ["Ndiyo."])
    with pytest.raises(CorpusError, match=r"^no usable seed in Swahili in sw.jsonl \(output_too_short 1\)$"):
        gather(settings(paths=(f"{tmp_path}/{{tag}}.jsonl",)))
    (tmp_path / "fi.jsonl").write_text("")
    with pytest.raises(CorpusError, match=r"short 1\); no usable seed in Finnish in fi.jsonl \(no rows\)$"):
        gather(settings(paths=(f"{tmp_path}/{{tag}}.jsonl",)))


def test_a_language_without_kept_seeds_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "sw.jsonl", ["Ndiyo."])
    write(tmp_path / "fi.jsonl", FINNISH)
    lines: list[str] = []
    assert list(gather(settings(paths=(f"{tmp_path}/{{tag}}.jsonl",)), lines.append)) == ["fi"]
    assert lines == ["no usable seed in Swahili in sw.jsonl (output_too_short 1)"]


def test_invalid_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sw.jsonl").write_text("{}\n")
    with pytest.raises(CorpusError, match="row 1: no column 'instruction'"):
        gather(settings(paths=(f"{tmp_path}/{{tag}}.jsonl",)))
    with pytest.raises(RecipeError, match=r"unknown placeholder \{lang\}"):
        gather(settings(paths=(f"{tmp_path}/{{lang}}.jsonl",)))
    write(tmp_path / "sw.jsonl", SWAHILI)
    with pytest.raises(CorpusError, match=r"cannot read .*held\.txt"):
        gather(settings(paths=(f"{tmp_path}/sw.jsonl",), exclude_eval=(f"{tmp_path}/held.txt",)))


def test_languages_without_files_have_no_seeds(tmp_path: Path) -> None:
    write(tmp_path / "sw.jsonl", SWAHILI)
    write(tmp_path / "fin.jsonl", FINNISH)
    found = gather(settings(paths=(f"{tmp_path}/{{tag}}.jsonl", f"{tmp_path}/{{iso639_3}}.jsonl")))
    assert list(found) == ["sw", "fi"]
    assert {pair.output for pair in found["sw"]} == set(SWAHILI)
    assert {pair.output for pair in found["fi"]} == set(FINNISH)
    assert {pair.language for pair in found["fi"]} == {"fi"}


def test_one_file_may_hold_several_languages(tmp_path: Path) -> None:
    both = write(tmp_path / "a.jsonl", SWAHILI, language="sw").read_text()
    (tmp_path / "b.jsonl").write_text(both + write(tmp_path / "c.jsonl", FINNISH, language="fi").read_text())
    found = gather(settings(paths=(f"{tmp_path}/b.jsonl",)))
    assert {tag: len(pairs) for tag, pairs in found.items()} == {"sw": 2, "fi": 2}
    # Without a language in its rows the identifier tells which are whose.
    (tmp_path / "b.jsonl").write_text("".join(write(tmp_path / "d.jsonl", t).read_text() for t in (SWAHILI, FINNISH)))
    found = gather(settings(paths=(f"{tmp_path}/b.jsonl",)))
    assert {tag: len(pairs) for tag, pairs in found.items()} == {"sw": 2, "fi": 2}


def test_pairs_of_evaluation_sets_and_other_languages_are_dropped(tmp_path: Path) -> None:
    write(tmp_path / "sw.jsonl", SWAHILI)
    write(tmp_path / "fi.jsonl", FINNISH)
    (tmp_path / "held.txt").write_text("Tell me about topic 1.\n")
    paths, evaluation = (f"{tmp_path}/{{tag}}.jsonl",), (f"{tmp_path}/held.txt",)
    found = gather(settings(paths=paths, exclude_eval=evaluation, languages=("fin_Latn",)))
    assert {tag: [pair.id for pair in pairs] for tag, pairs in found.items()} == {"fi": ["0"]}
