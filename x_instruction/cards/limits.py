"""What a data set must not be trusted with, said once for the card and for ``croissant.json``."""

from __future__ import annotations

from collections.abc import Sequence

BIASES = (
    "The texts carry the views, errors and dates of their sources, and the instructions those of the model that wrote "
    "them."
)
USE = (
    "Training and studying models that follow instructions in the languages of the set, where people have the means to "
    "look at what comes out. Not for facts, not for judging people, and not as a test of how a language is written."
)


def personal(masked: bool) -> str:
    """What is known of personal data."""
    found = (
        "E-mail addresses, phone numbers, IP addresses and IBANs were looked for and masked; names of persons were not."
    )
    return found if masked else "Personal data was not looked for."


def limits(synthetic: bool, masked: bool, missing: Sequence[str]) -> list[str]:
    """Known limits, a sentence or two each.

    Args:
        synthetic: whether the responses were written by a model.
        masked: whether personal data was masked.
        missing: languages that were asked for and have no row.
    """
    found = [
        "Scores are a model's and not a person's: nobody has read every row. A small or weak rater lets wrong pairs "
        "pass.",
        f"Filters let some boilerplate, personal data and text of other languages pass. {personal(masked)}",
        BIASES,
        "An instruction is made to fit a text that was there before it: some ask for what only that text could answer.",
    ]
    if missing:
        found.append(f"The recipe names languages that are not in the set, for want of rows: {', '.join(missing)}.")
    if synthetic:
        found.append(
            "The responses were written by a language model for a demo: they are no evidence of how people write these "
            "languages."
        )
    return found
