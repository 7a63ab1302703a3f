"""Measures by hand, and sentences from every shape of file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from x_instruction.config.mixing import load
from x_instruction.config.model import Model
from x_instruction.errors import CorpusError, RecipeError
from x_instruction.evaluation import representations
from x_instruction.evaluation.representations import Encoder, Parallel, gap, hits, measure, read, retrieval, uniformity
from x_instruction.mixing.files import write

EYE = np.eye(3)

# Bad input


@pytest.mark.parametrize("of_two", [retrieval, gap])
@pytest.mark.parametrize(
    ("left", "words"),
    [
        (np.ones((2, 3)), "expected the same number of rows"),
        (np.ones((3, 2)), "expected the same number of rows"),
        (np.full((3, 3), np.nan), "not a number"),
        (np.full((3, 3), np.inf), "not a number"),
    ],
)
def test_invalid_states_are_refused(of_two: Callable[..., Any], left: Any, words: str) -> None:
    for sides in ((left, EYE), (EYE, left)):
        with pytest.raises(ValueError, match=words):
            of_two(*sides)
    with pytest.raises(ValueError, match="at least 1"):
        of_two(EYE[:0], EYE[:0])
    with pytest.raises(ValueError, match="not a number"):
        uniformity(np.full((3, 3), np.nan))


def test_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 2"):
        gap(EYE[:1], EYE[:1])
    with pytest.raises(ValueError, match="expected at least 2"):
        uniformity(EYE[:1])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [{"instruction": "Why?", "output": "Miksi"}],
            "has the columns 'instruction', 'output', expected sentence",
        ),
        ([{"sentence": "Why?", "parallel": "Miksi?"}], "names no language: write TAG=PATH"),
        ([{"sentence": "Why?", "parallel": "Miksi?", "language": "fi"}], "the language with the most pairs has 1"),
        ([{"sentence": "Why?", "parallel": "", "language": "fi"}] * 3, "the language with the most pairs has 0"),
    ],
)
def test_files_without_pairs_are_refused(rows: list[dict[str, str]], words: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=words):
        read([str(lines(tmp_path / "rows.jsonl", rows))])


def test_a_missing_layer_is_refused(tiny_model: Path) -> None:
    encoder = Encoder.load(Model(name=str(tiny_model)))
    with pytest.raises(RecipeError, match=r"layer is 3, expected 0 \(embeddings\) to 2, or all"):
        encoder.encode(["How"], [1, 3], "last")
    with pytest.raises(CorpusError, match="no tokens: ''"):
        encoder.encode(["How", ""], [1], "last")


# Measures


def test_retrieval_by_hand() -> None:
    assert retrieval(EYE, 5 * EYE).mean == 1.0
    # The second finds the first's translation, and so does the third; from the right each is a tie or alone.
    left = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]])
    right = np.array([[3.0, 0.0], [0.0, 2.0], [0.1, 1.0]])
    # Left: 0 finds 0; 1 finds 0 and not 1; 2 finds 1 and not 2. Right: 0 finds 0; 1 finds 2 and not 1; 2 finds 2.
    assert retrieval(left, right) == representations.Retrieval(1 / 3, 2 / 3)
    assert retrieval(left, right).mean == 0.5


def test_ties_share_the_hit() -> None:
    same = np.full((8, 5), 0.3, dtype=np.float32)
    assert retrieval(same, same).mean == pytest.approx(1 / 8)
    two = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert retrieval(two, two).forward == pytest.approx(2 / 3)


def test_hits_by_hand() -> None:
    # The first two rows are of one page, and their targets are the same.
    targets = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    queries = np.array([[1.0, 0.1, 0], [0, 1, 0], [1, 0, 0], [0, 0.2, 1]])
    assert hits(queries, targets, ["a", "a", "b", "c"]).tolist() == [1, 0, 0, 1]
    # Two pages are equally near.
    assert hits(queries, targets, ["a", "d", "b", "c"]).tolist() == [0.5, 0, 0, 1]
    assert hits(queries, targets, "abcd").mean() == retrieval(queries, targets).forward
    with pytest.raises(ValueError, match="expected the same number of rows"):
        hits(queries, targets[:3], "abcd")


def test_gap_by_hand() -> None:
    assert gap(EYE, 2 * EYE) == pytest.approx(1.0)
    assert gap(EYE, -EYE) == pytest.approx(-1.0)
    assert gap(np.ones((4, 2)), np.ones((4, 2))) == pytest.approx(0.0)
    # Translations 1 and 0; the others 0 and 1.
    assert gap(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(0.0)
    # Translations 1 and 1; the others 1/2 both.
    slanted = np.array([[1.0, 0.0], [0.5, math.sqrt(0.75)]])
    assert gap(slanted, slanted) == pytest.approx(0.5)


def test_uniformity_by_hand() -> None:
    assert uniformity(np.ones((5, 3))) == pytest.approx(0.0)
    assert uniformity(np.array([[1.0, 0.0], [-3.0, 0.0]])) == pytest.approx(-8.0)
    assert uniformity(EYE) == pytest.approx(-4.0)
    # Pairs: the same, and twice at a right angle.
    assert uniformity(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])) == pytest.approx(
        math.log((1 + 2 * math.exp(-4)) / 3)
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 1_000))
def test_measures_equal_naive_loops_for_any_block_size(n: int, width: int, seed: int) -> None:
    left, right = np.random.default_rng(seed).normal(size=(2, n, width))
    cosines = [[float(u @ v / np.linalg.norm(u) / np.linalg.norm(v)) for v in right] for u in left]
    units = [u / np.linalg.norm(u) for u in left]
    own = sum(cosines[i][i] for i in range(n)) / n
    others = [cosines[i][j] for i in range(n) for j in range(n) if i != j]
    near = [math.exp(-2 * float(((u - v) ** 2).sum())) for u, v in combinations(units, 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(representations, "_BLOCK", 4)
        assert gap(left, right) == pytest.approx(own - sum(others) / len(others), abs=1e-9)
        assert uniformity(left) == pytest.approx(math.log(sum(near) / len(near)), abs=1e-9)
        if width > 1:
            hits = sum(max(range(n), key=lambda j: cosines[i][j]) == i for i in range(n))
            assert retrieval(left, right).forward == pytest.approx(hits / n)


# Sentences


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_rows_with_both_sentences_are_read(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "rows.jsonl",
        [
            {"sentence": "Why?", "parallel": " Miksi\n näin?", "language": "fi"},
            {"sentence": "Why?", "parallel": "Minkä vuoksi?", "language": "fi"},
            {"sentence": "How so?", "parallel": "Miksi näin?", "language": "fi"},
            {"sentence": "Why?", "parallel": "Kwa nini?", "language": "sw"},
            {"sentence": "How?", "parallel": "Miten?", "language": "fi"},
            {"sentence": "When?", "parallel": None, "language": "fi"},
            {"sentence": "When?", "parallel": "Milloin?", "language": "fi"},
            {"sentence": "Who?", "parallel": "Nani?", "language": "sw"},
        ],
    )
    # A sentence that came before in its language is passed over, whichever side it is on.
    assert read([str(path)], 2) == {
        "fi": [Parallel("fi", "Why?", "Miksi näin?"), Parallel("fi", "How?", "Miten?")],
        "sw": [Parallel("sw", "Why?", "Kwa nini?"), Parallel("sw", "Who?", "Nani?")],
    }
    assert len(read([str(path)])["fi"]) == 3


def test_the_language_of_a_file_can_be_given(tmp_path: Path) -> None:
    rows = [{"sentence": f"What is {n}?", "parallel": f"Mikä on {n}?"} for n in range(2)]
    assert list(read([f"fi={lines(tmp_path / 'rows.jsonl', rows)}"])) == ["fi"]


def test_documents_give_pairs_of_their_first_lines(tmp_path: Path) -> None:
    rows = [
        {"title_en": "Rice", "text_en": f"\n Rice {n}. \nMore.", "text": f"Riisi {n}.\nLisää.", "lang": "fi"}
        for n in range(2)
    ] + [{"title_en": "Rice", "text_en": "", "text": "Riisi", "lang": "fi"}]
    assert read([str(lines(tmp_path / "rows.jsonl", rows))]) == {
        "fi": [Parallel("fi", "Rice 0.", "Riisi 0."), Parallel("fi", "Rice 1.", "Riisi 1.")]
    }


def test_a_mix_gives_pairs_with_the_pivot_language(tmp_path: Path) -> None:
    texts = {"en": ("What is {}?", "It is {}."), "fi": ("Mikä on {}?", "Se on {}."), "sw": ("{} ni nini?", "Ni {}.")}
    rows = [
        {"id": str(n), "instruction": ask.format(n), "output": answer.format(n)}
        | {"language": tag, "instruction_language": tag}
        for n in range(12)
        for tag, (ask, answer) in texts.items()
    ]
    mixing = load(
        write_recipe(tmp_path / "recipe.toml", 'name = "try"\nlanguages = ["fi", "sw"]\n[afp]\nrepeat = 2\n'), {}
    )
    out = tmp_path / "mix"
    sources = representations.sources(str(lines(tmp_path / "rows.jsonl", rows)), "web")
    write(mixing, sources, out)
    found = read([str(out)])
    assert set(found) == {"fi", "sw"}
    for tag, pairs in found.items():
        ask, _ = texts[tag]
        numbers = [int(pair.sentence.removeprefix("What is ").removesuffix("?")) for pair in pairs]
        assert [pair.parallel for pair in pairs] == [ask.format(number) for number in numbers]
        assert len(set(numbers)) == len(numbers) >= 4


def write_recipe(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


# States


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_states_equal_the_hidden_states_for_any_batch_size(pooling: Any, tiny_model: Path) -> None:
    network, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    texts = ["How to cook rice", "What", "Why do people wash old maps", "Tell about a drum"]
    all_layers = Encoder(network, tokenizer, batch_size=3).encode(texts, [0, 1, 2], pooling)
    assert all_layers.shape == (3, 4, 64)
    for place, text in enumerate(texts):
        shown = network(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        for layer, hidden in enumerate(shown):
            expected = hidden[0, -1] if pooling == "last" else hidden[0].mean(0)
            torch.testing.assert_close(torch.tensor(all_layers[layer, place]), expected.detach(), rtol=1e-4, atol=1e-5)
    one = Encoder(network, tokenizer, batch_size=2).encode(texts, [1], pooling)
    np.testing.assert_allclose(one[0], all_layers[1], rtol=1e-4, atol=1e-5)
    short = Encoder(network, tokenizer, max_tokens=2).encode(texts, [1], "mean")
    ids = torch.tensor([tokenizer(texts[0])["input_ids"][:2]])
    expected = network(input_ids=ids, output_hidden_states=True).hidden_states[1][0].mean(0)
    torch.testing.assert_close(torch.tensor(short[0, 0]), expected.detach(), rtol=1e-4, atol=1e-5)


def test_every_language_is_measured_at_every_layer(tiny_model: Path) -> None:
    encoder = Encoder.load(Model(name=str(tiny_model)))
    data = {
        # A text is nearest to itself: at every layer.
        "fi": [Parallel("fi", text, text) for text in ("How to cook", "What is rice", "Why do people sing")],
        "sw": [Parallel("sw", "How to cook", "Why"), Parallel("sw", "Why", "How to cook")],
    }
    found = list(measure(encoder, data, [0, 2], "mean"))
    assert [(each.language, each.layer, each.pairs) for each in found] == [
        ("fi", 0, 3),
        ("fi", 2, 3),
        ("sw", 0, 2),
        ("sw", 2, 2),
    ]
    for each in found:
        assert each.forward == each.backward == each.retrieval == (1.0 if each.language == "fi" else 0.0)
        assert (each.gap > 0) == (each.language == "fi")
        assert -8 <= each.uniformity < 0
