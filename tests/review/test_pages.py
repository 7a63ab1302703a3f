"""The pages of raters in a real browser: by keyboard and touch, saved answers, and every script."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe import violations
from click.testing import CliRunner
from headless import Page, browse, found

from x_instruction.cli import cli
from x_instruction.evaluation.record import read_instances, read_record
from x_instruction.refine import label_files
from x_instruction.review import preference, quality
from x_instruction.review.answers import read_answers
from x_instruction.review.page import write
from x_instruction.review.sample import QUESTIONS
from x_instruction.review.sheet import Item, Sheet, read_key

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(found() is None and os.environ.get("CI") != "true", reason="no chromium"),
]
SAMPLE = Path(preference.__file__).parent.parent / "corpus" / "sample"
TAGS = ("bn", "fi", "hi", "id", "sw", "ta", "th", "tr", "ur", "vi")
RIGHT_TO_LEFT = {"ur"}
EVIL = '</script><script>document.title="evil"</script><img src=x onerror="document.title=1"> \u202egnp.exe'
# A clock on which there is a pause between taps.
QUICK = "let time = 0; performance.now = () => time += 1000;"
# The end of the answers of the system that the scripted raters prefer.
MARK = " ✓"


def text(tag: str, number: int = 0) -> str:
    lines = (SAMPLE / f"{tag}.jsonl").read_text("utf-8").splitlines()
    return str(json.loads(lines[number])["text"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sheet of 20 pairs in ten languages, one of which is hostile, and the pages of three raters."""
    root = tmp_path_factory.mktemp("rate")
    rows = [
        {
            "id": f"{tag}-{number}",
            "instruction": EVIL if (tag, number) == ("sw", 1) else f"What should I know about subject {number}?",
            "language": tag,
            "output_a": text(tag, number),
            "output_b": (EVIL if (tag, number) == ("sw", 1) else text(tag, number)[::2]) + MARK,
        }
        for tag in TAGS
        for number in (0, 1)
    ]
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    made = CliRunner().invoke(
        cli,
        [
            *("eval", "rate", "make", str(root / "pairs.jsonl"), "--out", str(root / "sheet")),
            *("--names", "base,tuned", "--aspect", "language", "--raters", "3"),
        ],
    )
    assert made.exit_code == 0, made.output
    return root / "sheet"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    root = tmp_path_factory.mktemp("browser")
    with browse(root / "profile") as page:
        page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(root))
        yield page


def saved(folder: Path, name: str) -> Path:
    """A file that the browser saves."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := [path for path in folder.parent.parent.rglob(name) if path.stat().st_size]:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"{name} was not saved")


@contextlib.contextmanager
def before_scripts(page: Page, source: str) -> Iterator[None]:
    """Run a script on each page before its own."""
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
    try:
        yield
    finally:
        page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def key(page: Page, **event: Any) -> None:
    page.call("Input.dispatchKeyEvent", type="keyDown", **event)
    page.call("Input.dispatchKeyEvent", type="keyUp", **event)


def open_file(page: Page, path: Path) -> str:
    """What the page says after a file was given to it."""
    page.value("document.getElementById('message').textContent = ''")
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#open")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
    return str(page.until("document.getElementById('message').textContent"))


def count(page: Page) -> str:
    return str(page.value("document.getElementById('count').textContent"))


def preferred(page: Page) -> int:
    """The number of the choice that prefers the marked answer: overall there are four, else three."""
    first = page.value(f"document.querySelector('#texts .text').textContent.endsWith('{MARK}')")
    return 1 if first else int(page.value("document.querySelectorAll('#choices button').length"))


def shown_id(page: Page, sheet: Sheet) -> Item:
    asked, texts = page.value(
        "[document.querySelector('#asked .text').textContent,"
        "[...document.querySelectorAll('#texts .text')].map(one => one.textContent)]"
    )
    return next(item for item in sheet.items if item.instruction == asked and item.texts[0] in texts)


def test_pairs_can_be_rated_by_keyboard_and_by_touch(folder: Path, browser: Page, tmp_path: Path) -> None:
    sheet = read_key(folder)
    browser.resize(1400)
    browser.open((folder / "rater-1.html").as_uri())
    for _ in sheet.items:
        browser.press(str(preferred(browser)))
        browser.press(str(preferred(browser)))
    assert count(browser) == "20 of 20 answered"
    assert browser.value("document.activeElement.id") == "save"
    browser.press("s")
    place = json.dumps(f"x_instruction/{sheet.id}/2")
    chosen = "(sum, answer) => sum + Object.keys(answer.choices).length"
    browser.resize(400, 800, touch=True)
    with before_scripts(browser, QUICK):
        browser.open((folder / "rater-2.html").as_uri())
    for number in range(1, 2 * len(sheet.items) + 1):
        browser.tap(f"#choices button:nth-child({preferred(browser)})")
        # A tap becomes a click a little later.
        browser.until(f"Object.values(JSON.parse(localStorage[{place}]).answers).reduce({chosen}, 0) === {number}")
    assert count(browser) == "20 of 20 answered"
    browser.tap("#save")
    files = [saved(folder, f"answers-{sheet.id[:8]}-{number}.json") for number in (1, 2)]
    assert browser.problems == []
    collected = CliRunner().invoke(cli, ["eval", "rate", "collect", *map(str, files), "--sheet", str(folder)])
    assert collected.exit_code == 0, collected.output
    assert "how often base is better than tuned" in collected.output
    record = read_record(folder / "human-rating.json")
    overall = [metric for metric in record.metrics if metric.name == "score"]
    assert {(metric.language, metric.value) for metric in overall} == {(tag, 0.0) for tag in (*TAGS, "")}
    assert len(list(read_instances(record))) == 2 * 2 * 20
    labels = label_files.read(folder / "labels.jsonl")
    assert {(label.level, label.text.endswith(MARK)) for label in labels} == {("best", True), ("flawed", False)}
    assert len(labels) == 40
    # Each rater saw another order.
    assert [sheet.swapped(1, item) for item in sheet.items] != [sheet.swapped(2, item) for item in sheet.items]


def test_answers_are_saved_undone_and_restored(folder: Path, browser: Page) -> None:
    page = (folder / "rater-3.html").as_uri()
    browser.resize(1400)
    browser.open(page)
    for key in ("1", "2", "2", "1"):
        browser.press(key)
    assert count(browser) == "2 of 20 answered"
    assert browser.value("document.getElementById('pair').textContent") == "Pair 3 of 20"
    browser.press("u")
    assert count(browser) == "1 of 20 answered"
    assert browser.value("document.getElementById('pair').textContent") == "Pair 2 of 20"
    browser.open(page)
    assert count(browser) == "1 of 20 answered"
    # A comment is typed, not read as commands.
    browser.press("c")
    browser.type("1u2s")
    browser.press("Escape")
    browser.press("ArrowLeft")
    browser.press("ArrowRight")
    assert browser.value("document.getElementById('comment').value") == "1u2s"
    assert count(browser) == "1 of 20 answered"


def test_answers_are_exported_and_imported(folder: Path, browser: Page, tmp_path: Path) -> None:
    # Headless Chromium cannot share, so the page is given a share that keeps the file.
    share = """
        navigator.canShare = ({files}) => files[0].type === "text/plain";
        navigator.share = async data => { window.shared = [data.files[0].name, await data.files[0].text()]; };
    """
    browser.resize(400, 800, touch=True)
    with before_scripts(browser, share):
        browser.open((folder / "rater-3.html").as_uri())
    browser.tap("#share")
    name, content = browser.until("window.shared")
    assert name.endswith(".txt")
    file = tmp_path / name
    file.write_text(content, "utf-8")
    (rater,) = read_answers(read_key(folder), [file])
    number = sum(len(answer.choices) == 2 for answer in rater.answers.values())
    browser.value("localStorage.clear()")
    browser.open((folder / "rater-3.html").as_uri())
    assert count(browser) == "0 of 20 answered"
    assert open_file(browser, file) == f"Added the answers of {name}. Newer ones on this page are kept."
    assert count(browser) == f"{number} of 20 answered"
    # Newer answers stay, and can be undone.
    first = browser.value("JSON.parse(localStorage[Object.keys(localStorage)[0]]).answers")
    browser.press("1")
    open_file(browser, file)
    assert count(browser) == f"{number + 1} of 20 answered"
    browser.press("u")
    assert count(browser) == f"{number} of 20 answered"
    # Files of other pages, in which answers are in another order, and files that are none.
    other = tmp_path / "other.json"
    for changes, message in (
        ({"rater": 2}, "other.json is of rater 2: open it on the page rater-2.html."),
        ({"sheet": "x"}, "other.json has answers to another sheet."),
        ({"format": "x"}, "other.json is not a file of answers."),
    ):
        other.write_text(json.dumps(json.loads(content) | changes), "utf-8")
        assert open_file(browser, other) == message
        assert count(browser) == f"{number} of 20 answered"
    kept = browser.value("JSON.parse(localStorage[Object.keys(localStorage)[0]]).answers")
    assert {id: kept[id]["choices"] for id in first} == {id: first[id]["choices"] for id in first}


def test_answers_of_two_tabs_are_merged(folder: Path, browser: Page) -> None:
    browser.resize(1400)
    browser.open((folder / "rater-3.html").as_uri())
    browser.value("localStorage.clear()")
    browser.open((folder / "rater-3.html").as_uri())
    for number in "1111":
        browser.press(number)
    # Another tab, which was opened before these answers, writes one of its own.
    sheet = read_key(folder)
    place = f"x_instruction/{sheet.id}/3"
    state = browser.value("JSON.parse(localStorage[Object.keys(localStorage)[0]])")
    busy = {*state["answers"], shown_id(browser, sheet).id}
    fresh, later = [item.id for item in sheet.items if item.id not in busy][:2]
    answer = {"choices": {"overall": "tie", "language": "tie"}, "changed": 1}
    theirs = json.dumps({"name": "Asha", "at": 0, "answers": {fresh: answer}})
    browser.value(f"localStorage.setItem({json.dumps(place)}, {json.dumps(theirs)})")
    browser.press("1")
    browser.press("1")
    assert count(browser) == "4 of 20 answered"
    assert len(browser.value(f"JSON.parse(localStorage[{json.dumps(place)}]).answers")) == 4
    event = {"key": place, "newValue": json.dumps({"name": "Ada", "at": 0, "answers": {later: answer}})}
    browser.value(f"dispatchEvent(new StorageEvent('storage', {json.dumps(event)}))")
    assert count(browser) == "5 of 20 answered"
    assert browser.value("document.getElementById('name').value") == "Ada"
    browser.value("localStorage.clear()")


def test_a_browser_without_storage_shows_a_warning(folder: Path, browser: Page) -> None:
    refuse = (
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});"
    )
    with before_scripts(browser, refuse):
        browser.open((folder / "rater-3.html").as_uri())
    for _ in range(2):
        browser.press("1")
        browser.press("1")
        assert count(browser) != "0 of 20 answered"
        assert browser.value("document.getElementById('warning').checkVisibility()")
    assert "Save them to a file before you close" in browser.value("document.getElementById('warning').textContent")
    # Otherwise the page would ask before it is left.
    browser.press("s")


def test_held_keys_and_double_taps_count_once(folder: Path, browser: Page) -> None:
    browser.resize(400, 800, touch=True)
    browser.open((folder / "rater-3.html").as_uri())
    browser.value("localStorage.clear()")
    browser.open((folder / "rater-3.html").as_uri())
    question = "document.getElementById('question').textContent"
    overall, aspect = "Which answer is better?", preference.ASPECTS["language"]
    held = {"key": "1", "code": "Digit1", "text": "1"}
    browser.call("Input.dispatchKeyEvent", type="keyDown", **held)
    for _ in range(4):
        browser.call("Input.dispatchKeyEvent", type="keyDown", autoRepeat=True, **held)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **held)
    assert browser.value(question) == aspect
    assert browser.value("document.activeElement.id") == "question"
    # Thai digits, by the place of the key.
    key(browser, key="๑", code="Digit1", text="๑")
    assert count(browser) == "1 of 20 answered"
    assert browser.value(question) == overall
    key(browser, key="ี", code="KeyU", text="ี")
    assert count(browser) == "0 of 20 answered"
    # Otherwise the second tap would answer the next question.
    button = "document.querySelectorAll('#choices button')[1]"
    tap = f"{button}.dispatchEvent(new MouseEvent('click', {{detail: 1}}))"
    assert browser.value(question) == aspect
    for now, expected in ((1e9, overall), (1e9 + 299, overall), (1e9 + 300, aspect)):
        browser.value(f"performance.now = () => {now}")
        browser.value(tap)
        assert browser.value(question) == expected
        assert count(browser) == "1 of 20 answered"
    browser.value("localStorage.clear()")


@pytest.mark.parametrize(("width", "height"), [(320, 568), (640, 320), (400, 800), (1400, 900)])
def test_the_pair_and_the_choices_are_visible_together(browser: Page, tmp_path: Path, width: int, height: int) -> None:
    write(review_sheet(), tmp_path, 1)
    browser.resize(width, height, touch=width < 700)
    browser.open((tmp_path / "rater-1.html").as_uri())
    browser.press("2")
    # Pages on disk share one storage.
    browser.value("localStorage.clear()")
    covered = "(box => getComputedStyle(dock).position === 'sticky' ? box.height / innerHeight : 0)"
    script = f"(dock => {covered}(dock.getBoundingClientRect()))(document.querySelector('.dock'))"
    assert browser.value(script) <= 0.5
    # A phone makes the window as wide as the page.
    assert browser.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [400, 1400])
def test_every_script_is_laid_out_and_escaped(folder: Path, browser: Page, width: int, tmp_path: Path) -> None:
    sheet = read_key(folder)
    browser.resize(width, 900, touch=width < 500)
    browser.open((folder / "rater-1.html").as_uri())
    for _ in range(len(sheet.items)):
        browser.press("p")
    for _ in range(len(sheet.items)):
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")
        direction = browser.value("getComputedStyle(document.querySelector('#texts .text')).direction")
        tag = browser.value("document.querySelector('#texts .text').lang")
        evil = browser.value("document.querySelectorAll('.hidden-char').length") > 0
        if not evil:
            assert direction == ("rtl" if tag in RIGHT_TO_LEFT else "ltr")
            # Buttons are large enough for a finger.
            sizes = "[...document.querySelectorAll('.dock button:not([hidden])')].map(one => one.offsetHeight)"
            assert min(browser.value(sizes)) >= 44
        browser.press("n")
    assert browser.value("document.title") == "Which answer is better?"
    assert browser.value("document.querySelectorAll('main img, main script').length") == 0
    assert browser.problems == []


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(folder: Path, browser: Page, dark: bool) -> None:
    browser.resize(1400)
    browser.dark(dark)
    browser.open((folder / "rater-1.html").as_uri())
    browser.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert violations(browser) == []
    browser.dark(False)


def hidden_of(tag: str, number: int) -> dict[str, Any]:
    return {"passage": f"{tag}-{number}", "document": str(number), "score": 0.5, "weight": 1.0, "kept": True}


def review_sheet() -> Sheet:
    items = [
        Item(
            f"{tag}-{number}", tag, "en", f"What is text {number} about?", (text(tag, number),), hidden_of(tag, number)
        )
        for tag in ("ur", "th", "ta")
        for number in range(2)
    ]
    limits = {"min_chars": 12, "max_chars": 600, "max_sentences": 1, "max_copy": 0.5}
    hidden = {"run": "r", "language": "ur", "pool": 6, "rater": "pmi", "precision": None, "limits": limits}
    guide = "Read the instruction, then the response."
    return Sheet("review", "Review of pairs", guide, ("Response",), QUESTIONS, tuple(items), True, 0, hidden)


def test_flaws_and_corrections_can_be_entered_by_keyboard(browser: Page, tmp_path: Path) -> None:
    sheet = review_sheet()
    write(sheet, tmp_path / "sheet", 1)
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.resize(400, 800, touch=True)
    browser.open((tmp_path / "sheet" / "rater-1.html").as_uri())
    browser.click("#name")
    browser.type("Asha")
    browser.press("Escape")
    first = shown_id(browser, sheet)
    browser.press("e")
    browser.value("document.getElementById('edit').select()")
    # Text is kept while it is typed, also if the next pair is drawn over it.
    browser.type("How do people")
    browser.value("document.getElementById('next').click()")
    browser.value("document.getElementById('back').click()")
    browser.press("e")
    assert browser.value("document.getElementById('edit').value") == "How do people"
    browser.value("document.getElementById('edit').select()")
    browser.type("How do people cook")
    browser.type("How do people cook rice?")
    browser.value("document.getElementById('edit').value = 'How do people cook rice?'")
    browser.value("document.getElementById('edit').dispatchEvent(new Event('input'))")
    browser.press("Escape")
    # All that is typed into a field is one step.
    browser.press("u")
    assert browser.value("document.getElementById('edit').value") == first.instruction
    browser.press("e")
    browser.value("document.getElementById('edit').select()")
    browser.type("How do people cook rice?")
    browser.press("Escape")
    browser.press("2")
    assert browser.value("document.getElementById('question').textContent") == "What is wrong?"
    browser.press("1")
    second = shown_id(browser, sheet)
    browser.press("1")
    assert count(browser) == "2 of 6 answered"
    assert violations(browser) == []
    browser.press("s")
    file = saved(tmp_path / "sheet" / "x", f"answers-{sheet.id[:8]}-1.json")
    (rater,) = read_answers(sheet, [file])
    assert rater.name == "Asha"
    assert rater.answers[first.id].choices == {"quality": "flawed", "flaw": "off_topic"}
    assert rater.answers[second.id].choices == {"quality": "good"}
    review = quality.read(sheet, [rater], 0.8)
    assert [correction.corrected for correction in review.corrections] == ["How do people cook rice?"]
    assert review.flaws == {"off_topic": 1}
    assert browser.problems == []


def test_the_command_offers_every_aspect() -> None:
    from x_instruction.cli.eval.rate.make import ASPECTS

    assert tuple(preference.ASPECTS) == ASPECTS
