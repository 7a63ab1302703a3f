"""The engine equals plain transformers with one prompt at a time, whatever the batches, prefixes and caches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from x_instruction.config.model import Model
from x_instruction.engines import (
    Choice,
    Chosen,
    Completed,
    Completion,
    Engine,
    Request,
    Result,
    Scored,
    Scoring,
    open_engine,
)
from x_instruction.engines.local.transformers import TransformersEngine
from x_instruction.errors import EngineError, RecipeError
from x_instruction.records import storable

Ask = Callable[[Engine, Sequence[Request]], list[Result]]
Texts = dict[str, list[str]]


def completed(results: Sequence[Result]) -> list[Completed]:
    assert all(isinstance(result, Completed) for result in results)
    return [result for result in results if isinstance(result, Completed)]


def scored(results: Sequence[Result]) -> list[Scored]:
    assert all(isinstance(result, Scored) for result in results)
    return [result for result in results if isinstance(result, Scored)]


def prompts(texts: Texts) -> list[str]:
    """One token to hundreds, equal ones, with the same start, with the same all but the end, in three scripts."""
    fi, th, bn = texts["fi"], texts["th"], texts["bn"]
    title = "article:\n{}\n\nEnglish title of the article:{}"
    return [
        "a",
        "Järvi",
        fi[0],
        "a",
        th[0][:40],
        bn[1],
        *(title.format(fi[1], opening) for opening in ("", " How to", " What is", " Explain how")),
        *(title.format(bn[2][:90], opening) for opening in ("", " How to")),
        title.format(fi[1], " How to"),
        "article:",
        "article:\n",
        fi[0],
    ]


# Loading


def test_an_unknown_engine_gets_a_suggestion() -> None:
    with pytest.raises(RecipeError, match=r"unknown engine 'transformer', did you mean 'transformers'\? \(known: tr"):
        open_engine(Model(name="x", engine="transformer"))
    with pytest.raises(RecipeError, match=r"unknown engine 'zzz' \(known: transformers"):
        open_engine(Model(name="x", engine="zzz"))


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "", "gpu0"])
def test_an_unknown_device_is_refused(noisy_model: Path, device: str) -> None:
    with pytest.raises(EngineError, match=rf"device '{device}' is not available: .*; try device = 'cpu'") as caught:
        open_engine(Model(name=str(noisy_model), device=device))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"model folder .*nowhere does not exist; name an existing folder, a Hub id"):
        open_engine(Model(name=str(tmp_path / "nowhere")))


def test_a_folder_without_a_config_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"not a transformers model folder: expected a config.json or an adapter_con"):
        open_engine(Model(name=str(tmp_path)))


@pytest.mark.parametrize("damage", ["config", "weights", "no weights", "tokenizer", "no tokenizer", "width", "type"])
def test_a_damaged_folder_is_reported_in_one_line(noisy_model: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(noisy_model, folder)
    if damage == "config":
        (folder / "config.json").write_text("{", "utf-8")
    elif damage == "weights":
        (folder / "model.safetensors").write_bytes((noisy_model / "model.safetensors").read_bytes()[:5_000])
    elif damage == "no weights":
        (folder / "model.safetensors").unlink()
    elif damage == "tokenizer":
        (folder / "tokenizer.json").write_text('{"model": 3}', "utf-8")
    elif damage == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    else:
        wrong = {"model_type": "nothing-known"} if damage == "type" else {"hidden_size": 32}
        config = json.loads((folder / "config.json").read_text("utf-8")) | wrong
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(EngineError, match="cannot load") as caught:
        open_engine(Model(name=str(folder)))
    assert "\n" not in str(caught.value)


def test_a_loaded_model_reports_its_properties(engine: TransformersEngine, noisy_model: Path) -> None:
    assert engine.model == noisy_model.name
    assert engine.revision.startswith("sha256:")
    assert engine.capabilities == {"complete", "choose", "score"}
    assert not engine.chat


def test_the_revision_follows_the_weights(noisy_model: Path, tmp_path: Path, engine: TransformersEngine) -> None:
    folder = tmp_path / "model"
    shutil.copytree(noisy_model, folder)
    assert open_engine(Model(name=str(folder))).revision == engine.revision
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert open_engine(Model(name=str(folder))).revision != engine.revision


# Refused requests


def test_a_prompt_that_does_not_fit_names_the_keys(engine: TransformersEngine) -> None:
    for request in (Completion("a b " * 3_000, 8), Scoring("a", "b " * 5_000), Choice("a b " * 3_000, ("1", "2"))):
        with pytest.raises(EngineError, match=r"do not fit into the 4096 tokens of .*: lower passage_tokens or resp"):
            engine.plan([Completion("a", 1), request] if isinstance(request, Completion) else [request])


def test_a_chat_prompt_needs_a_chat_template(engine: TransformersEngine) -> None:
    with pytest.raises(EngineError, match=r"has no chat template: use a plain prompt, or a chat model"):
        engine.plan([Completion((("user", "Hei"),), 4)])


def test_an_empty_prompt_is_the_bos_token(engine: TransformersEngine, ask: Ask) -> None:
    (scored,) = ask(engine, [Scoring("", "Hei")])
    ids = torch.tensor([[engine.tokenizer.bos_token_id, *engine.encoder.text("Hei")]])
    with torch.inference_mode():
        steps = torch.log_softmax(engine.network(ids).logits[0].double(), -1)
    expected = sum(float(steps[n, token]) for n, token in enumerate(ids[0, 1:].tolist()))
    assert isinstance(scored, Scored)
    assert scored.log_likelihood == pytest.approx(expected, rel=1e-4)


def test_an_empty_continuation_is_refused(engine: TransformersEngine, ask: Ask) -> None:
    with pytest.raises(EngineError, match="an empty continuation cannot be scored"):
        ask(engine, [Scoring("a", "b"), Scoring("a", "")])


# Plans


def test_no_requests_no_batches(engine: TransformersEngine) -> None:
    assert engine.plan([]) == []


@pytest.mark.parametrize(("size", "tokens"), [(1, 16_384), (3, 16_384), (64, 200), (64, 1), (5, 900)])
def test_a_plan_covers_every_request_once(noisy_model: Path, texts: Texts, size: int, tokens: int) -> None:
    small = TransformersEngine(Model(name=str(noisy_model), batch_size=size, batch_tokens=tokens))
    requests = [Completion(prompt, 16, seed=seed) for prompt in prompts(texts) for seed in range(2)]
    plan = small.plan(requests)
    assert sorted(row for batch in plan for row in batch.rows) == list(range(len(requests)))
    assert max(len(batch.rows) for batch in plan) <= size
    assert small.plan(list(requests)) == plan
    for batch in plan:
        lengths = [len(small.tokenizer(requests[row].prompt)["input_ids"]) - batch.shared + 16 for row in batch.rows]
        assert len(lengths) == 1 or max(lengths) * len(lengths) <= tokens


def test_shared_tokens_are_a_prefix_of_every_prompt(engine: TransformersEngine, texts: Texts) -> None:
    requests = [Completion(f"The same start of all. {text}", 4) for text in texts["th"]]
    encoded = [engine.tokenizer(request.prompt)["input_ids"] for request in requests]
    (shared,) = {batch.shared for batch in engine.plan(requests)}
    assert shared >= len(engine.tokenizer("The same start of all.")["input_ids"])
    assert len({tuple(tokens[:shared]) for tokens in encoded}) == 1


# Completing


@pytest.mark.parametrize("size", [1, 4, 64])
def test_greedy_text_equals_one_prompt_at_a_time(
    noisy_model: Path, texts: Texts, ask: Ask, greedy: Callable[[str, int], list[int]], size: int
) -> None:
    engine = TransformersEngine(Model(name=str(noisy_model), batch_size=size))
    found = completed(ask(engine, [Completion(prompt, 20) for prompt in prompts(texts)]))
    for prompt, answer in zip(prompts(texts), found, strict=True):
        expected = greedy(prompt, 20)
        # Random weights may write NUL, which no answer keeps.
        assert answer.text == storable(engine.tokenizer.decode(expected, skip_special_tokens=True))
        assert answer.prompt_tokens == len(engine.tokenizer(prompt)["input_ids"])
        assert answer.output_tokens == len(expected)
        assert answer.finish_reason == ("length" if len(expected) == 20 else "stop")


def test_greedy_text_equals_where_a_long_start_is_shared(
    engine: TransformersEngine, texts: Texts, ask: Ask, greedy: Callable[[str, int], list[int]]
) -> None:
    start = texts["bn"][0]
    asked = [f"{start}\n{end}" for end in ("", "a", "b", "ก", texts["fi"][0], texts["th"][0][:30], "a")]
    found = completed(ask(engine, [Completion(prompt, 12) for prompt in asked]))
    for prompt, answer in zip(asked, found, strict=True):
        assert answer.text == storable(engine.tokenizer.decode(greedy(prompt, 12), skip_special_tokens=True))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_batch_equals_single_prompts(
    engine: TransformersEngine, ask: Ask, greedy: Callable[[str, int], list[int]], data: st.DataObject
) -> None:
    piece = st.text(st.sampled_from("ab ก็ä\nক্"), min_size=1, max_size=30)
    start = data.draw(st.text(st.sampled_from("ab ก\n"), max_size=60))
    asked = [start + end for end in data.draw(st.lists(piece, min_size=1, max_size=6))]
    found = completed(ask(engine, [Completion(prompt, 6) for prompt in asked]))
    for prompt, answer in zip(asked, found, strict=True):
        # Random weights may write NUL, which no answer keeps.
        assert answer.text == storable(engine.tokenizer.decode(greedy(prompt, 6), skip_special_tokens=True))


def test_each_request_has_its_own_length(engine: TransformersEngine, ask: Ask) -> None:
    found = completed(ask(engine, [Completion("Järvi", tokens) for tokens in (1, 5, 12)]))
    assert [answer.output_tokens for answer in found] == [1, 5, 12]
    assert [answer.finish_reason for answer in found] == ["length"] * 3


def test_a_batch_may_mix_kinds_of_requests(engine: TransformersEngine, ask: Ask) -> None:
    requests = [Completion("Järvi", 8), Completion("Järvi", 8, temperature=1.5, seed=1), Completion("Sauna", 8)]
    together = completed(ask(engine, requests))
    assert together == [completed(ask(engine, [request]))[0] for request in requests]


def test_the_end_token_ends_a_text_with_stop(
    noisy_model: Path, tmp_path: Path, ask: Ask, engine: TransformersEngine
) -> None:
    (first,) = completed(ask(engine, [Completion("Järvi", 6)]))
    token = engine.tokenizer(first.text, add_special_tokens=False)["input_ids"][2]
    folder = tmp_path / "model"
    shutil.copytree(noisy_model, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"eos_token_id": [1, token]}), "utf-8")
    ending = TransformersEngine(Model(name=str(folder)))
    found = completed(ask(ending, [Completion("Järvi", 6), Completion("Sauna on", 6)]))
    assert found[0].finish_reason == "stop"
    assert found[0].output_tokens <= 2
    assert first.text.startswith(found[0].text)


# Stopping


@pytest.mark.parametrize("number", range(1, 12))
def test_a_text_ends_before_its_stop(engine: TransformersEngine, ask: Ask, number: int) -> None:
    whole = completed(ask(engine, [Completion("Sauna on lämmin", 24)]))[0].text
    stop = whole[number]
    (found,) = completed(ask(engine, [Completion("Sauna on lämmin", 24, stop=(stop,))]))
    assert found.text == whole[: whole.index(stop)]
    assert found.finish_reason == "stop"
    assert 1 <= found.output_tokens <= 24


def test_a_stop_may_end_inside_a_token(engine: TransformersEngine, ask: Ask) -> None:
    stopped = 0
    for prompt in ("Sauna", "Järvi", "a b", "article", "Turku on"):
        whole = completed(ask(engine, [Completion(prompt, 24)]))[0].text
        pieces = map(engine.tokenizer.decode, engine.tokenizer(whole)["input_ids"])
        for stop in {piece[1] for piece in pieces if len(piece) > 2 and piece.isascii()}:
            (found,) = completed(ask(engine, [Completion(prompt, 24, stop=(stop,))]))
            assert (found.text, found.finish_reason) == (whole[: whole.index(stop)], "stop")
            stopped += 1
    assert stopped > 3


def test_the_earliest_stop_across_tokens_is_used(engine: TransformersEngine, ask: Ask) -> None:
    whole = completed(ask(engine, [Completion("Järvi", 24)]))[0].text
    across, late = whole[1:6], whole[9:12]
    for stops in ((across,), (late, across), (across, late, "never written")):
        (found,) = completed(ask(engine, [Completion("Järvi", 24, stop=stops)]))
        assert (found.text, found.finish_reason) == (whole[: whole.index(across)], "stop")


def test_a_stop_ends_its_own_row_only(engine: TransformersEngine, ask: Ask, texts: Texts) -> None:
    asked = [Completion(prompt, 24, stop=("\n", "a")) for prompt in prompts(texts)]
    together = completed(ask(engine, asked))
    assert together == [completed(ask(engine, [request]))[0] for request in asked]
    assert {answer.finish_reason for answer in together} == {"stop", "length"}
    assert not [answer for answer in together if "\n" in answer.text or "a" in answer.text]


# Sampling


def test_the_text_of_a_seed_does_not_depend_on_the_batch(engine: TransformersEngine, ask: Ask, texts: Texts) -> None:
    sampled = partial(Completion, max_tokens=12, temperature=0.9, top_p=0.9, top_k=50)
    expected = completed(ask(engine, [sampled("Järvi jäätyy", seed=5)]))[0]
    company: list[Request] = [sampled(prompt, seed=seed) for seed, prompt in enumerate(prompts(texts))]
    for requests in ([sampled("Järvi jäätyy", seed=5), *company], [*company, sampled("Järvi jäätyy", seed=5)]):
        found = completed(ask(engine, requests))
        assert found[requests.index(sampled("Järvi jäätyy", seed=5))] == expected


def test_other_seeds_give_other_texts(engine: TransformersEngine, ask: Ask) -> None:
    requests = [Completion("Järvi", 12, temperature=1.0, seed=seed) for seed in range(20)]
    found = [answer.text for answer in completed(ask(engine, requests))]
    assert len(set(found)) == 20
    assert [answer.text for answer in completed(ask(engine, requests))] == found


def test_temperature_zero_ignores_the_seed(engine: TransformersEngine, ask: Ask) -> None:
    found = completed(ask(engine, [Completion("Järvi", 12, top_p=0.5, top_k=3, seed=seed) for seed in (0, 1)]))
    assert found[0] == found[1]


def test_top_k_of_one_is_greedy(engine: TransformersEngine, ask: Ask) -> None:
    greedy = completed(ask(engine, [Completion("Järvi", 12)]))[0].text
    for narrow in ({"top_k": 1}, {"top_p": 0.0}, {"top_p": 1e-6}):
        (found,) = completed(ask(engine, [Completion("Järvi", 12, temperature=1.0, seed=9, **narrow)]))  # type: ignore[arg-type]
        assert found.text == greedy


# Choosing and scoring


def test_scores_equal_one_forward_pass(
    engine: TransformersEngine, ask: Ask, texts: Texts, likelihood: Callable[[str, str], tuple[float, int]]
) -> None:
    continuations = [" How do tides work?", "x", texts["th"][3][:60], texts["bn"][4], " How do tides work?"]
    requests = [Scoring(prompt, c) for prompt in prompts(texts) for c in continuations]
    for request, found in zip(requests, scored(ask(engine, requests)), strict=True):
        assert isinstance(request.prompt, str)
        expected, tokens = likelihood(request.prompt, request.continuation)
        assert found.log_likelihood == pytest.approx(expected, abs=1e-4 * max(1, tokens))
        assert found.tokens == tokens
        assert found.prompt_tokens == len(engine.tokenizer(request.prompt)["input_ids"]) + tokens


def test_a_score_may_stop_early(
    engine: TransformersEngine, ask: Ask, likelihood: Callable[[str, str], tuple[float, int]]
) -> None:
    tokens = engine.tokenizer("Järvi jäätyy", add_special_tokens=False)["input_ids"]
    (found,) = scored(ask(engine, [Scoring("a b", "Järvi jäätyy", max_tokens=2)]))
    assert found.tokens == 2
    expected, _ = likelihood("a b", engine.tokenizer.decode(tokens[:2]))
    assert found.log_likelihood == pytest.approx(expected, abs=2e-4)


def test_choices_are_the_answers_by_likelihood(
    engine: TransformersEngine, ask: Ask, texts: Texts, likelihood: Callable[[str, str], tuple[float, int]]
) -> None:
    answers = (" 1", " 2", "3", "น้ำ", " five")
    found = ask(engine, [Choice(prompt, answers) for prompt in prompts(texts)])
    for prompt, chosen in zip(prompts(texts), found, strict=True):
        assert isinstance(chosen, Chosen)
        expected = torch.softmax(torch.tensor([likelihood(prompt, a)[0] for a in answers], dtype=torch.float64), 0)
        assert chosen.probabilities == pytest.approx(expected.tolist(), abs=1e-4)
        assert sum(chosen.probabilities) == pytest.approx(1.0)


# Clipping


@pytest.mark.parametrize("tokens", [1, 2, 3, 10, 57, 10_000])
def test_a_clipped_text_has_at_most_so_many_tokens(engine: TransformersEngine, texts: Texts, tokens: int) -> None:
    for text in [*texts["fi"], *texts["th"], *texts["bn"], "", "a", "ກ" * 9, "😀😀😀"]:
        clipped = engine.truncate(text, tokens)
        assert text.startswith(clipped)
        assert len(engine.tokenizer(clipped, add_special_tokens=False)["input_ids"]) <= tokens
        longer = text[: len(clipped) + 12]
        assert clipped == text or len(engine.tokenizer(longer, add_special_tokens=False)["input_ids"]) > tokens - 3


def test_a_text_that_fits_is_left_alone(engine: TransformersEngine) -> None:
    assert engine.truncate("  Järvi\n", 20) == "  Järvi\n"
    assert engine.truncate("abc def", 1) != ""


# Chat templates

MESSAGES = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
TEMPLATE = MESSAGES + "{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.fixture
def chat_engine(noisy_model: Path, tmp_path: Path) -> TransformersEngine:
    folder = tmp_path / "chat"
    shutil.copytree(noisy_model, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return TransformersEngine(Model(name=str(folder)))


def test_a_chat_prompt_is_the_rendered_template(
    chat_engine: TransformersEngine, ask: Ask, greedy: Callable[[str, int], list[int]]
) -> None:
    assert chat_engine.chat
    prompt = (("system", "Ask."), ("user", "น้ำขึ้น {{ 1 }}"))
    rendered = "<system>Ask.\n<user>น้ำขึ้น {{ 1 }}\n<assistant>"
    found = ask(chat_engine, [Completion(prompt, 8), Completion((("user", "Hei"),), 8), Completion(rendered, 8)])
    expected = chat_engine.tokenizer.decode(greedy(rendered, 8), skip_special_tokens=True)
    assert [answer.text for answer in completed([found[0], found[2]])] == [expected, expected]
    (score, plain) = scored(ask(chat_engine, [Scoring(prompt, "abc"), Scoring(rendered, "abc")]))
    assert score.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-4)


# Continuous batching


def continuous(noisy_model: Path) -> TransformersEngine:
    from transformers import ContinuousBatchingConfig

    engine = TransformersEngine(Model(name=str(noisy_model), batching="continuous"))
    # By default, its cache takes most of the memory.
    engine.network.generate_batch = partial(
        engine.network.generate_batch,
        continuous_batching_config=ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=128),
        warmup=False,
    )
    return engine


@pytest.mark.filterwarnings("default")
def test_continuous_batching_writes_the_same_text(
    noisy_model: Path, texts: Texts, ask: Ask, engine: TransformersEngine
) -> None:
    paged = continuous(noisy_model)
    requests = [Completion(prompt[-60:], 10, stop=("\n",)) for prompt in prompts(texts)]
    assert completed(ask(paged, requests)) == completed(ask(engine, requests))


@pytest.mark.filterwarnings("default")
def test_continuous_batching_samples_the_same_twice(noisy_model: Path, ask: Ask) -> None:
    paged = continuous(noisy_model)
    requests = [Completion(prompt, 8, temperature=1.0, top_k=50, top_p=0.9, seed=3) for prompt in ("Järvi", "a b")]
    assert completed(ask(paged, requests)) == completed(ask(paged, requests))


def test_continuous_batching_that_fails_continues_static(
    noisy_model: Path, ask: Ask, engine: TransformersEngine, caplog: pytest.LogCaptureFixture
) -> None:
    paged = TransformersEngine(Model(name=str(noisy_model), batching="continuous"))
    paged.network.generate_batch = lambda *args, **kwargs: {}
    requests = [Completion("Järvi", 8), Completion("a b", 8)]
    assert completed(ask(paged, requests)) == completed(ask(engine, requests))
    assert caplog.messages == [
        "continuous batching failed (fewer answers than requests): falling back to static batches"
    ]
    ask(paged, requests)
    assert len(caplog.messages) == 1


def test_texts_do_not_change_when_finished_rows_leave_their_batch(
    engine: TransformersEngine, ask: Ask, texts: Texts
) -> None:
    requests = [
        Completion(prompt, 4 + number % 7, temperature=0.8, top_p=0.9, top_k=40, stop=("a",), seed=number)
        for number, prompt in enumerate(prompts(texts))
    ]
    shrinking = TransformersEngine(engine.settings)
    shrinking.shrinks = True
    steps: list[int] = []
    shrinking.on_tokens = steps.append
    found = completed(ask(shrinking, requests))
    assert [result.text for result in found] == [result.text for result in completed(ask(engine, requests))]
    assert min(steps) < max(steps)
    # A penalty on repetition is applied by ``generate`` only.
    shrinking.network.generation_config.repetition_penalty = 1.3
    engine.network.generation_config.repetition_penalty = 1.3
    try:
        assert ask(shrinking, requests) == ask(engine, requests)
    finally:
        engine.network.generation_config.repetition_penalty = None
