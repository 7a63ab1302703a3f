"""Truncate text: at stop strings, and to a number of tokens, with or without the model's tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from x_instruction.errors import EngineError, MissingExtra

# A token of running text holds at least this many UTF-8 bytes, in tokenizers that cover the language.
_BYTES_PER_TOKEN = 3

Truncate = Callable[[str, int], str]


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

    return lambda text, tokens: truncate_to_tokens(
        text, tokens, lambda t: loaded.encode(t, add_special_tokens=False).offsets
    )


def truncate_to_tokens(text: str, tokens: int, offsets: Callable[[str], Sequence[tuple[int, int]]]) -> str:
    """The longest prefix of the text that has at most this many tokens.

    Args:
        text: the text.
        tokens: maximum number of tokens.
        offsets: tokenizes a text into (start, end) positions in characters.
    """
    # A prefix can have more tokens than the same characters had within the text (a character that takes several
    # tokens, a word cut in two), so it is tokenized again until it fits.
    for kept in range(tokens, -1, -1):
        spans = offsets(text)
        if len(spans) <= tokens:
            return text
        text = text[: spans[kept - 1][1]] if kept else ""
    return text
