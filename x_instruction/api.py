"""The Python API: make, inspect, build and publish data, train and evaluate models, from a script or a notebook.

The command line calls the same functions::

    import x_instruction

    run = x_instruction.run("demo", languages=["sw"], limit=10)
    run.status()                             # a pandas DataFrame
    run.rows("sw")                           # a datasets.Dataset
    run.build()                              # the folder that the Hub serves
    run.publish("me/my-data", yes=True)
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from x_instruction.config.recipe import Recipe, load, of_run
from x_instruction.config.site import Site
from x_instruction.config.site import load as load_site
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language as find_language
from x_instruction.pipeline.inputs import Passages, write_passages
from x_instruction.records import STAGES
from x_instruction.storage.location import open_run
from x_instruction.storage.shard_key import ROUND_STAGES, StageKey

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from x_instruction.config.model import Model
    from x_instruction.config.training import TrainingRecipe
    from x_instruction.evaluation.held_out import Measurement
    from x_instruction.hub.publish import Published, PublishPlan
    from x_instruction.pipeline.losses import Loss
    from x_instruction.pipeline.preview import Preview
    from x_instruction.pipeline.progress import Progress
    from x_instruction.pipeline.status import Total
    from x_instruction.training.job import TrainResult

RecipeLike = str | Path | Mapping[str, Any] | Recipe
Log = Callable[[str], None]

_log = logging.getLogger("x_instruction")


def read_recipe(
    recipe: RecipeLike,
    *,
    languages: Sequence[str] | None = None,
    limit: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Recipe:
    """A recipe with changes. The arguments are those of ``run``.

    Raises:
        RecipeError: unreadable file, unknown key, wrong type or value out of range.
    """
    if isinstance(languages, str):
        raise RecipeError(f"languages is {languages!r}, expected a list such as [{languages!r}]")
    changes = dict(overrides or {})
    if limit is not None:
        changes["corpus.passages"] = limit
    if languages is not None:
        changes["languages"] = list(languages)
    return load(recipe, changes)


def run(
    recipe: RecipeLike,
    out: str | Path | None = None,
    *,
    passages: Passages | None = None,
    languages: Sequence[str] | None = None,
    limit: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    workers: int = 0,
    until: str = "curated",
    rank: int = 0,
    of: int = 1,
    overwrite: bool = False,
    retry_failed: bool = False,
    budget: float | None = None,
    verify: bool = False,
    on: str = "local",
    site: str | Path | Site | None = None,
    progress: Progress | None = None,
) -> Run:
    """Make the data of a recipe. If interrupted, repeat the call to continue.

    Args:
        recipe: path of a TOML file, name of a recipe that ships with the package, a dictionary, or a ``Recipe``.
        out: folder of the run, or its URL in an object store. Default: ``runs/<name of the recipe>``.
        passages: texts to use instead of the recipe's corpus: for one language a ``datasets.Dataset`` or an iterable
            of strings, or of mappings with a ``text`` key; for several a dictionary of these by language tag.
        languages: tags or names of languages, instead of those of the recipe.
        limit: keep at most this many passages per language.
        overrides: dotted recipe keys and their values, such as ``{"generate.candidates": 8}``.
        workers: processes. 0 takes one per GPU, or on a CPU one per core.
        until: the last stage to make: ``passage``, ``candidate``, ``rated`` or ``curated``.
        rank, of: make only the shards whose number modulo ``of`` is ``rank``, for several machines on one folder.
        overwrite: regenerate shards whose settings changed, instead of refusing.
        retry_failed: ask again for records that an engine failed on.
        budget: stop when this much is spent, by the prices of the recipe.
        verify: first read the corpus and all complete shards again, and compare their digests.
        on: where the shards are made: ``local`` for processes of this machine, ``ray`` or ``ray://HOST:PORT`` for a Ray
            cluster; docs/scale.md lists all places.
        site: settings of that place: a ``Site``, or path of its TOML file. Nothing in them affects the data.
        progress: where progress is shown. Default: a live display in terminals and notebooks, lines elsewhere.

    Raises:
        RecipeError: a key, a language or an argument is wrong; nothing is written.
        RunChanged: existing output was produced with different settings.
        ShardsSetAside: shards could not be made, and all others are; repeat the call to try them again.
        XInstructionError: see ``x_instruction.errors``; complete shards are kept.

    A stage that keeps no row of a language, or drops over 90 % of its rows for one reason, is logged as a warning of
    the logger ``x_instruction``. ``Run.losses`` returns the same.
    """
    from x_instruction.pipeline.execute import execute
    from x_instruction.pipeline.progress import shown
    from x_instruction.refine import check

    settings = read_recipe(recipe, languages=languages, limit=limit, overrides=overrides)
    if until not in STAGES:
        raise RecipeError(f"until is {until!r}, expected one of {', '.join(STAGES)}")
    if until in ("rated", "curated"):
        check(settings.refine)
    place = load_site(site) if isinstance(site, str | Path) else site
    root = out if out is not None else Path("runs") / settings.name
    if passages is not None:
        settings = write_passages(settings, passages, open_run(root).root)
    display = progress or shown()
    try:
        execute(
            settings,
            root,
            workers,
            overwrite,
            until,
            display,
            budget=budget,
            retry_failed=retry_failed,
            verify=verify,
            rank=rank,
            of=of,
            on=on,
            site=place,
        )
    finally:
        display.close()
    made = Run(root)
    for loss in made.losses(until):
        _log.warning("warning: %s", loss)
    return made


def preview(
    recipe: RecipeLike,
    out: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    limit: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Preview:
    """Send three passages of each of up to three languages through all stages, and estimate what the run takes.

    A run in the same folder uses the answers, and does not ask for them again. A notebook shows the result in colour.

    Args:
        recipe, languages, limit, overrides, workers, progress: as for ``run``.
        out: folder of the run. Default: ``runs/<name of the recipe>``.

    Returns:
        The passages with all of their candidates, and the estimate. ``frame()`` gives the estimate as a table with a
        row per language: documents, passages, requests, tokens, seconds of one worker and cost.

    Raises:
        RecipeError: a key, a language or an argument is wrong, or an engine of the recipe answers through batch files.
        XInstructionError: see ``x_instruction.errors``; answers are kept.
    """
    from x_instruction.pipeline import preview as previewing
    from x_instruction.pipeline.executors.devices import default_workers
    from x_instruction.pipeline.progress import shown
    from x_instruction.refine import check

    settings = read_recipe(recipe, languages=languages, limit=limit, overrides=overrides)
    check(settings.refine)
    root = out if out is not None else Path("runs") / settings.name
    display = progress or shown()
    try:
        return previewing.preview(settings, root, workers or default_workers(settings), display)
    finally:
        display.close()


def read_run(folder: str | Path) -> Recipe:
    """The recipe of a run.

    Raises:
        RecipeError: the folder holds no run.
        ShardError: it holds a run in an older layout.
    """
    # An old run may hold recipe keys that are unknown today: the layout is the better reason to refuse it.
    return of_run(folder, open_run(folder).read_file("recipe.json"))


class Run:
    """A run on this machine or in an object store: what it made, and what can be done with it.

    Args:
        folder: folder of the run, such as ``runs/demo``, or its URL, such as ``s3://bucket/demo``.

    Attributes:
        location: its folder or URL.
        folder: its folder; of a run in a store, the folder on this machine that it is downloaded to.
        recipe: the recipe that it was made with.
        files: its shards and reports.

    Raises:
        RecipeError: the folder holds no run, or one in an older layout.
    """

    def __init__(self, folder: str | Path) -> None:
        self.recipe = read_run(folder)
        self.files = open_run(folder)
        self.folder = self.files.root
        self.location = self.files.location

    def __repr__(self) -> str:
        return f"Run({self.location!r}, languages={list(self.recipe.languages)})"

    def status(self) -> pd.DataFrame:
        """Sums by stage, round and language: shards, rows, time, requests, tokens and cost, over all attempts."""
        import pandas as pd

        rows = [asdict(total) for total in self.totals()]
        return pd.DataFrame(rows).drop(columns="dropped", errors="ignore")

    def dropped(self) -> pd.DataFrame:
        """Dropped rows by stage, round, language and reason."""
        import pandas as pd

        rows = [
            {
                "stage": total.stage,
                "round": total.round,
                "language": total.language,
                "reason": reason,
                "rows": number,
            }
            for total in self.totals()
            for reason, number in total.dropped.items()
        ]
        return pd.DataFrame(rows, columns=["stage", "round", "language", "reason", "rows"])

    def rows(self, language: str, stage: str = "curated", round: int | None = None) -> datasets.Dataset:
        """The records of a language at a stage.

        Args:
            language: a tag or another name of the language.
            stage: ``passage``, ``candidate``, ``rated`` or ``curated``.
            round: of refinement, for candidates and ratings. Default: the last one that has rows.

        Raises:
            RecipeError: the run has no such language, stage or round, or no complete shard of it yet.
        """
        import datasets
        import pyarrow as pa
        import pyarrow.parquet as pq

        tag = find_language(language).tag
        shards = self._shards(tag, stage, round)
        if not shards:
            raise RecipeError(
                f"{self.location} has no complete shard of {tag} at the stage {stage!r} yet; the run's languages are "
                f"{', '.join(self.recipe.languages)}"
            )
        return datasets.Dataset(pa.concat_tables([pq.read_table(path) for path in shards]))

    def build(self, out: str | Path | None = None, log: Log = print, corrections: Sequence[str | Path] = ()) -> Path:
        """Build the data set: Parquet files, card and manifest, loaded back and compared. See ``build``.

        Returns:
            The folder. Default: ``<folder of the run>/dataset``, and ``<name>-dataset`` for a run in a store.
        """
        return build(self.location, out, log, corrections)

    def report(self, out: str | Path | None = None, compare: str | Path | None = None) -> Path:
        """Write the report of this run, a page to look at. See ``api.report``."""
        return report(self.location, out, compare=compare)

    def publish(self, repo: str, **options: Any) -> PublishPlan | Published:
        """Publish the data set of this run, which is built first where it is missing. See ``publish``."""
        folder = self.folder / "dataset"
        return publish(folder if folder.exists() else self.build(), repo, **options)

    def losses(self, until: str = "curated") -> list[Loss]:
        """Stages that kept no row of a language, or dropped over 90 % of its rows for one reason.

        Args:
            until: the last stage that counts: ``passage``, ``candidate``, ``rated`` or ``curated``.
        """
        from x_instruction.pipeline.losses import losses

        return losses(self.files, self.recipe, until)

    def totals(self) -> list[Total]:
        """The sums behind ``status`` and ``dropped``, one object per stage, round and language."""
        from x_instruction.pipeline.status import totals

        return totals(self.files, self.recipe)

    def _shards(self, tag: str, stage: str, round: int | None) -> list[Path]:
        """Parquet files of the complete shards, in order."""
        rounds = [0] if stage not in ROUND_STAGES else range(self.recipe.refine.rounds, -1, -1)
        for number in rounds if round is None else [round]:
            reports = self.files.reports(StageKey(stage, number))
            paths = [self.files.sound(report.key) for report in reports if report.key.language == tag]
            if paths:
                return paths
        return []


def build(
    folder: str | Path,
    out: str | Path | None = None,
    log: Log = print,
    corrections: Sequence[str | Path] = (),
) -> Path:
    """Build the data set of a run: Parquet files, card, report and manifest, loaded back and compared.

    Args:
        folder: folder of the run.
        out: folder of the data set. Default: ``<folder>/dataset``, and ``<name>-dataset`` for a run in a store.
        log: called with one line per language and step.
        corrections: files of instructions that people corrected, which `review collect` wrote.

    Raises:
        RecipeError: a file of corrections cannot be read.
        ShardError: nothing to publish, a damaged shard, or a full disk; what ``out`` held before is untouched.
    """
    from importlib.util import find_spec

    from x_instruction.builders.layout import build as build_dataset
    from x_instruction.report.write import of_build

    run, recipe = open_run(folder), read_run(folder)
    make = of_build(run, recipe) if find_spec("vl_convert") else None
    if make is None:
        log("no report.html, which needs another package: pip install 'x_instruction[report]'")
    default = Path(f"{run.location.rpartition('/')[2]}-dataset") if run.on_store else run.root / "dataset"
    target = Path(out) if out else default
    return build_dataset(run, recipe, target, log, make, [Path(file) for file in corrections]).folder


def report(
    source: str | Path,
    out: str | Path | None = None,
    *,
    compare: str | Path | None = None,
    results: Sequence[str | Path] = (),
) -> Path:
    """Write the report of a run or data set: one HTML page that works offline.

    Args:
        source: folder of a run or of a built data set, or id of a data set on the Hub.
        out: the page. Default: ``report.html`` in the folder of a run, and ``<name>-report.html`` beside the folder of
            a data set, or in the current folder for one on the Hub.
        compare: a second set that is shown beside it.
        results: records of evaluations to show, or folders of them.

    Raises:
        RecipeError: ``source`` is none of these or has no rows, the two sets have no language in common, or another
            file is in the way.
        HubError: the Hub refuses.
        MissingExtra: the package that draws charts is not installed.
    """
    from x_instruction.report.write import write_report

    return write_report(source, Path(out) if out else None, compare, [Path(path) for path in results])


def publish(
    folder: str | Path,
    repo: str,
    *,
    yes: bool = False,
    private: bool | None = None,
    create_pr: bool = False,
    revision: str = "main",
    tag: str | None = None,
    move_tag: bool = False,
    collection: str | None = None,
    replace_card: bool = False,
    base_license: str = "",
    base_license_link: str = "",
    log: Log = print,
    repo_type: Literal["dataset", "model"] | None = None,
    show: Log = print,
) -> PublishPlan | Published:
    """Publish a data set that ``build`` wrote, or a model that ``train`` made, on the Hub.

    Args:
        folder: folder of the data set or model.
        repo: ``namespace/name``.
        yes: publish. Without it the changes are shown and nothing is published.
        private: visibility. Default: unchanged, or the owner's default.
        create_pr: open a pull request instead of committing.
        revision: branch, or ``refs/pr/N``.
        tag: tag for the published revision.
        move_tag: move the tag if it exists.
        collection: collection to add the repository to, by title or slug.
        replace_card: for a data set: replace a card that was edited by hand.
        base_license, base_license_link: for a model: licence of the base model, where its card does not state one.
        log: called with one line per step, and with the changes when they are published.
        repo_type: ``dataset`` or ``model``. Default: a model if the folder has the record of a training.
        show: called with the lines of the result: the changes, or with ``yes`` the published revision.

    Returns:
        The plan, or with ``yes`` the published revision.

    Raises:
        RecipeError: an option is wrong, or the folder is neither a data set nor a model.
        HubError: the Hub refuses, or what was published differs from the folder.
    """
    from x_instruction.cards.records import TRAINING
    from x_instruction.hub.publish import DatasetOptions, ModelOptions, PublishRequest, execute, prepare
    from x_instruction.hub.summary import plan_lines, result_line

    kind = repo_type or ("model" if (Path(folder) / TRAINING).exists() else "dataset")
    options = (
        DatasetOptions(replace_card=replace_card)
        if kind == "dataset"
        else ModelOptions(base_license=base_license, base_license_link=base_license_link)
    )
    request = PublishRequest(
        folder=Path(folder),
        repo=repo,
        options=options,
        private=private,
        create_pr=create_pr,
        revision=revision,
        tag=tag,
        move_tag=move_tag,
        collection=collection,
    )
    plan = prepare(request, log)
    for line in plan_lines(plan):
        (log if yes else show)(line)
    if not yes:
        return plan
    published = execute(plan)
    show(result_line(published))
    return published


def train(
    recipe: str | Path | Mapping[str, Any] | TrainingRecipe,
    data: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    log: Log = print,
) -> TrainResult:
    """Fine-tune a model on instruction data. The loss is on responses only. If interrupted, repeat the call.

    Args:
        recipe: path of a training recipe, name of one that ships with the package, a dictionary, or a
            ``TrainingRecipe``.
        data: folders that ``build`` or ``mix`` wrote, or instruction files; ``TAG=PATH`` sets the language of the
            responses if the rows do not state it.
        out: folder of the model. Default: ``models/<name of the recipe>``.
        overrides: dotted keys of the recipe and their values.
        log: called with one line per step.

    Returns:
        Steps, tokens, seconds and loss.

    Raises:
        RecipeError: a key of the recipe is wrong.
        CorpusError: a file cannot be read, or no row can be trained on.
        TrainingError: training failed; checkpoints are kept.
    """
    from x_instruction.config.training import load as load_recipe
    from x_instruction.mixing.files import sources
    from x_instruction.training import sft

    settings = load_recipe(recipe, overrides)
    files = [source for name in _names(data) for source in sources(name, "web")]
    if not files:
        raise CorpusError("data names no file, expected folders or files of instruction data")
    rows = sft.read(files, settings.tag)
    for reason, number in sorted(rows.dropped.items()):
        log(f"dropped  {reason:24} {number:9,}")
    log(f"{len(rows.pairs):,} rows, {settings.model.name}, {settings.train.method}")
    target = Path(out) if out is not None else Path("models") / settings.name
    return sft.train(settings, rows, target, log)


def evaluate(
    model: str,
    data: str | Path | Sequence[str | Path],
    *,
    adapter: str | Path | None = None,
    limit: int | None = None,
    max_tokens: int = 256,
    answer_tokens: int = 48,
    prompt: str = "auto",
    tag: str | None = None,
    lid_model: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    log: Log = print,
) -> pd.DataFrame:
    """Evaluate a model on held-out data, per language.

    Args:
        model: Hub id, local folder, or ``embedded``.
        data: a folder that ``build`` wrote (its test split, or else validation), or instruction files; ``TAG=PATH``
            sets the language of the responses if the rows do not state it.
        adapter: LoRA adapter on top of the model: a folder or a Hub id.
        limit: rows per language at most.
        max_tokens: tokens of a response that are scored at most.
        answer_tokens: tokens of the model's own answers at most.
        prompt: ``auto``, ``chat``, ``answer``, or a file.
        tag: text at the end of prompts; an empty string for none. Default: as the model was trained, else ``Answer in
            {name}.`` where the instruction is in another language.
        lid_model: fastText model for languages that py3langid does not know.
        overrides: keys of the model's settings, such as ``{"engine": "vllm"}``.
        out: JSON file for the results of every row.
        log: called with one line per step.

    Returns:
        A row per language and one for all: bits per byte of the responses, share of answers in the right language, and
        their score, each with a 95 % bootstrap interval.

    Raises:
        RecipeError: a setting is wrong.
        CorpusError: a file cannot be read, or no row is left.
        EngineError: the model cannot be loaded or run.
    """
    import pandas as pd

    from x_instruction.config.model import Model
    from x_instruction.config.section import validate
    from x_instruction.evaluation.held_out import save, summary

    if out is not None and Path(out).suffix != ".json":
        raise RecipeError(f"out is {out}, expected a .json file")
    given = {"name": model, **({} if adapter is None else {"adapter": str(adapter)}), **(overrides or {})}
    settings = validate(Model, {}, given)
    measurement = measure_held_out(
        settings,
        _names(data),
        limit=limit,
        max_tokens=max_tokens,
        answer_tokens=answer_tokens,
        prompt=prompt,
        tag=tag,
        lid_model=lid_model,
        log=log,
    )
    if out is not None:
        save(measurement, Path(out))
    rows = []
    for language, metrics in summary(measurement.results).items():
        row: dict[str, Any] = {"language": language}
        for name, value in asdict(metrics).items():
            row |= {f"{name}_low": value[0], f"{name}_high": value[1]} if isinstance(value, tuple) else {name: value}
        rows.append(row)
    return pd.DataFrame(rows)


def measure_held_out(
    model: Model,
    data: Sequence[str],
    *,
    limit: int | None,
    max_tokens: int,
    answer_tokens: int,
    prompt: str,
    tag: str | None,
    lid_model: str | None,
    log: Log,
    gain: bool = False,
) -> Measurement:
    """The results of every row; the arguments are those of ``evaluate``, and ``gain`` adds the conditional gain."""
    from x_instruction.engines import open_engine
    from x_instruction.evaluation.held_out import Measurement, measure, read, with_cue, with_tags
    from x_instruction.evaluation.intrinsic import conditional
    from x_instruction.prompts.answer import frame

    rows, dropped = read(data, limit)
    for reason, number in sorted(Counter(record.reason for record in dropped).items()):
        log(f"dropped  {reason:24} {number:9,}")
    tags, everywhere = _tags(model, tag, {row.language for row in rows})
    for name, text in sorted(tags.items()):
        log(f"ask      {name:24} {text}")
    engine = open_engine(model)
    asked = with_tags(rows, tags, everywhere)
    asked = with_cue(asked) if tag is None else asked
    render = frame(prompt, engine.chat)
    results = measure(asked, engine, render, max_tokens, answer_tokens, lid_model)
    lengths = {"max_tokens": max_tokens, "answer_tokens": answer_tokens}
    if gain:
        found = zip(results, conditional(asked, engine, render, max_tokens), strict=True)
        results = [replace(result, gain=own.gain, found=own.found) for result, own in found]
    return Measurement(engine.model, engine.revision, lengths, Path(prompt).name, tuple(results), tags)


def _tags(model: Model, text: str | None, languages: set[str]) -> tuple[dict[str, str], bool]:
    """The end of prompts, by language, and whether all prompts end so: as given, or else as the file beside the trained
    model says.

    A model that a server runs has no such file here.
    """
    from x_instruction.engines import engine_spec
    from x_instruction.engines.models import locate
    from x_instruction.mixing.files import inference_tags
    from x_instruction.mixing.tags import format_tag
    from x_instruction.training.job import RESULT

    if text is None:
        files = [] if engine_spec(model).remote else [locate(model.name, model.revision)]
        if files and model.adapter:
            files.insert(0, locate(model.adapter))
        found = [inference_tags(file.folder / RESULT) for file in files if (file.folder / RESULT).is_file()]
        tags, everywhere = found[0] if found else ({}, False)
        return {tag: tags[tag] for tag in sorted(languages & tags.keys())}, everywhere
    try:
        return {tag: format_tag(text, tag) for tag in sorted(languages)} if text else {}, True
    except (KeyError, IndexError, ValueError):
        raise RecipeError(f"tag is {text!r}, expected text whose only fields are {{tag}} and {{name}}") from None


def _names(data: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(data)] if isinstance(data, str | Path) else [str(name) for name in data]
