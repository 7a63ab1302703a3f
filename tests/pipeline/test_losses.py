"""A stage that keeps nothing, or drops nearly everything for one reason, says so, in every stage and language."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from engines.openai_server import OpenAIServer, reply, write_recipe
from factories import candidate, curated, passage, rated, settings

from x_instruction import api
from x_instruction.cli import cli
from x_instruction.pipeline.losses import losses, short
from x_instruction.records import Dropped, Passage, dropped
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import PASSAGE, StageKey

ROWS = {
    "passage": [passage(f"Jibu {n}.") for n in range(40)],
    "candidate": [candidate(f"Jibu {n}.") for n in range(40)],
    "rated": [rated(f"Jibu {n}.") for n in range(40)],
    "curated": [curated(f"Jibu {n}.") for n in range(40)],
}


def rambling(path: str, body: dict[str, Any]) -> tuple[int, Any] | None:
    """Unusable answers: for Thai passages a word in red, which a terminal would display."""
    asked = json.dumps(body, ensure_ascii=False)
    if not path.endswith("completions") or body.get("logprobs") or "Thai" not in asked:
        return None
    answer = reply(path, body)
    answer["choices"][0]["message"] = {"role": "assistant", "content": "\x1b[31mHm"}
    return 200, answer


def run(recipe: Path, root: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["run", str(recipe), "--out", str(root), "--workers", "1", *more])


def warnings(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("warning: ")]


def test_a_language_without_usable_answers_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "x_instruction")
    with OpenAIServer(fault=rambling) as server:
        recipe, root = write_recipe(tmp_path / "recipe.toml", server.url), tmp_path / "run"
        short_of = ("--set", "generate.min_chars=12")
        corpus = run(recipe, root, *short_of, "--until", "corpus")
        assert (corpus.exit_code, caplog.messages) == (0, [])
        made = run(recipe, root, *short_of)
        again = run(recipe, root, *short_of)
    assert (made.exit_code, again.exit_code) == (2, 2)
    assert f"next: x-instruction build {root}" in made.output
    first, *rest = caplog.messages
    assert first.startswith("warning: generate, th: kept 0 of 24 rows, dropped 24 as too_short; the first is th-")
    assert '"\\x1b[31mHm"' in first
    assert rest == [first]
    status = CliRunner().invoke(cli, ["status", str(root)])
    assert (status.exit_code, warnings(status.output)) == (0, [first])
    assert [loss.language for loss in api.Run(root).losses()] == ["th"]
    assert api.Run(root).losses(until="passage") == []
    # The shards are written, and those of the other language are whole.
    assert RunFolder(root).complete(StageKey("curated").shard("th"))
    assert run(recipe, root, *short_of, "--until", "corpus").exit_code == 0


def test_a_run_without_pairs_is_not_built(tmp_path: Path) -> None:
    with OpenAIServer(fault=rambling) as server:
        recipe, root = write_recipe(tmp_path / "recipe.toml", server.url), tmp_path / "run"
        made = run(recipe, root, "--languages", "th", "--set", "generate.min_chars=12")
    assert made.exit_code == 2
    assert "next:" not in made.output
    assert f"no pair is left to build from: {root}" in made.output


@pytest.mark.parametrize("stage", ROWS)
@pytest.mark.parametrize(
    ("kept", "reasons", "expected"),
    [
        (0, {"too_short": 20, "empty": 1}, "kept 0 of 21 rows, dropped 20 as too_short"),
        (1, {"below_threshold": 19}, "kept 1 of 20 rows, dropped 19 as below_threshold"),
        # Exactly nine of ten is not over 90 %.
        (1, {"below_threshold": 9}, ""),
        # Two reasons, and neither alone is over 90 %.
        (1, {"too_short": 19, "empty": 19}, ""),
        # A limit, a number of candidates and a quota are what the recipe asks for.
        (1, {"passage_limit": 39}, ""),
        (1, {"not_best": 39}, ""),
        (1, {"over_quota": 39}, ""),
        (0, {"verb_cap": 20}, "kept 0 of 20 rows, dropped 20 as verb_cap"),
        # The rows were lost in an earlier stage.
        (0, {}, ""),
    ],
)
def test_losses_above_the_threshold_are_reported(
    tmp_path: Path, stage: str, kept: int, reasons: dict[str, int], expected: str
) -> None:
    folder = RunFolder(tmp_path / "run")
    lost = [dropped(f"id-{n}", reason, "a detail", "text") for reason, rows in reasons.items() for n in range(rows)]
    rows: list[Passage | Dropped] = [*ROWS[stage][:kept], *lost]
    folder.write(ShardReport(StageKey(stage).shard("sw")), rows)
    folder.finish(PASSAGE, "sw", 1)
    found = [str(loss) for loss in losses(folder, settings(("sw",)))]
    assert len(found) == bool(expected)
    if expected:
        (line,) = found
        assert f", sw: {expected}; the first is id-0 (a detail): " in line
        assert line.endswith('"text"')


def test_an_example_is_one_short_line() -> None:
    assert short("<think>\nHm\x1b[0m\u202e") == "<think>\\nHm\\x1b[0m\\u202e"
    assert len(short("ก" * 500)) == 80
