"""``x-instruction plan``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from x_instruction.cli.options import Location, out_option, read_recipe, recipe_options
from x_instruction.cli.tables import Column, emit
from x_instruction.cli.wrapping import echo

if TYPE_CHECKING:
    from x_instruction.pipeline.planner.forecast import Forecast, Stage
    from x_instruction.pipeline.planner.limits import Limit
    from x_instruction.pipeline.planner.plan import RunPlan

# Stages with a column in the table of languages.
_OWN = ("corpus", "generate", "refine", "diversify")


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Whole numbers such as ``1000,1e6``."""
    try:
        numbers = tuple(float(part) for part in (value or "").split(",") if part.strip())
        if not all(1 <= number <= 1e12 and number == int(number) for number in numbers):
            raise ValueError
    except ValueError:
        raise click.BadParameter(f"got {value!r}, expected numbers from 1 to 1e12, such as 1e6", ctx, param) from None
    return tuple(map(int, numbers))


def _number(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    numbers = _numbers(ctx, param, value)
    if len(numbers) > 1:
        raise click.BadParameter(f"got {value!r}, expected 1 number: --scale takes several", ctx, param)
    return numbers[0] if numbers else None


def _speeds(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float | None, float | None]:
    """The speeds of writing and of rating; one number is both."""
    if value is None:
        return None, None
    try:
        speeds = [float(part) for part in value.split(",")]
        if not 1 <= len(speeds) <= 2 or not all(0 < speed < 1e12 for speed in speeds):
            raise ValueError
    except ValueError:
        text = f"got {value!r}, expected tokens per second above 0: 1 number, or 2 for writing and rating"
        raise click.BadParameter(text, ctx, param) from None
    return speeds[0], speeds[-1]


@click.command()
@click.argument("recipe")
@click.option("--gpus", type=click.IntRange(0), default=0, metavar="N", help="GPUs that the run would have.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Processes that the run would have.  [default: one per GPU, or per CPU core]",
)
@click.option(
    "--tokens-per-second",
    callback=_speeds,
    metavar="X[,Y]",
    help="Tokens of prompts and answers per second of one GPU; two numbers are for writing and rating.  "
    "[default: as measured]",
)
@click.option("--price-per-gpu-hour", type=click.FloatRange(0), default=0.0, metavar="P", help="Price of a GPU.")
@click.option(
    "--passages",
    callback=_number,
    metavar="N",
    help="Plan N passages of all languages, as if the corpus had them.  [default: those of the corpus]",
)
@click.option("--scale", callback=_numbers, metavar="N,N", help="Also plan these numbers, such as 1e6,1e7,1e8,1e9.")
@click.option(
    "--from",
    "sample",
    type=Location(),
    metavar="RUN",
    help="Run or preview to measure.  [default: that of --out]",
)
@click.option("--site", type=click.Path(path_type=Path), metavar="FILE", help="Settings of the place, a TOML file.")
@click.option(
    "--memory",
    type=click.FloatRange(0, min_open=True),
    metavar="GB",
    help="Memory of one machine.  [default: of this machine]",
)
@out_option("Folder or store (s3://...) of the run", "runs/NAME", is_run=True)
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@recipe_options
def command(
    recipe: str,
    gpus: int,
    workers: int,
    tokens_per_second: tuple[float | None, float | None],
    price_per_gpu_hour: float,
    passages: int | None,
    scale: tuple[int, ...],
    sample: str | Path | None,
    site: Path | None,
    memory: float | None,
    out: str | Path | None,
    as_json: bool,
    languages: tuple[str, ...],
    limit: int | None,
    sets: tuple[str, ...],
) -> None:
    """Plan a run of RECIPE: hours, cost and bottleneck of each stage.

    RECIPE is a file, or the name of a recipe that ships: see `x-instruction recipe list`.

    Time, rows, tokens and bytes of a passage are measured in the preview of the recipe, or in the run that --from
    names. No model is asked. Prints the stages in their order, the languages, storage, and the limits that the run
    meets as it grows, the first one first, each with the key that moves it.
    """
    from x_instruction.config import site as sites
    from x_instruction.pipeline.planner.forecast import Machines
    from x_instruction.pipeline.planner.plan import plan_run

    settings = read_recipe(recipe, languages, limit, sets)
    place = sites.load(site) if site is not None else sites.Site()
    found = plan_run(
        settings,
        out or Path("runs") / settings.name,
        Machines(gpus, workers, *tokens_per_second, price_per_gpu_hour),
        sample,
        passages,
        scale,
        place,
        memory * 1e9 if memory is not None else None,
    )
    if as_json:
        click.echo(json.dumps(_plain(found), indent=1, ensure_ascii=False, allow_nan=False))
        return
    _show(found, place.slurm.shards_per_element)


def _show(plan: RunPlan, per_element: int) -> None:
    forecast = plan.forecast
    machines = forecast.machines
    echo(
        f"{plan.name}: {_short(forecast.passages)} passages, {_count(machines.workers, 'worker')}, "
        f"{_count(machines.gpus, 'GPU')}; measured in {plan.measured.name} on {plan.measured.passages:,} passages"
    )
    click.echo()
    emit([_stage_row(stage, forecast.wall) for stage in forecast.stages], _STAGES)
    click.echo()
    emit(_language_rows(forecast), _language_columns(forecast))
    click.echo()
    emit([row for stage in forecast.stages if (row := _storage_row(stage, per_element))["shards"]], _STORAGE)
    click.echo()
    emit([_limit_row(limit) for limit in plan.limits], _LIMITS)
    if plan.scale:
        click.echo()
        emit([_scale_row(found, names) for found, names in plan.scale], _SCALE)
    click.echo()
    for note in plan.notes:
        echo(f"note: {note}")
    echo(_summary(forecast))


def _summary(forecast: Forecast) -> str:
    low, high = (forecast.wall / (1 + forecast.error), forecast.wall * (1 + forecast.error))
    slowest = forecast.bottleneck
    text = f"about {_time(forecast.wall)} ({_time(low)} to {_time(high)})"
    if forecast.gpu_seconds:
        text += f", {forecast.gpu_seconds / 3600:,.1f} GPU hours"
    if forecast.cost:
        text += f", {forecast.cost:,.2f} to pay"
    return f"{text}; bottleneck: {slowest.title}, limited by {slowest.limit}"


def _stage_row(stage: Stage, wall: float) -> dict[str, Any]:
    return {
        "stage": stage.title,
        "rows": _short(sum(part.rows for part in stage.parts)),
        "tokens": _short(sum(part.tokens for part in stage.parts)) if any(p.tokens for p in stage.parts) else "-",
        "work": _time(stage.seconds),
        "time": _time(stage.wall),
        "share": f"{stage.wall / wall:.0%}" if wall else "-",
        "limit": stage.limit,
    }


def _language_rows(forecast: Forecast) -> list[dict[str, Any]]:
    tags = [part.language for part in forecast.stages[0].parts]
    rows = []
    for tag in tags:
        parts = list(forecast.parts(tag))
        rows.append(
            {
                "language": tag,
                "passages": _short(parts[0].passages),
                "rows": _short(parts[-1].rows),
                "tokens": _short(sum(part.tokens for part in parts)),
                **{name: _time(sum(p.seconds for p in parts if p.stage.split(",")[0] == name)) for name in _OWN},
                "cost": f"{sum(part.cost for part in parts):,.2f}",
            }
        )
    return rows


def _language_columns(forecast: Forecast) -> list[Column]:
    names = ["passages", "rows", "tokens", *_OWN, *(["cost"] if any(p.cost for p in forecast.parts()) else [])]
    return [Column("language", "language"), *(Column(name, name, ">") for name in names)]


def _storage_row(stage: Stage, per_element: int) -> dict[str, Any]:
    shards = sum(part.shards for part in stage.parts)
    return {
        "stage": stage.title,
        "shards": shards,
        "size": _bytes(sum(part.stored for part in stage.parts)),
        "caches": _bytes(sum(part.cached for part in stage.parts)),
        "elements": -(-shards // per_element),
    }


def _limit_row(limit: Limit) -> dict[str, Any]:
    shown = {"": _short, "bytes": _bytes, "seconds": _time}[limit.unit]
    return {
        "from": "never" if limit.passages is None else _short(limit.passages),
        "here": shown(limit.figure) + (" !" if limit.exceeded else ""),
        "most": shown(limit.most),
        "kind": limit.kind,
        "what": f"{limit.name}: {limit.change}",
    }


def _scale_row(forecast: Forecast, met: Sequence[str]) -> dict[str, Any]:
    return {
        "passages": _short(forecast.passages),
        "time": _time(forecast.wall),
        "gpu": f"{forecast.gpu_seconds / 3600:,.0f}" if forecast.gpu_seconds else "-",
        "cost": f"{forecast.cost:,.0f}" if forecast.cost else "-",
        "files": _short(forecast.files),
        "size": _bytes(forecast.stored),
        "slowest": forecast.bottleneck.title,
        "met": met[0] + (f" +{len(met) - 1}" if len(met) > 1 else "") if met else "-",
    }


_STAGES = [
    Column("stage", "stage"),
    *(Column(name, name, ">") for name in ("rows", "tokens", "work", "time", "share")),
    Column("limited by", "limit"),
]
_STORAGE = [
    Column("stage", "stage"),
    Column("shards", "shards", ","),
    Column("size", "size", ">"),
    Column("caches", "caches", ">"),
    Column("array elements", "elements", ","),
]
_LIMITS = [
    Column("from passages", "from", ">"),
    Column("here", "here", ">"),
    Column("most", "most", ">"),
    Column("limit", "kind"),
    Column("what it is, and the key that moves it", "what"),
]
_SCALE = [
    *(Column(title, key, ">") for title, key in (("passages", "passages"), ("time", "time"), ("GPU h", "gpu"))),
    *(Column(name, name, ">") for name in ("cost", "files", "size")),
    Column("slowest", "slowest"),
    Column("limits met", "met"),
]


def _plain(plan: RunPlan) -> dict[str, Any]:
    """All figures."""
    return {
        "recipe": plan.name,
        "measured": {
            "run": plan.measured.name,
            "passages": plan.measured.passages,
            "row_bytes": dict(plan.measured.row_bytes),
        },
        **_figures(plan.forecast),
        "stages": [
            {
                "stage": stage.title,
                "seconds": stage.seconds,
                "wall_seconds": stage.wall,
                "limited_by": stage.limit,
                "languages": [asdict(part) for part in stage.parts],
            }
            for stage in plan.forecast.stages
        ],
        "limits": [asdict(limit) | {"exceeded": limit.exceeded} for limit in plan.limits],
        "scale": [_figures(found) | {"limits": list(met)} for found, met in plan.scale],
        "notes": list(plan.notes),
    }


def _figures(forecast: Forecast) -> dict[str, Any]:
    return {
        "passages": forecast.passages,
        "wall_seconds": forecast.wall,
        "relative_error": forecast.error,
        "gpu_hours": forecast.gpu_seconds / 3600,
        "cost": forecast.cost,
        "bottleneck": forecast.bottleneck.title,
        "shards": forecast.shards,
        "files": forecast.files,
        "bytes": forecast.stored,
        "machines": asdict(forecast.machines),
    }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}" if number else f"no {noun}"


def _short(number: float) -> str:
    from x_instruction.pipeline.status import short_number

    return short_number(number)


def _bytes(number: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{number / size:,.{1 if number < 100 * size else 0}f} {unit}"
    return "-" if not number else f"{number:,.0f} B"


def _time(seconds: float) -> str:
    from x_instruction.pipeline.progress import duration

    return duration(seconds) if seconds >= 1 or not seconds else f"{seconds:.2g}s"
