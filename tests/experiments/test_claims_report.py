"""Reports of the experiments: verdicts in words, the plot, the page of a run and the documentation page."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import make_docs
import pytest
from axe import violations
from headless import Page, browse, found

from x_instruction.experiments.claims import wording
from x_instruction.experiments.claims.analysis import Figure
from x_instruction.experiments.claims.design import load
from x_instruction.experiments.claims.plot import plot
from x_instruction.experiments.claims.report import report
from x_instruction.experiments.claims.run import described, verdicts

needs_browser = pytest.mark.skipif(found() is None and os.environ.get("CI") != "true", reason="no chromium")


def results() -> dict[str, Any]:
    """Made-up results: every claim but one is measured, with effects of every kind."""
    design = load()
    shares = {"rater": 0.5, "combination": -1.0, "answer-language": 2.0, "curation": 0.0}
    figures = []
    for claim in design.claims:
        for one in claim.expect:
            value = shares.get(claim.id, 0.5) * (one.low + one.high)
            half = 0.05
            own = (claim.experiment, one.measure, one.arm, value, value - half, value + half, 300, 204, 2)
            if claim.id != "rounds":
                figures.append(Figure(*own, one.baseline, one.group, 0.07, "nats" if one.measure == "gain" else ""))
    table = described(design, verdicts(design, figures))
    fields = {"design": "claims", "test": design.test, "model": "embedded", "profile": "cpu", "documents": 3354}
    left = {"rounds/control-1": "no <time> was left"}
    rows = [{name: getattr(figure, name) for name in Figure.__dataclass_fields__} for figure in figures]
    return fields | {"languages": 59, "machine": "x86_64", "left": left, **table, "figures": rows}


VERDICTS = [
    ("rater", "Shown: the interval lies above 0. The effect is as expected."),
    ("combination", "Contradicted: the interval lies below 0."),
    ("answer-language", "Shown: the interval lies above 0. The effect is more than expected."),
    ("curation", "Open: the interval includes 0. An effect of 0.070 is found by 8 of 10 such experiments."),
    ("rounds", "Not measured."),
]


@pytest.mark.parametrize(("claim", "text"), VERDICTS)
def test_verdicts_are_worded(claim: str, text: str) -> None:
    deciding = next(one for one in results()["verdicts"] if one["claim"] == claim and one["decides"])
    assert wording.meaning(deciding) == text


@pytest.mark.parametrize(("claim", "verdict"), VERDICTS)
def test_each_verdict_has_its_advice_and_a_missing_one_has_none(claim: str, verdict: str) -> None:
    found = results()
    described_claim = next(one for one in found["claims"] if one["id"] == claim)
    deciding = next(one for one in found["verdicts"] if one["claim"] == claim and one["decides"])
    assert set(described_claim["advice"]) == {"shown", "open", "contradicted"}
    advice = wording.advice(described_claim, deciding)
    assert advice == described_claim["advice"].get(verdict.partition(":")[0].lower(), "")
    assert bool(advice) == (verdict != "Not measured.")
    page = re.sub("</?code>", "`", report(found).decode())
    assert html.escape(advice) in page


def test_an_expected_difference_of_zero_is_not_tested() -> None:
    one = next(one for one in results()["verdicts"] if one["claim"] == "pinch" and not one["decides"])
    assert wording.meaning(one) == "Open: a difference around 0 is expected, so no side is tested."


def test_figures_are_worded() -> None:
    figure = {"baseline": "base", "value": 0.5, "low": -0.25, "high": 1.0}
    assert wording.interval(figure) == "+0.500 (-0.250 to +1.000)"
    assert wording.interval(figure | {"baseline": ""}) == "0.500 (-0.250 to 1.000)"
    assert wording.interval(None) == "-"
    expected = {"arm": "tagged", "baseline": "base", "measure": "right", "group": "seen"}
    assert wording.comparison(expected) == "tagged against base: right language, languages seen in training"
    assert wording.comparison(expected | {"baseline": "", "group": "other_page", "measure": "recall"}) == (
        "tagged: recall, other_page"
    )


def test_the_plot_has_a_row_for_each_comparison_within_its_bounds() -> None:
    rows = results()["verdicts"]
    root = ElementTree.fromstring(plot(rows))
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    drawn = [element for element in root.iter() if element.tag.endswith("rect")]
    assert len(drawn) == len(rows) + 1
    for element in root.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("cy", height)):
            assert 0 <= float(element.attrib.get(name, 0)) <= most
    dots = [element for element in root.iter() if element.tag.endswith("circle")]
    assert len(dots) == sum(row["figure"] is not None for row in rows)


def test_the_page_has_every_claim_and_escapes_reasons() -> None:
    page = report(results()).decode()
    for claim in load().claims:
        assert f'<h2 id="{claim.id}">' in page
    assert "no &lt;time&gt; was left" in page
    assert report(results()) == report(results()).replace(b"\r", b"")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("claims-page")
    (folder / "report.html").write_bytes(report(results()))
    with browse(folder / "browser") as browser:
        browser.open((folder / "report.html").as_uri())
        yield browser


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_the_window_and_is_accessible(shown: Page, width: int, dark: bool) -> None:
    shown.resize(width)
    shown.dark(dark)
    assert shown.problems == []
    assert shown.value("document.documentElement.scrollWidth") <= width
    assert shown.value("getComputedStyle(document.querySelector('svg.claims .zero')).stroke") != "none"
    assert violations(shown) == []


def test_the_documentation_page_is_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / "claims-cpu.json").write_text(json.dumps(results()), "utf-8")
    monkeypatch.setattr(make_docs, "ROOT", tmp_path)
    page = make_docs.results_page()
    assert "- `cpu`. Shown: the interval lies above 0. The effect is as expected." in page
    assert "x-instruction experiment run claims --profile cpu --only curation" in page
    assert "(results/claims.svg)" in page
    deciding = [row for row in results()["verdicts"] if row["decides"]]
    assert make_docs.results_plot() == plot(deciding)


def test_without_results_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_docs, "ROOT", tmp_path)
    page = make_docs.results_page()
    assert len(re.findall(r"^- `cpu`\. Not measured\.$", page, re.MULTILINE)) == len(load().claims)
    assert "claims.svg" not in page
