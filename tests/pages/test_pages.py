"""The base of offline pages in a real browser: its content policy, and hostile text."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import layout
import pytest
from axe import violations
from headless import Page, browse, found

from x_instruction.languages import direction
from x_instruction.pages.page import inert_json, page
from x_instruction.pages.text import escape, visible

needs_browser = pytest.mark.skipif(found() is None and os.environ.get("CI") != "true", reason="no chromium")
MARKUP = '</script><script>document.title="evil"</script><img src=x onerror="document.title=1"><!--<script>'
HOSTILE = f"{MARKUP} a\u202egnp.exe\u2066 lone \ud83d nul \0 tab\t line\u2028 &amp; \x1b[31m \ue000"
SPELLING = "می\u200cخواهم ក\u200bខ soft\u00adhyphen ۝ 𝔸👩\u200d👩"
SCRIPT = """
document.getElementById("shown").append(
  pages.text("p", "en", pages.data("row").text), pages.make("button", {ariaPressed: "true"}, "Press"));
document.getElementById("shown").dataset.same = pages.data("row").text === eval_free(pages.data("row").codes);
function eval_free(codes) { return String.fromCharCode(...codes); }
"""
BODY = f'<main><h1>A page</h1><p id="server">{escape(HOSTILE)}</p><div id="shown"></div></main>'


def units(text: str) -> list[int]:
    data = text.encode("utf-16-le", "surrogatepass")
    return [int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("pages")
    data = {"row": {"text": HOSTILE, "codes": units(HOSTILE)}}
    (folder / "page.html").write_bytes(page(MARKUP, BODY, data=data, scripts=[SCRIPT]))
    with browse(folder / "browser") as browser:
        browser.open((folder / "page.html").as_uri())
        yield browser


@pytest.mark.browser
@needs_browser
def test_hostile_text_is_shown_and_not_executed(shown: Page) -> None:
    assert shown.problems == []
    assert shown.value("document.title") == MARKUP
    assert shown.value("document.querySelectorAll('img, main script').length") == 0
    assert shown.value("document.getElementById('shown').dataset.same") == "true"
    marks = ["U+202E", "U+2066", "U+D83D", "U+0000", "U+2028", "U+001B", "U+E000"]
    for place in ("#server", "#shown .text"):
        found_marks = f"[...document.querySelectorAll('{place} .hidden-char')].map(one => one.textContent)"
        assert shown.value(found_marks) == marks
        assert shown.value(f"document.querySelector('{place}').textContent.startsWith({inert_json(MARKUP)})")


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize(
    "attack",
    [
        "eval('1')",
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'}))",
        "document.body.setAttribute('onclick', 'document.title = 1') || document.body.click()",
        "fetch('https://example.org')",
        "new Promise((good, bad) => document.body.append(Object.assign(document.createElement('img'),"
        " {src: 'https://example.org/x.png', onload: good, onerror: bad})))",
    ],
)
def test_the_content_policy_blocks_attacks(shown: Page, attack: str) -> None:
    # As a timer, because what a debugger evaluates is not under the policy.
    title = shown.value("document.title")
    refused = shown.value(
        "new Promise(done => {"
        "document.addEventListener('securitypolicyviolation', one => done(one.effectiveDirective), {once: true});"
        f" setTimeout(async () => {{ try {{ await ({attack}); }} catch (error) {{ }} }}, 0);"
        " setTimeout(() => done(''), 20000); })"
    )
    assert refused, attack
    assert shown.value("document.title") == title


@pytest.mark.browser
@needs_browser
def test_the_base_page_is_accessible_in_light_and_dark_mode(shown: Page) -> None:
    shown.value("document.querySelectorAll('body > img').forEach(image => image.remove())")
    for dark in (False, True):
        shown.dark(dark)
        assert violations(shown) == []


@pytest.mark.browser
@needs_browser
def test_python_and_javascript_mark_the_same_characters(shown: Page) -> None:
    marked = shown.value(
        "(() => { const found = []; for (let point = 0; point < 0x110000; point++) {"
        " if (point >= 0xf0000) point += 0xff;"
        " if (pages.show(document.createElement('p'), String.fromCodePoint(point)).children.length) found.push(point);"
        " } return found; })()"
    )
    points = [*range(0xF0000), *range(0xF00FF, 0x110000, 0x100)]
    assert marked == [point for point in points if visible(chr(point)) != chr(point)]


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize(
    ("tag", "expected"),
    [("ur", "rtl"), ("pa-Arab", "rtl"), ("he", "rtl"), ("dv", "rtl"), ("nqo", "rtl"), ("syr", "rtl"), ("sw", "ltr"),
     ("pa", "ltr"), ("th", "ltr"), ("", "auto"), ("und", "auto"), ("not a tag", "auto")],
)  # fmt: skip
def test_text_has_the_direction_of_its_script(shown: Page, tag: str, expected: str) -> None:
    # A text that begins with a Latin name would run from left to right by its first letter.
    assert shown.value(f"pages.text('p', {inert_json(tag)}, 'Linux ایک نظام ہے').dir") == expected
    assert direction(tag) == expected


def test_spelling_is_kept_and_every_other_format_character_is_marked() -> None:
    assert escape(SPELLING) == SPELLING == visible(SPELLING)
    hidden = [chr(point) for point in range(0x10000) if unicodedata.category(chr(point)) in ("Cc", "Cf", "Cs", "Co")]
    kept = {character for character in hidden if visible(character) == character}
    joiners = "\t\n\xad\u200b\u200c\u200d\u2060"
    assert kept == {*joiners, *map(chr, range(0x600, 0x606)), *"\u06dd\u070f\u0890\u0891\u08e2"}


def test_the_script_marks_the_same_characters(shown: Page) -> None:
    points = [*range(0x3000), *range(0xD800, 0x10000), 0xE0000, 0xE007F, 0xE0080, 0xF0000, 0x10FFFF]
    marked = shown.value(
        f"{points}.filter(point => pages.make('p', {{}}, String.fromCodePoint(point)).querySelector('.hidden-char'))"
    )
    assert marked == [point for point in points if visible(chr(point)) != chr(point)]


def test_equal_arguments_give_equal_bytes_of_valid_utf8() -> None:
    one = page(HOSTILE, BODY, data={"row": HOSTILE}, scripts=[SCRIPT])
    assert one == page(HOSTILE, BODY, data={"row": HOSTILE}, scripts=[SCRIPT])
    assert "\ud83d" not in one.decode("utf-8")


@pytest.mark.browser
@needs_browser
def test_the_layout_check_finds_problems(shown: Page, tmp_path: Path) -> None:
    """The tests of other pages rely on it."""
    styles = {
        "cut off": "#one { overflow: hidden; white-space: nowrap; width: 3rem; }",
        "outside": "#one { position: absolute; left: 98vw; white-space: nowrap; }",
        "overlap": "#one { margin-bottom: -3rem; }",
        "": "",
    }
    for name, style in styles.items():
        body = '<main><p id="one">Some words of a line</p><p id="two">Other words of a line</p></main>'
        (tmp_path / "page.html").write_bytes(page("t", body, styles=[style]))
        shown.open((tmp_path / "page.html").as_uri())
        names = {problem.split(":")[0] for problem in layout.problems(shown)}
        assert names - {"the page scrolls sideways"} == {name} - {""}


@pytest.mark.parametrize("part", ["</script>", "</STYLE >"])
def test_a_part_with_its_own_closing_tag_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="end tag"):
        page("t", "", scripts=[part])


def test_nan_is_refused_in_page_data() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        page("t", "", data={"x": float("nan")})
