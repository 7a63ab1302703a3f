"""The model of a recipe, or behind answers, as records of evaluations state it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from x_instruction.config.model import Model
from x_instruction.engines import engine_spec
from x_instruction.engines.fingerprint import located
from x_instruction.evaluation.answers import AnswerSet, system_report
from x_instruction.evaluation.metric import ModelInfo


def model_info(settings: Model) -> ModelInfo:
    """The name, revision and engine of a model. A model on this machine is known by its content, never by its path.

    Raises:
        EngineError: the model or its adapter does not exist.
    """
    if engine_spec(settings).remote:
        return ModelInfo(name=settings.name, engine=settings.engine, adapter=settings.adapter or "")
    base = located(settings.name, settings.revision)
    adapter = located(settings.adapter) if settings.adapter else None
    return ModelInfo(
        name=base.name,
        revision=base.revision,
        engine=settings.engine,
        engine_version=_version(settings.engine),
        adapter=f"{adapter.name}, {adapter.revision}" if adapter else "",
        deployment="self_deployed",
    )


def system_info(sets: Sequence[AnswerSet], name: str) -> ModelInfo:
    """The model behind a system, as the report beside its answers states it."""
    report = system_report(sets[0].systems[name].path) or {}
    return ModelInfo(name=name, revision=str(report.get("revision", "")), engine=str(report.get("engine", "")))


def _version(engine: str) -> str:
    try:
        return version(engine)
    except PackageNotFoundError:
        return ""
