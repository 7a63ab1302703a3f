"""Recipes: what a run is, one readable TOML file into frozen, validated settings.

Every unknown of the paper is a key here. Models and corpora have no silent default; thresholds do. An unknown key is
an error that lists the known ones, because a typo that is ignored costs a GPU run.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from x_instruction.errors import RecipeError
from x_instruction.languages import language

# Instructions in the language of their responses.
SAME = "same"


def asked_in(instruction_language: str, tag: str) -> str:
    """The language of instructions to responses in the language of ``tag``."""
    return tag if instruction_language == SAME else instruction_language


def _positive(section: object, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value is not None and value <= 0:
            raise RecipeError(f"{name} is {value}, wanted a number above 0")


def _share(section: object, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value is not None and not 0 <= value <= 1:
            raise RecipeError(f"{name} is {value}, wanted a share between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs the model (engines ``openai``, ``tgi`` and ``batch``).

    Args:
        url: its address, as ``http://localhost:8000/v1``.
        key_variable: environment variable that holds the key; nothing is sent when it is not set. No other variable is
            ever read, so a key of another service cannot leak.
        timeout: seconds for one request, its waiting in the server's queue included.
        concurrency: requests under way at once at most, for each worker; fewer while the server is slow or refuses.
        retries: tries after the first one of a request that failed for a reason that may pass.
        patience: seconds after which a server that gave no answer at all stops the run.
        tokenizer: Hub id, folder or ``tokenizer.json`` of the model's tokenizer, to cut passages to exact numbers of
            tokens; three bytes of UTF-8 count as a token when not set.
        chat: whether the model has a chat template, for ``batch``, where nobody can be asked.
        extra_body: JSON object that goes into every request, as ``{"chat_template_kwargs": {"enable_thinking":
            false}}``; null takes a key out.
        stream: answers come token by token, for proxies that cut idle connections (``tgi``).
        prompt_price, output_price: for a million tokens, in any currency; costs are only reckoned when given.
    """

    url: str = ""
    key_variable: str = "X_INSTRUCTION_API_KEY"
    timeout: float = 600.0
    concurrency: int = 256
    retries: int = 6
    patience: float = 300.0
    tokenizer: str | None = None
    chat: bool = True
    extra_body: str = ""
    stream: bool = False
    prompt_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, "timeout", "concurrency", "patience")
        if self.retries < 0:
            raise RecipeError(f"retries is {self.retries}, wanted 0 or more")
        if min(self.prompt_price, self.output_price) < 0:
            raise RecipeError("prompt_price and output_price are for a million tokens, wanted 0 or more")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise RecipeError(f"url is {self.url!r}, wanted an address as http://localhost:8000/v1")
        if "@" in self.url.split("//", 1)[-1].split("/", 1)[0]:
            raise RecipeError("url holds a user or password: put a key into the variable that key_variable names")
        try:
            body = json.loads(self.extra_body or "{}")
        except ValueError as error:
            raise RecipeError(f"extra_body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise RecipeError(f"extra_body is {self.extra_body!r}, wanted a JSON object")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vllm:
    """vLLM in this process (engine ``vllm``).

    Args:
        memory: share of a GPU's memory that it may take.
        tensor_parallel: GPUs over which one model is split; each worker takes that many.
        max_model_len: longest sequence; the model's own context when not set.
        max_num_seqs: sequences at once at most; vLLM's own choice when not set.
        quantization: as vLLM names it (``awq``, ``fp8``, ...); read from the model when not set.
        eager: without CUDA graphs: slower, but starts at once.
    """

    memory: float = 0.9
    tensor_parallel: int = 1
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    quantization: str | None = None
    eager: bool = False

    def __post_init__(self) -> None:
        _positive(self, "memory", "tensor_parallel", "max_model_len", "max_num_seqs")
        _share(self, "memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A language model and the engine that runs it.

    Args:
        name: a Hub id, a local folder, or ``embedded`` / ``embedded-smollm2``; on a server the name it serves.
        engine: ``transformers``, ``vllm``, ``openai``, ``tgi`` or ``batch`` (see ``x-instruction engine list``).
        revision: branch, tag or commit on the Hub.
        adapter: LoRA adapter on top of the model: a folder or a Hub id; on a TGI server its ``adapter_id``.
        dtype: ``auto`` takes what the device computes fast (float32 on a CPU, bfloat16 on a GPU).
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        batch_tokens: padded tokens in one forward pass, prompts times length.
        batch_size: sequences in one forward pass at most; also what a killed run loses at most.
        threads: CPU threads of one worker. Part of the result: sums over another number of threads round otherwise.
        batching: ``static``, ``continuous`` (paged), or ``auto``: continuous where the device has it.
        server: for engines that ask a server.
        vllm: for the engine ``vllm``.
    """

    name: str
    engine: str = "transformers"
    revision: str = "main"
    adapter: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    batch_tokens: int = 16_384
    batch_size: int = 64
    threads: int = 1
    batching: Literal["auto", "static", "continuous"] = "auto"
    server: Server = field(default_factory=Server)
    vllm: Vllm = field(default_factory=Vllm)

    def __post_init__(self) -> None:
        _positive(self, "batch_tokens", "batch_size", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Thresholds of the corpus filters; a share is of characters unless its name says otherwise.

    The defaults follow method.md U2 (200 to 2,500 characters) and the Gopher rules (arXiv 2112.11446, table A1)
    where they hold for scripts without spaces.

    Args:
        min_chars, max_chars: length of a passage; longer documents are cut at paragraphs and sentences.
        language: whether the language is checked at all.
        min_confidence: probability that the identifier must give the language.
        max_foreign_lines: share of characters in sentences of another language; catches half translated pages.
        min_script: share of letters in the language's script.
        lid_model: path of a fastText model such as GlotLID, for languages that py3langid does not know.
        max_duplicate_lines: share of lines that occurred before in the passage.
        max_repeated_ngrams: share of word n-grams (character n-grams without spaces) that occurred before.
        max_symbols, max_digits: share of symbols, of digits.
        max_boilerplate_lines: share of lines that look like menus, cookie notices, "read more".
        max_short_lines: share of lines too short for a sentence.
        max_broken: share of characters that no text should have (U+FFFD, private use, mojibake).
        mask_personal_data: replace e-mail addresses, phone numbers, IP addresses and IBANs.
        near_duplicates: drop all but the first of passages that are nearly the same (MinHash, then exact Jaccard).
        near_duplicate_jaccard: from which Jaccard similarity of word 3-grams on two passages count as nearly the same.
    """

    min_chars: int = 200
    max_chars: int = 2_500
    language: bool = True
    min_confidence: float = 0.6
    max_foreign_lines: float = 0.15
    min_script: float = 0.6
    lid_model: str | None = None
    max_duplicate_lines: float = 0.3
    max_repeated_ngrams: float = 0.2
    max_symbols: float = 0.1
    max_digits: float = 0.25
    max_boilerplate_lines: float = 0.2
    max_short_lines: float = 0.67
    max_broken: float = 0.001
    mask_personal_data: bool = True
    near_duplicates: bool = True
    near_duplicate_jaccard: float = 0.7

    def __post_init__(self) -> None:
        _positive(self, "min_chars", "max_chars")
        if self.min_chars > self.max_chars:
            raise RecipeError(f"min_chars {self.min_chars} is above max_chars {self.max_chars}")
        _share(
            self,
            "min_confidence",
            "max_foreign_lines",
            "min_script",
            "max_duplicate_lines",
            "max_repeated_ngrams",
            "max_symbols",
            "max_digits",
            "max_boilerplate_lines",
            "max_short_lines",
            "max_broken",
            "near_duplicate_jaccard",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Where passages come from, and what is dropped.

    Args:
        source: ``sample`` (ships in the package), ``files`` or ``hub``.
        paths: for ``files``: fsspec paths or globs; ``{tag}``, ``{code}``, ``{iso639_3}``, ``{name}`` stand for the
            language. Formats: jsonl, json (a list of objects), csv, tsv, txt (blank line between documents), each also
            with .gz or .zst, and parquet; UTF-8, or UTF-16 with a byte order mark.
        dataset, config, split, revision: for ``hub``: streamed, never downloaded whole; ``config`` takes the same
            placeholders.
        text_column, id_column, url_column, license_column: names in the rows; the last three may be absent from them.
        license: licence of the whole corpus where rows do not say.
        documents: documents to read per language at most; all of them when not set.
        passages: passages to keep per language at most; all of them when not set.
        shard_size: passages per shard.
        max_line_bytes: a longer line of a file is dropped unread.
        filters: thresholds.
    """

    source: Literal["sample", "files", "hub"]
    paths: tuple[str, ...] = ()
    dataset: str | None = None
    config: str | None = None
    split: str = "train"
    revision: str = "main"
    text_column: str = "text"
    id_column: str = "id"
    url_column: str = "url"
    license_column: str = "license"
    license: str = "unknown"
    documents: int | None = None
    passages: int | None = None
    shard_size: int = 2_000
    max_line_bytes: int = 16_000_000
    filters: Filters = field(default_factory=Filters)

    def __post_init__(self) -> None:
        _positive(self, "documents", "passages", "shard_size", "max_line_bytes")
        if self.source == "files" and not self.paths:
            raise RecipeError('corpus.source is "files": name them in corpus.paths')
        if self.source == "hub" and not self.dataset:
            raise RecipeError('corpus.source is "hub": name the data set in corpus.dataset')


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a model is tuned; TRL and PEFT do it (extra ``train``).

    The defaults suit LoRA on a small set; method.md 2.8 U8 has Humpback's for all weights: ``learning_rate = 1e-5``,
    ``end_share = 0.9``, ``weight_decay = 0.1``, ``batch_size = 32``.

    Args:
        method: ``lora``, ``qlora`` (the base in four bits, needs a GPU) or ``full`` (all weights).
        rank, alpha, dropout: of the adapter.
        targets: names of the layers that are adapted; ``all-linear`` is all but the vocabulary's.
        learning_rate: the highest.
        schedule: how it falls after the warm-up: ``linear``, ``cosine``, or not at all (``constant``).
        end_share: what it falls to, as a share of the highest.
        warmup: share of the steps over which it rises from 0.
        weight_decay, max_grad_norm: as AdamW and gradient clipping have them.
        epochs: passes over the rows; whole ones or parts.
        steps: optimizer steps, instead of ``epochs``.
        batch_size: rows in one optimizer step, over all devices.
        device_batch_size: rows on one device at once; the rest of ``batch_size`` is accumulated.
        max_tokens: longest row; what ``length_percentile`` of the rows need when not set.
        length_percentile: share of the rows, in percent, that fit whole when ``max_tokens`` is not set; a run's own
            generator and rater read rows that are cut already (``passage_tokens``, ``response_tokens``), and all fit.
        packing: short rows together in one sequence, none seeing another.
        sampling: order of the rows: ``random``; ``by_length``, like ones in one batch, which spares padding, but makes
            batches unlike each other where length tells something of the output, as it does to a rater; ``in_order``,
            as they come: a rater's come by document, so that good and bad pairs of one response are in one batch.
        gradient_checkpointing: compute states again instead of keeping them: less memory, a third more work.
        dtype: of the weights. ``auto``: float32 on a CPU, and for ``full``, which computes in bfloat16 on a GPU; else
            bfloat16 on a GPU.
        device: ``auto``, ``cpu`` or ``cuda``; CUDA_VISIBLE_DEVICES says which.
        threads: CPU threads; sums over another number round otherwise. torch's own choice when not set.
        processes: processes that share the work, one GPU each; one for each GPU seen when not set.
        save_steps: a checkpoint every so many steps, from which a killed tuning goes on.
        log: where losses go, besides the model's own record: ``none``, ``tensorboard`` or ``trackio``.
        seed: of the order of rows, the adapter's first weights and dropout.
        per_language: in a run, a model for each language on that language's seeds, instead of one for all.
    """

    method: Literal["lora", "qlora", "full"] = "lora"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ("all-linear",)
    learning_rate: float = 2e-4
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    end_share: float = 0.0
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    epochs: float = 1.0
    steps: int | None = None
    batch_size: int = 32
    device_batch_size: int = 8
    max_tokens: int | None = None
    length_percentile: float = 99.0
    packing: bool = False
    sampling: Literal["random", "by_length", "in_order"] = "random"
    gradient_checkpointing: bool = False
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    processes: int | None = None
    save_steps: int = 50
    log: Literal["none", "tensorboard", "trackio"] = "none"
    seed: int = 0
    per_language: bool = False

    def __post_init__(self) -> None:
        _positive(self, "rank", "alpha", "learning_rate", "max_grad_norm", "epochs", "steps", "batch_size")
        _positive(self, "device_batch_size", "max_tokens", "threads", "processes", "save_steps", "length_percentile")
        _share(self, "dropout", "end_share", "warmup")
        if self.weight_decay < 0:
            raise RecipeError(f"weight_decay is {self.weight_decay}, wanted 0 or more")
        if self.length_percentile > 100:
            raise RecipeError(f"length_percentile is {self.length_percentile}, wanted at most 100")
        if self.batch_size % self.device_batch_size and self.batch_size > self.device_batch_size:
            raise RecipeError(
                f"batch_size {self.batch_size} is no multiple of device_batch_size {self.device_batch_size}"
            )
        if not self.targets:
            raise RecipeError("targets is empty: name layers, or all-linear")

    def tuned(self, model: Model, folder: Path) -> Model:
        """What a tuning of this kind left in a folder, as a model that can be asked."""
        if self.method == "full":
            return dataclasses.replace(model, name=str(folder), revision="main")
        return dataclasses.replace(model, adapter=str(folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """How instructions are written for passages (paper, section 3.1; method.md 2.2).

    Args:
        model: the generator.
        prompt: name of a prompt in ``x_instruction/prompts`` or path of a text file; ``auto`` takes the title
            prompt for a base model and the chat prompt for a model with a chat template; ``tuned-auto`` those of a
            generator that was tuned, for an adapter that is named.
        styles: styles to ask for, in turn over the candidates (LongForm's three are ``instruction``, ``question``,
            ``search``).
        candidates: instructions sampled per passage.
        instruction_language: tag of the language in which instructions are written, or ``same``: each in the language
            of its response (MURI).
        passage_tokens: the passage is shown to the generator up to this many tokens.
        max_tokens, temperature, top_p, top_k: sampling (Humpback: temperature 0.7, top_p 0.9).
        min_chars, max_chars: length of a usable instruction.
        max_copy: longest run of characters shared with the passage, as a share of the instruction.
        length_hint: share of the candidates that also say, in English, how many sentences the response has (LongForm).
        tune: tunes the generator before it writes, on the seeds: from a response to its instruction; prompted when
            the section is not there.
        tuned_prompt: prompt of a tuned generator, as ``prompt``.
    """

    model: Model
    prompt: str = "auto"
    styles: tuple[str, ...] = ("question", "instruction")
    candidates: int = 4
    instruction_language: str = "en"
    passage_tokens: int = 512
    max_tokens: int = 48
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 64
    min_chars: int = 12
    max_chars: int = 600
    max_copy: float = 0.5
    length_hint: float = 0.0
    tune: TrainConfig | None = None
    tuned_prompt: str = "auto"

    def __post_init__(self) -> None:
        _positive(self, "candidates", "passage_tokens", "max_tokens", "min_chars", "max_chars")
        _share(self, "top_p", "max_copy", "length_hint")
        if not 0 <= self.temperature < math.inf:
            raise RecipeError(f"temperature is {self.temperature}, wanted 0 (greedy) or more")
        if self.top_k < 0:
            raise RecipeError(f"top_k is {self.top_k}, wanted 0 (all tokens) or more")
        if self.min_chars > self.max_chars:
            raise RecipeError(f"min_chars {self.min_chars} is above max_chars {self.max_chars}")
        if not self.styles:
            raise RecipeError("generate.styles is empty: name at least one style")
        if self.instruction_language != SAME:
            language(self.instruction_language)
        if self.length_hint and (self.instruction_language == SAME or language(self.instruction_language).tag != "en"):
            raise RecipeError(
                f"length_hint is an English sentence, and instruction_language is {self.instruction_language!r}: leave "
                "it out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refine:
    """How candidates are rated and which are kept (paper, section 3.2; method.md 2.3).

    Args:
        rater: ``trained`` (the paper's: answers with one of three levels), ``pmi``, ``prompted``, ``combined``
            (``trained`` and ``pmi``), or ``none``, which takes the first candidates unread.
        model: the rater's model.
        min_score: pairs below are dropped, in the rater's own scale; decided by ``precision`` when that is set.
        precision: share of kept pairs that should be good: the threshold is the least score that reached it on the
            rater's own development pairs (``trained``, whose probabilities it was measured on).
        keep: candidates kept per passage, best first.
        direction: for ``pmi``: whose likelihood is compared, the ``response``'s given the instruction, or the
            ``instruction``'s given the response. The two are equal for an ideal model (Bayes) and the second is
            many times cheaper, since candidates share the reading of the passage.
        response_tokens: the response is read up to this many tokens.
        prompt: name of a prompt or path, as for ``generate``.
        pmi_weight: for ``combined``: nats of ``pmi`` are added to the log-odds of ``best``, this many times.
        tune: tunes the rater (``trained``, ``combined``) on levels that are made from the seeds; otherwise
            ``model.adapter`` is one that was tuned before.
        start: what the rater is tuned from: the ``base``, or the ``generator`` of the same round, which has learnt
            already what a response is about.
        builders: how pairs of each level are made from seeds (``x_instruction.refine.labels``).
        per_level: examples of each level that a seed gives at most.
        development: share of the seeds, by document, kept apart to calibrate the rater and choose thresholds.
        rounds: rounds after the first rating: tune generator and rater anew on seeds and kept pairs, write new
            instructions for passages of which nothing was kept, rate all again (2 in Humpback).
        settled: rounds end early once the number of kept pairs per passage changes by less than this.
    """

    rater: Literal["trained", "pmi", "prompted", "combined", "none"]
    model: Model
    min_score: float = 0.0
    precision: float | None = None
    keep: int = 1
    direction: Literal["response", "instruction"] = "response"
    response_tokens: int = 256
    prompt: str = "auto"
    pmi_weight: float = 1.0
    tune: TrainConfig | None = None
    start: Literal["base", "generator"] = "base"
    builders: tuple[str, ...] = ("pair", "truncated", "shuffled", "foreign", "near-miss", "other-page")
    per_level: int = 1
    development: float = 0.1
    rounds: int = 0
    settled: float = 0.01

    def __post_init__(self) -> None:
        _positive(self, "keep", "response_tokens", "per_level")
        _share(self, "precision", "development", "settled")
        if self.rounds < 0:
            raise RecipeError(f"rounds is {self.rounds}, wanted 0 or more")
        if self.tune and self.rater not in ("trained", "combined"):
            raise RecipeError(
                f"tune is there and rater is {self.rater!r}, wanted trained or combined: others learn nothing"
            )
        if self.precision is not None and self.rater != "trained":
            raise RecipeError(
                f"precision is there and rater is {self.rater!r}, wanted trained: thresholds are fitted for the tuned "
                "rater's own probabilities; set min_score instead"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversify:
    """How the final pairs are drawn (paper, section 3.3; method.md 2.4).

    Args:
        embedder: sentence encoder of the instructions: a Hub id, a folder or ``embedded``.
        revision: branch, tag or commit on the Hub.
        selector: ``kmeans`` (the paper's), ``mmr``, ``k-center``, ``top`` or ``random``.
        quota: pairs per language (32,000 in the paper).
        relevance: for ``mmr``: weight of the score against likeness to what is drawn already; 1 takes the best scored,
            0 the least alike.
        max_per_domain: share of the quota that pairs from one host of ``url`` may fill, at least one pair; pairs
            without a URL are not capped.
        max_per_verb: likewise for instructions with one verb or question word; those where none is found are not
            capped.
        clusters: clusters per language; the square root of the number of pairs when not set.
        batch_size: sentences in one forward pass.
        threads: CPU threads.
    """

    embedder: str
    revision: str = "main"
    selector: Literal["kmeans", "mmr", "k-center", "top", "random"] = "kmeans"
    quota: int = 32_000
    relevance: float = 0.5
    max_per_domain: float | None = None
    max_per_verb: float | None = None
    clusters: int | None = None
    batch_size: int = 64
    threads: int = 1

    def __post_init__(self) -> None:
        _positive(self, "quota", "clusters", "batch_size", "threads", "max_per_domain", "max_per_verb")
        _share(self, "relevance", "max_per_domain", "max_per_verb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """Which seed pairs are taken from trusted sources (method.md 2.8 U1, 3.1).

    Args:
        paths: files of seeds for a run, as ``corpus.paths``; a language without any, or of which none is kept, learns
            from the others.
        languages: languages whose seeds are taken; those of the recipe when empty.
        form: what the files hold: ``trees`` (OASST), ``parallel`` documents, ``pairs``, or ``auto``: by their columns.
        instruction_language: tag of the language of instructions, or ``same``: that of their responses.
        license: licence where rows do not say.
        count: pairs to take at most (3,200 in Humpback); which ones the seed decides, not their order.
        seed: of that choice.
        min_instruction_chars, max_instruction_chars: length of a usable instruction, its input included.
        min_chars, max_chars: length of a usable response.
        language_check: whether responses must be in their language.
        min_confidence, min_script, max_foreign_lines, lid_model: as for passages.
        near_duplicate_jaccard: from which similarity of two responses the second is dropped.
        evaluation: files of evaluation sets that no seed may repeat.
        overlap_words: a run of so many words shared with an evaluation set drops a pair; three characters stand for a
            word where words have no spaces between them.
        max_row_bytes: a longer row of a file is dropped.
    """

    paths: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    form: Literal["auto", "trees", "parallel", "pairs"] = "auto"
    instruction_language: str = "en"
    license: str = "unknown"
    count: int = 3_200
    seed: int = 2405_19744
    min_instruction_chars: int = 8
    max_instruction_chars: int = 4_000
    min_chars: int = 40
    max_chars: int = 10_000
    language_check: bool = True
    min_confidence: float = 0.6
    min_script: float = 0.6
    max_foreign_lines: float = 0.15
    lid_model: str | None = None
    near_duplicate_jaccard: float = 0.7
    evaluation: tuple[str, ...] = ()
    overlap_words: int = 8
    max_row_bytes: int = 16_000_000

    def __post_init__(self) -> None:
        _positive(self, "count", "min_instruction_chars", "min_chars", "overlap_words", "max_row_bytes")
        _share(self, "min_confidence", "min_script", "max_foreign_lines", "near_duplicate_jaccard")
        for least, most in (("min_chars", "max_chars"), ("min_instruction_chars", "max_instruction_chars")):
            if getattr(self, least) > getattr(self, most):
                raise RecipeError(f"{least} {getattr(self, least)} is above {most} {getattr(self, most)}")
        if self.instruction_language != SAME:
            object.__setattr__(self, "instruction_language", language(self.instruction_language).tag)

    def of(self, tag: str) -> Seeds:
        """As they are taken for responses in one language."""
        return dataclasses.replace(self, instruction_language=asked_in(self.instruction_language, tag))


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """What the published data set looks like.

    Args:
        pretty_name: title of the card.
        test, validation: share of documents in these splits; a document is never in two splits.
        rows_per_file: rows per Parquet file.
    """

    pretty_name: str = "X-Instruction"
    validation: float = 0.0
    test: float = 0.0
    rows_per_file: int = 100_000

    def __post_init__(self) -> None:
        _share(self, "validation", "test")
        _positive(self, "rows_per_file")
        if self.validation + self.test >= 1:
            raise RecipeError("publish.validation and publish.test leave nothing to train on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A run: every setting of every stage.

    Args:
        name: short name, also of the run's folder.
        seed: every other seed derives from it.
        languages: tags or aliases; stored as tags.
    """

    name: str
    languages: tuple[str, ...]
    corpus: Corpus
    generate: Generate
    refine: Refine
    diversify: Diversify
    seeds: Seeds = field(default_factory=Seeds)
    publish: Publish = field(default_factory=Publish)
    seed: int = 2405_19744

    def __post_init__(self) -> None:
        learns = [name for name, section in (("generate", self.generate), ("refine", self.refine)) if section.tune]
        one_base = self.generate.tune and self.generate.model.name == self.refine.model.name
        if self.refine.start == "generator" and self.refine.tune and not one_base:
            raise RecipeError('refine.start is "generator": wanted [generate.tune], and one model.name for both')
        if learns and not self.seeds.paths:
            raise RecipeError(f"{learns[0]}.tune wants seeds: name files in seeds.paths")
        if self.refine.rounds and not learns:
            raise RecipeError(
                f"refine.rounds is {self.refine.rounds} and nothing learns: add [generate.tune] or [refine.tune]"
            )
        if not self.languages:
            raise RecipeError("languages is empty: name at least one, for example ['sw']")
        tags = tuple(dict.fromkeys(language(tag).tag for tag in self.languages))
        object.__setattr__(self, "languages", tags)


Section = TypeVar("Section")


def load(source: str | Path, overrides: Mapping[str, str] | None = None) -> Recipe:
    """A recipe from a TOML file, or by the name of one that ships with the package.

    Args:
        source: path, or a name from ``names()``.
        overrides: dotted key to TOML value text, as ``{"generate.candidates": "8"}``.

    Raises:
        RecipeError: unreadable file, unknown key, wrong type or value out of range.
    """
    return parse(Recipe, text_of(source), source, overrides)


def parse(kind: type[Section], text: str, source: str | Path, overrides: Mapping[str, str] | None = None) -> Section:
    """Settings of any kind from TOML, every key and value checked against the dataclass.

    Args:
        kind: the dataclass.
        text: the TOML.
        source: where it is from, for messages.
        overrides: as in ``load``.

    Raises:
        RecipeError: not TOML, unknown key, wrong type or value out of range.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {source} is not valid TOML: {error}") from None
    for key, value in (overrides or {}).items():
        _override(table, key, value)
    return _section(kind, table, "")


def dumps(settings: Any) -> str:
    """Settings as JSON, with every default written out; ``read`` reads them back."""
    return json.dumps(dataclasses.asdict(settings), indent=1, ensure_ascii=False)


def loads(text: str) -> Recipe:
    """A recipe from what ``dumps`` wrote."""
    return read(Recipe, text)


def read(kind: type[Section], text: str) -> Section:
    """Settings of any kind from what ``dumps`` wrote."""
    return _section(kind, _without_none(json.loads(text)), "")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def names() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("x_instruction.recipes")
    return sorted(p.name[: -len(".toml")] for p in folder.iterdir() if p.name.endswith(".toml"))


def text_of(source: str | Path) -> str:
    """A recipe as it is written: of a file, or of the name of one that ships.

    Raises:
        RecipeError: there is neither.
    """
    if isinstance(source, str) and source in names():
        return resources.files("x_instruction.recipes").joinpath(f"{source}.toml").read_text("utf-8")
    try:
        return Path(source).read_text("utf-8")
    except OSError as error:
        raise RecipeError(
            f"cannot read recipe {source}: {error.strerror or error}; name a file, or one of {', '.join(names())}"
        ) from None
    except UnicodeDecodeError:
        raise RecipeError(f"recipe {source} is not UTF-8 text") from None


def _override(table: dict[str, Any], key: str, value: str) -> None:
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {key}: {part} is a value, not a section")
    table[last] = parsed


def _section(kind: type[Section], table: Mapping[str, Any], where: str) -> Section:
    """Build a section, each value checked against its annotation."""
    hints = get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise RecipeError(f"unknown recipe key {where}{key}{hint} (known here: {', '.join(known)})")
    values = {key: _value(hints[key], value, f"{where}{key}") for key, value in table.items()}
    missing = [
        f.name
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if f.name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RecipeError(f"recipe key {where}{missing[0]} is missing and has no default")
    try:
        return kind(**values)
    except RecipeError as error:
        raise type(error)(f"{where.rstrip('.') or 'recipe'}: {error}") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise RecipeError(f"recipe key {where} is {value!r}, wanted a section [{where}]")
        return _section(hint, value, f"{where}.")
    origin = get_origin(hint)
    if origin is Literal:
        if value not in get_args(hint):
            wanted = ", ".join(map(repr, get_args(hint)))
            raise RecipeError(f"recipe key {where} is {value!r}, wanted one of {wanted}")
        return value
    if origin in (Union, types.UnionType):
        return _value(next(a for a in get_args(hint) if a is not type(None)), value, where)
    if origin is tuple and get_args(hint)[0] is float:
        if not isinstance(value, list) or not all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in value
        ):
            raise RecipeError(f"recipe key {where} is {value!r}, wanted a list of numbers")
        return tuple(map(float, value))
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise RecipeError(f"recipe key {where} is {value!r}, wanted a list of strings")
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise RecipeError(f"recipe key {where} is {value!r}, wanted {hint.__name__}")
    if hint is float and math.isnan(value):
        raise RecipeError(f"recipe key {where} is nan, wanted a number")
    return value


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Settings as dotted keys to plain values, for comparison and for cards."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        settings = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


# Paths of Unix and Windows; a Hub id and a path within the working folder are none.
_PLACE = re.compile(r"/|~|file:|\.\S*[/\\]|.:\\")


def without_folder(text: str) -> str:
    """What looks like a place on this machine, cut to its last part: where it stands is nobody's business."""
    return text.replace("\\", "/").rstrip("/").rpartition("/")[2] if _PLACE.match(text) else text
