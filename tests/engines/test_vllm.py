"""vLLM in process: texts, probabilities and likelihoods equal plain transformers; failures; resuming."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make

from x_instruction.config.model import Model, Vllm
from x_instruction.engines import (
    Choice,
    Chosen,
    Completed,
    Completion,
    Engine,
    Failed,
    Request,
    Result,
    Scored,
    Scoring,
    open_engine,
)
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import EngineError, MissingExtra, NotCapable

Ask = Callable[[Engine, Sequence[Request]], list[Result]]

# Warnings of vLLM and its imports are not ours.
real = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]
CONTEXT = 512
CHAT = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def test_without_vllm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("x_instruction.engines.local.vllm")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vllm", None)
    before = dict(os.environ)
    with pytest.raises(MissingExtra, match=r"'vllm.*' is not installed: pip install 'x_instruction\[vllm\]'"):
        open_engine(Model(name="somewhere/model", engine="vllm"))
    for name in os.environ.keys() - before.keys():
        monkeypatch.delenv(name)


def model(folder: Path, **changed: Any) -> Model:
    settings = Vllm(eager=True, max_model_len=CONTEXT, max_num_seqs=16)
    return Model(**{"name": str(folder), "engine": "vllm", "vllm": settings} | changed)


@pytest.fixture(scope="module")
def titles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with heads wide enough for vLLM."""
    return make(tmp_path_factory.mktemp("titles") / "tiny-model", ("fi", "th", "bn"), heads=2)


@pytest.fixture(scope="module")
def folder(titles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a chat template, and with weights under which no two prompts go on alike."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("vllm") / "noisy-model"
    shutil.copytree(titles, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(folder)
    config.initializer_range = 0.2
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vllm(folder: Path) -> Any:
    from x_instruction.engines.local.vllm import VllmEngine

    return VllmEngine(model(folder))


@pytest.fixture(scope="module")
def plain(folder: Path) -> Engine:
    from x_instruction.engines.local.transformers import TransformersEngine

    return TransformersEngine(Model(name=str(folder)))


@pytest.fixture(scope="module")
def prompts(texts: dict[str, list[str]]) -> list[str]:
    """Prompts with a common start, in scripts of one and of many tokens a character."""
    return [
        f"Write a title.\n\n{text[:90]}\n\narticle:{o}" for t in texts.values() for text in t[:3] for o in ("", " How")
    ]


class TestFailures:
    pytestmark = real

    @pytest.mark.parametrize("prompt", ["", "x"])
    def test_empty_requests_are_refused(self, vllm: Any, ask: Ask, prompt: str) -> None:
        with pytest.raises(EngineError, match=r"an empty (prompt|continuation) cannot be"):
            ask(vllm, [Scoring(prompt, "")])

    def test_an_error_is_raised_if_no_prompt_fits(self, vllm: Any) -> None:
        with pytest.raises(EngineError, match=rf"new ones do not fit into the {CONTEXT} tokens of noisy-model: lower"):
            vllm.plan([Completion("x" * 3000, 8), Completion("x", CONTEXT)])

    def test_a_prompt_that_does_not_fit_fails_alone(self, vllm: Any, ask: Ask) -> None:
        long, short = ask(vllm, [Completion("x" * 3000, 8), Completion("x", 8)])
        assert isinstance(long, Failed)
        assert long.reason == "engine_too_long"
        assert "and 8 new ones do not fit" in long.message
        assert isinstance(short, Completed)

    @pytest.mark.parametrize("new", [CONTEXT - 3, CONTEXT - 4])
    def test_prompts_at_the_limit_fit(self, vllm: Any, ask: Ask, new: int) -> None:
        prompt = vllm.truncate("abcdefgh", 4)
        long, _ = ask(vllm, [Completion(prompt, new), Completion("x", 1)])
        assert isinstance(long, Failed if new == CONTEXT - 3 else Completed)

    def test_an_invalid_request_fails_alone(self, vllm: Any, ask: Ask) -> None:
        hot, cold = ask(vllm, [Completion("x", 4, temperature=3.0), Completion("x", 4)])
        assert isinstance(hot, Failed)
        assert hot.reason == "engine_refused"
        assert "temperature must be in [0, 2], got 3.0" in hot.message
        assert isinstance(cold, Completed)

    def test_a_token_that_the_model_lacks_is_refused(self, vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        encode = vllm._requests.encode
        monkeypatch.setattr(vllm._requests, "encode", lambda p: [10**6] if p == "bad" else encode(p))
        found = dict(vllm.answer([Choice("bad", ("one", "another answer")), Choice("good", ("one", "another answer"))]))
        assert found[0].reason == "engine_refused"
        assert isinstance(found[1], Chosen)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"device": "cuda:1"}, "device is 'cuda:1', but this build of vLLM runs on 'cpu'"),
            ({"vllm": Vllm(quantization="none-such")}, "vLLM cannot run .*none-such"),
            ({"vllm": Vllm(max_model_len=10**6)}, "vLLM cannot run .*1000000"),
        ],
    )
    def test_an_unloadable_model_is_reported(self, folder: Path, changed: dict[str, Any], message: str) -> None:
        with pytest.raises(EngineError, match=message) as caught:
            open_engine(model(folder, **changed))
        assert "\n" not in str(caught.value)

    def test_damaged_weights_are_reported(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "damaged")
        (tmp_path / "damaged" / "model.safetensors").write_bytes(b"\x00" * 100)
        with pytest.raises(EngineError, match=r"vLLM cannot run .*damaged"):
            open_engine(model(tmp_path / "damaged"))

    def test_unsupported_head_sizes_are_reported(self, tiny_model: Path) -> None:
        with pytest.raises(EngineError, match=r"vLLM cannot run .*head_dim=16"):
            open_engine(model(tiny_model))

    def test_errors_of_vllm_are_reported(self, vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        def die() -> None:
            raise EngineDeadError

        with monkeypatch.context() as patch:
            patch.setattr(vllm._load().llm_engine, "step", die)
            with pytest.raises(EngineError, match="vLLM failed on noisy-model: EngineCore"):
                list(vllm.answer([Completion("x", 4)]))
        assert len(list(vllm.answer([Completion("x", 4)]))) == 1

    def test_unknown_versions_give_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        from x_instruction.engines.local import vllm_model

        vllm_model.check_version("0.33.1+cpu")
        assert not caplog.messages
        vllm_model.check_version("1.0.0")
        assert caplog.messages == ["vLLM 1.0.0 is untested: the supported versions are 0.32 and 0.33"]


class TestEqualsTransformers:
    pytestmark = real

    def test_texts_tokens_and_finish_reasons_equal_transformers(
        self, vllm: Any, plain: Engine, ask: Ask, prompts: list[str]
    ) -> None:
        requests = [Completion(p, 24) for p in prompts]
        written = ask(plain, requests)
        # Stops that occur: the middle of a text, and one inside of a token.
        stops = {r.text[len(r.text) // 2 :][:2] for r in written if isinstance(r, Completed)} - {""}
        requests += [Completion(p, 24, stop=tuple(sorted(stops)[:4])) for p in prompts]
        expected, found = ask(plain, requests), ask(vllm, requests)
        assert found == expected
        assert {r.finish_reason for r in found if isinstance(r, Completed)} == {"stop", "length"}

    def test_an_end_token_ends_the_text(
        self, vllm: Any, plain: Engine, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prompt = {"prompt_token_ids": vllm._requests.encode("article:")}
        (written,) = vllm._load().generate(prompt, vllm._requests._writing(Completion("", 8)), use_tqdm=False)
        token = written.outputs[0].token_ids[3]
        for engine in (vllm._requests, plain):
            monkeypatch.setattr(engine, "stops", engine.stops | {token})
        expected, found = (ask(engine, [Completion("article:", 8)]) for engine in (plain, vllm))
        assert found == expected
        assert isinstance(found[0], Completed)
        assert (found[0].finish_reason, found[0].output_tokens) == ("stop", 3)

    def test_chat_prompts_equal_transformers(self, vllm: Any, plain: Engine, ask: Ask) -> None:
        requests = [Completion((("system", "Be short."), ("user", f"Name {n}.")), 12) for n in range(4)]
        assert vllm.chat
        assert ask(vllm, requests) == ask(plain, requests)

    @pytest.mark.parametrize(
        "answers",
        [("1", "2", "3"), (" yes", " no"), ("a longer answer", "b"), ("x", "x"), tuple(map(chr, range(33, 126)))],
    )
    def test_probabilities_equal_transformers(
        self, vllm: Any, plain: Engine, ask: Ask, prompts: list[str], answers: tuple[str, ...]
    ) -> None:
        requests = [Choice(p, answers) for p in prompts]
        for found, expected in zip(ask(vllm, requests), ask(plain, requests), strict=True):
            assert isinstance(found, Chosen)
            assert isinstance(expected, Chosen)
            assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
            assert sum(found.probabilities) == pytest.approx(1)
            assert found.prompt_tokens == expected.prompt_tokens

    @pytest.mark.parametrize("limit", [0, 1, 7])
    def test_likelihoods_equal_transformers(
        self, vllm: Any, plain: Engine, ask: Ask, prompts: list[str], limit: int
    ) -> None:
        requests = [Scoring(p, end, limit) for p in prompts for end in (" one", prompts[0], prompts[-1])]
        expected = ask(plain, requests)
        # Asked again, and with the continuation's start in the cache, nothing changes.
        for found in (ask(vllm, requests), ask(vllm, requests)):
            for ours, theirs in zip(found, expected, strict=True):
                assert isinstance(ours, Scored)
                assert isinstance(theirs, Scored)
                assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, abs=1e-3)
                assert (ours.tokens, ours.prompt_tokens) == (theirs.tokens, theirs.prompt_tokens)

    def test_texts_are_clipped_as_by_transformers(self, vllm: Any, plain: Engine, texts: dict[str, list[str]]) -> None:
        for text in (t[0] for t in texts.values()):
            assert [vllm.truncate(text, n) for n in range(20)] == [plain.truncate(text, n) for n in range(20)]


class TestSampling:
    pytestmark = real

    def test_the_text_of_a_seed_does_not_depend_on_the_batch(self, vllm: Any, ask: Ask, prompts: list[str]) -> None:
        drawn = [Completion(prompts[0], 12, temperature=1.0, seed=n) for n in (-1, 0, 1, 2, (1 << 63) - 1)]
        alone = [ask(vllm, [request])[0] for request in drawn]
        assert ask(vllm, [*drawn, *(Completion(p, 9, temperature=0.5, seed=7) for p in prompts)])[: len(drawn)] == alone
        assert len({r.text for r in alone if isinstance(r, Completed)}) > 2

    def test_prompts_longer_than_a_step_are_read(self, vllm: Any, ask: Ask) -> None:
        """vLLM would read a part of a prompt then, which it cannot for a request with a seed on a CPU."""
        texts = [vllm.truncate(f"{n} is a number and more: " * 200, CONTEXT - 8) for n in range(20)]
        assert sum(len(vllm._requests.encode(text)) for text in texts[:16]) > 4096
        requests = [Completion(text, 4, temperature=1.0, seed=n) for n, text in enumerate(texts)]
        assert all(isinstance(answer, Completed) for answer in ask(vllm, requests))

    def test_top_k_of_one_is_greedy(self, vllm: Any, ask: Ask, prompts: list[str]) -> None:
        greedy, first, least = ask(
            vllm,
            [
                Completion(prompts[0], 12),
                Completion(prompts[0], 12, temperature=1.0, top_k=1, seed=1),
                Completion(prompts[0], 12, temperature=1.0, top_p=1e-6, seed=2),
            ],
        )
        assert greedy == first == least


class TestStream:
    pytestmark = real

    @pytest.fixture(autouse=True)
    def idle(self, vllm: Any) -> Iterator[None]:
        yield
        assert not vllm._load().llm_engine.has_unfinished_requests()

    def test_prompts_with_a_common_start_are_adjacent(self, vllm: Any, prompts: list[str]) -> None:
        requests = [Completion(p, 4, seed=n) for n in range(2) for p in prompts]
        (batch,) = vllm.plan(requests)
        assert not batch.atomic
        assert sorted(batch.rows) == list(range(len(requests)))
        passages = [requests[row].prompt[:60] for row in batch.rows]
        assert sum(a != b for a, b in pairwise(passages)) == len(set(passages)) - 1
        assert vllm.plan([]) == []

    def test_short_answers_are_returned_before_long_ones_finish(self, vllm: Any) -> None:
        answers = vllm.answer([Completion("a", 200), Completion("b", 2)])
        assert next(answers)[0] == 1
        assert [position for position, _ in answers] == [0]

    def test_no_requests_are_sent_after_a_stop(self, vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vllm, "window", 3)
        left = iter([True, True, True, True, False, True, True])
        found = list(vllm.answer([Completion(f"{n}", 4) for n in range(10)], 0, lambda: next(left)))
        assert sorted(position for position, _ in found) == [0, 1, 2, 3]
        assert list(vllm.answer([Completion("x", 4)], 0, lambda: False)) == []

    def test_the_window_limits_requests_in_flight(self, vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vllm, "window", 3)
        engine = vllm._load().llm_engine
        most = [engine.get_num_unfinished_requests() for _ in vllm.answer([Completion(f"{n}", 4) for n in range(9)])]
        assert len(most) == 9
        assert max(most) <= 3

    def test_stopping_early_leaves_nothing_running(self, vllm: Any) -> None:
        answers = vllm.answer([Completion("a", 200), Completion("b", 2)])
        next(answers)
        answers.close()


class TestLedger:
    pytestmark = real

    def test_only_missing_answers_are_requested(
        self, vllm: Any, ask: Ask, prompts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests: list[Request] = [Completion(p, 8) for p in prompts]
        sent: list[Request] = []
        send = vllm._send
        monkeypatch.setattr(vllm, "_send", lambda asked, way: (sent.append(asked.request), send(asked, way))[1])
        monkeypatch.setattr(vllm, "window", 2)

        def interrupted(done: int, total: int) -> None:
            if done == 5:
                raise KeyboardInterrupt

        with RequestCache(tmp_path / "a.sqlite", vllm, {}, interrupted) as cache, pytest.raises(KeyboardInterrupt):
            cache.ask(requests)
        assert 5 <= len(sent) < len(requests)
        sent.clear()
        with RequestCache(tmp_path / "a.sqlite", vllm, {}) as cache:
            answers = cache.ask(requests)
            assert len(sent) == len(requests) - 5
            assert cache.ask(requests) == answers
            assert len(sent) == len(requests) - 5
        assert answers == ask(vllm, requests)


def tune(folder: Path, adapter: Path, *modules: str) -> Path:
    """A LoRA that changes what is written."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=list(modules), init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).save_pretrained(adapter)
    return adapter


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tune(folder, tmp_path_factory.mktemp("adapter") / "tuned", "q_proj", "v_proj", "down_proj")


class TestAdapters:
    pytestmark = real

    def test_an_adapter_writes_like_the_merged_model(
        self, folder: Path, adapter: Path, vllm: Any, ask: Ask, prompts: list[str]
    ) -> None:
        from x_instruction.engines.local.transformers import TransformersEngine
        from x_instruction.engines.local.vllm import VllmEngine

        merged = TransformersEngine(Model(name=str(folder), adapter=str(adapter)))
        tuned = VllmEngine(model(folder, adapter=str(adapter)))
        requests: list[Request] = [Completion(p, 16) for p in prompts]
        assert (tuned.model, tuned.revision) == (merged.model, merged.revision)
        written = ask(tuned, requests)
        assert written == ask(merged, requests)
        scored, expected = (ask(engine, [Scoring(p, " one two") for p in prompts]) for engine in (tuned, merged))
        for ours, theirs in zip(scored, expected, strict=True):
            assert isinstance(ours, Scored)
            assert isinstance(theirs, Scored)
            assert ours.log_likelihood == pytest.approx(theirs.log_likelihood, abs=1e-3)
        # A request to the model without it loads that model again in place of the other.
        assert ask(vllm, requests) != written
        assert tuned._llm is None
        assert ask(tuned, requests) == written

    def test_an_adapter_of_the_head_cannot_score(
        self, folder: Path, tmp_path: Path, ask: Ask, prompts: list[str]
    ) -> None:
        """vLLM cannot read likelihoods of a prompt then; it says so instead of a wrong number."""
        from x_instruction.engines.local.transformers import TransformersEngine

        tune(folder, tmp_path / "head", "q_proj", "lm_head")
        merged, tuned = (
            open_engine(model(folder, adapter=str(tmp_path / "head"), engine=name)) for name in ("transformers", "vllm")
        )
        assert isinstance(merged, TransformersEngine)
        assert tuned.capabilities == {"complete", "choose"}
        requests: list[Request] = [Completion(p, 16) for p in prompts]
        assert ask(tuned, requests) == ask(merged, requests)
        (found,), (expected,) = (ask(engine, [Choice(prompts[0], ("1", "2"))]) for engine in (tuned, merged))
        assert isinstance(found, Chosen)
        assert isinstance(expected, Chosen)
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
        with pytest.raises(NotCapable, match="merge the adapter into the model"):
            ask(tuned, [Choice(prompts[0], ("one thing", "another"))])

    def test_an_adapter_of_another_model_is_refused(self, folder: Path, adapter: Path, tmp_path: Path) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        shutil.copytree(folder, tmp_path / "wider")
        config = LlamaConfig.from_pretrained(folder)
        config.intermediate_size = 192
        LlamaForCausalLM(config).save_pretrained(tmp_path / "wider")
        message = r"does not fit on .*wider': model.layers.0.mlp.down_proj is 64 by 192 there, .* has 128"
        with pytest.raises(EngineError, match=message):
            open_engine(model(tmp_path / "wider", adapter=str(adapter)))

    @pytest.mark.parametrize(
        ("config", "message"),
        [("{}", "no readable adapter_config.json: 'r'"), ('{"r": 1024}', "has rank 1024, vLLM supports up to 512")],
    )
    def test_unusable_adapter_settings_are_refused(
        self, folder: Path, tmp_path: Path, config: str, message: str
    ) -> None:
        (tmp_path / "adapter_config.json").write_text(config)
        with pytest.raises(EngineError, match=message):
            open_engine(model(folder, adapter=str(tmp_path)))


class TestSplit:
    pytestmark = real

    def test_a_model_can_be_split_over_two_processes(
        self, folder: Path, vllm: Any, plain: Engine, ask: Ask, prompts: list[str]
    ) -> None:
        from x_instruction.engines.local.vllm import VllmEngine

        vllm.close()
        split = VllmEngine(model(folder, vllm=Vllm(eager=True, max_model_len=CONTEXT, tensor_parallel=2)))
        assert len(multiprocessing.active_children()) == 2
        requests: list[Request] = [Completion(p, 8, stop=("\n",)) for p in prompts]
        assert ask(split, requests) == ask(plain, requests)
        (found,), (expected,) = (ask(engine, [Scoring(prompts[0], " one")]) for engine in (split, plain))
        assert isinstance(found, Scored)
        assert isinstance(expected, Scored)
        assert found.log_likelihood == pytest.approx(expected.log_likelihood, abs=1e-3)
        split.close()
        assert not multiprocessing.active_children()


class TestRun:
    pytestmark = real

    def test_a_run_with_two_workers(self, titles: Path, recipe_file: Callable[..., Path], tmp_path: Path) -> None:
        settings = {"name": str(titles), "engine": "vllm"}
        engine = {"eager": True, "max_model_len": 2048}
        recipe = recipe_file(
            **{
                "generate.model": settings,
                "generate.model.vllm": engine,
                "refine.model": settings,
                "refine.model.vllm": engine,
            }
        )
        command = [sys.executable, "-m", "x_instruction", "run", str(recipe), "--until", "refine", "--workers", "2"]
        done = subprocess.run([*command, "--out", str(tmp_path / "run")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        reports = [json.loads(path.read_text()) for path in (tmp_path / "run" / "rated").rglob("*.report.json")]
        assert sum(report["kept"] for report in reports) > 9
        assert "Warning" not in done.stderr
