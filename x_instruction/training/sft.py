"""Supervised fine-tuning on prompts and completions, from the rows to the record for the model card.

<model>/                      the adapter, or the whole model, with its tokenizer
<model>/training.json         the record for the card (``cards.records.Training``)
<model>/train_result.json     lengths, losses, time and hardware, and the tags to prompt with
<model>/learning_rates.json   scores of the learning rates that were tried, if any
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from x_instruction import hashing
from x_instruction.config.fields import MAX_ROW_BYTES
from x_instruction.config.training import TrainingRecipe
from x_instruction.corpus.cells import text_of
from x_instruction.corpus.files import digest
from x_instruction.engines import open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.errors import CorpusError, TrainingError, UnknownLanguage
from x_instruction.evaluation import held_out
from x_instruction.evaluation.language import language_checks
from x_instruction.languages import language
from x_instruction.mixing.files import REPORT, Source, inference_tags
from x_instruction.mixing.tags import SEPARATOR, format_tag
from x_instruction.prompts.answer import SLOT, frame
from x_instruction.seed.pairs import COLUMNS, Pair, pair_of, rows_as_pairs
from x_instruction.storage.atomic import atomic
from x_instruction.training.job import RESULT, TrainingExample, TrainJob, TrainResult
from x_instruction.training.launch import launch
from x_instruction.training.record import training_record, write_record

# Must be in ``engines.models`` among the files that do not identify a model.
LEARNING_RATES = "learning_rates.json"


@dataclass(frozen=True, slots=True)
class Data:
    """Rows to train on.

    Args:
        pairs: prompts with their completions.
        parallel: by pair, its instruction and the translation to align it with.
        tags: by pair, the tag at the end of its prompt, with its separator.
        inference: the tag to prompt the trained model with, by language. That of the first mix counts.
        everywhere: prompts in the language of the answer have it, too.
        dropped: number of rows that could not be used, by reason.
        names: names of the files or data sets.
        revision: digest of the files.
    """

    pairs: tuple[Pair, ...]
    parallel: dict[Pair, tuple[str, str]]
    tags: dict[Pair, str]
    inference: dict[str, str]
    everywhere: bool
    dropped: dict[str, int]
    names: tuple[str, ...]
    revision: str


def read(files: Sequence[Source], tag: str = "") -> Data:
    """Read the rows of files from `mix`, `build` or `seeds`, or of any instruction file.

    Args:
        files: the files.
        tag: ``TrainingRecipe.tag``; empty to leave prompts as they are.

    Raises:
        CorpusError: a file cannot be read, or no row is left.
    """
    pairs: list[Pair] = []
    parallel: dict[Pair, tuple[str, str]] = {}
    tags: dict[Pair, str] = {}
    named: dict[str, str] = {}
    dropped: dict[str, int] = {}

    def drop(reason: str) -> None:
        dropped[reason] = dropped.get(reason, 0) + 1

    def make(row: Mapping[str, Any], id: str, source: Source) -> Pair:
        pair = pair_of(row, id, source.path.name, source.tag)
        own = held_out.own_tag(row, pair.asked)
        # Each row of a mix has the column, which is empty where the mixer adds no tag.
        if row.get("tag") is None and (text := _tag(pair, tag)):
            own = SEPARATOR + text
            pair = dataclasses.replace(pair, instruction=pair.asked.removesuffix(own) + own, input="")
            named[language(pair.language).tag] = text
        if row.get("sentence") and row.get("parallel"):
            parallel[pair] = text_of(row["sentence"]), text_of(row["parallel"])
        if own:
            tags[pair] = own
        return pair

    for source in files:
        for pair in rows_as_pairs(
            source.path, (*COLUMNS, "sentence", "parallel", "tag"), MAX_ROW_BYTES, partial(make, source=source)
        ):
            if not isinstance(pair, Pair):
                drop(pair.reason)
            elif not pair.instruction.strip() or not pair.output.strip():
                drop("empty")
            elif not pair.language:
                drop("no_language")
            elif not _has_known_languages(pair):
                drop("unknown_language")
            else:
                pairs.append(pair)
    if not pairs:
        reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(dropped.items())) or "no rows at all"
        raise CorpusError(f"no row to train on in {', '.join(source.path.name for source in files)} ({reasons})")
    names = tuple(dict.fromkeys(_name(source.path) for source in files))
    revision = hashing.digest([digest(source.path) for source in files])
    mixes = [inference_tags(folder / REPORT) for folder in dict.fromkeys(source.path.parent for source in files)]
    for mix in reversed(mixes):
        named |= mix.tags
    everywhere = any(mix.everywhere for mix in mixes)
    return Data(tuple(pairs), parallel, tags, named, everywhere, dropped, names, f"sha256:{revision}")


def _tag(pair: Pair, template: str) -> str:
    """The tag of a pair that is asked in another language than it is answered in; empty for others."""
    if not template or not pair.instruction.strip() or not _has_known_languages(pair):
        return ""
    if not held_out.is_cross_lingual(pair.instruction_language, pair.language):
        return ""
    return format_tag(template, language(pair.language).tag)


def _has_known_languages(pair: Pair) -> bool:
    """Whether the model card can name its languages. Checked here, since the card is written after the training."""
    try:
        language(pair.language), language(pair.instruction_language)
    except UnknownLanguage:
        return False
    return True


def _name(path: Path) -> str:
    """The name of the data set that a file belongs to: the folder of a mix or data set, or else the file's own name."""
    in_data_set = path.name.startswith(("train-", "train.")) or (path.parent / REPORT).is_file()
    return (path.parent.resolve().name if in_data_set else "") or path.stem


def train(settings: TrainingRecipe, data: Data, target: Path, log: Callable[[str], None]) -> TrainResult:
    """Train a model, with the best learning rate if several are given.

    After an interruption the same call resumes: scores of learning rates and checkpoints are kept beside the target.

    Args:
        settings: the training recipe.
        data: the rows.
        target: the model's folder; must not exist.
        log: called with one line per event.

    Raises:
        TrainingError: training failed; the message says why.
    """
    from x_instruction.training.tokenization import ExampleEncoder

    if target.exists():
        raise TrainingError(f"{target} exists already: name another --out, or remove it")
    encoder = ExampleEncoder(settings.model.name, settings.model.revision)
    render = frame(settings.prompt, encoder.chat)
    pairs, search_pairs = _split(data.pairs, settings.lr_search_rows if settings.lr_search_rates else 0)
    # Before training: that a language cannot be identified must not turn up afterwards.
    language_checks((pair.language for pair in search_pairs), settings.lid_model)
    examples = [
        TrainingExample(render(pair.asked), pair.output, True, *data.parallel.get(pair, ("", ""))) for pair in pairs
    ]
    search = target.with_name(f".{target.name}.lr-search")
    # Scores of other rows or settings do not count, so each combination has a folder of its own.
    search /= hashing.digest([fingerprint(settings), data.revision])[:16]
    rates = (
        _search_learning_rates(settings, examples, _rows(search_pairs, data), search, log)
        if settings.lr_search_rates
        else {}
    )
    chosen = settings
    if rates:
        # A small base may not answer in any language yet. Then all scores are 0, and the likelihood decides.
        best = max(rates, key=lambda rate: (rates[rate]["score"], -rates[rate]["bits_per_byte"], -rate))
        log(f"learning rate {best:g} has the best score of {len(rates)}: {rates[best]['score']:.4f}")
        chosen = settings.replace(train=settings.train.replace(learning_rate=best))
    job = TrainJob(model=chosen.model, train=chosen.train, align=chosen.align)

    def finish(model: Path, result: TrainResult) -> None:
        if rates:
            scores = {f"{rate:g}": rates[rate] for rate in rates}
            (model / LEARNING_RATES).write_text(json.dumps(scores, indent=1), "utf-8")
        table = asdict(result) | {"inference": data.inference, "everywhere": data.everywhere}
        (model / RESULT).write_text(json.dumps(table, indent=1, ensure_ascii=False), "utf-8")
        # An adapter on the Hub needs the tokenizer too; the trainer saves it only with whole models.
        if chosen.train.method != "full":
            encoder.tokenizer.save_pretrained(model)
        prompt = render("{" + SLOT + "}")
        record = training_record(
            job,
            result,
            # The card's example has the tag for inference.
            [
                dataclasses.replace(pair, instruction=row.tagged_prompt, input="") if row.tag else pair
                for pair, row in zip(data.pairs, _rows(data.pairs, data), strict=True)
            ],
            " + ".join(data.names),
            data.revision,
            chosen,
            prompt if isinstance(prompt, str) else "",
        )
        write_record(model, record, settings.license, settings.license_link)

    result = launch(job, examples, target, finish)
    shutil.rmtree(search.parent, ignore_errors=True)
    return result


def evaluate(settings: TrainingRecipe, target: Path, rows: Sequence[held_out.Row]) -> dict[str, held_out.Metrics]:
    """Metrics of a trained model on held-out rows, by language and for all."""
    engine = open_engine(settings.train.trained(settings.model, target))
    render = frame(settings.prompt, engine.chat)
    return held_out.summary(
        held_out.measure(rows, engine, render, answer_tokens=settings.answer_tokens, lid_model=settings.lid_model)
    )


def _split(pairs: Sequence[Pair], count: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and about ``count`` held-out pairs with an equal number per language.

    The pairs of one document are all in the same part, so that no held-out response was seen in training.
    """
    if not count:
        return list(pairs), []
    tags = sorted({pair.language for pair in pairs})
    per_language = math.ceil(count / len(tags))
    documents: set[str] = set()
    for tag in tags:
        own = {pair.document for pair in pairs if pair.language == tag}
        documents.update(sorted(own, key=lambda id: hashing.digest(["apart", id]))[:per_language])
    training = [pair for pair in pairs if pair.document not in documents]
    if not training:
        raise TrainingError(
            f"lr_search_rows is {count} and there are {len(pairs)} rows, so no row is left to train on: lower it"
        )
    return training, [pair for pair in pairs if pair.document in documents]


def _rows(pairs: Sequence[Pair], data: Data) -> list[held_out.Row]:
    """Pairs as evaluation rows, with the tags for inference."""
    rows = []
    for number, pair in enumerate(pairs):
        tag = data.tags.get(pair, "")
        asked, asked_in = pair.asked.removesuffix(tag), pair.instruction_language
        rows.append(held_out.Row(f"{number}", asked, pair.output, pair.language, tag, asked_in))
    return held_out.with_tags(rows, data.inference, data.everywhere)


def _search_learning_rates(
    settings: TrainingRecipe,
    examples: Sequence[TrainingExample],
    rows: Sequence[held_out.Row],
    folder: Path,
    log: Callable[[str], None],
) -> dict[float, dict[str, float]]:
    """Train briefly with each learning rate. Returns the mean of its metrics over the languages of the held-out rows.

    The target languages decide, not the English loss (Chirkova et al., arXiv 2402.14778; docs/method.md 3.5).
    """
    results: dict[float, dict[str, float]] = {}
    for rate in settings.lr_search_rates:
        target = folder / f"{rate:g}"
        scores = target / "score.json"
        if not target.is_dir():
            config = settings.train.replace(learning_rate=rate, steps=settings.lr_search_steps)
            launch(TrainJob(model=settings.model, train=config, align=settings.align), examples, target)
        if not scores.exists():
            by_language = [one for name, one in evaluate(settings, target, rows).items() if name != held_out.ALL]
            means = {
                name: sum(getattr(metrics, name) for metrics in by_language) / len(by_language)
                for name in ("score", "language_accuracy", "bits_per_byte")
            }
            with atomic(scores) as stream:
                stream.write(json.dumps(means).encode())
        results[rate] = means = json.loads(scores.read_text("utf-8"))
        log(
            f"learning rate {rate:g}, {settings.lr_search_steps} steps: language accuracy "
            f"{means['language_accuracy']:.2f}, {means['bits_per_byte']:.3f} bits per byte, score {means['score']:.4f}"
        )
    return results
