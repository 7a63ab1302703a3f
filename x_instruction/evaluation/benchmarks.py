"""Evaluate a model on benchmarks: the tasks, their requests, and the figures with their samples as a record.

Requests and answers are kept in ``benchmarks.sqlite`` beside the record. An interrupted command that is run again asks
only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from x_instruction.bootstrap import interval
from x_instruction.config.model import Model
from x_instruction.engines import engine_spec, open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.engines.request_cache import RequestCache
from x_instruction.errors import NotCapable, RecipeError
from x_instruction.evaluation.agreement import RESAMPLES, agreement
from x_instruction.evaluation.coverage import BENCHMARKS, DEFAULT, TaskName, resolve, tasks_of
from x_instruction.evaluation.harness import TaskResult, Tasks
from x_instruction.evaluation.metric import Data, Instance, Metric
from x_instruction.evaluation.models import model_info
from x_instruction.evaluation.record import check_target, write_record
from x_instruction.hashing import digest
from x_instruction.languages import PAPER_LANGUAGES, language

NAME = "benchmarks"
# Metrics that are shares; others have no known range.
_SHARES = frozenset({"acc", "acc_norm", "acc_mutual_info", "em", "exact_match", "f1"})
# What filters of lm-evaluation-harness return if they find no answer.
_NO_ANSWER = frozenset({"", "[invalid]", "[no answer]"})

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """One task with its number of examples in the prompt, and the model's results."""

    task: TaskName
    shots: int
    result: TaskResult


def choose(names: Sequence[str], tags: Sequence[str], tasks: Tasks) -> list[TaskName]:
    """The tasks that a command names. Without languages, a benchmark is run in those of the paper that it has.

    Args:
        names: benchmarks, tasks, beginnings of their names, groups; Belebele if empty.
        tags: languages, in any form; those of the paper if empty.
        tasks: the known tasks.

    Raises:
        RecipeError: a name is of no task, or a benchmark has none in one of the languages.
    """
    listed = [language(tag).tag for tag in tags]
    chosen: list[TaskName] = []
    for name in names or (DEFAULT,):
        own = listed or list(dict.fromkeys(task.language for task in tasks_of(name, PAPER_LANGUAGES, tasks.names)))
        if not tasks_of(name, own or PAPER_LANGUAGES, tasks.names) and (members := tasks.members(name)):
            chosen += resolve(members, [], tasks.names)
        else:
            chosen += resolve([name], own, tasks.names)
    return list(dict.fromkeys(chosen))


def run(
    model: Model,
    names: Sequence[str],
    tags: Sequence[str],
    shots: Sequence[int],
    limit: int | None,
    include: Sequence[Path],
    out: Path,
    *,
    overwrite: bool = False,
    log: Log = lambda text: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Metric]:
    """Evaluate a model on benchmarks, and write the record ``benchmarks.json`` with its samples.

    Args:
        model: the model and its engine.
        names, tags: as for ``choose``.
        shots: numbers of examples in the prompt; each task is run with each of them.
        limit: use the first items of each task only.
        include: folders of task files.
        out: folder of the results.
        overwrite: replace results of other settings.
        log: called with a line for each finished task.
        on_progress: called with the number of requests answered and asked so far.

    Raises:
        RecipeError: an unknown task, language or folder.
        NotCapable: the engine cannot do what a task needs.
        CorpusError: the data of a task cannot be loaded.
        RunChanged: the folder has results of other settings.
    """
    tasks = Tasks(include)
    chosen = choose(names, tags, tasks)
    _check_capabilities(engine_spec(model).capabilities, model.name, chosen, tasks)
    info = model_info(model)
    _check_shots(shots, chosen, tasks, log)
    settings = {
        "tasks": {task.name: tasks.fingerprint(task.name) for task in chosen},
        "shots": sorted(set(shots)),
        "limit": limit,
        "lm_eval": version("lm_eval"),
    }
    check_target(out, NAME, info, settings, overwrite)
    engine = open_engine(model)
    _check_capabilities(engine.capabilities, model.name, chosen, tasks)
    done: list[Answered] = []
    with RequestCache(out / f"{NAME}.sqlite", engine, fingerprint(model), on_progress) as cache:
        for number, task in product(sorted(set(shots)), chosen):
            result = tasks.run(task.name, cache.ask, number, limit)
            done.append(Answered(task, number, result))
            figures = ", ".join(f"{_shown(name, result)} {value:.3f}" for name, value in result.figures.items())
            log(f"{task.name}, {number} shots: {len(result.samples)} items, {figures}")
    metrics = [metric for each in done for metric in task_metrics(each)] + agreement_metrics(done, log)
    write_record(
        out,
        NAME,
        info,
        metrics,
        (instance for each in done for instance in task_instances(each)),
        settings=settings,
        overwrite=overwrite,
    )
    return metrics


def _check_capabilities(capabilities: Sequence[str] | frozenset[str], model: str, chosen: Any, tasks: Tasks) -> None:
    for task in chosen:
        kind = tasks.settings(task.name).get("output_type", "")
        needed = {"generate_until": {"complete"}, "loglikelihood": {"score", "complete"}}.get(kind, {"score"})
        if missing := sorted(needed - set(capabilities)):
            raise NotCapable(
                f"task {task.name} needs a model that can {missing[0]}, and the engine of {model} cannot: use "
                "transformers, vllm or a server that can (see `x-instruction engine list`)"
            )


def _check_shots(shots: Sequence[int], chosen: Sequence[TaskName], tasks: Tasks, log: Log) -> None:
    """Refuse examples that a task does not have, before the model is loaded."""
    for task in chosen if any(shots) else ():
        settings = tasks.settings(task.name)
        if settings.get("num_fewshot") == 0:
            raise RecipeError(f"task {task.name} is for 0 shots only: leave the others out of --shots")
        if not any(settings.get(f"{part}_split") for part in ("fewshot", "training", "validation")):
            log(f"{task.name} has no examples of its own: they are taken from the items that are asked")


def _shown(name: tuple[str, str], result: TaskResult) -> str:
    return name[0] if len(result.by_filter) == 1 else f"{name[0]} ({name[1]})"


# Figures and samples


def task_metrics(answered: Answered) -> list[Metric]:
    """The metrics of a task, with intervals by item where a metric is the mean of its items."""
    found = []
    for (name, reader), value in answered.result.figures.items():
        scores = _scores(answered.result, name, reader)
        low, high = interval(np.mean, [scores], RESAMPLES, 0) if scores else (None, None)
        share = name in _SHARES
        metric = Metric(
            task=answered.task.benchmark,
            name=name,
            value=value,
            low=low,
            high=high,
            n=len(answered.result.samples),
            data=_data(answered),
            language=answered.task.language,
            higher_is_better=answered.result.better[name],
            minimum=0.0 if share else None,
            maximum=1.0 if share else None,
            unit="proportion" if share else name,
            interval_method="bootstrap by item",
            parameters=_parameters(answered, reader),
        )
        found.append(metric)
    return found


def _parameters(answered: Answered, reader: str) -> dict[str, str | float | bool | None]:
    prompt = {"prompt": answered.task.prompt} if answered.task.prompt else {}
    several = {"filter": reader} if len(answered.result.by_filter) > 1 else {}
    return {"shots": answered.shots, **prompt, **several}


def _scores(result: TaskResult, metric: str, reader: str) -> list[float]:
    """The metric of each item; empty if it is not the mean of its items."""
    scores = [sample.get(metric) for sample in result.by_filter[reader]]
    numbers = [float(score) for score in scores if isinstance(score, int | float)]
    if len(numbers) < len(scores) or not numbers or not np.isclose(np.mean(numbers), result.figures[metric, reader]):
        return []
    return numbers


def _data(answered: Answered) -> Data:
    config = answered.result.config
    path = str(config.get("dataset_path") or "")
    on_hub = path.count("/") == 1 and not Path(path).exists()
    split = config.get("test_split") or config.get("validation_split") or config.get("training_split") or ""
    return Data(
        name=path if on_hub else answered.task.name,
        revision="" if on_hub else digest([sample["doc_hash"] for sample in answered.result.samples]),
        config=str(config.get("dataset_name") or ""),
        split=str(split),
        on_hub=on_hub,
    )


def task_instances(answered: Answered) -> Iterator[Instance]:
    """The samples of a task, once for each metric."""
    result = answered.result
    for metric, (name, reader) in zip(task_metrics(answered), result.figures, strict=True):
        scores = _scores(result, name, reader)
        for sample, score in zip(result.by_filter[reader], scores, strict=False):
            yield _instance(metric, sample, score, answered)


def _instance(metric: Metric, sample: Mapping[str, Any], score: float, answered: Answered) -> Instance:
    result = answered.result
    arguments = choices_of(sample)
    contexts = [str(context) for context, *_ in arguments]
    # In some tasks the choices are contexts, before one and the same continuation.
    asked = contexts[0] if len(set(contexts)) == 1 else ""
    choices = () if result.written else tuple(context[len(asked) :] + str(last) for context, last in arguments)
    target = sample["target"]
    gold = choices[target] if isinstance(target, int) and 0 <= target < len(choices) else str(target)
    delimiter = str(result.config.get("target_delimiter") or "")
    normalized = metric.name == "acc_norm"
    answer = prediction(sample, result.written, delimiter if normalized else None)
    details = {"task": answered.task.name, "doc_hash": str(sample["doc_hash"])}
    if choices:
        details["log_likelihoods"] = " ".join(f"{response[0]:.6f}" for response in sample["filtered_resps"])
    per_character = "highest log-likelihood per character"
    likeliest = per_character if normalized else "highest log-likelihood"
    return Instance(
        metric=metric.id,
        id=f"{answered.task.name}/{sample['doc_id']}",
        input=asked,
        score=score,
        correct=score >= 1.0,
        outputs=tuple(map(str, sample["resps"][0])) if result.written else (),
        references=(gold,),
        choices=choices,
        extracted=choices[answer] if isinstance(answer, int) and choices else str("" if answer is None else answer),
        method=f"filter {sample['filter']}" if result.written else likeliest,
        details=details,
    )


def choices_of(sample: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The requests for the choices, without those for mutual information, which follow them."""
    arguments = list(sample["arguments"])
    return arguments[: len(arguments) // 2] if "acc_mutual_info" in sample["metrics"] else arguments


def prediction(sample: Mapping[str, Any], written: bool, delimiter: str | None = None) -> int | str | None:
    """The choice with the highest log-likelihood, or the written answer; None if there is no answer.

    Args:
        sample: of lm-evaluation-harness.
        written: whether the model wrote the answer.
        delimiter: divide log-likelihoods by the characters of the choice, which follows this text.
    """
    responses = sample["filtered_resps"]
    if written:
        text = str(responses[0]).strip()
        return None if text in _NO_ANSWER else text
    arguments = choices_of(sample)
    if len(arguments) < 2:
        return None
    likelihoods = [response[0] for response in responses[: len(arguments)]]
    if delimiter is not None:
        sizes = [max(1, len(str(last).removeprefix(delimiter))) for *_, last in arguments]
        likelihoods = [each / size for each, size in zip(likelihoods, sizes, strict=True)]
    return int(np.argmax(likelihoods))


# Agreement over languages


def agreement_metrics(done: Sequence[Answered], log: Log = lambda text: None) -> list[Metric]:
    """Consistency and AC3 of every benchmark whose items are the same in several languages.

    Args:
        done: all results.
        log: called with the reason if a benchmark in several languages has none.
    """
    found: list[Metric] = []
    keys = dict.fromkeys((each.task.benchmark, each.shots) for each in done)
    for benchmark, shots in keys:
        own = [each for each in done if (each.task.benchmark, each.shots) == (benchmark, shots) and each.task.language]
        tags = list(dict.fromkeys(each.task.language for each in own))
        if len(tags) < 2 or (benchmark in BENCHMARKS and not BENCHMARKS[benchmark].parallel):
            continue
        if reason := _not_aligned(own):
            log(f"{benchmark}, {shots} shots: no agreement over languages, because {reason}")
        else:
            found += _agreement(benchmark, shots, own, tags)
    return found


def _not_aligned(done: Sequence[Answered]) -> str:
    """Why the items of a benchmark cannot be compared over languages; empty if they can."""
    targets = [[sample["target"] for sample in each.result.samples] for each in done]
    if len({(each.task.prompt, each.task.language) for each in done}) < len({each.task.prompt for each in done}) * len(
        {each.task.language for each in done}
    ):
        return "a language lacks a prompt"
    if any(own != targets[0] for own in targets):
        return "items differ in number or in right answers"
    if all(target == targets[0][0] for target in targets[0]):
        return "all right answers are equal, so the order of items is not known"
    return ""


def _agreement(benchmark: str, shots: int, done: Sequence[Answered], tags: Sequence[str]) -> list[Metric]:
    prompts = sorted({each.task.prompt for each in done})
    results = {(each.task.prompt, each.task.language): each.result for each in done}
    rows = [[results[prompt, tag] for tag in tags] for prompt in prompts]
    predictions = [[[prediction(s, own.written) for s in own.samples] for own in row] for row in rows]
    scores = [[_right(own) for own in row] for row in rows]
    if not all(own for row in scores for own in row):
        return []
    found = []
    for size in sorted({2, min(3, len(tags)), len(tags)}):
        one = agreement(predictions, scores, size)
        for name, value, ends in (
            (f"consistency_{size}", one.consistency, one.consistency_interval),
            (f"ac3_{size}", one.ac3, one.ac3_interval),
        ):
            metric = Metric(
                task=benchmark,
                name=name,
                value=value,
                low=ends[0],
                high=ends[1],
                n=one.items,
                data=Data(name=benchmark),
                interval_method="bootstrap by item",
                parameters={"shots": shots},
                notes=f"over {len(tags)} languages ({', '.join(tags)}), median of {len(prompts)} prompts; items are "
                "paired by position, and their right answers are equal; "
                f"{one.invalid:.1%} of answers are invalid and agree with nothing",
            )
            found.append(metric)
    return found


def _right(result: TaskResult) -> list[float]:
    """Whether each item is right, by accuracy or else the first metric, as the last filter reads it."""
    reader = result.last_filter
    names = [name for name, other in result.figures if other == reader]
    return _scores(result, "acc" if "acc" in names else names[0], reader) if names else []


def check_shots(text: str) -> tuple[int, ...]:
    """The numbers of ``0,5``.

    Raises:
        RecipeError: it holds something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise RecipeError(f"--shots is {text!r}, expected numbers such as 0,5")
    return tuple(int(part) for part in parts)
