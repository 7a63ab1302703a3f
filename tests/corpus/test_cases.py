"""Small inputs that broke other tools: the result of the corpus stage for each case.

They are beside the real texts, in ``shared/cases``; see ``real_texts``. Cases of other stages are tested there.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from real_texts import DATA

from x_instruction.config.corpus import Corpus, Filters
from x_instruction.corpus.stage import passages
from x_instruction.languages import language
from x_instruction.records import Dropped, Passage

CASES = DATA.parent / "cases"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases in {CASES}")


def run(case: str, tag: str, folder: Path, **filters: Any) -> tuple[list[Passage], Counter[str]]:
    """Passages that are kept, and the number of dropped ones by reason."""
    paths = sorted(str(path) for path in (CASES / case).iterdir() if path.name != "README" and path.name[:2] == tag[:2])
    corpus = Corpus(source="files", paths=tuple(paths), filters=Filters(**filters))
    records = list(passages(corpus, language(tag), folder))
    dropped = Counter(record.reason for record in records if isinstance(record, Dropped))
    return [record for record in records if isinstance(record, Passage)], dropped


@pytest.mark.parametrize(
    ("case", "tag", "kept", "dropped", "filters"),
    [
        ("01-bom-jsonl", "sw", 6, {}, {}),
        ("02-crlf-txt", "sw", 6, {}, {}),
        ("04-gzip-members", "sw", 6, {}, {}),
        ("05-csv-source", "sw", 6, {}, {}),
        ("07-schema-drift", "sw", 6, {"no_text": 4}, {}),
        ("10-tibetan-tsheg", "bo", 12, {}, {"language_check": False}),
        ("13-norwegian", "nb", 11, {"wrong_language": 23}, {}),
        ("16-turkish-i", "tr", 3, {"near_duplicate": 2}, {}),
        ("24-line-separators", "sw", 3, {}, {}),
        ("25-surrogate-nul", "sw", 3, {}, {}),
        ("26-duplicate-ids", "sw", 3, {}, {}),
        ("28-arabic-tashkeel", "ar", 4, {"near_duplicate": 1}, {}),
        ("29-javanese-indonesian", "id", 12, {"wrong_language": 12}, {}),
        ("29-javanese-indonesian", "jv", 12, {"wrong_language": 12}, {}),
        ("30-case-copies", "sw", 2, {"near_duplicate": 1}, {}),
        ("33-two-scripts", "sr", 11, {"wrong_script": 11}, {}),
        ("33-two-scripts", "uz", 12, {"wrong_script": 12}, {}),
    ],
)
def test_each_case_keeps_and_drops_the_expected_rows(
    case: str, tag: str, kept: int, dropped: dict[str, int], filters: dict[str, Any], tmp_path: Path
) -> None:
    found, reasons = run(case, tag, tmp_path, **filters)
    assert (len(found), reasons) == (kept, dropped)
    assert len({passage.id for passage in found}) == kept


@pytest.mark.parametrize(("tag", "kept"), [("km", "។"), ("lo", None), ("my", "။"), ("th", None)])
def test_long_documents_are_cut_at_the_full_stops_of_their_script(tag: str, kept: str | None, tmp_path: Path) -> None:
    found, reasons = run("21-thai-khmer-lao-burmese-long", tag, tmp_path)
    assert len(found) >= 4
    assert not reasons
    assert all(kept is None or passage.text.endswith(kept) for passage in found)


def test_two_ethiopic_word_spaces_end_a_sentence(tmp_path: Path) -> None:
    limits = {"max_repeated_ngrams": 1.0, "near_duplicates": False, "min_chars": 50, "max_chars": 300}
    found, reasons = run("34-amharic-double-colon", "am", tmp_path, **limits)
    assert len(found) >= 4
    assert not reasons
    assert all(passage.text.endswith("፡፡") for passage in found)


def test_zero_width_spaces_stay_in_khmer(tmp_path: Path) -> None:
    found, reasons = run("27-khmer-zwsp", "km", tmp_path)
    assert (len(found), reasons) == (3, {})
    assert sum(passage.text.count("\u200b") for passage in found) == 30


def test_joiners_are_kept_and_a_chillu_has_one_spelling(tmp_path: Path) -> None:
    persian, _ = run("15-joiners-and-marks", "fa", tmp_path)
    malayalam, _ = run("15-joiners-and-marks", "ml", tmp_path)
    assert any("\u200c" in passage.text for passage in persian)
    assert not any("\u200f" in passage.text for passage in persian)
    assert not any("\u0d4d\u200d" in passage.text for passage in malayalam)


def test_damaged_unicode_is_replaced_and_emoji_stay_whole(tmp_path: Path) -> None:
    found, _ = run("25-surrogate-nul", "sw", tmp_path, whole_sentences=False, max_social_marks=1.0)
    text = "\n".join(passage.text for passage in found)
    assert "\ufffd" in text
    assert "\x00" not in text
    assert "\u200d" in text
