"""Pairs of known quality: an instruction made from the English title of a page, and its text, some spoilt on purpose.

The kinds are those that the generation of pairs makes by itself: a request for another page, or for one that is much
like it, and the texts that crawls are full of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from x_instruction.corpus.characters import spaced
from x_instruction.corpus.segment import sentences
from x_instruction.errors import RecipeError
from x_instruction.experiments.claims.pool import Document
from x_instruction.hashing import derive_seed, digest
from x_instruction.languages import language
from x_instruction.refine.corruptions import partly_foreign, shuffled
from x_instruction.refine.nearest_neighbor import NearestNeighbors
from x_instruction.seed.parallel import instruction

CLEAN, UNTRANSLATED = "clean", "untranslated"
KINDS = ("other_page", "near_miss", "half_foreign", UNTRANSLATED, "shuffled", "furniture")
# Sources of stories, and requests for a story. Other pages have titles that can be explained.
_STORIES = ("african-storybook", "pratham-books")
_TELLING = (
    "Tell the story “{title}”.",
    "Tell me a story called “{title}”.",
    "Please write the children's story “{title}”.",
    "I would like to hear the story “{title}”.",
    "How does the story “{title}” go?",
    "Narrate “{title}” for young readers.",
)
# Steps of the golden ratio spread the kinds evenly over any part of a sequence.
_GOLDEN = 0.6180339887498949
# Characters of a text by which pages are compared.
_COMPARED = 400
_SEPARATORS = (" | ", " » ", " > ", " / ", " · ", "\n", "\n- ", "\n* ")
_MARKS = ("1 2 3 … 14", "12.03.2019", "2021-08-30 14:05", "© 2020", "(0)", "5/5", "→", "[+]", "...", "#1")


@dataclass(frozen=True, slots=True)
class Pair:
    """An instruction and a response.

    Args:
        id, document, language: of the document whose text or title it has.
        instruction: in English, without the language of the answer.
        text: the response.
        kind: ``clean``, or how it was spoilt.
    """

    id: str
    document: str
    language: str
    instruction: str
    text: str
    kind: str


def plant(documents: Sequence[Document], shares: Mapping[str, float], seed: int) -> list[Pair]:
    """A pair for each document, in order, of which these shares are spoilt.

    A kind that a document does not allow, such as another order of a single sentence, is replaced by ``other_page``, or
    by ``untranslated`` where its language has no other page. Where both would give its own text, it stays clean.

    Args:
        documents: the documents.
        shares: share of each kind in ``KINDS``. They hold for each language as far as its number of documents allows.
        seed: of all choices.

    Raises:
        RecipeError: a kind is unknown.
    """
    if unknown := sorted(shares.keys() - set(KINDS)):
        raise RecipeError(f"noise has {unknown[0]!r}, expected some of {', '.join(KINDS)}")
    pairs = [Pair(one.id, one.document, one.language, _asked(one), one.text, CLEAN) for one in documents]
    rows: dict[str, list[int]] = {}
    for number, one in sorted(enumerate(documents), key=lambda item: digest([seed, item[1].id])):
        rows.setdefault(one.language, []).append(number)
    position = 0
    for tag in sorted(rows):
        spoiler = _Spoiler(documents, pairs, rows[tag], seed)
        for number in rows[tag]:
            position += 1
            if kind := _kind(shares, position * _GOLDEN % 1):
                pairs[number] = spoiler.spoil(number, kind)
    return pairs


def _asked(document: Document) -> str:
    """An instruction of which a document is the response. The digest of its title selects the form."""
    if document.source not in _STORIES:
        return instruction(document.title, "", document.text_en)
    form = _TELLING[int(digest(document.title), 16) % len(_TELLING)]
    return form.format(title=document.title)


def _kind(shares: Mapping[str, float], place: float) -> str:
    """The kind at a place from 0 to 1, or an empty string."""
    for kind in KINDS:
        place -= shares.get(kind, 0.0)
        if place < 0:
            return kind
    return ""


class _Spoiler:
    """Spoils pairs of one language.

    Args:
        documents: all documents.
        pairs: their clean pairs.
        rows: numbers of the documents of the language.
        seed: of all choices.
    """

    def __init__(self, documents: Sequence[Document], pairs: Sequence[Pair], rows: Sequence[int], seed: int) -> None:
        self._documents, self._clean, self._rows, self._seed = documents, list(pairs), rows, seed
        self._spaced = spaced(language(documents[rows[0]].language))
        # Pages are compared by their English texts, because instructions share the words of their forms.
        self._similar = NearestNeighbors(
            [f"{documents[row].title} {documents[row].text_en[:_COMPARED]}" for row in rows],
            [documents[row].document for row in rows],
            "en",
        )

    def spoil(self, number: int, kind: str) -> Pair:
        """The pair of a document, spoilt."""
        random = Random(derive_seed(self._seed, kind, self._documents[number].id))
        pair = self._clean[number]
        others = [row for row in self._rows if self._documents[row].document != pair.document]
        made = self._made(number, kind, others, random)
        if made is None:
            kind = "other_page" if others else UNTRANSLATED
            made = self._made(number, kind, others, random)
        return pair if made is None else replace(pair, instruction=made[0], text=made[1], kind=kind)

    def _made(self, number: int, kind: str, others: Sequence[int], random: Random) -> tuple[str, str] | None:
        """Instruction and response of a kind, or None if the document does not allow it."""
        pair, text = self._clean[number], None
        if kind == UNTRANSLATED:
            text = self._documents[number].text_en
        elif kind == "shuffled":
            text = shuffled(pair.text, random, self._spaced)
        elif kind == "half_foreign":
            text = self._half_foreign(number, random)
        elif kind == "near_miss":
            nearest = self._similar.of(self._rows.index(number))
            return None if nearest is None else (self._clean[self._rows[nearest]].instruction, pair.text)
        elif others:
            other = self._clean[random.choice(others)].text
            text = other if kind == "other_page" else self._furniture(pair.text, others, random)
        return None if text is None or text == pair.text else (pair.instruction, text)

    def _half_foreign(self, number: int, random: Random) -> str | None:
        own = self._documents[number].language
        abroad = [one for one in self._documents if one.language != own]
        if not abroad:
            return None
        other = random.choice(abroad)
        return partly_foreign(
            self._clean[number].text, self._spaced, other.text, spaced(language(other.language)), random
        )

    def _furniture(self, text: str, others: Sequence[int], random: Random) -> str:
        """A menu, a piece of the text, and the end of a page, of words of other pages of the language."""

        def menu() -> str:
            entries = [self._entry(self._documents[random.choice(others)].text, random) for _ in range(6)]
            separator = random.choice(_SEPARATORS)
            return separator.lstrip() * separator.startswith("\n") + separator.join(entries[: random.randint(3, 6)])

        marks = random.sample(_MARKS, 3)
        spans = sentences(text, self._spaced)
        piece = text[: spans[random.randrange(len(spans))][1]] if spans else text
        return "\n".join([menu(), marks[0], piece, f"{marks[1]} {marks[2]}", menu()])

    def _entry(self, text: str, random: Random) -> str:
        """The first words of a sentence."""
        spans = sentences(text, self._spaced)
        start, end = random.choice(spans) if spans else (0, len(text))
        if self._spaced:
            return " ".join(text[start:end].split()[: random.randint(1, 4)]).rstrip(".,;:!?")
        return text[start:end][: random.randint(3, 10)]
