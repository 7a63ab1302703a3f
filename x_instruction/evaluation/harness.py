"""lm-evaluation-harness on the engines of this package: any of its tasks, any engine.

The engines compute a context that several requests share once. A context and its continuation are tokenized apart, and
lm-evaluation-harness's own model ``hf`` tokenizes them together. The tokens are the same where the continuation begins
with white space, as it does in its tasks; a test compares the two models item by item.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.engines import Ask, Completed, Completion, Failed, Request, Result, Scored, Scoring
from x_instruction.errors import CorpusError, EngineError, MissingExtra, RecipeError
from x_instruction.hashing import digest
from x_instruction.storage.atomic import file_digest

try:
    from lm_eval.api.model import LM
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "lm_eval", "evaluate") from error

# As in lm-evaluation-harness: length of written answers, and the seed with which examples are drawn.
_MAX_TOKENS = 256
_EXAMPLES_SEED = 1234


class EngineLM(LM):  # type: ignore[misc]
    """A model of lm-evaluation-harness that sends its requests to an engine.

    Args:
        ask: answers requests, through the request cache.
        exact: names of tasks that ask whether a continuation is the one that the model would write. For these the
            model also completes the context, so its engine needs that capability.
    """

    def __init__(self, ask: Ask, exact: Collection[str] = ()) -> None:
        super().__init__()
        self._ask = ask
        self._exact = exact

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether greedy decoding would write it."""
        pairs = [_pair(*instance.args) for instance in requests]
        scored = self._scores([Scoring(context, continuation) for context, continuation in pairs])
        written = self._written(requests, pairs, scored)
        return [(score.log_likelihood, written.get(n, False)) for n, score in enumerate(scored)]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Log-likelihood of each whole text.

        Raises:
            EngineError: a text is longer than the model's context.
        """
        return [score.log_likelihood for score in self._scores([Scoring("", text) for (text,) in _args(requests)])]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The model's answer to each context."""
        asked = [_completion(context, settings) for context, settings in _args(requests)]
        return [result.text for result in self._answers(asked) if isinstance(result, Completed)]

    def _scores(self, requests: Sequence[Scoring]) -> list[Scored]:
        return [result for result in self._answers(requests) if isinstance(result, Scored)]

    def _written(
        self, requests: Sequence[Any], pairs: Sequence[tuple[str, str]], scored: Sequence[Scored]
    ) -> dict[int, bool]:
        rows = [n for n, instance in enumerate(requests) if instance.task_name in self._exact]
        results = self._answers([Completion(pairs[n][0], scored[n].tokens) for n in rows])
        return {
            n: result.text.strip() == pairs[n][1].strip()
            for n, result in zip(rows, results, strict=True)
            if isinstance(result, Completed)
        }

    def _answers(self, requests: Sequence[Request]) -> list[Result]:
        """One result per request; equal requests are asked once."""
        distinct = list(dict.fromkeys(requests))
        results = dict(zip(distinct, self._ask(distinct), strict=True))
        for request, result in results.items():
            if isinstance(result, Failed):
                raise EngineError(_failure(request, result))
        return [results[request] for request in requests]


def _args(requests: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [instance.args for instance in requests]


def _pair(context: str, continuation: str) -> tuple[str, str]:
    """Context and continuation, with white space between them at the beginning of the continuation."""
    kept = context.rstrip()
    return (kept, context[len(kept) :] + continuation) if kept else (context, continuation)


def _completion(context: str, settings: Mapping[str, Any]) -> Completion:
    until = settings.get("until") or ()
    sample = settings.get("do_sample", False)
    return Completion(
        context,
        int(settings.get("max_gen_toks", settings.get("max_tokens", _MAX_TOKENS))),
        temperature=float(settings.get("temperature", 1.0)) if sample else 0.0,
        top_p=float(settings.get("top_p", 1.0)),
        top_k=int(settings.get("top_k", 0)),
        stop=tuple(filter(None, [until] if isinstance(until, str) else until)),
    )


def _failure(request: Request, failed: Failed) -> str:
    text = request.prompt if isinstance(request.prompt, str) else request.prompt[-1][1]
    hint = "lower --shots" if failed.reason == "engine_too_long" else "leave the task out, or use another engine"
    if not text and failed.reason != "engine_too_long":
        hint = "the task scores whole texts, which few servers can: use the engine transformers or vllm"
    return f"the model did not answer a request of a benchmark ({failed.reason}: {failed.message}): {hint}"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The results of a task.

    Args:
        figures: value by name of the metric and of the filter that reads the answer, such as ``("acc", "none")``.
        better: whether higher is better, by name of the metric.
        by_filter: what lm-evaluation-harness logs for each item, by filter.
        config: the configuration of the task.
        written: whether the model writes answers; else likelihoods are read.
    """

    figures: Mapping[tuple[str, str], float]
    better: Mapping[str, bool]
    by_filter: Mapping[str, Sequence[Mapping[str, Any]]]
    config: Mapping[str, Any]
    written: bool

    @property
    def last_filter(self) -> str:
        """Name of the last filter, which reads most answers: of several, the strictest is first."""
        return list(self.by_filter)[-1]

    @property
    def samples(self) -> Sequence[Mapping[str, Any]]:
        """The items as the last filter reads them."""
        return self.by_filter[self.last_filter]


class Tasks:
    """The tasks of lm-evaluation-harness and of folders of task files.

    Args:
        include: folders of YAML files, as ``--include_path`` of lm-evaluation-harness. They replace tasks of the same
            name.
        defaults: whether to read the task files of lm-evaluation-harness, which takes seconds.

    Raises:
        RecipeError: a folder does not exist.
    """

    def __init__(self, include: Sequence[Path] = (), defaults: bool = True) -> None:
        for folder in include:
            if not folder.is_dir():
                raise RecipeError(f"--include {folder} is not a folder: name one with the YAML files of tasks")
        with quiet():
            self._manager = TaskManager(include_path=[str(folder) for folder in include], include_defaults=defaults)
        self.names = frozenset(self._manager.all_subtasks)

    def members(self, name: str) -> list[str]:
        """Names of the tasks of a group or tag; empty if the name is none."""
        index = self._manager.task_index
        if name in self._manager.all_tags:
            return sorted(other for other, entry in index.items() if name in entry.tags)
        if name not in self._manager.all_groups:
            return []
        found: list[str] = []
        for part in (index[name].cfg or {}).get("task", []):
            member = str(part.get("task", part.get("group")) if isinstance(part, dict) else part)
            found += [member] if member in self.names else self.members(member)
        return found

    def settings(self, name: str) -> dict[str, Any]:
        """The YAML file of a task as plain data."""
        return {key: value for key, value in (self._manager.task_index[name].cfg or {}).items() if key != "task"}

    def fingerprint(self, name: str) -> str:
        """Digest of what decides a task's items: its YAML file, its functions and its local data, wherever they are."""
        return digest(_content(self.settings(name)))

    def run(self, name: str, ask: Ask, shots: int, limit: int | None) -> TaskResult:
        """Evaluate a model on a task.

        Args:
            name: of the task.
            ask: the model.
            shots: number of examples in the prompt.
            limit: use the first items only.

        Raises:
            CorpusError: the data of the task cannot be loaded.
            EngineError: the model did not answer.
        """
        with quiet():
            task = self._load(name)[name]
            written = task.OUTPUT_TYPE == "generate_until"
            task.set_config(key="num_fewshot", value=shots)
            task.set_fewshot_seed(seed=_EXAMPLES_SEED)
            model = EngineLM(ask, {name} if task.OUTPUT_TYPE == "loglikelihood" else ())
            found = evaluate(model, {"tasks": {name: task}}, limit=limit, bootstrap_iters=0, log_samples=True)
        figures: dict[tuple[str, str], float] = {}
        for key, value in found["results"][name].items():
            metric, _, reader = key.partition(",")
            if reader and not metric.endswith("_stderr") and isinstance(value, int | float):
                figures[metric, reader] = float(value)
        better = {metric: found["higher_is_better"][name].get(metric) is not False for metric, _ in figures}
        by_filter: dict[str, list[Mapping[str, Any]]] = {}
        for sample in found["samples"][name]:
            by_filter.setdefault(sample["filter"], []).append(sample)
        return TaskResult(figures, better, by_filter, task.dump_config(), written)

    def _load(self, name: str) -> dict[str, Any]:
        from datasets.exceptions import DatasetsError

        try:
            loaded: dict[str, Any] = self._manager.load([name])["tasks"]
        except (DatasetsError, OSError, ValueError, KeyError, ImportError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CorpusError(
                f"cannot load the data of task {name} ({type(error).__name__}: {reason}); check the connection and the "
                "paths in its YAML file, or name a task over local files with --include"
            ) from error
        return loaded


def _content(value: Any) -> Any:
    """A value of a YAML file with the content of the files that it names, instead of their paths."""
    if isinstance(value, dict):
        return {key: _content(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_content(item) for item in value]
    if not isinstance(value, str) or "\n" in value or len(value) > 1_000:
        return value if isinstance(value, str | int | float | bool | None) else str(value)
    # A function is named by the path of its module and its name.
    module, _, function = value.rpartition(".")
    for file, rest in ((Path(value), ""), (Path(f"{module}.py"), function)):
        if file.is_file():
            return [file.name, rest, file_digest(file)]
    return value


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the progress bars and messages of lm-evaluation-harness, which would hide those of the command."""
    library = logging.getLogger("lm_eval")
    level = library.level
    library.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        library.setLevel(level)
