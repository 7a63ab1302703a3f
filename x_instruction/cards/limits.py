"""What a data set must not be trusted with. The card and ``croissant.json`` share the sentences."""

from __future__ import annotations

from x_instruction.cards.dataset_facts import DatasetFacts

BIASES = (
    "The responses carry the views, errors and age of their sources, and the instructions those of the model that "
    "wrote them."
)
USE = (
    "Training and studying instruction-following models in the languages of the set, with speakers who can review the "
    "output. Not for facts, not for judging people, and not as a test set."
)


def personal_data(masked: bool) -> str:
    """What was done about personal data."""
    if not masked:
        return "Personal data was not searched for."
    return "E-mail addresses, phone numbers, IP addresses and IBANs were detected and masked. Names of people were not."


def limits(facts: DatasetFacts) -> list[str]:
    """Known limits, a sentence or two each."""
    sentences = [
        "No person has read every row. Scores come from a model, and a small or weak rater accepts some wrong pairs.",
        f"Filters miss some boilerplate, personal data and text in other languages. {personal_data(facts.masked)}",
        BIASES,
        "Each instruction was written for an existing text, so some ask for details that only this text can answer.",
    ]
    if facts.missing:
        sentences.append(f"Languages that the recipe asks for and that have no rows: {', '.join(facts.missing)}.")
    if facts.synthetic:
        sentences.append(
            "The responses were written by a language model for a demo, so they are not evidence of how people write "
            "these languages."
        )
    return sentences
