"""axe-core, which finds what keeps people with disabilities from using a page. Pinned, from npm."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from headless import Page

VERSION = "4.14.1"
ADDRESS = f"https://registry.npmjs.org/axe-core/-/axe-core-{VERSION}.tgz"
INTEGRITY = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
KEPT = Path(__file__).parent.parent / "build" / f"axe-core-{VERSION}.js"


def script() -> str:
    """The source of axe-core. Without a connection the test is skipped, except on CI."""
    if not KEPT.exists():
        try:
            with urllib.request.urlopen(ADDRESS, timeout=60) as answer:
                package = answer.read()
        except urllib.error.URLError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"axe-core {VERSION} cannot be downloaded: {error}")
        assert base64.b64encode(hashlib.sha512(package).digest()).decode() == INTEGRITY
        with tarfile.open(fileobj=io.BytesIO(package)) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            KEPT.parent.mkdir(exist_ok=True)
            made = KEPT.with_suffix(f".{os.getpid()}")
            made.write_bytes(member.read())
            made.replace(KEPT)
    return KEPT.read_text("utf-8")


def violations(page: Page, impacts: tuple[str, ...] = ("serious", "critical")) -> list[str]:
    """What axe finds on the page as it is shown now: rule, and the first elements that break it."""
    page.value(f"(() => {{ if (!window.axe) {{ {script()} }} }})()")
    found: list[dict[str, Any]] = page.value("axe.run().then(result => result.violations)")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in impacts
    ]
