"""Cutting text: at stops, and to a number of tokens of a model whose tokenizer may not be here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from x_instruction.errors import EngineError, MissingExtra

# UTF-8 bytes that one token holds at least in running text, for tokenizers that know the language.
_BYTES = 3

Clip = Callable[[str, int], str]


def cut_at_stop(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first stop, and whether one was found."""
    ends = [position for stop in stops if (position := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def truncate_by_bytes(text: str, tokens: int) -> str:
    """The longest start of the text that has at most ``3 * tokens`` bytes of UTF-8."""
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= _BYTES * tokens else encoded[: _BYTES * tokens].decode("utf-8", "ignore")


def truncator(tokenizer: str | None) -> Clip:
    """A function that cuts text to tokens.

    Args:
        tokenizer: Hub id, folder or ``tokenizer.json``; three bytes count as a token when None.

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
    except Exception as error:  # tokenizers raises plain Exception for whatever goes wrong
        reason = str(error).strip().splitlines()[0]
        raise EngineError(
            f"cannot load tokenizer {tokenizer!r}: {reason}; name a Hub id, a folder or a tokenizer.json"
        ) from error

    return lambda text, tokens: truncate_to_tokens(
        text, tokens, lambda t: loaded.encode(t, add_special_tokens=False).offsets
    )


def truncate_to_tokens(text: str, tokens: int, offsets: Callable[[str], Sequence[tuple[int, int]]]) -> str:
    """The longest start of the text that has at most this many tokens.

    Args:
        offsets: start and end in characters of each token of a text.
    """
    # A start can need more tokens than it had in the whole: a character of several tokens, a word cut in two.
    for kept in range(tokens, -1, -1):
        found = offsets(text)
        if len(found) <= tokens:
            return text
        text = text[: found[kept - 1][1]] if kept else ""
    return text
