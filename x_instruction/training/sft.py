"""Tuning the model that people use: on prompts and completions, from the rows to the record that its card is made of.

<model>/                 adapter, or whole model with its tokenizer
<model>/training.json    for the card (``cards.records.Training``)
<model>/tuned.json       lengths, losses, what the machine did, and the tags to ask with
<model>/rates.json       learning rates that were tried, where some were
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
from x_instruction.corpus.files import digest
from x_instruction.engines import open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.errors import CorpusError, TrainingError, UnknownLanguage
from x_instruction.evaluation import held_out
from x_instruction.languages import language
from x_instruction.mixing.files import REPORT, Source, inference_tags
from x_instruction.prompts.answer import SLOT, frame
from x_instruction.seed.pairs import COLUMNS, Pair, pair_of, rows_as_pairs, string
from x_instruction.storage.atomic import atomic
from x_instruction.training.job import TrainingExample, TrainJob, TrainResult
from x_instruction.training.launch import launch
from x_instruction.training.record import training, write

RATES, TUNED = "rates.json", "tuned.json"


@dataclass(frozen=True, slots=True)
class Data:
    """Rows to tune on.

    Args:
        pairs: prompts with their completions.
        parallel: of a pair, its instruction and the same in another language, for alignment.
        tags: of a pair, what a mix put after its prompt.
        inference: what prompts end with when the tuned model is asked, by language; the first mix that says it decides.
        dropped: reason to number of rows that could not be used.
        names: of the files.
        revision: digest of the files.
    """

    pairs: tuple[Pair, ...]
    parallel: dict[Pair, tuple[str, str]]
    tags: dict[Pair, str]
    inference: dict[str, str]
    dropped: dict[str, int]
    names: tuple[str, ...]
    revision: str


def read(files: Sequence[Source]) -> Data:
    """The rows of files that `mix`, `build` or `seeds` wrote, or of any instruction file.

    Raises:
        CorpusError: a file cannot be read, or no row is left.
    """
    pairs: list[Pair] = []
    parallel: dict[Pair, tuple[str, str]] = {}
    tags: dict[Pair, str] = {}
    gone: dict[str, int] = {}

    def drop(reason: str) -> None:
        gone[reason] = gone.get(reason, 0) + 1

    def make(row: Mapping[str, Any], id: str, source: Source) -> Pair:
        pair = pair_of(row, id, source.path.name, source.tag)
        if row.get("sentence") and row.get("parallel"):
            parallel[pair] = string(row["sentence"]), string(row["parallel"])
        if tag := held_out.own_tag(row, pair.asked):
            tags[pair] = tag
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
            elif not _known(pair):
                drop("unknown_language")
            else:
                pairs.append(pair)
    if not pairs:
        seen = ", ".join(f"{reason} {number}" for reason, number in sorted(gone.items())) or "they are empty"
        raise CorpusError(f"no row to tune on in {', '.join(source.path.name for source in files)} ({seen})")
    names = tuple(dict.fromkeys(_name(source.path) for source in files))
    revision = hashing.digest([digest(source.path) for source in files])
    inference: dict[str, str] = {}
    for folder in dict.fromkeys(source.path.parent for source in files):
        inference = inference_tags(folder / REPORT) | inference
    return Data(tuple(pairs), parallel, tags, inference, gone, names, f"sha256:{revision}")


def _known(pair: Pair) -> bool:
    """Whether a card can name its languages; else it would be missed when all is tuned."""
    try:
        language(pair.language), language(pair.instruction_language)
    except UnknownLanguage:
        return False
    return True


def _name(path: Path) -> str:
    """What a file belongs to: the folder of a mix or a data set; any other file stands for itself."""
    parts = path.name.startswith(("train-", "train.")) or (path.parent / REPORT).is_file()
    return (path.parent.resolve().name if parts else "") or path.stem


def tune(settings: TrainingRecipe, data: Data, target: Path, say: Callable[[str], None]) -> TrainResult:
    """Tune a model, with the learning rate that does best where several are given.

    Killed at any moment, the same call goes on: tried rates and checkpoints are kept beside the target.

    Args:
        settings: the tuning recipe.
        data: the rows.
        target: the model's folder; must not be there.
        say: tells a person what happens.

    Raises:
        TuningError: it cannot work; the message says why.
    """
    from x_instruction.training.tokenization import Reader

    if target.exists():
        raise TrainingError(f"{target} is there already: name another --out, or remove it")
    reader = Reader(settings.model.name, settings.model.revision)
    ask = frame(settings.prompt, reader.chat)

    def lesson(pair: Pair) -> TrainingExample:
        return TrainingExample(ask(pair.asked), pair.output, True, *data.parallel.get(pair, ("", "")))

    pairs, held = _apart(data.pairs, settings.lr_search_rows if settings.lr_search_rates else 0)
    held_out.checks((pair.language for pair in held), settings.lid_model)
    lessons = [lesson(pair) for pair in pairs]
    trials = target.with_name(f".{target.name}.trials")
    # What was tried on other rows or otherwise says nothing of these.
    trials /= hashing.digest([fingerprint(settings), data.revision])[:16]
    rates = _tried(settings, lessons, _rows(held, data), trials, say) if settings.lr_search_rates else {}
    chosen = settings
    if rates:
        # A small base answers in no asked language yet, and then all scores are 0.
        best = max(rates, key=lambda rate: (rates[rate]["score"], -rates[rate]["bits_per_byte"], -rate))
        say(f"learning rate {best:g}: score {rates[best]['score']:.4f} is the best of {len(rates)}")
        chosen = settings.replace(train=settings.train.replace(learning_rate=best))

    def finish(model: Path, tuned: TrainResult) -> None:
        if rates:
            (model / RATES).write_text(json.dumps({f"{rate:g}": rates[rate] for rate in rates}, indent=1), "utf-8")
        told = asdict(tuned) | {"inference": data.inference}
        (model / TUNED).write_text(json.dumps(told, indent=1, ensure_ascii=False), "utf-8")
        # Whoever gets the model from the Hub reads with it; all weights come with theirs.
        if chosen.train.method != "full":
            reader.tokenizer.save_pretrained(model)
        prompt = ask("{" + SLOT + "}")
        record = training(
            TrainJob(model=chosen.model, train=chosen.train, align=chosen.align),
            tuned,
            # The card's example is asked as people are to ask.
            [
                dataclasses.replace(pair, instruction=row.asked, input="") if row.tag else pair
                for pair, row in zip(data.pairs, _rows(data.pairs, data), strict=True)
            ],
            " + ".join(data.names),
            data.revision,
            chosen,
            prompt if isinstance(prompt, str) else "",
        )
        write(model, record, settings.license, settings.license_link)

    tuned = launch(TrainJob(model=chosen.model, train=chosen.train, align=chosen.align), lessons, target, finish)
    shutil.rmtree(trials.parent, ignore_errors=True)
    return tuned


def evaluate(settings: TrainingRecipe, target: Path, rows: Sequence[held_out.Row]) -> dict[str, held_out.Metrics]:
    """What the model that a tuning left in a folder is worth on rows, by language and for all."""
    engine = open_engine(settings.train.trained(settings.model, target))
    render = frame(settings.prompt, engine.chat)
    return held_out.summary(
        held_out.measure(rows, engine, render, answer_tokens=settings.answer_tokens, lid_model=settings.lid_model)
    )


def _apart(pairs: Sequence[Pair], count: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn from and pairs to choose by, of every language as many; a document is on one side alone."""
    if not count:
        return list(pairs), []
    tags = sorted({pair.language for pair in pairs})
    each = math.ceil(count / len(tags))
    documents: set[str] = set()
    for tag in tags:
        own = {pair.document for pair in pairs if pair.language == tag}
        documents.update(sorted(own, key=lambda id: hashing.digest(["apart", id]))[:each])
    held = [pair for pair in pairs if pair.document in documents]
    rest = [pair for pair in pairs if pair.document not in documents]
    if not rest:
        raise TrainingError(f"lr_search_rows = {count} leaves no row to tune on: {len(pairs)} rows are there in all")
    return rest, held


def _rows(pairs: Sequence[Pair], data: Data) -> list[held_out.Row]:
    """Pairs as rows that the tuned model is asked."""
    rows = []
    for number, pair in enumerate(pairs):
        own = data.tags.get(pair, "")
        rows.append(held_out.Row(f"{number}", pair.asked.removesuffix(own), pair.output, pair.language, own))
    return held_out.tagged(rows, data.inference)


def _tried(
    settings: TrainingRecipe,
    lessons: Sequence[TrainingExample],
    rows: Sequence[held_out.Row],
    folder: Path,
    say: Callable[[str], None],
) -> dict[float, dict[str, float]]:
    """What each learning rate comes to on the search rows: the mean over languages (method.md 3.5)."""
    found = {}
    for rate in settings.lr_search_rates:
        target = folder / f"{rate:g}"
        tune_ = settings.train.replace(learning_rate=rate, steps=settings.lr_search_steps)
        known = target / "score.json"
        if not target.is_dir():
            launch(TrainJob(model=settings.model, train=tune_, align=settings.align), lessons, target)
        if not known.exists():
            figures = [one for name, one in evaluate(settings, target, rows).items() if name != held_out.ALL]
            table = {
                name: sum(getattr(one, name) for one in figures) / len(figures)
                for name in ("score", "right", "bits_per_byte")
            }
            with atomic(known) as stream:
                stream.write(json.dumps(table).encode())
        found[rate] = json.loads(known.read_text("utf-8"))
        told: dict[str, Any] = found[rate]
        say(
            f"learning rate {rate:g}, {settings.lr_search_steps} steps: right language {told['right']:.2f}, "
            f"{told['bits_per_byte']:.3f} bits per byte, score {told['score']:.4f}"
        )
    return found
