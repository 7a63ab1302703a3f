"""Which benchmark has which language, and whether it is native or translated.

The languages of a benchmark are those that the installed lm-evaluation-harness, or a folder of task files, has a task
for. A task is found by its name: ``xcopa_sw``, ``belebele_swh_Latn``, ``multiblimp_tur`` or, with variants of the
prompt, ``topic_sw_prompt_1`` to ``topic_sw_prompt_5``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from x_instruction.errors import RecipeError
from x_instruction.languages import Language, language

Origin = Literal["native", "translated", "machine-translated", "-"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark in several languages.

    Args:
        name: the name on the command line.
        origin: whether its items were written in each language (``native``), or translated from English by people or by
            machines; ``-`` if unknown.
        measures: what it measures, in a few words.
        task: beginning of the names of its tasks, if that is not the name.
    """

    name: str
    origin: Origin
    measures: str
    task: str = ""

    @property
    def parallel(self) -> bool:
        """Whether its items are the same in every language."""
        return self.origin != "native"

    @property
    def prefix(self) -> str:
        """Beginning of the names of its tasks."""
        return self.task or self.name


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("belebele", "translated", "reading comprehension, 4 choices"),
        Benchmark("xcopa", "translated", "cause and effect, 2 choices"),
        Benchmark("xstorycloze", "translated", "end of a story, 2 choices"),
        Benchmark("xnli", "translated", "entailment, 3 choices"),
        Benchmark("paws-x", "translated", "paraphrase, 2 choices", "paws"),
        Benchmark("xwinograd", "native", "pronouns, 2 choices"),
        Benchmark("global-piqa", "native", "everyday knowledge, 2 choices", "global_piqa_nonparallel_cloze"),
        Benchmark("multiblimp", "native", "grammar, 2 choices"),
        Benchmark("tydiqa", "native", "reading comprehension, written answers", "tydiqa_goldp"),
        Benchmark("xquad", "translated", "reading comprehension, written answers"),
        Benchmark("mgsm", "translated", "arithmetic, written answers", "mgsm_direct"),
        Benchmark("m-mmlu", "machine-translated", "knowledge, 4 choices", "m_mmlu"),
        Benchmark("hellaswag", "machine-translated", "everyday scenes, 4 choices"),
        Benchmark("arc", "machine-translated", "science, 4 choices"),
    )
}
DEFAULT = "belebele"
_PROMPT = re.compile(r"(.+)_prompt_(\d+)")


@dataclass(frozen=True, slots=True)
class TaskName:
    """A task of lm-evaluation-harness, as one language and prompt of a benchmark.

    Args:
        name: its name there.
        benchmark: name of the benchmark; the task's own name if it is of no benchmark.
        language: tag; empty if its name has no language.
        prompt: number of its variant of the prompt; 0 if there are no variants.
    """

    name: str
    benchmark: str
    language: str = ""
    prompt: int = 0


def tasks_of(name: str, tags: Sequence[str], known: Collection[str]) -> list[TaskName]:
    """The tasks of a benchmark, or of any name with languages behind it.

    Args:
        name: a key of ``BENCHMARKS``, or the beginning of names such as ``my_topics_sw``.
        tags: the languages.
        known: names of all tasks.

    Returns:
        Tasks in the order of the languages; a language without a task is left out.
    """
    benchmark = BENCHMARKS.get(name)
    prefix = benchmark.prefix if benchmark else name
    found = []
    for tag in tags:
        for form in _forms(language(tag)):
            task = f"{prefix}_{form}"
            if task in known:
                found.append(TaskName(task, name, tag))
            numbered = [TaskName(other, name, tag, n) for n in range(1, 10) if (other := f"{task}_prompt_{n}") in known]
            found += numbered
            if task in known or numbered:
                break
    return found


def _forms(expected: Language) -> Iterator[str]:
    """How names of tasks state a language."""
    yield from dict.fromkeys(
        (expected.tag, expected.code, expected.code.lower(), expected.iso639_3, expected.name, expected.name.lower())
    )


def resolve(names: Sequence[str], tags: Sequence[str], known: Collection[str]) -> list[TaskName]:
    """The tasks of several names, in their order.

    Args:
        names: benchmarks, beginnings of names of tasks, or names of tasks.
        tags: the languages; of a name that is itself a task, only those behind it count.
        known: names of all tasks.

    Raises:
        RecipeError: a name is of no task, or a benchmark has none in one of the languages.
    """
    chosen: dict[str, TaskName] = {}
    for name in names:
        found = tasks_of(name, tags, known)
        missing = [tag for tag in tags if tag not in {task.language for task in found}]
        if found and missing:
            raise RecipeError(f"{name} has no task in {', '.join(missing)}: {_languages_hint(name, known)}")
        if not found and name in known:
            found = [_single(name)]
        if not found:
            raise RecipeError(_unknown(name, tags, known))
        chosen |= {task.name: task for task in found}
    return list(chosen.values())


def _single(name: str) -> TaskName:
    """A task that is named itself: its language is the end of its name, if that is one."""
    variant = _PROMPT.fullmatch(name)
    whole, number = (variant[1], int(variant[2])) if variant else (name, 0)
    for parts in (2, 1):
        head, *tail = whole.rsplit("_", parts)
        if len(tail) == parts and head:
            end = "_".join(tail)
            try:
                found = language(end)
            except RecipeError:
                continue
            if end in _forms(found):
                return TaskName(name, head, found.tag, number)
    return TaskName(name, name)


def _languages_hint(name: str, known: Collection[str]) -> str:
    benchmark = BENCHMARKS.get(name)
    prefix = f"{benchmark.prefix if benchmark else name}_"
    count = sum(task.startswith(prefix) for task in known)
    return (
        f"leave these languages out, or add their tasks with --include (it has {count} tasks; "
        "`x-instruction eval benchmarks --list` shows the languages)"
    )


def _unknown(name: str, tags: Sequence[str], known: Collection[str]) -> str:
    if name in BENCHMARKS:
        return f"{name} has no task in {', '.join(tags)}: {_languages_hint(name, known)}"
    beginnings = {task.removesuffix(f"_{form}") for tag in tags for form in _forms(language(tag)) for task in known}
    close = difflib.get_close_matches(name, [*BENCHMARKS, *sorted(beginnings)], n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return (
        f"unknown task {name!r}{hint} (expected a benchmark such as {', '.join(list(BENCHMARKS)[:4])}, or a task of "
        "lm-evaluation-harness or of --include, whose YAML must be readable)"
    )


def coverage(tags: Sequence[str], known: Collection[str]) -> list[tuple[Benchmark, list[str]]]:
    """Every benchmark with the languages that it has a task in, of those that are asked for."""
    return [
        (benchmark, list(dict.fromkeys(task.language for task in tasks_of(benchmark.name, tags, known))))
        for benchmark in BENCHMARKS.values()
    ]
