"""axe-core, which finds accessibility problems of a page. It comes with axe-playwright-python."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from headless import Page


def script() -> str:
    """The source of axe-core. The package is not imported: it would import playwright, which is not installed."""
    return Path(str(distribution("axe-playwright-python").locate_file("axe_playwright_python/axe.min.js"))).read_text(
        "utf-8"
    )


def violations(page: Page, impacts: tuple[str, ...] = ("serious", "critical")) -> list[str]:
    """Accessibility problems of the page as shown now: each rule, and the first elements that break it."""
    page.value(f"(() => {{ if (!window.axe) {{ {script()} }} }})()")
    found: list[dict[str, Any]] = page.value("axe.run().then(result => result.violations)")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in impacts
    ]
