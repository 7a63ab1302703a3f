from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from x_instruction.config.corpus import Filters
from x_instruction.corpus import ensemble, ngrams
from x_instruction.corpus.close_languages import closer, own_variety
from x_instruction.corpus.identifiers import PY3LANGID, FastText, Guess
from x_instruction.corpus.identify import LanguageCheck, sample
from x_instruction.errors import MissingExtra, RecipeError
from x_instruction.languages import PAPER_LANGUAGES, language

ENGLISH = (
    "Click the menu button in the top-right corner of the window and select Preferences from the list. If you do not "
    "see it, you may need to install the package yourself. Ask the person who looks after your computer for help."
)
MALAY = (
    "Semua manusia dilahirkan bebas dan sama rata dari segi maruah dan hak-hak. Mereka mempunyai pemikiran dan "
    "perasaan hati dan hendaklah bertindak di antara satu sama lain dengan semangat persaudaraan. Syarikat itu "
    "mengumumkan bahawa pejabat baharu akan dibuka kerana permintaan perkhidmatan yang berbeza."
)


@pytest.fixture(scope="module")
def check() -> Callable[[str, str], str | None]:
    made: dict[str, LanguageCheck] = {}

    def run(tag: str, text: str) -> str | None:
        if tag not in made:
            made[tag] = LanguageCheck(language(tag), Filters())
        return made[tag].judge([text])[0].reason

    return run


def test_a_language_that_no_identifier_knows_is_reported() -> None:
    with pytest.raises(RecipeError, match=r"py3langid does not know Ewe \('ee'\): set lid_model to the file of"):
        LanguageCheck(language("ee"), Filters())


def test_a_missing_fasttext_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(MissingExtra, match=r"x_instruction\[lid\]"):
        LanguageCheck(language("ee"), Filters(lid_model="model.bin"))


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_samples_are_in_their_language(
    tag: str, check: Callable[[str, str], str | None], sample_texts: Callable[[str], list[str]]
) -> None:
    assert [check(tag, text) for text in sample_texts(tag)] == [None] * 12


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_english_is_refused(tag: str, check: Callable[[str, str], str | None]) -> None:
    expected = "wrong_language" if language(tag).script == "Latn" else "wrong_script"
    assert check(tag, ENGLISH) == expected


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_half_english_is_refused(
    tag: str, check: Callable[[str, str], str | None], sample_texts: Callable[[str], list[str]]
) -> None:
    text = sample_texts(tag)[0]
    for mixed in (f"{text[:450]}\n{ENGLISH}", f"{ENGLISH}\n{text}", f"{text}\n{ENGLISH}"):
        assert check(tag, mixed) in ("mixed_language", "wrong_script")


@pytest.mark.parametrize("tag", PAPER_LANGUAGES)
def test_names_and_commands_are_not_foreign_sentences(
    tag: str, check: Callable[[str, str], str | None], sample_texts: Callable[[str], list[str]]
) -> None:
    assert check(tag, f"{sample_texts(tag)[1]}\nGNOME Terminal\nLibreOffice Writer 24.2") is None


@pytest.mark.parametrize(
    ("tag", "other"),
    [("hi", "ur"), ("ur", "hi"), ("bn", "hi"), ("ta", "th"), ("fi", "tr"), ("id", "vi"), ("sw", "id"), ("tr", "fi")],
)
def test_another_language_is_refused(
    tag: str, other: str, check: Callable[[str, str], str | None], sample_texts: Callable[[str], list[str]]
) -> None:
    same = language(tag).script == language(other).script
    expected = {"wrong_language", "mixed_language"} if same else {"wrong_script"}
    assert {check(tag, text) for text in sample_texts(other)} <= expected


def test_malay_and_indonesian_are_distinguished(
    check: Callable[[str, str], str | None], sample_texts: Callable[[str], list[str]]
) -> None:
    assert check("id", MALAY) == "wrong_language"
    assert check("ms", MALAY) is None
    refused = [check("ms", text) for text in sample_texts("id")]
    assert refused.count("wrong_language") >= 11


def test_marathi_and_persian_are_refused(check: Callable[[str, str], str | None]) -> None:
    marathi = "महाराष्ट्र हे भारतातील एक राज्य आहे आणि मुंबई ही त्याची राजधानी आहे. येथे मराठी भाषा बोलली जाते. " * 3
    persian = "همه انسان‌ها آزاد به دنیا می‌آیند و در کرامت و حقوق برابر هستند و باید با یکدیگر برادرانه رفتار کنند. " * 3
    assert check("hi", marathi) == "wrong_language"
    assert check("ur", persian) == "wrong_language"


@pytest.mark.parametrize("text", ["", " ", "12345", "!!!", "\n", "💩" * 50])
def test_text_without_letters_is_the_wrong_script(text: str, check: Callable[[str, str], str | None]) -> None:
    assert check("fi", text) == "wrong_script"


def test_decomposed_text_is_identified(
    check: Callable[[str, str], str | None], sample_texts: Callable[[str], list[str]]
) -> None:
    import unicodedata

    assert check("vi", unicodedata.normalize("NFD", sample_texts("vi")[0])) is None


def test_a_sample_is_short_and_from_two_places() -> None:
    assert sample("abc") == "abc"
    assert len(sample("ab" * 5000)) <= 401
    assert "z" in sample("a" * 5000 + "z" * 5000)


def test_closer_compares_words_only_for_related_languages() -> None:
    assert closer("bahwa karena", "id", Guess("ms", {"id": 0.3, "ms": 0.6}))[0] == "id"
    assert closer("bahawa kerana", "id", Guess("id", {"id": 0.6, "ms": 0.3}))[0] == "ms"
    assert closer("dan yang", "id", Guess("ms", {"id": 0.3, "ms": 0.6})) == ("id", pytest.approx(0.9))
    assert closer("dan yang", "id", Guess("ms", {"id": 0.01, "ms": 0.9}))[0] == "ms"
    assert closer("bahwa", "fi", Guess("en", {"en": 0.8})) == ("en", 0.8)
    assert closer("bahwa " * 10_000, "id", Guess("ms", {"ms": 1.0}))[1] <= 1


def test_scores_are_those_of_py3langid(sample_texts: Callable[[str], list[str]]) -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    theirs = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    texts = [text for tag in PAPER_LANGUAGES for text in sample_texts(tag)[:2]]
    texts += ["", "a", "12", "ALL CAPITALS IN ENGLISH", "x" * 3000]
    columns = ngrams.model().columns(ngrams.model().labels)
    for text, row in zip(texts, columns.probabilities(texts), strict=True):
        found: dict[str, float] = {}
        for label, share in zip(columns.labels, row.tolist(), strict=True):
            found[label] = found.get(label, 0.0) + share
        expected = dict(theirs.rank(text))
        assert max(abs(found[label] - expected[label]) for label in expected) < 1e-3


def test_scores_do_not_depend_on_the_batch(sample_texts: Callable[[str], list[str]]) -> None:
    texts = sample_texts("fi")
    columns = ngrams.model().columns(["fi", "en", "et"])
    together = columns.probabilities(texts)
    alone = np.concatenate([columns.probabilities([text]) for text in texts])
    assert np.array_equal(together, alone)


def test_lid_model_selects_a_fasttext_model(fasttext: Path) -> None:
    checks = LanguageCheck(language("ee"), Filters(lid_model=str(fasttext)))
    ewe = "Wodzi amegbetɔwo katã ablɔɖeviwoe eye wodzena bubu kple gomekpɔkpɔ sɔsɔe. " * 4
    assert [v.reason for v in checks.judge([ewe, ENGLISH, ewe[:200] + "\n" + ENGLISH])] == [
        None, "wrong_language", "mixed_language",
    ]  # fmt: skip
    assert checks.judge([ewe])[0].identified == "ee"
    assert checks.judge([ewe])[0].confidence == pytest.approx(0.9)


def test_a_model_file_that_is_missing_or_damaged_is_reported(fasttext: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is not a file: name a fastText model"):
        FastText(tmp_path / "none.bin", language("ee"))
    (tmp_path / "empty.bin").write_bytes(b"")
    with pytest.raises(RecipeError, match=r"cannot read the fastText model .*wrong file format"):
        FastText(tmp_path / "empty.bin", language("ee"))


@pytest.mark.parametrize(
    ("tag", "text", "foreign"),
    [
        ("kk", "Барлық адамдар тумысынан азат және қадір-қасиеті мен құқықтары тең болып дүниеге келеді. ",
         "Все люди рождаются свободными и равными в своём достоинстве и правах, они наделены разумом. "),
        ("fa", "همه انسان‌ها آزاد به دنیا می‌آیند و از نظر کرامت و حقوق با هم برابر هستند و باید برادرانه رفتار کنند. ",
         "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا. "),
        ("sr-Latn", "Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima, obdarena su razumom. ",
         "All human beings are born free and equal in dignity and rights and are endowed with reason. "),
    ],
)  # fmt: skip
def test_foreign_sentences_in_the_same_script_are_found(
    tag: str, text: str, foreign: str, check: Callable[[str, str], str | None]
) -> None:
    assert check(tag, text * 3) is None
    assert check(tag, text * 3 + foreign * 2) == "mixed_language"


def test_labels_agree_with_py3langid() -> None:
    assert set(ngrams.model().labels) == PY3LANGID


@pytest.mark.parametrize(
    ("tag", "name"),
    [("ti", "Tigrinya"), ("hi-Latn", r"Hindi \(Latin\)"), ("az-Cyrl", r"Azerbaijani \(Cyrillic\)"), ("bo", "Tibetan")],
)
def test_a_language_or_script_that_no_identifier_knows_is_named(tag: str, name: str) -> None:
    with pytest.raises(RecipeError, match=rf"^py3langid does not know {name} \('{tag}'\): set lid_model"):
        LanguageCheck(language(tag), Filters())


def test_all_unknown_languages_are_named_at_once() -> None:
    tags = ("sw", "ti", "sr-Latn", "wo", "zh-Hant")
    with pytest.raises(RecipeError, match=r"does not know Tigrinya \('ti'\) and Wolof \('wo'\): set"):
        ensemble.check([language(tag) for tag in tags], Filters())


def test_a_fasttext_model_without_the_language_is_reported(fasttext: Path) -> None:
    with pytest.raises(RecipeError, match=r"^model.bin does not know Wolof \('wo'\)"):
        LanguageCheck(language("wo"), Filters(lid_model=str(fasttext)))


def test_an_ensemble_that_disagrees_returns_no_language(
    fasttext: Path, sample_texts: Callable[[str], list[str]]
) -> None:
    checks = LanguageCheck(language("sw"), Filters(lid_ensemble=("py3langid", str(fasttext))))
    (verdict,) = checks.judge([sample_texts("sw")[0]])
    assert verdict.reason == "wrong_language"
    assert verdict.identified == "und"
    assert verdict.detail.startswith("none of these: py3langid says sw (")
    assert "model.bin says eng_Latn (1.00)" in verdict.detail


def test_ensemble_members_that_do_not_know_the_language_are_ignored(fasttext: Path) -> None:
    checks = LanguageCheck(language("ee"), Filters(lid_ensemble=("py3langid", str(fasttext))))
    ewe = "Wodzi amegbetɔwo katã ablɔɖeviwoe eye wodzena bubu kple gomekpɔkpɔ sɔsɔe. " * 4
    assert checks.judge([ewe])[0].reason is None


def test_one_identifier_and_an_ensemble_exclude_each_other() -> None:
    with pytest.raises(RecipeError, match="is set together with lid_model"):
        Filters(lid_model="model.bin", lid_ensemble=("py3langid",))


CROATIAN = (
    "Tko god sudjeluje u javnom životu ima pravo na zaštitu. Svaka obitelj mora imati gdje živjeti, a djeca pravo na "
    "vrijeme za igru i znanost. Riječ je o tisuću godina povijesti. "
)
SERBIAN = (
    "Ko god učestvuje u javnom životu ima pravo na zaštitu. Svaka porodica mora imati gde živeti, a deca pravo na "
    "vreme za igru i nauku. Reč je o hiljadu godina istorije. "
)
SIMPLIFIED = (
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。这个国家的语言和历史。"
)
TRADITIONAL = (
    "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。這個國家的語言和歷史。"
)
KOREAN = (
    "모든 사람은 태어날 때부터 자유롭고 존엄과 권리에 있어 평등하다. 사람은 이성과 양심을 타고났으며 서로를 형제의 "
    "마음으로 대해야 한다. 大韓民國의 언어와 역사를 배운다. "
)
CANTONESE = "呢度嘅人話佢哋唔知道點解啲嘢咁貴，所以冇人去嗰間舖頭買嘢食。我哋今日喺屋企煮飯，聽日再去睇下有冇平啲嘅。"


@pytest.mark.parametrize(
    ("tag", "text", "reason"),
    [
        *((tag, CROATIAN, None) for tag in ("hr", "bs", "cnr")),
        ("sr-Latn", SERBIAN, None),
        ("sr-Latn", CROATIAN, "wrong_language"),
        ("hr", SERBIAN, "wrong_language"),
        ("bs", SERBIAN, "wrong_language"),
        ("zh", SIMPLIFIED, None),
        ("zh", TRADITIONAL, "wrong_script"),
        ("zh-Hant", TRADITIONAL, None),
        ("zh-Hant", SIMPLIFIED, "wrong_script"),
        ("zh-Hant", CANTONESE, "wrong_language"),
        ("yue", CANTONESE, None),
        ("yue", TRADITIONAL, "wrong_language"),
        ("ja", SIMPLIFIED, "wrong_language"),
        ("ko", KOREAN, None),
        ("ko", SIMPLIFIED, "wrong_language"),
        ("ko", TRADITIONAL, "wrong_language"),
        ("ko", f"{KOREAN} {SIMPLIFIED * 3}", "wrong_language"),
    ],
)
def test_related_languages_are_summed_or_distinguished(
    tag: str, text: str, reason: str | None, check: Callable[[str, str], str | None]
) -> None:
    assert check(tag, text) == reason


def test_text_without_distinctive_characters_counts_for_both_varieties() -> None:
    assert own_variety("人人生而自由", "Hans") == own_variety("人人生而自由", "Hant") == 1.0
