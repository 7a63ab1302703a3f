"""The report in a real browser: filter, search, open, switch the language, compare and print, in ten scripts."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import layout
import pytest
from axe import violations
from headless import Page, found
from ranges import RangeHandler
from report_run import BIDI, LONG, MARKUP, TEXTS, rows, write_run

from x_instruction.api import build, report
from x_instruction.report import rows as report_rows
from x_instruction.storage.run_folder import RunFolder

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(found() is None and os.environ.get("CI") != "true", reason="no chromium"),
]
SHOWN = "document.querySelectorAll('#list > li').length"


@pytest.fixture(scope="module")
def file(run: RunFolder, other: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Right-to-left and bidi controls in the name of the file.
    return report(run.root, tmp_path_factory.mktemp("page") / "ריפורט \u202egpj.html", compare=other.root)


@pytest.fixture
def page(browser: Page, file: Path) -> Iterator[Page]:
    browser.resize(1400)
    browser.dark(False)
    browser.open(file.as_uri())
    yield browser
    assert browser.problems == []


def choose(page: Page, id: str, value: str) -> None:
    """Set a control and dispatch its event, as a choice of a user does."""
    page.value(
        f"(() => {{ const one = document.getElementById('{id}'); one.value = '{value}';"
        "one.dispatchEvent(new Event('input', {bubbles: true})); one.dispatchEvent(new Event('change')); })()"
    )


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.value(f"[...document.querySelectorAll('{selector}')].map(one => one.textContent)")
    return found


def test_the_page_shows_rows_in_pages(page: Page) -> None:
    assert page.value(SHOWN) == 20
    assert texts(page, "#count") == ["60 rows, 1 to 20 shown"]
    page.click("#pager button:last-child")
    assert texts(page, "#count") == ["60 rows, 21 to 40 shown"]
    assert page.value("document.querySelectorAll('.chart svg').length") >= 5


def test_search_finds_and_highlights_rows(page: Page) -> None:
    page.click("#search")
    page.type("valley 4 IN sw")
    assert texts(page, "#count") == ["1 row, 1 to 1 shown"]
    assert page.value("CSS.highlights.get('found').size") >= 1
    page.click("#filters button[type=reset]")
    until(page, "60 rows, 1 to 20 shown")
    page.click("#search")
    page.type("no such words")
    assert texts(page, "#count") == ["No row matches."]


def test_filters_and_sorting(page: Page) -> None:
    choose(page, "state", "=too_short")
    assert texts(page, "#count") == ["10 rows, 1 to 10 shown"]
    assert set(texts(page, "#list .mark")) == {"too_short"}
    choose(page, "state", "kept")
    choose(page, "least", "0.5")
    assert texts(page, "#count") == ["20 rows, 1 to 20 shown"]
    choose(page, "least", "")
    choose(page, "source", "org/corpus")
    assert texts(page, "#count") == ["30 rows, 1 to 20 shown"]
    choose(page, "source", "")
    choose(page, "sort", "long")
    assert texts(page, "#list > li:first-child .text")[1].startswith("maneno ")


def test_the_language_switches_rows_and_sections(page: Page) -> None:
    choose(page, "language", "ur")
    assert texts(page, "#count") == ["6 rows, 1 to 6 shown"]
    assert set(page.value("[...document.querySelectorAll('#list .text[lang]')].map(one => one.lang)")) == {"en", "ur"}
    shown = (
        "[...document.querySelectorAll('[data-language]')].filter(one => !one.hidden).map(one => one.dataset.language)"
    )
    assert set(page.value(shown)) == {"ur"}
    choose(page, "language", "")
    assert len(set(page.value(shown))) == 10


def test_a_row_expands_to_its_candidates_and_the_compared_row(page: Page) -> None:
    choose(page, "language", "th")
    page.click("#list > li:first-child .foot button")
    assert page.value("document.querySelector('#list > li:first-child .foot button').ariaExpanded") == "true"
    captions = texts(page, "#list > li:first-child caption")
    assert captions == ["All instructions for this response", "In other"]
    cells = texts(page, "#list > li:first-child tbody td")
    assert "A worse one: Describe the rivers of valley 0 in th." in cells
    assert "not_best" in cells
    assert "Describe the rivers of valley 0 in th. Answer briefly." in cells
    assert "https://example.org/th/0" in texts(page, "#list > li:first-child dd")


def test_two_sets_are_compared(page: Page) -> None:
    assert texts(page, "#comparison h2") == ["Comparison with other"]
    assert texts(page, "#comparison h3")[0].startswith("Swahili")
    assert len(texts(page, "#comparison table")) == 3


def test_hostile_rows_are_escaped_and_legible(page: Page) -> None:
    choose(page, "language", "sw")
    assert page.value("document.title") == "Report of X-Instruction: scripts"
    assert page.value("document.querySelectorAll('#evil, main img, main script, #list b[id]').length") == 0
    assert texts(page, "#list > li:first-child .text") == [MARKUP, MARKUP]
    marks = texts(page, "#list > li:nth-child(2) .pair .hidden-char")
    assert marks == [f"U+{ord(character):04X}" for character in BIDI if not character.isprintable()]
    assert texts(page, "#list > li:nth-child(3) .more") == ["Show 20,000 characters"]
    page.click("#list > li:nth-child(3) .more")
    assert len(texts(page, "#list > li:nth-child(3) .text")[1]) == 20_000 < len(LONG)
    assert "The Parquet file has all of its 100,100 characters." in texts(page, "#list > li:nth-child(3) .note")
    assert layout.problems(page) == []
    # The name of the source has a bidi control and markup.
    assert "U+202E" in texts(page, "#sources .hidden-char")


@pytest.mark.parametrize("tag", TEXTS)
@pytest.mark.parametrize("width", [400, 1400])
def test_every_script_is_laid_out_at_both_sizes(page: Page, tmp_path: Path, tag: str, width: int) -> None:
    page.resize(width, touch=width == 400)
    choose(page, "language", tag)
    text = f"document.querySelector('#list .text[lang={tag}]')"
    assert page.value(f"getComputedStyle({text}).direction") == ("rtl" if tag in ("ur", "he") else "ltr")
    page.click("#list > li:last-child .foot button")
    assert layout.problems(page) == []
    page.picture(tmp_path / f"{tag}-{width}.png", whole=True)
    assert (tmp_path / f"{tag}-{width}.png").stat().st_size > 50_000


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_is_accessible(page: Page, width: int, dark: bool) -> None:
    page.resize(width, touch=width == 400)
    page.dark(dark)
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.click("#list > li:first-child .foot button")
    assert violations(page) == []


def test_regions_have_unique_names(page: Page) -> None:
    page.click("#list > li:first-child .foot button")
    page.click("#list > li:nth-child(2) .foot button")
    names = page.value("[...document.querySelectorAll('[role=region]')].map(one => one.ariaLabel)")
    assert len(names) == len(set(names)) > 20


def test_words_and_charts_are_legible_on_a_phone(page: Page) -> None:
    page.resize(400, touch=True)
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    # A word of a table is on one line.
    broken = page.value(
        "[...document.querySelectorAll('.scroll td, .scroll td *')].flatMap(one => [...one.childNodes])"
        ".filter(one => one.nodeType === 3 && !one.parentElement.closest('.text')).flatMap(one =>"
        " [...one.data.matchAll(/[^\\s\u2013-]{2,20}(?!\\S)/g)].filter(word => { const range = new Range();"
        " range.setStart(one, word.index); range.setEnd(one, word.index + word[0].length);"
        " return new Set([...range.getClientRects()].map(box => box.top)).size > 1; }).map(String))"
    )
    assert broken == []
    scales = page.value("[...document.querySelectorAll('.chart svg')].map(one => one.getScreenCTM().a)")
    assert len(scales) >= 5
    assert min(scales) > 0.99
    # The nouns of the chart are in a table, too.
    cells = texts(page, "#instructions table td")
    assert cells[:2] == ["describe", "19"]
    assert "19" in cells[2]


def test_an_expanded_text_gets_the_focus(page: Page) -> None:
    choose(page, "language", "sw")
    page.click("#list > li:nth-child(3) .more")
    assert page.value("document.activeElement.textContent.startsWith('maneno')")


def test_any_id_and_letter_is_found(browser: Page, tmp_path: Path) -> None:
    """Ids that objects of JavaScript have, and letters whose cases differ in length."""
    run, _ = write_run(tmp_path / "odd", ("sw",))
    page = report(run.root, tmp_path / "page.html", compare=write_run(tmp_path / "odd2", ("sw",))[0].root)
    first = rows("sw")[0]
    text = page.read_text("utf-8").replace(f'["{first.id}-1"', '["constructor"')
    text = text.replace(f"{rows('sw')[3].instruction}", "Describe İstanbul and DIYARBAKIR")
    page.write_text(text, "utf-8")
    browser.open(page.as_uri())
    assert texts(browser, "#list > li:first-child .foot code") == ["constructor"]
    assert texts(browser, "#list > li:first-child .mark") == []
    browser.click("#list > li:first-child .foot button")
    assert texts(browser, "#list > li:first-child caption") == []
    marked = "[...CSS.highlights.get('found')].map(String)"
    for query, shown in {"istanbul": "İstanbul", "İSTANBUL": "İstanbul", "diyarbakır": "DIYARBAKIR"}.items():
        choose(browser, "search", query)
        assert texts(browser, "#count") == ["1 row, 1 to 1 shown"], query
        assert shown in browser.value(marked)
    assert browser.problems == []


def test_the_page_works_by_keyboard(page: Page) -> None:
    page.press("Tab")
    assert page.value("document.activeElement.textContent") == "Skip to the rows"
    page.value("document.querySelector('#list .foot button').focus()")
    page.press("Enter")
    assert page.value("document.querySelector('#list .details').hidden") is False


def test_a_served_page_reads_all_rows(
    browser: Page, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has a part of the rows; those of a run and of a built set are read from their files."""
    monkeypatch.setattr(report_rows, "MOST_ROWS", 10)
    monkeypatch.setattr(report_rows, "LEAST_ROWS", 2)
    (tmp_path / "run").symlink_to(run.root)
    built = build(run.root, tmp_path / "set", lambda line: None)
    pages = [report(run.root, run.root / "report.html"), report(built)]
    browser.call("Network.setCacheDisabled", cacheDisabled=True)
    with served(tmp_path) as address:
        for page, folder in zip(pages, ("run/curated", "set/data"), strict=True):
            browser.resize(1400)
            browser.open(f"{address}/{'run/' * (page.parent != tmp_path)}{page.name}")
            choose(browser, "language", "ta")
            assert texts(browser, "#count")[0].startswith("2 rows of the sample of 20 rows in this page")
            browser.click("#whole button")
            until(browser, "All 6 rows of Tamil, 1 to 6 shown")
            assert browser.value(SHOWN) == 6
            choose(browser, "search", "valley 3")
            until(browser, "1 row, 1 to 1 shown; all 6 rows read")
            browser.click("#list .foot button")
            assert "https://example.org/ta/3" in texts(browser, "#list dd")
            assert texts(browser, "#list .foot code") == [f"{rows('ta')[3].id}-1"]
            # Scores as in the sample, and the rows of all languages.
            choose(browser, "search", "")
            until(browser, "All 6 rows of Tamil, 1 to 6 shown")
            assert texts(browser, "#list .foot b") == [str(row.score) for row in rows("ta")]
            choose(browser, "language", "")
            until(browser, "All 60 rows of all languages, 1 to 20 shown")
            choose(browser, "language", "ta")
            until(browser, "All 6 rows of Tamil, 1 to 6 shown")
            browser.click("#whole button")
            assert texts(browser, "#count")[0].startswith("2 rows of the sample")
            # Files that cannot be read: the sample of the chosen language, and why.
            thai = sorted((tmp_path / folder / "th").glob("*.parquet"))[-1]
            hidden = thai.rename(tmp_path / "hidden")
            browser.problems.clear()
            browser.click("#whole button")
            until(browser, "All 6 rows of Tamil, 1 to 6 shown")
            choose(browser, "language", "th")
            until(browser, "The Parquet files cannot be read: ")
            assert browser.value(SHOWN) == 2
            assert browser.value("document.querySelector('#whole button').ariaPressed") == "false"
            browser.click("#whole button")
            until(browser, "The Parquet files cannot be read: ")
            assert all("404" in problem for problem in browser.problems)
            browser.problems.clear()
            hidden.rename(thai)
            page.unlink()
    assert browser.problems == []


def until(page: Page, text: str) -> None:
    """Wait until what the page counts begins with this."""
    page.until(f"document.getElementById('count').textContent.startsWith({text!r})")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder."""
    handler = functools.partial(RangeHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_page_prints_to_pdf(page: Page, tmp_path: Path) -> None:
    page.pdf(tmp_path / "report.pdf")
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert len(data) > 50_000


def test_a_search_is_quick(page: Page) -> None:
    start = time.monotonic()
    choose(page, "search", "valley")
    assert time.monotonic() - start < 5
