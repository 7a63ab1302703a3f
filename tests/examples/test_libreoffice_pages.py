"""Pages of LibreOffice's help as parallel documents."""

from __future__ import annotations

import json
from pathlib import Path

import libreoffice_pages
import pytest

PAGE = """<html><head><title>x</title><script>var a = 1;</script></head><body><h1>Menu</h1>
<div id="DisplayArea"><h1>{title}</h1><p>{first}</p><nav>no</nav>
<ul><li><p>{second} &amp; <span class="MAC">less</span><span id="d"><b>more</b></span></p></li></ul>
</div></body></html>"""


def test_translated_pages_become_documents(tmp_path: Path) -> None:
    long = "Dipnot eklemek için tıklayın. " * 10
    for tag, title, first in (("en-US", "Adding Footnotes", "Click. " * 40), ("tr", "Dipnot Eklemek", long)):
        folder = tmp_path / tag / "text"
        folder.mkdir(parents=True)
        (folder / "one.html").write_text(PAGE.format(title=title, first=first, second="b"), "utf-8")
        (folder / "same.html").write_text(PAGE.format(title="Same", first="Same " * 60, second="c"), "utf-8")
    (tmp_path / "tr" / "text" / "alone.html").write_text(PAGE.format(title="A", first=long, second="d"), "utf-8")
    out = tmp_path / "tr.jsonl"
    libreoffice_pages.main([str(tmp_path), "tr", "--out", str(out)])
    (row,) = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert row["id"] == "libreoffice-text/one"
    assert row["title_en"] == "Adding Footnotes"
    assert row["text"] == f"{long.strip()}\nb & more"
    assert row["license"] == "MPL-2.0"


def test_a_missing_language_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        libreoffice_pages.main([str(tmp_path), "tr", "--out", str(tmp_path / "x")])
    assert "has no folder en-US: install the packages of both languages" in capsys.readouterr().err
