"""Which instructions are refused and which must pass, and the stage with a real model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import factories
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.config.corpus import Corpus
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.corpus.sources import Document, read
from x_instruction.engines import Completed, Completion, Request, Result
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import RecipeError, UnknownLanguage
from x_instruction.generate import copied, generate, refuse
from x_instruction.hashing import derive_seed
from x_instruction.languages import language
from x_instruction.records import Candidate, Dropped, Passage, text_digest

FINNISH = (
    "Lohikeitto on suomalainen kalakeitto. Kuori perunat ja keitä ne kypsiksi. Lisää lohi, kerma ja tilli, "
    "ja anna keiton hautua hetki. How to use a boat is written on the wall of the kitchen."
)
SETTINGS = Generate(model=Model(name="m"), min_chars=12, max_chars=120, max_copy=0.5)
ENGLISH, THAI = language("en"), language("th")


def passage(text: str = FINNISH, tag: str = "fi") -> Passage:
    return factories.passage(text, tag)


# Refusing


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("empty", ""),
        ("empty", " ?"),
        ("empty", "...!"),
        ("too_short", "How so?"),
        ("too_short", "Tell it so."),
        ("too_long", "How do people in the north " + "really " * 20 + "cook salmon soup?"),
        ("wrong_language", "Miten lohikeitto tehdään pääsiäisenä äidille?"),
        ("wrong_language", "น้ำขึ้นน้ำลงเกิดขึ้นได้อย่างไร?"),
        ("wrong_language", "1234 5678 9012?"),
        ("mentions_the_text", "What is this article about, exactly?"),
        ("mentions_the_text", "What does the author think of salmon?"),
        ("mentions_the_text", "Summarize the recipe for salmon soup."),
        ("mentions_the_text", "Answer the following question on soup."),
        ("mentions_the_text", "Translate salmon soup into Finnish."),
        ("mentions_the_text", "Write a headline for a story on soup."),
        ("mentions_the_text", "How do you say salmon soup in English?"),
        ("mentions_the_text", "How is soup described in the text above?"),
        ("mentions_the_text", "Salmon soup of the north (English version)."),
        ("generic", "What is this about?"),
        ("generic", "What is the main idea?"),
        ("generic", "How do you do it?"),
        ("generic", "Tell me more!!!!"),
        ("generic", "Describe your day."),
        ("repeats_itself", "How to cook, how to cook, how to cook?"),
        ("repeats_itself", "Explain the soup soup soup of the north."),
        ("copies_the_passage", "How to use a boat is written?"),
        ("copies_the_passage", "LOHIKEITTO ON SUOMALAINEN"),
    ],
)
def test_refused(reason: str, text: str) -> None:
    assert refuse(text, "stop", passage(), SETTINGS, ENGLISH) == reason


def test_a_text_that_was_cut_off_is_refused() -> None:
    assert refuse("How do you make salmon soup?", "length", passage(), SETTINGS, ENGLISH) == "cut_off"
    assert refuse("", "length", passage(), SETTINGS, ENGLISH) == "empty"


@pytest.mark.parametrize(
    "text",
    [
        "How do tides work?",
        "Write a news article about the opening of a new bridge.",
        "Write a news article on salmon prices in Turku.",
        "Who was the author of the Kalevala?",
        "How did the Swahili language spread along the coast?",
        "Explain the word order of Finnish.",
        "Explain the process of following a recipe.",
        "What is the name of the largest lake in Finland?",
        "Write a letter to your grandmother about the harvest.",
        "Describe your morning routine at a tea stall.",
        "How do you make lohikeitto, the Finnish salmon soup?",
        "Explain what Lohikeitto is and when it is eaten.",
        "Who was Väinö Linna, and what did he write?",
        "Write a diary entry about a day at the market.",
        "Write a short story in which a fox outsmarts a bear.",
        "Why is tilli used in so many Finnish dishes?",
        "How do you prepare bún chả at home?",
        "Why does the sea rise and fall twice a day?",
        "What is the difference between a lake and a pond?",
        "Describe a traditional wedding in Dhaka.",
        "What time do shops close on Sundays in Tampere?",
        "Give me a recipe that uses salmon, cream and dill!",
        "Why do we rinse rice again and again?",
    ],
)
def test_good_instructions_pass(text: str) -> None:
    assert refuse(text, "stop", passage(), SETTINGS, ENGLISH) is None


def test_an_instruction_in_another_language_is_held_to_its_script() -> None:
    assert refuse("น้ำขึ้นน้ำลงเกิดขึ้นได้อย่างไร?", "stop", passage(), SETTINGS, THAI) is None
    assert refuse("How do the tides come about?", "stop", passage(), SETTINGS, THAI) == "wrong_language"


def test_english_rules_are_for_english_only() -> None:
    german = language("de")
    assert refuse("Was ist the title davon genau?", "stop", passage(), SETTINGS, german) is None


def test_lengths_are_inclusive() -> None:
    short = "Why is soup?"
    assert len(short) == 12
    assert refuse(short, "stop", passage(), SETTINGS, ENGLISH) is None
    exact = SETTINGS.replace(max_chars=12)
    assert refuse(short, "stop", passage(), exact, ENGLISH) is None
    assert refuse("Why is soup??", "stop", passage(), exact, ENGLISH) == "too_long"


def test_copying_may_be_allowed() -> None:
    allowed = SETTINGS.replace(max_copy=1.0)
    assert refuse("How to use a boat is written?", "stop", passage(), allowed, ENGLISH) is None


@pytest.mark.parametrize(
    ("instruction", "text", "share"),
    [
        ("", "abc", 0.0),
        ("abc", "", 0.0),
        ("abcd", "xxabcdxx", 1.0),
        ("abcd", "xxABxxCD", 0.5),
        ("ABCDEFGHIJ", "defg", 0.4),
        ("a b c", "a-b-c", 0.2),
        ("น้ำขึ้น", "น้ำ", 3 / 7),
        ("aaaa" * 60, "a" * 250, 1.0),
    ],
)
def test_copied_by_hand(instruction: str, text: str, share: float) -> None:
    assert copied(instruction, text) == pytest.approx(share)


@given(st.text(max_size=30), st.text(max_size=60))
def test_copied_is_a_share(instruction: str, text: str) -> None:
    assert 0 <= copied(instruction, text) <= 1
    assert copied(instruction, text + instruction) == bool(instruction)


# Seeds


def test_seeds_are_what_they_were() -> None:
    # Text of finished runs hangs on these values.
    assert derive_seed(0) == 7520536977032167579
    assert derive_seed(240519744, "fi-0123456789abcdef", 3) == 4342013063544902850


def test_seeds_differ_and_fit() -> None:
    seeds = {
        derive_seed(seed, id, number) for seed in range(5) for id in ("fi-1", "fi-11", "sw-1") for number in range(20)
    }
    assert len(seeds) == 300
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", 2) != derive_seed(1, "a", "b", 2)


# The stage


class Fixed:
    """An engine that knows its own name; ``asked`` answers for it."""

    model = "writer"
    revision = "r1"
    chat = False
    capabilities = frozenset({"complete"})

    def truncate(self, text: str, tokens: int) -> str:
        return text[:tokens]


def run(
    answers: Sequence[str], settings: Generate, passages: Sequence[Passage]
) -> tuple[list[Candidate | Dropped], list[Completion]]:
    sent: list[Completion] = []

    def ask(requests: Sequence[Request]) -> list[Result]:
        sent.extend(request for request in requests if isinstance(request, Completion))
        return [Completed(answers[n % len(answers)], "stop", 5, 5) for n in range(len(requests))]

    return list(generate(passages, settings, Fixed(), ask, 7)), sent  # type: ignore[arg-type]


def test_no_passages_no_requests() -> None:
    assert run(["x"], SETTINGS, []) == ([], [])


def test_an_unknown_instruction_language() -> None:
    with pytest.raises(UnknownLanguage):
        SETTINGS.replace(instruction_language="xx")


def test_every_request_has_an_outcome_with_its_reason() -> None:
    settings = SETTINGS.replace(candidates=3, styles=("search",), min_chars=4)
    found, sent = run(["salmon soup", "Salmon Soup", "..."], settings, [passage(), passage("Sauna on lämmin.")])
    assert len(sent) == len(found) == 6
    assert [type(outcome).__name__ for outcome in found] == ["Candidate", "Dropped", "Dropped"] * 2
    assert [o.reason for o in found if isinstance(o, Dropped)] == ["same_as_another", "empty"] * 2
    assert [o.id for o in found if isinstance(o, Dropped)][:2] == [f"{passage().id}-1", f"{passage().id}-2"]
    first = found[0]
    assert isinstance(first, Candidate)
    assert (first.instruction, first.style, first.candidate, first.round) == ("Salmon soup", "search", 0, 0)
    assert (first.generator, first.generator_revision) == ("writer", "r1")
    assert (first.text, first.text_hash) == (FINNISH, text_digest(FINNISH))


def test_instructions_in_the_language_of_their_responses() -> None:
    settings = SETTINGS.replace(candidates=1, styles=("search",), instruction_language="same")
    (found,), (asked,) = run(["Miten lohikeitto keitetään?"], settings, [passage()])
    assert isinstance(found, Candidate)
    assert found.instruction_language == "fi"
    assert "Finnish" in str(asked.prompt)
    assert "English" not in str(asked.prompt)
    with pytest.raises(RecipeError, match=r"length_hint is 0\.5 and instruction_language is 'same'"):
        settings.replace(length_hint=0.5)


def test_a_length_makes_no_other_instruction() -> None:
    """What was written with a length before is not written again without one."""
    settings = SETTINGS.replace(candidates=1, styles=("question",), length_hint=1.0)
    found, _ = run(["How is salmon soup cooked?"], settings, [passage()])
    before = [outcome for outcome in found if isinstance(outcome, Candidate)]
    assert before[0].instruction.endswith("sentences.") or before[0].instruction.endswith("sentence.")

    def ask(requests: Sequence[Request]) -> list[Result]:
        return [Completed("How is salmon soup cooked?", "stop", 5, 5) for _ in requests]

    plain = settings.replace(length_hint=0.0)
    (again,) = generate([passage()], plain, Fixed(), ask, 7, 1, before)  # type: ignore[arg-type]
    assert isinstance(again, Dropped)
    assert again.reason == "same_as_another"


def test_what_is_asked() -> None:
    settings = SETTINGS.replace(candidates=4, passage_tokens=10, temperature=0.3, top_p=0.8, top_k=5)
    _, sent = run(["x"], settings, [passage()])
    assert [request.seed for request in sent] == [derive_seed(7, passage().id, number) for number in range(4)]
    openings = [str(request.prompt).rsplit(":", 1)[1] for request in sent]
    assert openings == [" How to", " Explain how", " What is", " Describe"]
    assert all("Finnish article:\nLohikeitto\n" in str(request.prompt) for request in sent)
    assert {(r.max_tokens, r.temperature, r.top_p, r.top_k) for r in sent} == {(48, 0.3, 0.8, 5)}


def test_an_outcome_does_not_depend_on_the_other_passages() -> None:
    both = [passage(), passage("Sauna on lämmin.")]
    _, forward = run(["x"], SETTINGS, both)
    _, backward = run(["x"], SETTINGS, both[::-1])
    assert set(forward) == set(backward)


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> TransformersEngine:
    return TransformersEngine(Model(name=str(tiny_model), batch_size=16))


def test_a_real_model(engine: TransformersEngine, tmp_path: Path) -> None:
    settings = Generate(
        model=Model(name="m"), candidates=3, passage_tokens=48, max_tokens=10, min_chars=4, temperature=1.0
    )
    for tag in ("fi", "th", "bn"):
        documents = [d for d in read(Corpus(source="sample"), language(tag)) if isinstance(d, Document)][:4]
        passages = [passage(document.text, tag) for document in documents]
        outcomes = []
        for attempt in range(2):
            with RequestCache(tmp_path / tag / f"{attempt}.sqlite", engine, {}) as ledger:
                outcomes.append(list(generate(passages, settings, engine, ledger.ask, 1)))
                assert ledger.totals()["requests_sent"] == ledger.answered == 12
        assert outcomes[0] == outcomes[1]
        names = [f"{o.id}-{o.candidate}" if isinstance(o, Candidate) else o.id for o in outcomes[0]]
        assert names == [f"{p.id}-{number}" for p in passages for number in range(3)]
        with RequestCache(tmp_path / tag / "0.sqlite", engine, {}) as ledger:
            other = list(generate(passages, settings, engine, ledger.ask, 2))
            assert ledger.totals()["requests_sent"] == 24
        assert other != outcomes[0]
        for outcome in outcomes[0]:
            if isinstance(outcome, Candidate):
                assert refuse(outcome.instruction, "stop", passage(outcome.text, tag), settings, ENGLISH) is None
                assert outcome.generator_revision == engine.revision
        kinds = Counter(o.reason if isinstance(o, Dropped) else "kept" for o in outcomes[0])
        assert kinds["kept"], kinds
