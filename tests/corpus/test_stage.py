from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from x_instruction.config.corpus import Corpus, Filters
from x_instruction.corpus.stage import passages
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import PAPER_LANGUAGES, language
from x_instruction.records import Dropped, Passage, text_digest


def run(corpus: Corpus, folder: Path, tag: str = "sw", **limits: Any) -> tuple[list[Passage], list[Dropped]]:
    corpus = corpus.replace(filters=corpus.filters.replace(**limits))
    found = list(passages(corpus, language(tag), folder / "scratch"))
    assert list((folder / "scratch").iterdir()) == []
    return [f for f in found if isinstance(f, Passage)], [f for f in found if isinstance(f, Dropped)]


@pytest.fixture
def corpus(jsonl: Callable[..., Path], sample_texts: Callable[[str], list[str]]) -> Corpus:
    """Twelve good pages, a near duplicate of each, one exact duplicate, and bad pages in between."""
    good = sample_texts("sw")
    rows: list[dict[str, Any]] = []
    for i, text in enumerate(good):
        rows.append({"id": f"d{i}", "text": text, "url": f"https://example.org/{i}"})
        rows.append({"id": f"near{i}", "text": text + " Mwisho wa habari."})
    rows += [{"id": "same", "text": good[0] + " \u200b\r\n"}, {"id": "short", "text": "Fupi."}, {"text": None}]
    rows += [
        {"id": "english", "text": "This page was never translated by anybody. " * 8},
        {"id": "empty", "text": "\u200b"},
    ]
    return Corpus(source="files", paths=(str(jsonl(rows)),), license="CC BY 4.0")


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_the_sample_is_kept(tag: str, tmp_path: Path) -> None:
    kept, dropped = run(Corpus(source="sample"), tmp_path, tag)
    assert (len(kept), dropped) == (12, [])


def test_every_row_becomes_a_passage_or_a_dropped_record(corpus: Corpus, tmp_path: Path) -> None:
    kept, dropped = run(corpus, tmp_path)
    assert [p.document_id for p in kept] == [f"d{i}" for i in range(12)]
    assert Counter(d.reason for d in dropped) == {
        "near_duplicate": 12, "exact_duplicate": 1, "too_short": 1, "no_text": 2, "repeated_ngrams": 1,
    }  # fmt: skip
    assert next(d.detail for d in dropped if d.reason == "exact_duplicate") == "of d0"


def test_provenance_is_complete(corpus: Corpus, tmp_path: Path) -> None:
    kept, _ = run(corpus, tmp_path)
    for number, found in enumerate(kept):
        assert found.text_hash == text_digest(found.text)
        assert found.id == f"sw-{found.text_hash[:16]}"
        assert (found.url, found.license) == (f"https://example.org/{number}", "CC BY 4.0")
        assert (found.source, found.segment, found.identified) == ("corpus.jsonl", 0, "sw")
        assert 0.6 <= found.identified_confidence <= 1


def test_ids_are_unique(corpus: Corpus, tmp_path: Path) -> None:
    for near in (True, False):
        kept, _ = run(corpus, tmp_path, near_duplicates=near)
        assert len({p.id for p in kept}) == len(kept) == (12 if near else 24)


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("expected", [1, 5, 12, 100])
def test_a_limit_gives_the_first_passages(corpus: Corpus, tmp_path: Path, near: bool, expected: int) -> None:
    whole, _ = run(corpus, tmp_path, near_duplicates=near)
    kept, dropped = run(corpus.replace(passages=expected), tmp_path, near_duplicates=near)
    assert kept == whole[:expected]
    if expected < 12:
        assert "passage_limit" in {d.reason for d in dropped}


@pytest.mark.parametrize("near", [True, False])
def test_a_limit_stops_reading(jsonl: Callable[..., Path], tmp_path: Path, near: bool) -> None:
    rows = [{"text": " ".join(f"neno{i}x{j}" for j in range(60)) + "."} for i in range(3000)]
    corpus = Corpus(
        source="files", paths=(str(jsonl(rows)),), passages=10, filters=Filters(language_check=False, max_digits=1)
    )
    counts: list[int] = []
    corpus = corpus.replace(filters=corpus.filters.replace(near_duplicates=near))
    found = list(passages(corpus, language("sw"), tmp_path, counts.append))
    assert sum(isinstance(f, Passage) for f in found) == 10
    assert counts[-1] == len(found) <= 100


def test_progress_is_the_number_of_rows_read(corpus: Corpus, tmp_path: Path) -> None:
    counts: list[int] = []
    list(passages(corpus, language("sw"), tmp_path, counts.append))
    assert counts == sorted(counts)
    assert counts[-1] == 29


def test_personal_data_is_masked_in_what_is_kept_and_dropped(
    jsonl: Callable[..., Path], sample_texts: Callable[[str], list[str]], tmp_path: Path
) -> None:
    rows = [{"text": sample_texts("sw")[0] + " Piga +255 712 345 678."}, {"text": "Andika a@example.org"}]
    corpus = Corpus(source="files", paths=(str(jsonl(rows)),))
    kept, dropped = run(corpus, tmp_path)
    assert kept[0].text.endswith("Piga <PHONE>.")
    assert dropped[0].text == "Andika <EMAIL>"
    (tmp_path / "bad.jsonl").write_text('{"text": "Piga +255 712 345 678."}\n{"text": "Piga +255 712 345 678\n')
    bad = Corpus(source="files", paths=(str(tmp_path / "bad.jsonl"),))
    assert [d.text for d in run(bad, tmp_path)[1]] == ['{"text": "Piga <PHONE>', "Piga <PHONE>."]
    kept, _ = run(corpus, tmp_path, mask_personal_data=False)
    assert kept[0].text.endswith("678.")


def test_a_long_document_gives_numbered_passages(
    jsonl: Callable[..., Path], sample_texts: Callable[[str], list[str]], tmp_path: Path
) -> None:
    text = "\n\n".join(sample_texts("sw"))
    corpus = Corpus(source="files", paths=(str(jsonl([{"id": "long", "text": text}])),))
    kept, dropped = run(corpus, tmp_path)
    assert [p.segment for p in kept] == list(range(len(kept)))
    assert len(kept) > 2
    assert {p.document_id for p in kept} == {"long"}
    assert "".join("".join(p.text for p in kept).split()) == "".join(text.split())
    assert dropped == []


def test_a_half_translated_document_is_dropped_as_a_whole(
    jsonl: Callable[..., Path], sample_texts: Callable[[str], list[str]], tmp_path: Path
) -> None:
    english = "\n".join(f"Sentence number {i} of this page is still waiting for someone with time." for i in range(35))
    good = "\n".join(sample_texts("sw")[:3])
    corpus = Corpus(source="files", paths=(str(jsonl([{"id": "half", "text": f"{good}\n{english}"}])),))
    kept, dropped = run(corpus, tmp_path, max_repeated_ngrams=1.0)
    assert kept == []
    assert {d.reason for d in dropped} <= {"mixed_language", "wrong_language"}
    assert any("of its document is in another language" in d.detail for d in dropped)


def test_any_language_is_kept_without_language_checks(jsonl: Callable[..., Path], tmp_path: Path) -> None:
    text = "Wodzi amegbetɔwo katã ablɔɖeviwoe eye wodzena bubu kple gomekpɔkpɔ sɔsɔe, eye nunya le wo si."
    corpus = Corpus(source="files", paths=(str(jsonl([{"text": text}])),))
    with pytest.raises(RecipeError, match=r"does not know Ewe"):
        run(corpus, tmp_path, "ee", min_chars=50)
    kept, _ = run(corpus, tmp_path, "ee", min_chars=50, language_check=False)
    assert (kept[0].identified, kept[0].identified_confidence) == ("und", 0.0)


def test_an_error_in_the_middle_leaves_no_files(jsonl: Callable[..., Path], tmp_path: Path) -> None:
    path = jsonl([{"text": "x"}])
    corpus = Corpus(source="files", paths=(str(path), str(path.parent / "bad.jsonl.gz")))
    (path.parent / "bad.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(CorpusError, match=r"bad.jsonl.gz"):
        list(passages(corpus, language("sw"), tmp_path / "scratch"))
    assert list((tmp_path / "scratch").iterdir()) == []
    some = passages(Corpus(source="sample"), language("sw"), tmp_path / "scratch")
    next(some)
    some.close()  # type: ignore[attr-defined]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_same_input_gives_the_same_output(corpus: Corpus, tmp_path: Path) -> None:
    assert run(corpus, tmp_path) == run(corpus, tmp_path)


def test_importing_the_package_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = "'numpy', 'pyarrow', 'datasets', 'py3langid'"
    code = f"import sys, x_instruction.corpus; print([m for m in ({heavy}) if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_markup_is_stripped_and_the_rest_is_dropped(
    jsonl: Callable[..., Path], sample_texts: Callable[[str], list[str]], tmp_path: Path
) -> None:
    text = sample_texts("sw")[0]
    page = f"<html><head><title>Ukurasa</title></head><body><div class='menu'><p>{text}</p></div></body></html>"
    corpus = Corpus(source="files", paths=(str(jsonl([{"text": page}, {"text": "<br>" * 100}])),))
    kept, dropped = run(corpus, tmp_path)
    assert [p.text for p in kept] == [" ".join(text.split())]
    assert [d.reason for d in dropped] == ["no_text"]
    kept, dropped = run(corpus, tmp_path, strip_markup=False, max_symbols=1.0, whole_sentences=False)
    assert kept == []
    assert {d.reason for d in dropped} == {"markup"}


def test_lines_of_many_documents_and_of_another_language_are_removed(
    jsonl: Callable[..., Path], sample_texts: Callable[[str], list[str]], tmp_path: Path
) -> None:
    footer = "Got a comment? Spot an error? Send us your feedback about this page."
    foreign = "This paragraph has not been translated by anybody yet."
    texts = sample_texts("sw")
    rows = [{"id": str(i), "text": f"{text}\n{footer}"} for i, text in enumerate(texts)]
    rows[0]["text"] = f"{foreign}\n{texts[0]}"
    corpus = Corpus(source="files", paths=(str(jsonl([*rows, {"id": "footer", "text": footer}])),))
    kept, dropped = run(corpus, tmp_path)
    assert [p.text for p in kept] == texts
    assert [(d.id, d.reason) for d in dropped] == [("footer", "repeated_lines")]
    kept, _ = run(corpus, tmp_path, max_line_documents=1.0, max_foreign_lines=1.0)
    assert footer not in kept[1].text
    kept, _ = run(corpus, tmp_path, max_line_documents=1.0, language_check=False)
    assert [p.text for p in kept] == [row["text"] for row in rows]


def test_passages_of_evaluation_sets_are_dropped(
    jsonl: Callable[..., Path], sample_texts: Callable[[str], list[str]], tmp_path: Path
) -> None:
    texts = sample_texts("sw")
    quoted = " ".join(texts[3].split()[4:16])
    sets = jsonl([{"question": f"Swali: {quoted}?", "label": "a"}], "test.sw.jsonl")
    corpus = Corpus(source="sample", decontaminate=(f"{tmp_path}/test.{{tag}}.jsonl",))
    kept, dropped = run(corpus, tmp_path)
    assert [p.text for p in kept] == texts[:3] + texts[4:]
    assert [d.reason for d in dropped] == ["contaminated"]
    assert dropped[0].detail.endswith("is in test.sw.jsonl")
    sets.write_text("{", "utf-8")
    with pytest.raises(CorpusError, match=r"test\.sw\.jsonl, row 1: malformed_json"):
        run(corpus, tmp_path)
    with pytest.raises(CorpusError, match=r"no file matches .*test\.fi\.jsonl: check corpus\.decontaminate"):
        run(corpus, tmp_path, "fi")
