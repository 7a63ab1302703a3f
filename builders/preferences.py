"""Preference pairs, as trainers such as TRL's ``DPOTrainer`` take them: two answers to a prompt, one of them better.

All candidates of a passage share its natural text, so there are two kinds of pairs:

- ``instructions``, for a generator: the prompt is the passage, and its best instruction is preferred to worse ones of
  the same passage, by the scores of the rater. Only the folder of a run has these.
- ``responses``, for a model that answers: the prompt is the instruction, and the natural text is preferred to a flawed
  one (truncated, shuffled, partly in another language) and to the text of another document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Any, NoReturn, cast

from x_instruction.builders.formats import Format
from x_instruction.builders.splits import Shares, split_of
from x_instruction.builders.views import Row
from x_instruction.config.recipe import Recipe
from x_instruction.corpus.characters import spaced
from x_instruction.engines import Prompt
from x_instruction.errors import RecipeError
from x_instruction.hashing import derive_seed
from x_instruction.languages import language
from x_instruction.prompts import answer, instruction
from x_instruction.records import Candidate, Rated
from x_instruction.refine import corruptions, scores
from x_instruction.storage.run_folder import RunFolder
from x_instruction.storage.shard_key import PASSAGE, StageKey

KINDS = ("responses", "instructions")
# Texts of another language that sentences are taken from.
FOREIGN = 64
_SEED = 2405_19744


def conversational(row: Row) -> dict[str, Any]:
    """``prompt``, ``chosen`` and ``rejected`` as lists of messages, for models with a chat template."""
    prompt = [{"role": role, "content": content} for role, content in row["chat_prompt"]]
    answers = {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}
    return {"prompt": prompt, **answers, **_facts(row)}


def plain(row: Row) -> dict[str, Any]:
    """``prompt``, ``chosen`` and ``rejected`` as texts that a base model continues."""
    answers = {name: f"{row['separator']}{row[name]}" for name in ("chosen", "rejected")}
    return {"prompt": row["plain_prompt"], **answers, **_facts(row)}


def _facts(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "language", "rejected_as", "margin") if name in row}


PREFERENCES = {form.name: form for form in (Format("dpo", conversational), Format("dpo-text", plain))}


def check(kind: str, recipe: Recipe | None) -> None:
    """Refuse pairs that a source cannot have.

    Args:
        kind: one of ``KINDS``.
        recipe: that of a run; None for another source.

    Raises:
        RecipeError: an unknown kind, or instructions of a source without scores of all candidates.
    """
    if kind not in KINDS:
        raise RecipeError(f"unknown kind of preferences {kind!r} (known: {', '.join(KINDS)})")
    if kind == "instructions" and recipe is None:
        needs_run()
    if kind == "instructions" and recipe is not None and recipe.refine.rater == "none":
        raise RecipeError('the run has rater = "none", which scores nothing: no instruction is better than another')


def needs_run() -> NoReturn:
    """Refuse a source that is no run.

    Raises:
        RecipeError: always.
    """
    raise RecipeError("preferences between instructions need the scores of all candidates: name the folder of a run")


def instruction_pairs(run: RunFolder, tag: str, split: str, shares: Shares, least: float) -> Iterator[Row]:
    """The best instruction of each passage with a kept one, against the nearest and the worst of those that are worse.

    Args:
        run: the run folder.
        tag: the language.
        split: only passages of documents in this split.
        shares: how documents are split.
        least: smallest difference of the scores, on the scale of the rater. Equal scores never make a pair.
    """
    last = max((n for n in range(_rounds(run)) if run.count(StageKey("rated", n), tag)), default=0)
    for key in run.shards(PASSAGE, tag):
        rated = key.at(StageKey("rated", last))
        if not run.complete(rated):
            continue
        lost = scores(run.dropped(rated))
        best: dict[str, Rated] = {}
        for record in cast(Iterator[Rated], run.read(rated)):
            if record.id not in best or record.score > best[record.id].score:
                best[record.id] = record
        others: dict[str, list[tuple[float, Candidate]]] = {}
        for candidate in cast(Iterator[Candidate], run.read(key.at(StageKey("candidate", last)))):
            score = lost.get(f"{candidate.id}-{candidate.candidate}")
            if score is not None and candidate.id in best:
                others.setdefault(candidate.id, []).append((score, candidate))
        for id, chosen in best.items():
            if split_of(chosen.document_id, shares) == split:
                yield from _against(chosen, others.get(id, []), least)


def _rounds(run: RunFolder) -> int:
    return sum(1 for path in (run.root / "rated").glob("round-*"))


def _against(chosen: Rated, others: Sequence[tuple[float, Candidate]], least: float) -> Iterator[Row]:
    # Scores of dropped candidates are stored with three digits.
    top = round(chosen.score, 3)
    worse = sorted(
        ((score, other) for score, other in others if top - score >= max(least, 0.001)),
        key=lambda pair: (-pair[0], pair[1].candidate),
    )
    if not worse:
        return
    for name, (score, other) in {"worst": worse[-1], "flawed": worse[0]}.items():
        if name == "flawed" and len(worse) == 1:
            continue
        yield {
            "id": f"{chosen.id}-{chosen.candidate}-{other.candidate}",
            "language": chosen.language,
            **_asking(chosen),
            "separator": " ",
            "chosen": chosen.instruction,
            "rejected": other.instruction,
            "rejected_as": name,
            "margin": round(top - score, 3),
        }


def _asking(record: Candidate) -> dict[str, Prompt]:
    """The prompts of a trained generator, without and with a chat template, for the whole passage."""
    source, into = language(record.language), language(record.instruction_language)
    prompts = {}
    for name, chat in (("plain_prompt", False), ("chat_prompt", True)):
        template = instruction.choose("trained-auto", chat)
        prompts[name] = instruction.ask(template, record.text, source, into, record.style, 0)[0]
    return prompts


def response_pairs(rows: Iterable[Row], tag: str, foreign: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """The natural response to each instruction against a flawed one, and against the text of another document.

    The texts of the language are held in memory. Draws depend on the id of a row alone.

    Args:
        rows: rows of the published schema.
        tag: their language.
        foreign: texts of other languages, with the tag of each; may be empty.
    """
    held = [(row["id"], row["instruction"], row["output"], row["document_id"]) for row in rows]
    render = {name: answer.frame("auto", chat) for name, chat in (("plain_prompt", False), ("chat_prompt", True))}
    for number, (id, asked, output, _) in enumerate(held):
        random = Random(derive_seed(_SEED, "preferences", tag, id))
        for name, text in (_flawed(output, tag, foreign, random), _other(held, number, random)):
            if text is None:
                continue
            yield {
                "id": f"{id}-{name}",
                "language": tag,
                **{prompt: make(asked) for prompt, make in render.items()},
                "separator": "",
                "chosen": output,
                "rejected": text,
                "rejected_as": name,
            }


def foreign_texts(rows: Iterable[Row], tag: str) -> list[tuple[str, str]]:
    """The first texts of another language, each with its tag."""
    return [(tag, row["output"]) for row in islice(rows, FOREIGN)]


def _flawed(output: str, tag: str, foreign: Sequence[tuple[str, str]], random: Random) -> tuple[str, str | None]:
    """The name of a flaw and the text with it, or None for a text of one short sentence, which has no flawed form."""
    own = spaced(language(tag))
    makers: dict[str, Callable[[], str | None]] = {
        "truncated": lambda: corruptions.truncated(output, random, own),
        "shuffled": lambda: corruptions.shuffled(output, random, own),
    }
    if foreign:
        other_tag, other = random.choice(foreign)
        other_spaced = spaced(language(other_tag))
        makers["foreign"] = lambda: corruptions.partly_foreign(output, own, other, other_spaced, random)
    names = list(makers)
    random.shuffle(names)
    for name in names:
        if (text := makers[name]()) is not None:
            return name, text
    return "flawed", None


def _other(held: Sequence[tuple[str, str, str, str | None]], number: int, random: Random) -> tuple[str, str | None]:
    """The text of another document, or None if there is none."""
    _, _, output, document = held[number]
    start = random.randrange(len(held))
    for step in range(len(held)):
        _, _, text, other = held[(start + step) % len(held)]
        # Files in the original format name no documents.
        if (other is None or other != document) and text != output:
            return "other-document", text
    return "other-document", None
