from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from x_instruction.config.corpus import Corpus, Filters
from x_instruction.corpus.density import scaled
from x_instruction.corpus.stage import passages
from x_instruction.languages import language
from x_instruction.records import Dropped, Passage


@pytest.mark.parametrize(
    ("tag", "shortest", "longest"),
    [("sw", 200, 2500), ("th", 200, 2500), ("zh", 70, 875), ("zh-Hant", 70, 875), ("ja", 80, 1000), ("my", 290, 3625)],
)
def test_lengths_are_scaled_by_script(tag: str, shortest: int, longest: int) -> None:
    limits = scaled(Filters(), language(tag))
    assert (limits.min_chars, limits.max_chars) == (shortest, longest)


def test_scaling_by_script_can_be_turned_off() -> None:
    limits = Filters(lengths_by_script=False)
    assert scaled(limits, language("zh")) == limits


@pytest.mark.parametrize(("by_script", "kept"), [(True, True), (False, False)])
def test_a_chinese_paragraph_is_long_enough(
    by_script: bool, kept: bool, jsonl: Callable[..., Path], tmp_path: Path
) -> None:
    text = (
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。人人有资格享有本宣言所载的"
        "一切权利和自由，不分种族、肤色、性别、语言、宗教、政治或其他见解。"
    )
    corpus = Corpus(source="files", paths=(str(jsonl([{"text": text}])),), filters=Filters(lengths_by_script=by_script))
    (record,) = passages(corpus, language("zh"), tmp_path)
    assert isinstance(record, Passage) is kept
    assert not isinstance(record, Dropped) or record.detail == "89 characters, at least 200"
