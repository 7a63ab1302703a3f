"""Publishing to a running hub, as users do, and reading it back with their own tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from local_hub_fixture import RunningHub

MODES = pytest.mark.parametrize("mode", [{}, {"HF_HUB_DISABLE_XET": "1"}], ids=["xet", "lfs"])
Make = Callable[..., Path]

LOAD = """
    import json, sys
    from datasets import get_dataset_config_names, load_dataset
    repo, wanted = sys.argv[1], json.loads(sys.argv[2])
    revision = sys.argv[3] if len(sys.argv) > 3 else None
    assert sorted(get_dataset_config_names(repo, revision=revision)) == sorted([*wanted, "all"])
    for tag, rows in wanted.items():
        loaded = load_dataset(repo, tag, revision=revision)
        streamed = load_dataset(repo, tag, revision=revision, streaming=True)
        assert sum(part.num_rows for part in loaded.values()) == rows, tag
        assert sum(1 for part in streamed.values() for row in part if row["language"] == tag) == rows, tag
    together = load_dataset(repo, "all", revision=revision)
    assert sum(part.num_rows for part in together.values()) == sum(wanted.values())
"""


def head(hub: RunningHub, repo: str, revision: str = "main") -> str:
    return str(hub.ask(f"/api/datasets/{repo}/revision/{revision.replace('/', '%2F')}").json["sha"])


@MODES
def test_what_is_published_loads(local_hub: RunningHub, make: Make, publish, mode: dict[str, str]) -> None:
    repo = f"round/{'lfs' if mode else 'xet'}"
    folder = make("sw", "th", test=0.3)
    planned = publish(folder, repo, **mode)
    assert planned.returncode == 0, planned.stderr
    assert "nothing was written" in planned.stdout and "created" in planned.stdout
    assert local_hub.ask(f"/api/datasets/{repo}").status == 404
    done = publish(folder, repo, "--yes", **mode)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert f"{local_hub.endpoint}/datasets/{repo}/tree/{head(local_hub, repo)}" in line
    assert "rows: sw 8, th 8" in line and f'load_dataset("{repo}", "sw")' in line
    local_hub.python(LOAD, repo, '{"sw": 8, "th": 8}', token=None, **mode)
