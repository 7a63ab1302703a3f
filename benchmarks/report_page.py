"""The report of 320,000 rows: seconds to write it, its size, seconds to open it and to search in it in Chromium.

    python benchmarks/report_page.py [FOLDER]

Writes a data set of 10 languages with texts of the sample corpus (0.3 GB) into FOLDER, once, and its report beside it.
"""

from __future__ import annotations

import functools
import http.server
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from built_set import written
from factories import curated
from headless import browse
from ranges import RangeHandler

from x_instruction.api import report
from x_instruction.config.corpus import Corpus
from x_instruction.corpus.sources import Document, read
from x_instruction.languages import language

TAGS = ("bn", "fi", "hi", "id", "sw", "ta", "th", "tr", "ur", "vi")
ROWS = 32_000
VERBS = ("Describe", "Explain", "List", "Write about", "Summarize", "Compare")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    data = folder / "set"
    if not (data / "manifest.json").exists():
        data.mkdir(parents=True)
        written(data, {tag: rows(tag) for tag in TAGS}, rows_per_file=10_000)
    start = time.monotonic()
    page = report(data)
    size = page.stat().st_size / 1e6
    print(f"written in {time.monotonic() - start:.1f} s, {size:.1f} MB")
    handler = functools.partial(RangeHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as profile, browse(Path(profile)) as browser:
        for address in (page.as_uri(), f"http://127.0.0.1:{server.server_port}/{page.name}"):
            browser.resize(1400)
            start = time.monotonic()
            browser.open(address)
            rows_shown = browser.value("document.querySelectorAll('#list > li').length")
            print(f"{address[:4]}: opened in {time.monotonic() - start:.2f} s with {rows_shown} rows shown")
            for query in ("valley", "mto", "no such words"):
                print(f"  search of {query!r}: {searched(browser, query):.3f} s")
        searched(browser, "")
        RangeHandler.sent = 0
        start = time.monotonic()
        browser.value("document.querySelector('#whole button').click()")
        browser.value(
            "new Promise(done => { const look = () => count.textContent.startsWith('All ') ? done() : "
            "setTimeout(look, 20); const count = document.getElementById('count'); look(); })"
        )
        print(f"http: first of all rows in {time.monotonic() - start:.2f} s, {RangeHandler.sent / 1e6:.1f} MB read")
    server.shutdown()


def searched(browser: Any, query: str) -> float:
    start = time.monotonic()
    browser.value(
        f"(() => {{ const one = document.getElementById('search'); one.value = {query!r};"
        "one.dispatchEvent(new Event('input', {bubbles: true})); return document.body.offsetHeight; })()"
    )
    return time.monotonic() - start


def rows(tag: str) -> Any:
    texts = [one.text for one in read(Corpus(source="sample"), language(tag)) if isinstance(one, Document)]
    draw = random.Random(tag)
    for number in range(ROWS):
        text = f"{draw.choice(texts)}\n{number}\n{draw.choice(texts)}"
        verb = draw.choice(VERBS)
        yield curated(
            text,
            tag,
            document_id=f"{tag}-{number}",
            url=f"https://example.org/{tag}/{number}",
            license="CC BY-SA 4.0",
            instruction=f"{verb} the valley {number} and its river number {draw.randrange(1000)}.",
            score=draw.random(),
            cluster=draw.randrange(179),
            rank=number,
        )


if __name__ == "__main__":
    main()
