"""Real pages: kept passages are in the language by an independent measure, and genuine pages are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from real_texts import DATA, needs_real_texts

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.stage import passages
from x_instruction.languages import PAPER_LANGUAGES, language
from x_instruction.records import Passage

REAL = DATA / "passages"

pytestmark = needs_real_texts

# The commonest English words that none of the ten languages has with this spelling as a common word.
STOP = frozenset(
    [
        "the",
        "of",
        "and",
        "to",
        "is",
        "that",
        "for",
        "with",
        "are",
        "this",
        "you",
        "be",
        "or",
        "not",
        "your",
        "have",
        "from",
        "can",
        "will",
        "if",
        "when",
        "which",
    ]
)
LANGUAGE_REASONS = {"wrong_script", "wrong_language", "mixed_language"}


def english(text: str) -> float:
    """Share of English stop words among all words: about 0.3 in English manuals, next to none elsewhere."""
    words = re.findall(r"\w+", text.lower())
    return sum(word in STOP for word in words) / max(1, len(words))


@pytest.fixture(scope="module")
def real_pages() -> Callable[[str], list[dict[str, str]]]:
    """Real pages by tag: the declaration of human rights and translated manuals, some of them half or not at all."""

    def read(tag: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (REAL / f"{tag}.jsonl").read_text("utf-8").splitlines()]

    return read


@pytest.fixture(scope="module")
def survivors(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Passage]]:
    found: dict[str, list[Passage]] = {}

    def run(tag: str) -> list[Passage]:
        if tag not in found:
            corpus = Corpus(source="files", paths=(str(REAL / "{tag}.jsonl"),))
            records = passages(corpus, language(tag), tmp_path_factory.mktemp(tag))
            found[tag] = [record for record in records if isinstance(record, Passage)]
        return found[tag]

    return run


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_no_kept_passage_is_english(tag: str, survivors: Callable[[str], list[Passage]]) -> None:
    shares = [english(passage.text) for passage in survivors(tag)]
    assert len(shares) > 10
    assert max(shares) < 0.08
    assert sum(shares) / len(shares) < 0.01


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_genuine_pages_are_kept(
    tag: str, survivors: Callable[[str], list[Passage]], real_pages: Callable[[str], list[dict[str, str]]]
) -> None:
    kept = {passage.document_id for passage in survivors(tag)}
    sound = [page["id"] for page in real_pages(tag) if page["id"].startswith("udhr") and len(page["text"]) >= 200]
    assert len(sound) >= 15
    assert sum(id in kept for id in sound) >= 0.9 * len(sound)


@pytest.mark.parametrize("tag", ["fi", "id", "tr", "vi", "hi", "ta"])
def test_half_translated_pages_are_dropped(
    tag: str, survivors: Callable[[str], list[Passage]], real_pages: Callable[[str], list[dict[str, str]]]
) -> None:
    kept = {passage.document_id for passage in survivors(tag)}
    # A tenth of all words being English stop words means that about a third of the page is English.
    half = [page["id"] for page in real_pages(tag) if english(page["text"]) > 0.1]
    assert len(half) > 5
    assert [id for id in half if id in kept] == []


@pytest.mark.parametrize("tag", ["fi", "id", "ta"])
def test_translated_manuals_are_kept(
    tag: str,
    survivors: Callable[[str], list[Passage]],
    real_pages: Callable[[str], list[dict[str, str]]],
    tmp_path: Path,
) -> None:
    corpus = Corpus(source="files", paths=(str(REAL / "{tag}.jsonl"),))
    sound = {page["id"] for page in real_pages(tag) if english(page["text"]) < 0.005 and len(page["text"]) >= 200}
    refused = {
        record.id.split("#")[0]
        for record in passages(corpus, language(tag), tmp_path)
        if not isinstance(record, Passage) and record.reason in LANGUAGE_REASONS
    }
    assert len(sound) > 20
    assert len(sound & refused) <= 0.1 * len(sound)
