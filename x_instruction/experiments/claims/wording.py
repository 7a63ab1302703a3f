"""Figures, comparisons and verdicts in words, for the command line, the report and the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GROUPS = {
    "all": "",
    "seen": ", languages seen in training",
    "unseen_language": ", languages not seen in training",
    "unseen_source": ", a source not seen in training",
}
_MEASURES = {
    "gain": "gain in nats",
    "found": "own response found",
    "right": "right language",
    "clean": "right language, no repetition",
    "auroc": "AUROC",
    "first": "good pair rated first",
    "ap": "average precision",
}


def comparison(expected: Mapping[str, Any]) -> str:
    """What is compared, such as ``tagged against base: right language``.

    Args:
        expected: a comparison of a claim, or a figure.
    """
    against = f" against {expected['baseline']}" if expected["baseline"] else ""
    measure, group = expected["measure"], expected["group"]
    return f"{expected['arm']}{against}: {_MEASURES.get(measure, measure)}{_GROUPS.get(group, f', {group}')}"


def named(measure: str) -> str:
    """The name of a measure, as the beginning of a line."""
    name = _MEASURES.get(measure, measure)
    return name[0].upper() + name[1:]


def amount(value: float | None, signed: bool = False) -> str:
    """A measured number; ``-`` for none."""
    return "-" if value is None else f"{value:{'+' if signed else ''}.3f}"


def interval(figure: Mapping[str, Any] | None) -> str:
    """A figure with its 95 % interval; ``-`` if it was not measured. Differences have a sign."""
    if figure is None:
        return "-"
    signed = bool(figure["baseline"])
    value, low, high = (amount(figure[key], signed) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def expectation(expected: Mapping[str, Any]) -> str:
    """What a comparison expects."""
    sign = "+" if expected["baseline"] else ""
    return f"{expected['low']:{sign}.2f} to {expected['high']:{sign}.2f}"


def meaning(verdict: Mapping[str, Any]) -> str:
    """What a verdict means, in one or two sentences."""
    expected, figure = verdict["expected"], verdict["figure"]
    least = 0 if expected["baseline"] else expected["low"]
    if verdict["verdict"] == "not measured":
        return "Not measured."
    if verdict["verdict"] == "contradicted":
        return f"Contradicted: the interval lies below {least:g}."
    if verdict["verdict"] == "shown":
        size = (
            "more than"
            if figure["value"] > expected["high"]
            else "less than"
            if figure["value"] < expected["low"]
            else "as"
        )
        return f"Shown: the interval lies above {least:g}. The effect is {size} expected."
    if expected["baseline"] and expected["low"] < 0:
        return "Open: a difference around 0 is expected, so no side is tested."
    return (
        f"Open: the interval includes {least:g}. An effect of {amount(figure['smallest'])} is found by 8 of 10 such "
        "experiments."
    )


def advice(claim: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    """What to do about a verdict, as the design says; empty if it says nothing.

    Args:
        claim: a claim of the results.
        verdict: the one that decides it.
    """
    return str(claim.get("advice", {}).get(verdict["verdict"], ""))
