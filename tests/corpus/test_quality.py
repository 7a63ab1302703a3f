from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from x_instruction.cli import cli
from x_instruction.config.corpus import Corpus, Filters
from x_instruction.corpus import quality
from x_instruction.corpus.quality import QualityHead
from x_instruction.corpus.stage import check_inputs, passages
from x_instruction.engines.models import locate
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.languages import language
from x_instruction.records import Passage

GOOD = "The old fisherman mended his net by the harbour and told the children about the storm of that winter"
BAD = "Buy cheap watches now, best price online, limited offer, click to order your discount today"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that the command trained on English prose and spam, shuffled words apart."""
    folder = tmp_path_factory.mktemp("head")
    rng = random.Random(1)
    rows = []
    for number in range(40):
        words = (BAD if number % 2 else GOOD).split()
        del words[rng.randrange(len(words))]
        rows.append({"text": " ".join(words) + ".", "label": ["good", "bad"][number % 2]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = CliRunner().invoke(cli, ["train", "quality", str(folder / "rows.jsonl"), "--out", str(folder / "head")])
    assert result.exit_code == 0, result.output
    assert "40 rows, 100% of them judged right in cross-validation" in result.output
    return folder / "head"


def test_passages_below_the_threshold_are_dropped(trained: Path, jsonl: Callable[..., Path], tmp_path: Path) -> None:
    rows = [{"id": "good", "text": f"{GOOD}, again and again."}, {"id": "bad", "text": f"{BAD}, again and again."}]
    filters = Filters(min_chars=50, quality_head=str(trained))
    corpus = Corpus(source="files", paths=(str(jsonl(rows)),), filters=filters)
    found = {r.document_id if isinstance(r, Passage) else r.id: r for r in passages(corpus, language("en"), tmp_path)}
    assert isinstance(found["good"], Passage)
    dropped = found["bad#0"]
    assert not isinstance(dropped, Passage)
    assert dropped.reason == "low_quality"
    assert dropped.detail.startswith("probability 0.")


def test_an_unusable_head_is_refused(trained: Path, tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        check_inputs(Corpus(source="sample", filters=Filters(quality_head=str(folder))), [])

    with pytest.raises(
        RecipeError, match=r"has no quality_head\.json: name a folder that `x-instruction train quality`"
    ):
        check(tmp_path)
    table = json.loads((trained / quality.FILE).read_text())
    (tmp_path / quality.FILE).write_text(json.dumps(table | {"embedder": "org/other"}))
    with pytest.raises(
        RecipeError, match=r"reads vectors of org/other .* name the same model, or train the head again"
    ):
        check(tmp_path)
    (tmp_path / quality.FILE).write_text("{}")
    with pytest.raises(RecipeError, match=r"cannot read .*train the head again"):
        check(tmp_path)
    check(trained)


def test_scores_are_probabilities() -> None:
    files = locate("embedded-minilm")
    head = QualityHead(files.name, files.revision, (1.0, -1.0, 0.0), 20, 1.0, 1.0)
    scores = head.scores(np.array([[1, 0], [0, 1], [0, 0], [1000, 0]], dtype=np.float32))
    assert scores == pytest.approx([0.731, 0.269, 0.5, 1.0], abs=1e-3)


class Plane:
    """Two numbers as a text are its vector."""

    model, revision = "plane", "1"

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.array([list(map(float, text.split())) for text in texts], dtype=np.float32)


def test_training_finds_the_plane_between_the_classes() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(400, 2))
    labels = (points @ [2.0, -1.0] + 0.5 > rng.logistic(size=400) / 4).astype(float)
    texts = [f"{x:.6f} {y:.6f}" for x, y in points]
    head = quality.train(texts, labels.tolist(), Plane())  # type: ignore[arg-type]
    assert head.weights[0] / -head.weights[1] == pytest.approx(2, rel=0.25)
    assert head.agreement > 0.85
    order = rng.permutation(400).tolist()
    again = quality.train([texts[i] for i in order], [labels[i] for i in order], Plane())  # type: ignore[arg-type]
    assert again.weights == pytest.approx(head.weights, rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": 1}] * 30, "30 good and 0 bad rows, expected at least 20 rows"),
        ([{"text": "a", "label": 2}], "'label' is 2, expected a number from 0 to 1"),
        ([{"text": "a", "label": None}], "'label' is None, expected a number"),
        ([{"text": " ", "label": 1}], "'text' has no text"),
    ],
)
def test_unusable_labels_are_refused(rows: list[dict[str, object]], message: str, jsonl: Callable[..., Path]) -> None:
    with pytest.raises(CorpusError, match=message):
        quality.train(*quality.labelled_rows([jsonl(rows)], "text", "label"), Plane())  # type: ignore[arg-type]
