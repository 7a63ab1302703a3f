from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from pathlib import Path

import factories
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from x_instruction.corpus import dedup
from x_instruction.corpus.dedup import Deduplicator, SeenTexts
from x_instruction.corpus.disk_buffer import DiskBuffer
from x_instruction.corpus.shingles import CHARACTERS, PADDING, WORDS, bands, shingles, signatures
from x_instruction.records import Dropped, Passage, text_digest


def passage(text: str, id: str) -> Passage:
    return factories.passage(text, id=id, document_id=id)


def plain(text: str, words: bool) -> set[str]:
    """The shingles of a text, worked out the plain way."""
    text = " ".join(text.lower().split())
    if words:
        parts = text.split()
        parts += [PADDING] * (WORDS - len(parts))
        return {" ".join(parts[i : i + WORDS]) for i in range(len(parts) - WORDS + 1)}
    text = text.ljust(CHARACTERS)
    return {text[i : i + CHARACTERS] for i in range(len(text) - CHARACTERS + 1)}


def similarity(left: str, right: str, words: bool = True) -> float:
    a, b = plain(left, words), plain(right, words)
    return len(a & b) / len(a | b)


def run(folder: Path, texts: Iterable[str], jaccard: float = 0.7, words: bool = True) -> list[Passage | Dropped]:
    with Deduplicator(folder, jaccard, words) as near:
        for number, text in enumerate(texts):
            near.add(passage(text, f"p{number}"))
        near.decide()
        return list(near.survivors())


def noise(seed: int, words: int = 60) -> list[str]:
    rng = random.Random(seed)
    return [f"w{rng.randrange(10**9)}" for _ in range(words)]


@pytest.mark.parametrize("words", [True, False])
@settings(max_examples=150)
@given(texts=st.lists(st.text(alphabet="ab কä\n", max_size=30), min_size=1, max_size=12))
def test_shingles_equal_a_naive_implementation(words: bool, texts: list[str]) -> None:
    hashes, starts = shingles(texts, words)
    found = [set(hashes[a:b].tolist()) for a, b in itertools.pairwise(starts)]
    expected = [plain(text, words) for text in texts]
    assert [len(s) for s in found] == [len(s) for s in expected]
    for i in range(len(texts)):
        for j in range(i):
            assert len(found[i] & found[j]) == len(expected[i] & expected[j])


def test_shingles_do_not_depend_on_the_batch() -> None:
    texts = [" ".join(noise(i, 5 + i)) for i in range(50)]
    together, starts = shingles(texts, True)
    alone = [shingles([text], True)[0] for text in texts]
    assert np.array_equal(together, np.concatenate(alone))
    assert np.array_equal(
        signatures(together, starts), np.concatenate([signatures(a, np.array([0, len(a)])) for a in alone])
    )


def test_signatures_estimate_the_similarity() -> None:
    for shared in (20, 40, 55):
        errors = []
        for seed in range(40):
            base = noise(seed)
            left, right = " ".join(base), " ".join(base[:shared] + noise(seed + 1000, 60 - shared))
            found = signatures(*shingles([left, right], True))
            errors.append(float((found[0] == found[1]).mean()) - similarity(left, right))
        # 128 samples, 40 times: the mean is within 0.02 of the truth but for one in a thousand.
        assert abs(np.mean(errors)) < 0.02
        assert np.std(errors) < 0.07


@pytest.mark.parametrize(("jaccard", "least"), [(0.5, 0.95), (0.7, 0.95), (0.8, 0.95), (0.95, 0.95)])
def test_bands_find_nearly_all_pairs_at_the_threshold(jaccard: float, least: float) -> None:
    number, rows = bands(jaccard)
    assert number * rows <= 128
    assert 1 - (1 - jaccard**rows) ** number >= least


def test_the_first_of_a_group_is_kept_and_named_as_the_reason(tmp_path: Path) -> None:
    base = noise(1)
    near = [*base[:55], *noise(2, 5)]
    found = run(
        tmp_path, [" ".join(noise(9)), " ".join(base), " ".join(noise(3)), " ".join(near), " ".join(base).upper()]
    )
    assert [f.id for f in found if isinstance(f, Passage)] == ["p0", "p1", "p2"]
    dropped = {f.id: f.detail for f in found if isinstance(f, Dropped)}
    assert dropped["p3"] == f"of p1, Jaccard {similarity(' '.join(base), ' '.join(near)):.2f}"
    assert dropped["p4"] == "of p1, Jaccard 1.00"
    assert {f.reason for f in found if isinstance(f, Dropped)} == {"near_duplicate"}


def test_order_and_content_are_kept(tmp_path: Path) -> None:
    texts = [" ".join(noise(i)) for i in range(300)]
    found = run(tmp_path, texts)
    assert found == [passage(text, f"p{i}") for i, text in enumerate(texts)]


def test_every_dropped_passage_is_near_an_earlier_one(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts: list[str] = []
    for number in range(400):
        if texts and rng.random() < 0.4:
            words = rng.choice(texts).split()
            for _ in range(rng.randrange(1, 12)):
                words[rng.randrange(len(words))] = f"x{rng.randrange(10**6)}"
            texts.append(" ".join(words))
        else:
            texts.append(" ".join(noise(number)))
    found = run(tmp_path, texts)
    kept = [i for i, f in enumerate(found) if isinstance(f, Passage)]
    sets = [plain(text, words=True) for text in texts]

    def near(i: int, j: int) -> bool:
        return len(sets[i] & sets[j]) >= 0.7 * len(sets[i] | sets[j])

    for i, record in enumerate(found):
        if isinstance(record, Dropped):
            assert record.detail.startswith("of p")
            assert any(near(i, j) for j in range(i))
    # Pairs of kept texts that are near duplicates: bands may miss a small share.
    missed = sum(any(near(i, j) for j in kept if j < i) for i in kept)
    assert missed <= 0.05 * (len(texts) - len(kept))


def test_later_passages_never_change_a_decision(tmp_path: Path) -> None:
    rng = random.Random(5)
    texts = []
    for number in range(200):
        words = noise(number % 40)
        for _ in range(rng.randrange(0, 8)):
            words[rng.randrange(60)] = f"x{rng.randrange(10**6)}"
        texts.append(" ".join(words))
    whole = [isinstance(f, Passage) for f in run(tmp_path, texts)]
    for part in (1, 50, 120, 199):
        assert [isinstance(f, Passage) for f in run(tmp_path, texts[:part])] == whole[:part]


def test_batch_sizes_do_not_change_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(noise(i % 70)) + f" mwisho {i}" for i in range(200)]
    whole = run(tmp_path, texts)
    for name, value in (("KEYS", 16), ("PAIRS", 3), ("BATCH", 7)):
        monkeypatch.setattr(dedup, name, value)
    assert run(tmp_path, texts) == whole


def test_scripts_without_spaces_are_compared_by_characters(tmp_path: Path) -> None:
    rng = random.Random(2)
    thai = "".join(chr(0x0E01 + rng.randrange(40)) for _ in range(400))
    other = "".join(chr(0x0E01 + rng.randrange(40)) for _ in range(400))
    found = run(tmp_path, [thai, other, thai[:380] + other[:20]], words=False)
    assert [isinstance(f, Passage) for f in found] == [True, True, False]


def test_short_and_empty_texts_do_not_fail(tmp_path: Path) -> None:
    for words in (True, False):
        found = run(tmp_path, ["", "a", "a b", " ", "a", "ab", "a  B"], words=words)
        assert [isinstance(f, Passage) for f in found] == [True, True, True, False, False, True, False]


def test_temporary_files_are_removed(tmp_path: Path) -> None:
    assert run(tmp_path, []) == []
    near = Deduplicator(tmp_path, 0.7, True)
    near.add(passage("x", "a"))
    near.close()
    assert list(tmp_path.iterdir()) == []


def test_comparisons_within_one_key_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "band_keys", lambda found, number, rows: np.zeros((number, len(found)), np.uint64))
    found = run(tmp_path, [" ".join(noise(i)) for i in range(100)])
    assert all(isinstance(f, Passage) for f in found)


def test_seen_texts_return_the_id_of_the_first(tmp_path: Path) -> None:
    seen = SeenTexts(tmp_path)
    assert seen.first(text_digest("a"), "one") is None
    assert seen.first(text_digest("b"), "two") is None
    assert seen.first(text_digest("a"), "three") == "one"
    seen.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_buffer_returns_its_records(tmp_path: Path) -> None:
    records = [passage("\ud800 ก" * n, f"p{n}") for n in range(50)]
    with DiskBuffer(tmp_path) as spool:
        for record in records:
            spool.add(record)
        assert list(spool) == records
        assert spool.texts([49, 0, 7, 7]) == [records[i].text for i in (49, 0, 7, 7)]
        assert spool.id(3) == "p3"
        spool.add(records[0])
        assert len(list(spool)) == 51


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("İstanbul ışık istiyor çünkü ılık", "İSTANBUL IŞIK İSTİYOR ÇÜNKÜ ILIK"),
        ("كل الناس يولدون أحرارا", "كُلُّ النّاسِ يُولَدُونَ أَحْرَارًا".replace("أَ", "أ")),
        ("كتاب جديد في المكتبة", "كتـــاب جديـد في المكتبة"),
        ("die große Straße ist lang", "DIE GROSSE STRASSE IST LANG"),
        ("می\u200cخواهم کتاب بخوانم امروز", "میخواهم کتاب بخوانم امروز"),
        ("כל בני האדם נולדו", "כָּל בְּנֵי הָאָדָם נוֹלְדוּ"),
    ],
)
@pytest.mark.parametrize("words", [True, False])
def test_case_and_optional_marks_are_ignored(text: str, other: str, words: bool) -> None:
    hashes, starts = shingles([text, other, "ab"], words)
    assert set(hashes[starts[0] : starts[1]].tolist()) == set(hashes[starts[1] : starts[2]].tolist())
