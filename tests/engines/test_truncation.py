"""Texts that are shortened at their end, or in their middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import Sequence, Split

from x_instruction.engines import truncation
from x_instruction.engines.truncation import (
    LEFT_OUT,
    TokenTruncate,
    Truncate,
    fits,
    shorten,
    token_counter,
    truncate_by_bytes,
    truncator,
)
from x_instruction.errors import EngineError

WORDS = " ".join(f"word{number:03}" for number in range(100))


def by_characters(text: str, tokens: int) -> str:
    return text[:tokens]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_text_that_fits_is_unchanged(share: float) -> None:
    assert shorten(" Sauna \n", 8, by_characters, share) == " Sauna \n"
    assert shorten("", 1, by_characters, share) == ""


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, "word000 word001 word […]"),
        # The tail begins with a whole word.
        (0.5, "word000 wo […] word099"),
        (1.0, "[…] word098 word099"),
    ],
)
def test_omitted_text_is_marked(share: float, expected: str) -> None:
    assert shorten(WORDS, 20, by_characters, share).strip() == expected


def test_a_tail_does_not_begin_with_a_combining_mark() -> None:
    text = "น้ำขึ้นน้ำลง" * 20
    shown = shorten(text, 20, by_characters, 0.5)
    tail = shown.split(f" {LEFT_OUT} ")[1]
    assert text.endswith(tail)
    assert tail[0] in "นำขลง"


@given(st.text(max_size=80), st.integers(1, 40), st.floats(0, 1))
def test_head_and_tail_are_parts_of_the_text(text: str, tokens: int, share: float) -> None:
    for truncate in (by_characters, truncate_by_bytes):
        shown = shorten(text, tokens, truncate, share)
        if shown == text:
            continue
        head, _, tail = shown.rpartition(LEFT_OUT)
        assert text.startswith(head.rstrip(" "))
        assert text.rstrip().endswith(tail.strip())
        assert len(head.rstrip()) + len(tail.strip()) <= len(text)


def test_special_tokens_of_a_servers_tokenizer_are_text(tiny_model: object) -> None:
    truncate = truncator(str(tiny_model))
    assert len(truncate("</s></s></s></s>", 4)) < len("</s></s></s></s>")


def test_a_tokenizer_saved_with_truncation_and_padding_counts_all_tokens_and_no_others(
    tiny_model: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    number = len(tokenizer.encode(WORDS, add_special_tokens=False))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    count, truncate = token_counter(str(tmp_path)), truncator(str(tmp_path))
    assert count(WORDS) == number > 20
    assert len(truncate(WORDS, 20)) < len(WORDS)
    assert count("w") < 8
    assert truncate("w", 8) == "w"


def test_a_tokenizer_that_fails_on_a_text_is_named(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    tokenizer.pre_tokenizer = Sequence([Split(Regex("(a+)+b"), "isolated"), tokenizer.pre_tokenizer])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    count, truncate = token_counter(str(tmp_path)), truncator(str(tmp_path))
    for call in (lambda: count("a" * 2_000), lambda: truncate("a" * 2_000, 4), lambda: truncate("a" * 2_000, 4_000)):
        with pytest.raises(EngineError, match=r"fails on a text: .*retry-limit.*; use another model"):
            call()


def by_encoding(tokenizer: Any) -> Truncate:
    """Truncation as it is defined: encode, cut where the last token ends, and again until it fits."""

    def truncate(text: str, tokens: int) -> str:
        for kept in range(tokens, -1, -1):
            encoded = tokenizer.encode(text, add_special_tokens=False)
            if len(encoded) <= tokens:
                return text
            text = text[: encoded.offsets[kept - 1][1]] if kept else ""
        return text

    return truncate


# Letters of one and of several tokens, spaces, and signs that combine.
@given(st.text("aäjrvi น้ำঘ্ট\n😀\u0301\u200b", max_size=60), st.integers(0, 40), st.floats(0, 1))
def test_truncation_is_as_it_is_defined(tiny_model: Path, text: str, tokens: int, share: float) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    truncate, defined = TokenTruncate(lambda: tokenizer, "tiny"), by_encoding(tokenizer)
    assert truncate(text, tokens) == defined(text, tokens)
    assert fits(text, tokens, truncate) == (defined(text, tokens) == text)
    shown = shorten(text, tokens, truncate, share)
    # The search for the end of a text stops within a word: no more is asked than where the word ends.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truncation, "_one_word", lambda text, before, last: False)
        assert shown == shorten(text, tokens, defined, share)
