"""The stage that writes instructions, with answers given in the test and with a real model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import factories
import pytest

from x_instruction.config.corpus import Corpus
from x_instruction.config.generate import Generate
from x_instruction.config.model import Model
from x_instruction.corpus.sources import Document, read
from x_instruction.engines import Completed, Completion, Request, Result
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import RecipeError, UnknownLanguage
from x_instruction.form import find_fault
from x_instruction.generate import generate
from x_instruction.hashing import derive_seed
from x_instruction.languages import language
from x_instruction.records import Candidate, Dropped, Passage, text_digest

FINNISH = (
    "Lohikeitto on suomalainen kalakeitto. Kuori perunat ja keitä ne kypsiksi. Lisää lohi, kerma ja tilli, "
    "ja anna keiton hautua hetki. How to use a boat is written on the wall of the kitchen."
)
SETTINGS = Generate(model=Model(name="m"), min_chars=12, max_chars=120, max_copy=0.5)
ENGLISH = language("en")


def passage(text: str = FINNISH, tag: str = "fi") -> Passage:
    return factories.passage(text, tag)


# Seeds


def test_derived_seeds_do_not_change() -> None:
    # Text of finished runs hangs on these values.
    assert derive_seed(0) == 7520536977032167579
    assert derive_seed(240519744, "fi-0123456789abcdef", 3) == 4342013063544902850


def test_derived_seeds_are_unique_and_fit_in_64_bits() -> None:
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
    answers: Sequence[str], settings: Generate, passages: Sequence[Passage], finish_reason: str = "stop"
) -> tuple[list[Candidate | Dropped], list[Completion]]:
    sent: list[Completion] = []

    def ask(requests: Sequence[Request]) -> list[Result]:
        sent.extend(request for request in requests if isinstance(request, Completion))
        return [Completed(answers[n % len(answers)], finish_reason, 5, 5) for n in range(len(requests))]

    return list(generate(passages, settings, Fixed(), ask, 7)), sent  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 15, 16, 17, 40])
def test_the_size_of_request_parts_does_not_change_records(size: int) -> None:
    answers = ["How is salmon soup made?", "salmon soup", "...", "How to use a boat is written?", "How is soup made?"]
    settings = SETTINGS.replace(candidates=3, min_chars=4, length_hint=0.5)
    passages = [passage(f"{FINNISH} {number}.") for number in range(size)]
    expected, sent = run(answers, settings, passages)
    total = Counter[str]()

    def ask_parts(parts: Iterable[Sequence[Request]], requests: int) -> Iterator[list[Result]]:
        for part in parts:
            numbers = range(total["asked"], total["asked"] + len(part))
            assert list(part) == [sent[number] for number in numbers]
            total["asked"] += len(part)
            yield [Completed(answers[number % len(answers)], "stop", 5, 5) for number in numbers]
        assert requests == total["asked"] == 3 * size

    found = list(generate(passages, settings, Fixed(), lambda requests: [], 7, ask_parts=ask_parts))  # type: ignore[arg-type]
    assert found == expected


def test_no_passages_send_no_requests() -> None:
    assert run(["x"], SETTINGS, []) == ([], [])


def test_a_truncated_text_is_refused() -> None:
    settings = SETTINGS.replace(candidates=1, styles=("search",))
    for answer, reason in (("How do you make salmon soup", "cut_off"), ("", "empty")):
        (found,), _ = run([answer], settings, [passage()], "length")
        assert isinstance(found, Dropped)
        assert found.reason == reason


def test_an_unknown_instruction_language_is_refused() -> None:
    with pytest.raises(UnknownLanguage):
        SETTINGS.replace(instruction_language="xx")


def test_every_request_gives_a_record_or_a_reason() -> None:
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


def test_instructions_may_be_in_the_language_of_their_responses() -> None:
    settings = SETTINGS.replace(candidates=1, styles=("search",), instruction_language="same")
    (found,), (asked,) = run(["Miten lohikeitto keitetään?"], settings, [passage()])
    assert isinstance(found, Candidate)
    assert found.instruction_language == "fi"
    assert "Finnish" in str(asked.prompt)
    assert "English" not in str(asked.prompt)
    with pytest.raises(RecipeError, match=r"length_hint is 0\.5 and instruction_language is 'same'"):
        settings.replace(length_hint=0.5)


def test_an_instruction_written_with_a_length_is_not_repeated_without_one() -> None:
    """Otherwise, one instruction would be kept twice, with and without a length."""
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


def test_requests_have_the_seeds_openings_and_settings() -> None:
    settings = SETTINGS.replace(candidates=4, passage_tokens=10, temperature=0.3, top_p=0.8, top_k=5)
    _, sent = run(["x"], settings, [passage()])
    assert [request.seed for request in sent] == [derive_seed(7, passage().id, number) for number in range(4)]
    openings = [str(request.prompt).rsplit(":", 1)[1] for request in sent]
    assert openings == [" What is", " Describe", " How to", " Explain how"]
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


def test_a_real_model_writes_reproducible_instructions(engine: TransformersEngine, tmp_path: Path) -> None:
    settings = Generate(
        model=Model(name="m"), candidates=3, passage_tokens=48, max_tokens=10, min_chars=4, temperature=1.0
    )
    for tag in ("fi", "th", "bn"):
        documents = [d for d in read(Corpus(source="sample"), language(tag)) if isinstance(d, Document)][:4]
        passages = [passage(document.text, tag) for document in documents]
        outcomes = []
        for attempt in range(2):
            with RequestCache(tmp_path / tag / f"{attempt}.sqlite", engine, {}) as cache:
                outcomes.append(list(generate(passages, settings, engine, cache.ask, 1)))
                assert cache.totals()["requests_sent"] == cache.answered == 12
        assert outcomes[0] == outcomes[1]
        names = [f"{o.id}-{o.candidate}" if isinstance(o, Candidate) else o.id for o in outcomes[0]]
        assert names == [f"{p.id}-{number}" for p in passages for number in range(3)]
        with RequestCache(tmp_path / tag / "0.sqlite", engine, {}) as cache:
            other = list(generate(passages, settings, engine, cache.ask, 2))
            assert cache.totals()["requests_sent"] == 24
        assert other != outcomes[0]
        for outcome in outcomes[0]:
            if isinstance(outcome, Candidate):
                assert find_fault(outcome.instruction, outcome.text, settings, ENGLISH) is None
                assert outcome.generator_revision == engine.revision
        kinds = Counter(o.reason if isinstance(o, Dropped) else "kept" for o in outcomes[0])
        assert kinds["kept"], kinds
