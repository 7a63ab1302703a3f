"""The report of a published set, opened from the local hub: kept in a sandbox, it reads all rows from their files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from axe import violations
from headless import Page, found
from local_hub_fixture import RunningHub
from report_run import write_run

from x_instruction.api import build
from x_instruction.report import rows as report_rows

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(found() is None and os.environ.get("CI") != "true", reason="no chromium"),
]


def test_a_report_is_opened_from_the_hub(
    local_hub: RunningHub, browser: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_rows, "MOST_ROWS", 4)
    monkeypatch.setattr(report_rows, "LEAST_ROWS", 2)
    run, _ = write_run(tmp_path / "run", ("ur", "th"))
    folder = build(run.root, tmp_path / "set", lambda line: None)
    repo = local_hub.create("look-org/report")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    local_hub.commit(repo, files)
    browser.open(f"{local_hub.endpoint}/datasets/{repo}")
    assert browser.value("document.querySelector('#card img').naturalWidth") > 100
    assert violations(browser) == []
    browser.follow("nav a[href$='report.html']")
    assert browser.value("location.pathname").endswith("/view/main/report.html")
    assert browser.value("origin") == "null"
    assert browser.value("document.querySelectorAll('#list > li').length") == 4
    browser.click("#whole button")
    browser.until("document.getElementById('count').textContent.startsWith('All 12 rows')")
    assert browser.value("document.querySelectorAll('#list > li').length") == 12
    assert browser.problems == []
    # The command takes the id of the data set, too.
    command = [sys.executable, "-m", "x_instruction", "report", repo]
    environment = local_hub.env()
    (tmp_path / "cwd").mkdir()
    done = subprocess.run(command, cwd=tmp_path / "cwd", env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("report-report.html\n", 0), done.stderr
    browser.open((tmp_path / "cwd/report-report.html").as_uri())
    assert browser.value("document.querySelectorAll('#list > li').length") == 12
    command[-1] = "look-org/none"
    done = subprocess.run(command, cwd=tmp_path / "cwd", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no folder look-org/none, and it cannot be read from the Hub (")
    assert done.stderr.count("\n") == 1
