"""Truncate text: at stop strings, and to a number of tokens, with or without the model's tokenizer."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x_instruction.errors import EngineError, MissingExtra

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A token of running text holds at least this many UTF-8 bytes, in tokenizers that cover the language.
_BYTES_PER_TOKEN = 3
# A tail begins after the first space within this many characters. Scripts without spaces have none.
_LONGEST_WORD = 24

Truncate = Callable[[str, int], str]
# Marks where a part of a text is left out, so that a shortened text does not look like one that breaks off.
LEFT_OUT = "[…]"


def cut_at_stop(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    ends = [position for stop in stops if (position := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def truncate_by_bytes(text: str, tokens: int) -> str:
    """The longest prefix of the text that has at most ``3 * tokens`` bytes of UTF-8."""
    encoded = text.encode("utf-8", "replace")
    limit = _BYTES_PER_TOKEN * tokens
    # "ignore" removes a character that the limit cuts in two.
    return text if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")


def truncator(tokenizer: str | None) -> Truncate:
    """A function that truncates text to a number of tokens.

    Args:
        tokenizer: Hub id, folder or ``tokenizer.json``; if None, three bytes count as one token.

    Raises:
        EngineError: there is no such tokenizer.
        MissingExtra: ``tokenizers`` is not installed.
    """
    if tokenizer is None:
        return truncate_by_bytes
    loaded = _loaded(tokenizer)
    return TokenTruncate(lambda: loaded, tokenizer)


def token_counter(tokenizer: str) -> Callable[[str], int]:
    """A function that counts the tokens of a text, without special tokens.

    Args:
        tokenizer: Hub id, folder or ``tokenizer.json``.

    Raises:
        EngineError: there is no such tokenizer.
        MissingExtra: ``tokenizers`` is not installed.
    """
    loaded = _loaded(tokenizer)
    return TokenTruncate(lambda: loaded, tokenizer).count


def _loaded(tokenizer: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "tokenizers", "transformers") from error
    path = Path(tokenizer).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        loaded = Tokenizer.from_file(str(path)) if path.exists() else Tokenizer.from_pretrained(tokenizer)
    except Exception as error:  # tokenizers raises plain Exception for every error
        reason = str(error).strip().splitlines()[0]
        raise EngineError(
            f"cannot load tokenizer {tokenizer!r}: {reason}; name a Hub id, a folder or a tokenizer.json"
        ) from error
    # A tokenizer may be saved with the lengths that it was trained with.
    loaded.no_truncation()
    loaded.no_padding()
    # Special tokens in a text are plain text.
    loaded.encode_special_tokens = True
    return loaded


@contextlib.contextmanager
def tokenizing(model: str) -> Iterator[None]:
    """Name the model if its tokenizer fails on a text, such as with a pattern that gives up after many attempts.

    Raises:
        EngineError: it does.
    """
    try:
        yield
    except BaseException as error:
        # The error of Rust code is no Exception, and its class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise EngineError(f"the tokenizer of {model} fails on a text: {error}; use another model") from error


class TokenTruncate:
    """A ``Truncate`` by the tokens of a tokenizer, without special tokens.

    It keeps what it found of the last texts, because raters take several parts of one text.

    Args:
        tokenizer: returns the tokenizer, which takes special tokens for text and neither truncates nor pads.
        model: its name, for messages.
    """

    def __init__(self, tokenizer: Callable[[], Tokenizer], model: str) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self._number = lru_cache(maxsize=4)(self.count)
        self._ends = lru_cache(maxsize=2)(self._find_ends)
        # Characters per token in the last text, to guess whether the next one is too long.
        self._width = float(_BYTES_PER_TOKEN)

    def __call__(self, text: str, tokens: int) -> str:
        """The longest prefix of the text that has at most this many tokens."""
        # A prefix can have more tokens than the same characters had within the text (a character that takes several
        # tokens, a word cut in two), so it is tokenized again until it fits.
        guessed = len(text) > tokens * self._width
        for kept in range(tokens, -1, -1):
            # Finding offsets takes half as long again, and only a text that is too long needs them.
            if (len(self._ends(text)) if guessed else self._number(text)) <= tokens:
                return text
            guessed = False
            text = text[: self._ends(text)[kept - 1]] if kept else ""
        return text

    def fits(self, text: str, tokens: int) -> bool:
        """Whether the text has at most this many tokens."""
        return not text or self._number(text) <= tokens

    def count(self, text: str) -> int:
        """The number of tokens of a text."""
        with tokenizing(self._model):
            number = len(self._tokenizer().encode_batch_fast([text], add_special_tokens=False)[0])
        self._width = len(text) / max(1, number)
        return number

    def _find_ends(self, text: str) -> list[int]:
        """Where each token of a text ends."""
        with tokenizing(self._model):
            offsets = self._tokenizer().encode(text, add_special_tokens=False).offsets
        self._width = len(text) / max(1, len(offsets))
        return [end for _, end in offsets]


def fits(text: str, tokens: int, truncate: Truncate) -> bool:
    """Whether a text has at most this many tokens. Takes less time than truncating the text."""
    if isinstance(truncate, TokenTruncate):
        return truncate.fits(text, tokens)
    return len(truncate(text, tokens)) >= len(text)


def shorten(text: str, tokens: int, truncate: Truncate, tail_share: float = 0.0) -> str:
    """A text of at most this many tokens, with ``LEFT_OUT`` in place of what is left out; unchanged if it fits.

    Args:
        text: the text.
        tokens: maximum number of tokens, without the mark.
        truncate: the longest prefix of a text with at most so many tokens, as ``Engine.truncate``.
        tail_share: share of the tokens that is taken from the end of the text, 0 to 1.
    """
    if fits(text, tokens, truncate):
        return text
    for_tail = round(tokens * tail_share)
    head = truncate(text, tokens - for_tail).rstrip()
    start = _tail_start(text, len(head), for_tail, truncate)
    # Cut in two, a text may have fewer tokens.
    return f"{head} {LEFT_OUT} {text[start:]}".rstrip() if start > len(head) else text


def _tail_start(text: str, earliest: int, tokens: int, truncate: Truncate) -> int:
    """Where the longest suffix with at most this many tokens starts: at a word if there is one near."""
    start, too_long = len(text), earliest - 1
    while start - too_long > 1 and not (too_long >= earliest and _one_word(text, too_long, start)):
        middle = (start + too_long) // 2
        if fits(text[middle:], tokens, truncate):
            start = middle
        else:
            too_long = middle
    if start == earliest:
        return start
    space = text.find(" ", start, start + _LONGEST_WORD)
    start = space if space >= 0 and not text[start - 1].isspace() else start
    while start < len(text) and (text[start].isspace() or unicodedata.category(text[start])[0] == "M"):
        start += 1
    return start


def _one_word(text: str, before: int, last: int) -> bool:
    """Whether the same word follows each start after ``before`` up to ``last``."""
    return text.find(" ", last, before + 1 + _LONGEST_WORD) >= 0 and not any(map(str.isspace, text[before:last]))
