"""Real texts for tests. They are not part of the project: ``$X_INSTRUCTION_DATA``, or ``shared/data`` beside the
checkout. A linked worktree uses the folder beside the main checkout.

``passages/<tag>.jsonl`` holds pages of the ten languages, and ``parallel/<tag>.jsonl`` says which are untranslated.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _checkouts() -> list[Path]:
    git = ROOT / ".git"
    if not git.is_file():
        return [ROOT]
    # A linked worktree: the file names MAIN/.git/worktrees/NAME.
    return [ROOT, (ROOT / git.read_text("utf-8").removeprefix("gitdir:").strip()).resolve().parents[2]]


def _folder() -> Path:
    if given := os.environ.get("X_INSTRUCTION_DATA"):
        return Path(given)
    folders = [checkout.parent / "shared" / "data" for checkout in _checkouts()]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


DATA = _folder()
needs_real_texts = pytest.mark.skipif(
    not (DATA / "passages").is_dir(), reason=f"no real texts in {DATA}: set X_INSTRUCTION_DATA"
)
