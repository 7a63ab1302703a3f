"""The transformers engine: static batches with a shared prefix on any device, continuous batching on CUDA.

Shared tokens are computed once: the prefix that all prompts have in common, and a prompt that several requests use.
Batches depend on the requests alone and a CPU worker has a fixed number of threads, so equal requests give equal bytes
on one machine. Padding is placed between the shared prefix and the rest of a prompt; in models with a sliding window it
displaces the farthest tokens of the window.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from x_instruction.config.model import Model
from x_instruction.engines import (
    Batch,
    Choice,
    Chosen,
    Completed,
    Completion,
    Prompt,
    Request,
    Result,
    Scored,
    Scoring,
    always,
)
from x_instruction.engines.local.prompt_encoder import PromptEncoder
from x_instruction.engines.models import PLAIN_TOKENIZER, PLAIN_WEIGHTS, loading, locate, reason_of
from x_instruction.engines.truncation import cut_at_stop
from x_instruction.errors import EngineError, MissingExtra

try:
    import torch
    from safetensors.torch import load_file
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DynamicCache,
        GenerationConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )
    from transformers.utils import logging as library_logging

    from x_instruction.engines.local.sampling import STOP_TAIL, EachStep, SeededSampling, StopAt
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "transformers", "transformers") from error

logger = logging.getLogger(__name__)

# Rows of logits per block: 256 rows of a 262,144-token vocabulary take 268 MB in float32.
_LOGIT_ROWS = 256
# Neighbouring prompts that differ in at most this many last tokens share the computation of the others.
_TAIL = 24
# Tokens to plan for an answer of a choice, which is a word or two.
_CHOICE_TOKENS = 8


class TransformersEngine:
    """A causal language model in this process."""

    capabilities = frozenset({"complete", "choose", "score"})

    def __init__(self, settings: Model) -> None:
        files = locate(settings.name, settings.revision)
        self.model = files.name
        self.revision = files.revision
        self.settings = settings
        self.device = _device(settings.device)
        dtype = _dtype(settings.dtype, self.device)
        if self.device.type == "cpu":
            torch.set_num_threads(settings.threads)
        library_logging.disable_progress_bar()
        with loading(f"{settings.name!r} as a causal language model"):
            self.tokenizer = _tokenizer(files.folder, files.revision)
            self.network = load_network(files.folder, dtype=dtype).to(self.device).eval()
        if settings.adapter:
            self.network = with_adapter(self.network, settings.adapter, settings.name).merge_and_unload().eval()
            self.model = f"{self.model}+{locate(settings.adapter).name}"
            self.revision = f"{self.revision}+{locate(settings.adapter).revision}"
        self.encoder = PromptEncoder(self.tokenizer, self.model, settings.enable_thinking)
        self.truncate, self.chat = self.encoder.truncate, self.encoder.chat
        self.context = int(getattr(self.network.config, "max_position_embeddings", 0) or 1 << 30)
        self.stops = self._end_tokens()
        self.pad = (
            self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.stops, default=0)
        )
        self.on_tokens: Callable[[int], None] = lambda tokens: None
        # Complete rows leave their batch, which is faster and rounds differently. For previews, whose answers are
        # used whatever their batch was.
        self.shrinks = False
        self.halved = False
        self._prefix: tuple[tuple[int, ...], DynamicCache | None] = ((), None)
        self._continuous = settings.batching == "continuous" or (
            settings.batching == "auto" and self.device.type == "cuda" and hasattr(self.network, "generate_batch")
        )

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """Batches of similar length, with requests of the same prompt next to each other.

        Raises:
            EngineError: a prompt does not fit into the model's context.
        """
        prompts = self.encoder.prompts(request.prompt for request in requests)
        for request in requests:
            if len(prompts[request.prompt]) + _new_tokens(request) > self.context:
                raise EngineError(
                    f"a prompt of {len(prompts[request.prompt])} tokens and {_new_tokens(request)} new ones do not fit "
                    f"into the {self.context} tokens of {self.model}: lower passage_tokens or response_tokens"
                )
        shared = _common_start(list(prompts.values()))
        groups = _groups(list(prompts.values()), shared)
        heads = {prompt: group[0] for prompt, group in zip(prompts, groups, strict=True)}
        lengths = [len(tokens) for tokens in prompts.values()]
        # By length, so that a batch has little padding; within it by group, so that a stem is computed once.
        ranked = sorted(
            range(len(requests)),
            key=lambda row: (lengths[heads[requests[row].prompt]], heads[requests[row].prompt], row),
        )
        batches: list[Batch] = []
        rows: list[int] = []
        longest = 0
        share = 2 if self.halved else 1
        most_rows, most_tokens = max(1, self.settings.batch_size // share), self.settings.batch_tokens // share
        for row in ranked:
            length = len(prompts[requests[row].prompt]) - shared + _new_tokens(requests[row])
            if rows and (len(rows) >= most_rows or max(longest, length) * (len(rows) + 1) > most_tokens):
                batches.append(Batch(tuple(rows), shared))
                rows, longest = [], 0
            rows.append(row)
            longest = max(longest, length)
        return [*batches, Batch(tuple(rows), shared)] if rows else batches

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Answer one batch of requests of one type. A batch runs as a whole, so ``should_continue`` is not called."""
        with torch.inference_mode():
            yield from enumerate(self._answer(requests, shared))

    def _answer(self, requests: Sequence[Request], shared: int) -> Sequence[Result]:
        completions = [r for r in requests if isinstance(r, Completion)]
        if completions:
            # One call of generate has one temperature, top-p, top-k and set of stop strings for all rows.
            sampling = {(r.temperature, r.top_p, r.top_k, r.stop) for r in completions}
            if len(sampling) > 1:
                return [self._answer([request], shared)[0] for request in requests]
            return self._complete_continuously(completions) if self._continuous else self._complete(completions, shared)
        choices = [r for r in requests if isinstance(r, Choice)]
        if choices:
            return self._choose(choices, shared)
        return self._score([r for r in requests if isinstance(r, Scoring)], shared)

    # Prefill

    def _prefill(
        self, prompts: Sequence[Prompt], shared: int
    ) -> tuple[DynamicCache, torch.Tensor, torch.Tensor, list[int]]:
        """Run every prompt except its last token through the model; common tokens are computed once.

        There are three levels: the prefix of all prompts, the stem that neighbouring prompts share, and the rest of
        each distinct prompt.

        Returns:
            Key-value cache with one row per prompt; token ids and attention mask (rows, length), padded between the
            levels; prompt lengths without padding.
        """
        distinct = list(dict.fromkeys(prompts))
        encoded = [self.encoder.prompt(prompt) for prompt in distinct]
        shared = max(0, min(shared, min(map(len, encoded)) - 1))
        groups = _groups(encoded, shared)
        stems = list(dict.fromkeys(groups))
        cache = self._prefix_cache(tuple(encoded[0][:shared]))
        ids = torch.tensor([encoded[0][:shared]], dtype=torch.long, device=self.device)
        mask = torch.ones_like(ids)
        levels = [
            ([0] * len(stems), [encoded[head][shared:stem] for head, stem in stems]),
            ([stems.index(group) for group in groups], [row[g[1] :] for row, g in zip(encoded, groups, strict=True)]),
        ]
        for last, (parents, blocks) in enumerate(levels):
            parent_rows = torch.tensor(parents, device=self.device)
            # An empty cache has no rows to select.
            if ids.shape[1]:
                cache.batch_select_indices(parent_rows)
            block, block_mask = self._padded(blocks)
            before = ids.shape[1]
            ids = torch.cat([ids[parent_rows], block], dim=1)
            mask = torch.cat([mask[parent_rows], block_mask], dim=1)
            # The last token of a prompt predicts the first new one, so the caller runs it.
            end = ids.shape[1] - last
            if end > before:
                self._forward(ids[:, before:end], mask[:, :end], cache)
        rows = torch.tensor([distinct.index(prompt) for prompt in prompts], device=self.device)
        if ids.shape[1] > 1:
            cache.batch_select_indices(rows)
        return cache, ids[rows], mask[rows], [len(encoded[row]) for row in rows.tolist()]

    def _padded(self, blocks: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask (rows, longest), padded on the left."""
        width = max(map(len, blocks))
        ids = torch.full((len(blocks), width), self.pad)
        mask = torch.zeros((len(blocks), width), dtype=torch.long)
        for row, tokens in enumerate(blocks):
            if tokens:
                ids[row, -len(tokens) :] = torch.tensor(tokens)
                mask[row, -len(tokens) :] = 1
        return ids.to(self.device), mask.to(self.device)

    def _prefix_cache(self, prefix: tuple[int, ...]) -> DynamicCache:
        """A copy of the key-value cache of a prefix. The most recent prefix is kept."""
        if not prefix:
            return DynamicCache(config=self.network.config)
        if self._prefix[0] != prefix:
            cache = DynamicCache(config=self.network.config)
            ids = torch.tensor([prefix], device=self.device)
            self._forward(ids, torch.ones_like(ids), cache)
            self._prefix = (prefix, cache)
        return copy.deepcopy(self._prefix[1])

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """Hidden states (rows, length, width) of new tokens, which are appended to the cache."""
        positions = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        body = self.network.get_decoder()
        out = body(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
        return out.last_hidden_state

    def _log_probabilities(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log-probability of each target (n,) or targets (n, m) after hidden states (n, width).

        With a large vocabulary the output projection dominates the cost of scoring, so it runs only on the positions
        that are needed, in blocks that bound memory.
        """
        blocks = []
        for start in range(0, hidden.shape[0], _LOGIT_ROWS):
            logits = self._logits(hidden[start : start + _LOGIT_ROWS])
            block = targets[start : start + _LOGIT_ROWS]
            selected = logits.gather(-1, block if block.dim() == 2 else block[:, None])
            blocks.append(selected - torch.logsumexp(logits, dim=-1, keepdim=True))
        log_probabilities = torch.cat(blocks)
        return log_probabilities if targets.dim() == 2 else log_probabilities[:, 0]

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (n, vocabulary) in float32, with the scaling and soft cap that some model families apply to them."""
        config = self.network.config
        logits = self.network.get_output_embeddings()(hidden).float()
        scale = getattr(config, "logit_scale", None)
        divide = getattr(config, "logits_scaling", None)
        logits = logits * scale if scale else logits / divide if divide else logits
        cap = getattr(config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits

    # The three capabilities

    def _complete(self, requests: Sequence[Completion], shared: int) -> list[Result]:
        cache, ids, mask, lengths = self._prefill([r.prompt for r in requests], shared)
        width = ids.shape[1]
        first = requests[0]
        if self.shrinks and self._has_plain_decoding():
            return [
                self._completed(request, tokens, length)
                for request, tokens, length in zip(
                    requests, self._decode(requests, cache, ids, mask), lengths, strict=True
                )
            ]
        config = GenerationConfig(
            max_new_tokens=max(r.max_tokens for r in requests),
            do_sample=False,
            eos_token_id=sorted(self.stops),
            pad_token_id=self.pad,
        )
        generated = self.network.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=config,
            logits_processor=[SeededSampling(requests)],
            stopping_criteria=[
                EachStep(lambda: self.on_tokens(len(requests))),
                *([StopAt(self.tokenizer, first.stop, width)] if first.stop else []),
            ],
        )
        return [
            self._completed(request, tokens, length)
            for request, tokens, length in zip(requests, generated[:, width:].tolist(), lengths, strict=True)
        ]

    def _has_plain_decoding(self) -> bool:
        """Whether ``generate`` would change no score before it samples."""
        config = self.network.generation_config
        names = ("no_repeat_ngram_size", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "sequence_bias")
        penalties = (config.repetition_penalty, config.encoder_repetition_penalty)
        return all(value in (None, 1.0) for value in penalties) and not any(getattr(config, n, None) for n in names)

    def _decode(
        self, requests: Sequence[Completion], cache: DynamicCache, ids: torch.Tensor, mask: torch.Tensor
    ) -> list[list[int]]:
        """The new tokens of each row, as ``generate`` makes them. A row that is complete is not computed any more."""
        new: list[list[int]] = [[] for _ in requests]
        rows, last = list(range(len(requests))), ids[:, -1:]
        sampling = SeededSampling(requests)
        while True:
            scores = sampling(ids, self._logits(self._forward(last, mask, cache)[:, -1]))
            drawn = scores.argmax(-1)
            for row, token in zip(rows, drawn.tolist(), strict=True):
                new[row].append(token)
            self.on_tokens(len(rows))
            kept = [n for n, row in enumerate(rows) if not self._is_complete(requests[row], new[row])]
            if not kept:
                return new
            if len(kept) < len(rows):
                index = torch.tensor(kept, device=self.device)
                cache.batch_select_indices(index)
                mask, drawn = mask[index], drawn[index]
                rows = [rows[n] for n in kept]
                sampling.keep(kept)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            last = drawn[:, None]

    def _is_complete(self, request: Completion, tokens: list[int]) -> bool:
        ended = tokens[-1] in self.stops or len(tokens) >= request.max_tokens
        return ended or (bool(request.stop) and self._has_stop(tokens[-STOP_TAIL:], request.stop))

    def _completed(self, request: Completion, tokens: list[int], prompt_tokens: int) -> Completed:
        tokens = tokens[: request.max_tokens]
        ended = next((n for n, token in enumerate(tokens) if token in self.stops), None)
        tokens = tokens if ended is None else tokens[:ended]
        text, stopped = cut_at_stop(self.tokenizer.decode(tokens, skip_special_tokens=True), request.stop)
        reason = "stop" if stopped or ended is not None else "length"
        if stopped:
            # generate pads rows that ended early: count the tokens up to the stop string.
            tokens = tokens[: next(n for n in range(1, len(tokens) + 1) if self._has_stop(tokens[:n], request.stop))]
        return Completed(text, reason, prompt_tokens, len(tokens))

    def _has_stop(self, tokens: list[int], stops: tuple[str, ...]) -> bool:
        return cut_at_stop(self.tokenizer.decode(tokens, skip_special_tokens=True), stops)[1]

    def _complete_continuously(self, requests: Sequence[Completion]) -> list[Result]:
        """Completion with transformers' continuous batching, which has one seed per call instead of per request."""
        first = requests[0]
        one_token_stops = {tokens[0] for stop in first.stop if len(tokens := self.encoder.text(stop)) == 1}
        config = GenerationConfig(
            max_new_tokens=max(r.max_tokens for r in requests),
            do_sample=first.temperature > 0,
            temperature=first.temperature or None,
            top_p=first.top_p,
            top_k=first.top_k or None,
            eos_token_id=sorted(self.stops | one_token_stops),
            pad_token_id=self.pad,
        )
        torch.manual_seed(first.seed)
        encoded = [self.encoder.prompt(r.prompt) for r in requests]
        with torch.inference_mode(False), torch.no_grad():
            outputs = list(self.network.generate_batch(encoded, generation_config=config).values())
        if len(outputs) != len(requests) or any(output.error for output in outputs):
            reason = next((output.error for output in outputs if output.error), "fewer answers than requests")
            logger.warning("continuous batching failed (%s): falling back to static batches", reason)
            self._continuous = False
            return self._complete(requests, 0)
        return [
            self._completed(request, list(output.generated_tokens), len(prompt))
            for request, output, prompt in zip(requests, outputs, encoded, strict=True)
        ]

    def _choose(self, requests: Sequence[Choice], shared: int) -> list[Result]:
        flat = [Scoring(r.prompt, answer) for r in requests for answer in r.answers]
        scores = iter(self._score(flat, shared))
        results: list[Result] = []
        for request in requests:
            own = [next(scores) for _ in request.answers]
            weights = torch.tensor([score.log_likelihood for score in own], dtype=torch.float64)
            results.append(Chosen(tuple(torch.softmax(weights, 0).tolist()), own[0].prompt_tokens))
        return results

    def _score(self, requests: Sequence[Scoring], shared: int) -> list[Scored]:
        continuations = [self._continuation(r) for r in requests]
        cache, ids, mask, lengths = self._prefill([r.prompt for r in requests], shared)
        shape = (len(continuations), max(map(len, continuations)))
        inputs = torch.full(shape, self.pad, device=self.device)
        scored = torch.zeros(shape, dtype=torch.long, device=self.device)
        for row, tokens in enumerate(continuations):
            # A token predicts the next one: the inputs are the last token of the prompt and all of the continuation
            # but its last token.
            inputs[row, 0] = ids[row, -1]
            inputs[row, 1 : len(tokens)] = torch.tensor(tokens[:-1], device=self.device)
            scored[row, : len(tokens)] = 1
        hidden = self._forward(inputs, torch.cat([mask[:, :-1], scored], dim=1), cache)
        targets = torch.tensor([token for tokens in continuations for token in tokens], device=self.device)
        log_probabilities = self._log_probabilities(hidden[scored.bool()], targets).double().cpu()
        by_row = log_probabilities.split(list(map(len, continuations)))
        return [
            Scored(float(own.sum()), len(tokens), length + len(tokens))
            for own, tokens, length in zip(by_row, continuations, lengths, strict=True)
        ]

    def _continuation(self, request: Scoring) -> list[int]:
        tokens = self.encoder.text(request.continuation)
        if not tokens:
            raise EngineError("an empty continuation cannot be scored")
        return tokens[: request.max_tokens] if request.max_tokens else tokens

    def _end_tokens(self) -> set[int]:
        ids = self.network.generation_config.eos_token_id
        listed = ids if isinstance(ids, list) else [ids]
        found = [token for token in [*listed, self.tokenizer.eos_token_id] if token is not None]
        if not all(isinstance(token, int) for token in found):
            raise EngineError(
                f"generation_config.json of {self.model} has the eos_token_id {ids!r}, expected ids of tokens"
            )
        return set(found)


def load_network(folder: Path, **options: Any) -> PreTrainedModel:
    """The causal language model in a folder.

    Args:
        folder: its files.
        options: arguments of ``from_pretrained``.

    Raises:
        ValueError: weights are missing. transformers would replace them with random numbers.
    """
    network, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options, **PLAIN_WEIGHTS)
    if missing := sorted(found["missing_keys"]):
        raise ValueError(
            f"its files lack {len(missing)} of its weights, such as {missing[0]}; download it again, or use another "
            "model"
        )
    return network


def with_adapter(network: PreTrainedModel, adapter: str, base: str, trainable: bool = False) -> Any:
    """The model with a LoRA adapter, all of whose weights are loaded.

    Args:
        network: the base model.
        adapter: the adapter as in recipes: an embedded name, a folder or a Hub id.
        base: name of the base model, for messages.
        trainable: whether the adapter will be trained further.

    Raises:
        EngineError: the adapter was made for another base. peft alone would load the weights that fit and ignore
            the others.
        MissingExtra: peft is not installed.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "peft", "adapters") from error
    folder = locate(adapter).folder
    weights = folder / "adapter_model.safetensors"
    if not weights.exists():
        raise EngineError(
            f"adapter {adapter!r} has no adapter_model.safetensors, and pickled weights can run code: save it again "
            "with a current version of peft"
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")
            # peft uses a deprecated name of transformers; the warning is not for the user who loads an adapter.
            warnings.filterwarnings("ignore", message=".is_gradient_checkpointing", category=FutureWarning)
            model = PeftModel.from_pretrained(network, folder, is_trainable=trainable)
        loaded = set(get_peft_model_state_dict(model, save_embedding_layers=False))
        stored = set(load_file(weights))
    # As in ``loading``: the files come from strangers.
    except Exception as error:
        raise EngineError(f"adapter {adapter!r} does not fit on {base!r}: {reason_of(error)}") from error
    # For an adapter of the embedding or head, peft also stores the base's own weights; these need not be loaded.
    if unmatched := sorted((loaded - stored) | {name for name in stored - loaded if "lora_" in name}):
        raise EngineError(
            f"adapter {adapter!r} does not fit on {base!r}: {len(unmatched)} weights are in only one of them, such as "
            f"{unmatched[0]}"
        )
    return model


@lru_cache(maxsize=2)
def _tokenizer(folder: Path, revision: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder. A large one takes seconds to read, and raters often share the generator's."""
    return AutoTokenizer.from_pretrained(folder, **PLAIN_TOKENIZER)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EngineError(f"device {name!r} is not available: {reason}; try device = 'cpu'") from error
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cpu":
        # On a CPU without bfloat16 matrix instructions, bfloat16 was measured 85 to 110 times slower than float32.
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16


def _new_tokens(request: Request) -> int:
    """Upper bound on the tokens after the prompt, for planning."""
    if isinstance(request, Completion):
        return request.max_tokens
    if isinstance(request, Choice):
        return _CHOICE_TOKENS
    return request.max_tokens or len(request.continuation)


def _groups(encoded: Sequence[Sequence[int]], shared: int) -> list[tuple[int, int]]:
    """For each sequence its group as (position of the group's first sequence, length of the group's shared stem).

    A group is a run of neighbours that differ only in their last ``_TAIL`` tokens, or in less than they have in common
    beyond ``shared``: prompts with one passage and different openings, styles or instructions. The stem never covers a
    whole sequence: at least one token of each is left.
    """
    groups: list[list[int]] = []
    for row, tokens in enumerate(encoded):
        head = encoded[groups[-1][0]] if groups else ()
        same = _common_start([head, tokens])
        own = max(len(head), len(tokens)) - same
        if groups and same > shared and own <= max(_TAIL, same - shared):
            groups[-1].append(row)
        else:
            groups.append([row])
    stems = []
    for group in groups:
        members = [encoded[row] for row in group]
        stem = _common_start(members) if len(group) > 1 else len(members[0]) - 1
        stems += [(group[0], max(shared, min(stem, min(map(len, members)) - 1)))] * len(group)
    return stems


def _common_start(sequences: Sequence[Sequence[int]]) -> int:
    """Length of the common prefix of two or more sequences; 0 for fewer."""
    if len(sequences) < 2:
        return 0
    columns = zip(*sequences, strict=False)
    return next((n for n, column in enumerate(columns) if len(set(column)) > 1), min(map(len, sequences)) - 1)
