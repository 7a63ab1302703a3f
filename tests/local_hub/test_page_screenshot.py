"""The pages in a real browser, with scripts of all directions and hostile rows."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import layout
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from axe import violations
from headless import Page, browse, fonts, found
from local_hub_fixture import RunningHub

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.sources import Document, read
from x_instruction.languages import language

pytestmark = [
    pytest.mark.browser,
    # On CI a missing browser is a failure, so that the tests are not skipped silently.
    pytest.mark.skipif(found() is None and os.environ.get("CI") != "true", reason="no chromium"),
]
SCRIPTS = {
    "ur": ("rtl", "Arabic|Urdu|Nastaliq"),
    "th": ("ltr", "Thai"),
    "ta": ("ltr", "Tamil"),
    "bn": ("ltr", "Bengali"),
}
EVIL = '<b id="evil">x</b><script>document.title="evil"</script><img id="evil2" src=x onerror="document.title=1">'
CARD = """---
configs:
- config_name: all
  data_files: data/*/*.parquet
{configs}
---
# A card

| Language | Response | Score |
|---|---|---:|
{rows}

<details>
<summary>Folded</summary>

**hidden** <b id="evil3">x</b>

</details>
"""


def parquet(tag: str, texts: list[str]) -> bytes:
    rows = [{"id": f"{tag}-1", "instruction": "Why?", "output": text, "language": tag} for text in texts]
    rows.append({"id": f"{tag}-2", "instruction": EVIL, "output": EVIL, "language": tag})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{**row, "instruction_language": "en"} for row in rows]), sink)
    return sink.getvalue()


def texts(tag: str) -> list[str]:
    found = read(Corpus(source="sample"), language(tag))
    return [document.text for document in found if isinstance(document, Document)][:2]


@pytest.fixture(scope="module")
def page(local_hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    repo = local_hub.create("look-org/set")
    files = {f"data/{tag}/train-00000-of-00001.parquet": parquet(tag, texts(tag)) for tag in SCRIPTS}
    configs = "\n".join(
        f'- config_name: "{tag}"\n  data_files: data/{tag}/*.parquet' + ("\n  default: true" if tag == "ur" else "")
        for tag in SCRIPTS
    )
    first = {tag: " ".join(texts(tag)[0].split())[:200] for tag in SCRIPTS}
    rows = "\n".join(f"| `{tag}` | \u2068{text}\u2069 | 0.5 |" for tag, text in first.items())
    # A report adds to the links of the page.
    files |= {"README.md": CARD.format(configs=configs, rows=rows).encode(), "report.html": b"<p>A report"}
    local_hub.commit(repo, files)
    asked = {"title": "A question", "description": "Why?"}
    assert local_hub.ask(f"/api/datasets/{repo}/discussions", "POST", asked).status == 200
    with browse(tmp_path_factory.mktemp("browser")) as page:
        page.resize(1400)
        page.open(f"{local_hub.endpoint}/datasets/{repo}")
        page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
        yield page


@pytest.fixture
def rows(page: Page, local_hub: RunningHub, tag: str) -> Iterator[Page]:
    """The rows of one language."""
    page.open(f"{local_hub.endpoint}/datasets/look-org/set/viewer/{tag}")
    yield page
    page.open(f"{local_hub.endpoint}/datasets/look-org/set")
    page.value("document.querySelectorAll('details').forEach(one => one.open = true)")


def test_every_config_is_shown_the_default_first(page: Page) -> None:
    names = page.value("[...document.querySelectorAll('.configs a')].map(one => one.textContent)")
    assert names == ["ur", "all", "th", "ta", "bn"]
    assert page.value("document.querySelector('.configs [aria-current]').textContent") == "ur"
    assert page.value("document.querySelectorAll('#rows tbody tr').length") == 3


@pytest.mark.parametrize("tag", SCRIPTS)
def test_rows_have_the_direction_of_their_script(rows: Page, tag: str) -> None:
    page = rows
    cell = f"document.querySelector('#rows td[lang={tag}].text')"
    assert page.value(f"getComputedStyle({cell}).direction") == SCRIPTS[tag][0]
    assert texts(tag)[0].startswith(page.value(f"{cell}.textContent")[:40])
    # The position of the last and shortest line shows how the text is aligned.
    left, right = page.value(
        f"(() => {{ const range = document.createRange(); range.selectNodeContents({cell});"
        f"const box = {cell}.getBoundingClientRect(), lines = [...range.getClientRects()];"
        "const last = lines[lines.length - 1];"
        "return [last.left - box.left, box.right - last.right]; })()"
    )
    assert (right < left) == (SCRIPTS[tag][0] == "rtl"), (left, right)


@pytest.mark.parametrize("tag", SCRIPTS)
def test_the_card_has_the_direction_of_its_script(page: Page, tag: str) -> None:
    row = list(SCRIPTS).index(tag) + 1
    cell = f"#card tbody tr:nth-child({row}) td:nth-child(2)"
    assert page.value(f"getComputedStyle(document.querySelector('{cell}')).direction") == SCRIPTS[tag][0]


@pytest.mark.parametrize("tag", SCRIPTS)
def test_every_letter_has_a_glyph(page: Page, local_hub: RunningHub, tag: str) -> None:
    family = SCRIPTS[tag][1]
    if os.environ.get("CI") != "true" and not any(re.search(family, name) for name in fonts()):
        pytest.skip(f"no font whose name has {family} (Debian: fonts-noto-core, fonts-noto-ui-core)")
    row = list(SCRIPTS).index(tag) + 1
    cards = page.fonts(f"#card tbody tr:nth-child({row}) td:nth-child(2)")
    page.open(f"{local_hub.endpoint}/datasets/look-org/set/viewer/{tag}")
    shown = page.fonts(f"#rows td[lang={tag}].text")
    page.open(f"{local_hub.endpoint}/datasets/look-org/set")
    for used in (cards, shown):
        expected = sum(count for name, count in used.items() if re.search(family, name))
        assert expected > 0.6 * sum(used.values()), used


def test_rows_are_escaped(page: Page) -> None:
    assert page.value("document.querySelectorAll('#evil, #evil2, #evil3, script, img').length") == 0
    assert page.value("document.title") == "look-org/set · local hub"
    shown = page.value("[...document.querySelectorAll('#rows td')].map(one => one.textContent)")
    assert shown.count(EVIL) == 2


def test_details_in_a_card_can_be_expanded(page: Page) -> None:
    assert page.value("document.querySelector('#card details summary').textContent") == "Folded"
    assert page.value("document.querySelectorAll('#card details strong').length") == 1
    assert "<b id=" in page.value("document.querySelector('#card details').textContent")


def test_numbers_are_aligned_at_the_end_and_words_are_not_broken(page: Page, tmp_path: Path) -> None:
    assert page.value("getComputedStyle(document.querySelector('#card td.number')).textAlign") == "end"
    lines = "[...document.querySelectorAll('#card th')].map(one => one.getClientRects()[0].height)"
    assert max(page.value(lines)) < 40
    page.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_rows_are_blocks_on_a_phone(page: Page, local_hub: RunningHub, tmp_path: Path) -> None:
    page.resize(400, 1200, touch=True)
    try:
        page.open(f"{local_hub.endpoint}/datasets/look-org/set/viewer/th")
        cells = page.value(
            "[...document.querySelectorAll('.rows tbody tr:first-child td')].map(one => [one.dataset.name,"
            " one.getBoundingClientRect().left, one.getBoundingClientRect().right,"
            " getComputedStyle(one, '::before').content])"
        )
        assert [cell[0] for cell in cells[:2]] == ["instruction", "output"]
        assert all(0 <= left < 40 and 360 < right <= 400 for _, left, right, _ in cells)
        assert [cell[3] for cell in cells] == [f'"{cell[0]}"' for cell in cells]
        assert page.value("document.documentElement.scrollWidth") == page.value("innerWidth") == 400
        page.picture(tmp_path / "phone.png")
    finally:
        page.resize(1400)
        page.open(f"{local_hub.endpoint}/datasets/look-org/set")
        page.value("document.querySelectorAll('details').forEach(one => one.open = true)")


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize(
    "path",
    [
        *("", "/viewer/ur", "/viewer/ta/train", "/blob/main/README.md", "/tree/main/data", "/commit/main"),
        *("/commits/main", "/discussions/1"),
    ],
)
def test_pages_are_laid_out_and_accessible(page: Page, local_hub: RunningHub, path: str, width: int) -> None:
    page.resize(width, touch=width == 400)
    try:
        page.open(f"{local_hub.endpoint}/datasets/look-org/set{path}")
        assert layout.problems(page) == []
        assert violations(page) == []
    finally:
        page.resize(1400)
        page.open(f"{local_hub.endpoint}/datasets/look-org/set")
        page.value("document.querySelectorAll('details').forEach(one => one.open = true)")
