from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from x_instruction.corpus.clean import normalise
from x_instruction.corpus.segment import boundary, ends, segment

PARTS = st.sampled_from(
    [
        "neno ",
        "Sentensi. ",
        "\n",
        "\n\n",
        "क्षमा ",
        "বাংলা। ",
        "اردو۔ ",
        "ข้อความภาษาไทย",
        "中文。",
        "မြန်မာ။ ",
        "🇫🇮🇫🇮",
        "👩\u200d👩\u200d👧",
        "e\u0300\u0301",
        "ก็",
        "กำ",
        "각",
        "\u1112\u1161\u11ab",
        "க்ஷ",
        "x" * 30,
        "?! ",
        "❤\ufe0f",
    ]
)


@settings(max_examples=200)
@given(st.lists(PARTS, max_size=120).map("".join).map(normalise), st.integers(5, 60), st.integers(0, 200))
def test_no_text_is_lost_and_lengths_are_within_the_limits(text: str, shortest: int, more: int) -> None:
    longest = shortest + more
    found = segment(text, shortest, longest)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(part) <= longest for part in found)
    assert all(part == part.strip() for part in found)
    if more >= 2 * shortest:
        # Only the last can be too short, but for the space that a cut takes away.
        assert all(len(part) >= shortest - 2 for part in found[:-1])


@settings(max_examples=300)
@given(st.text(alphabet="ab .\n।ा्कषமி\u200d👩💻🇫🇮กำิ่ำลிக்ัঅ각e\u0301、。🏽\ufe0fആ്\u0d4e\u0600\u1100\u1161", max_size=30))
def test_every_boundary_is_a_unicode_boundary(text: str) -> None:
    regex = pytest.importorskip("regex")
    ends, place = {0}, 0
    for cluster in regex.findall(r"\X", text):
        place += len(cluster)
        ends.add(place)
    assert {i for i in range(len(text) + 1) if boundary(text, i)} <= ends


def test_a_short_document_is_one_passage() -> None:
    assert segment("Habari ya leo.", 5, 100) == ["Habari ya leo."]
    assert segment("", 5, 100) == []


def test_text_is_cut_between_paragraphs_then_sentences_then_words() -> None:
    paragraph = "Sentensi moja hapa. " * 4
    assert segment(f"{paragraph.strip()}\n{paragraph.strip()}\n{paragraph.strip()}", 50, 100) == [paragraph.strip()] * 3
    sentences = segment("Sentensi moja hapa leo. " * 20, 50, 100)
    assert all(part.endswith(".") for part in sentences)
    words = segment("neno " * 100, 50, 100)
    assert all(set(part.split()) == {"neno"} for part in words)


@pytest.mark.parametrize("stop", ["।", "۔", "။", "።", "॥", "؟", "…"])
def test_ends_of_sentences_are_found_in_many_scripts(stop: str) -> None:
    found = segment(f"abc def ghi{stop} " * 20, 30, 70)
    assert all(part.endswith(stop) for part in found)


def test_full_width_stops_need_no_space() -> None:
    found = segment("这是一个句子。" * 30, 30, 70)
    assert all(part.endswith("。") for part in found)


def test_thai_is_cut_at_spaces(sample_texts) -> None:  # type: ignore[no-untyped-def]
    text = " ".join(sample_texts("th")).replace("\n", " ")
    found = segment(text, 200, 500)
    assert len(found) > 3
    assert " ".join(found) == text


def test_a_very_long_word_is_cut_between_grapheme_clusters() -> None:
    found = segment("กำ" * 200, 50, 101)
    assert all(part.startswith("ก") for part in found)


def test_the_last_passage_is_not_too_short() -> None:
    for size in range(101, 300):
        found = segment(("abcd " * 100)[:size], 40, 100)
        assert min(map(len, found)) >= 38


def test_a_long_document_is_not_encoded_for_each_passage() -> None:
    class Document(str):
        def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
            raise AssertionError(f"all {len(self)} characters are encoded")

    text = "Это предложение 🙂. Ещё одно. " * 20
    assert segment(Document(text), 20, 60) == segment(text, 20, 60)


def test_an_unavoidable_remainder_is_the_last_passage() -> None:
    assert segment("a" * 100 + "\n" + "b" * 20, 90, 100)[-1] == "b" * 20


@pytest.mark.parametrize(
    ("sentence", "stop"),
    [
        ("मनुष्य जन्म से स्वतन्त्र हैं", "।"),
        ("تمام انسان آزاد پیدا ہوئے ہیں", "۔"),
        ("ሁሉም ሰው ነፃ ሆኖ ይወለዳል", "።"),
        ("ሁሉም፡ሰው፡ነፃ፡ሆኖ፡ይወለዳል", "፡፡"),
        ("លោកុប្បត្តិមានសេរីភាព", "។"),
        ("လူတိုင်းသည်လွတ်လပ်သည်", "။"),
        ("འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས", "།"),
        ("Բոլոր մարդիկ ծնվում են ազատ", "։"),
    ],
)
def test_a_full_stop_without_a_space_ends_a_sentence(sentence: str, stop: str) -> None:
    found = segment((sentence + stop) * 20, 2 * len(sentence), 4 * len(sentence))
    assert len(found) > 5
    assert all(part.endswith(stop) and part.startswith(sentence[:5]) for part in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("៣។៥ ភាគរយ", []),
        ("ស្វាយ ចេក ។ល។ ផ្សេងទៀត", [13]),
        ("see docs.python.org version 3.14 now", []),
        ("Really?! Yes.", [8]),
        ("他说：“好。”然后走了。", [7, 12]),
    ],
)
def test_a_full_stop_inside_a_number_or_a_name_ends_no_sentence(text: str, expected: list[int]) -> None:
    assert sorted(ends(text) - {len(text)}) == [place for place in expected if place < len(text)]


@pytest.mark.parametrize("text", ["ក្ក" * 100, "က္က" * 100, "ක්‍ර" * 100, "ꦏ꧀ꦏ" * 100, "ᬓ᭄ᬓ" * 100])
def test_no_cut_follows_a_coeng_or_virama(text: str) -> None:
    cluster = len(text) // 100
    found = segment(text, 40, 101)
    assert len(found) > 2
    assert all(len(part) % cluster == 0 for part in found)


def test_a_text_without_full_stops_is_cut_at_the_word_separators_of_its_script() -> None:
    assert all(part.endswith("་") for part in segment("རྒྱུད་ཡོངས་" * 40, 50, 101))
    found = segment("សេរីភាព\u200bមនុស្ស\u200b" * 40, 50, 61)
    assert {part.split("\u200b")[0] for part in found} <= {"សេរីភាព", "មនុស្ស"}
