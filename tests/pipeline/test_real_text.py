"""The whole job on real pages of ten languages with the embedded models, some of the pages untranslated or half so."""

from __future__ import annotations

import json
import re

import pytest
from real_texts import DATA, needs_real_texts

from x_instruction.config.recipe import load
from x_instruction.languages import PAPER_LANGUAGES, language
from x_instruction.pipeline.execute import execute
from x_instruction.pipeline.progress import NullProgress
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import StageKey

PAGES = 12
# Among the most frequent words of English and, at this length, no words of the six Latin-script languages here.
ENGLISH = {"the", "of", "and", "that", "with", "are", "this", "which", "from", "your", "you", "not", "have", "when"}

pytestmark = [
    pytest.mark.model,
    needs_real_texts,
]


def rows(kind: str, tag: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / kind / f"{tag}.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Untranslated, half translated and genuine pages of every language."""
    folder = tmp_path_factory.mktemp("pages")
    for tag in PAPER_LANGUAGES:
        untranslated = {row["id"] for row in rows("parallel", tag) if row["text"] == row["text_en"]}
        pages = rows("passages", tag)
        english = [page for page in pages if page["id"] in untranslated][:PAGES]
        native = [page for page in pages if page["id"] not in untranslated]
        # Genuine pages stand first in each file; the last are translated in part.
        chosen = [*english, *native[-PAGES:], *native[: 2 * PAGES]]
        lines = [json.dumps(page, ensure_ascii=False) for page in chosen]
        (folder / f"{tag}.jsonl").write_text("\n".join(lines), "utf-8")
    recipe = load(
        "demo",
        {
            "corpus.source": "files",
            "corpus.paths": [f"{folder}/{{tag}}.jsonl"],
            "corpus.passages": 6,
            "generate.candidates": 3,
            "generate.passage_tokens": 96,
            "generate.max_tokens": 16,
            "refine.response_tokens": 96,
            "refine.min_score": 0.0,
        },
    )
    return execute(recipe, folder / "run", 0, False, "curated", NullProgress())


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_no_english_page_is_kept(run: RunFolder, tag: str) -> None:
    untranslated = {row["id"] for row in rows("parallel", tag) if row["text"] == row["text_en"]}
    kept = list(run.read(StageKey("curated").shard(tag, 0)))
    assert kept, "nothing survived"
    for record in kept:
        assert record.document_id not in untranslated
        words = re.findall(r"[a-z]+", record.text.lower())
        assert sum(word in ENGLISH for word in words) <= 0.05 * max(20, len(words)), record.text[:200]


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_every_output_is_in_its_language(run: RunFolder, tag: str) -> None:
    """Measured independently of the filter: by the script, and by frequent words of the language."""
    frequent = {
        "fi": "ja on ei se että voi jos tai joka",
        "id": "dan yang di untuk dengan ini anda atau dari",
        "tr": "ve bir bu için ile olarak veya da her",
        "vi": "và của có được các không người để trong",
        "sw": "na ya kwa ni wa la za au kila",
    }
    blocks = {
        "th": "\u0e00-\u0e7f",
        "bn": "\u0980-\u09ff",
        "hi": "\u0900-\u097f",
        "ta": "\u0b80-\u0bff",
        "ur": "\u0600-\u06ff",
    }
    for record in run.read(StageKey("curated").shard(tag, 0)):
        letters = [c for c in record.text if c.isalpha()]
        if tag in blocks:
            own = re.findall(f"[{blocks[tag]}]", record.text)
            assert len(own) > 0.6 * len(letters), record.text[:200]
        else:
            words = record.text.lower().split()
            assert sum(word in frequent[tag].split() for word in words) >= 0.03 * len(words), record.text[:200]


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_instructions_are_english_and_rated(run: RunFolder, tag: str) -> None:
    for record in run.read(StageKey("curated").shard(tag, 0)):
        row = {name: getattr(record, name) for name in ("instruction", "rater", "instruction_language")}
        assert row["instruction_language"] == "en"
        assert row["rater"] == "combined:google/gemma-3-270m (Q4_K_M)"
        letters = [c for c in row["instruction"] if c.isalpha()]
        assert sum(c.isascii() for c in letters) >= 0.9 * len(letters)
        assert language(tag).tag == record.language
