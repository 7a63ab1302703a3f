"""The verb of an English instruction and its object, without a parser.

Self-Instruct (Wang et al., ACL 2023, section 3.2) parses the root verb and its direct object. A parser needs hundreds
of megabytes, so this uses word lists instead. The verb is the first word that is in ``VERBS`` or is a question word;
the noun is the first word after it that is not a stop word, number, adverb in -ly, listed adjective or another verb. A
verb after an article or a possessive counts as a noun ("write a report"). Compounds are not recognised: "a stone
bridge" gives "stone".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.corpus.words import stripped

# Numbers of verbs and nouns, ``(n, 2)``.
Pairs = npt.NDArray[np.int64]
# Texts that are split at once.
BLOCK = 4_096
# What a word may be. "Write" requests and is a verb; "write's" requests only, as a noun it is no verb.
_ASKS, _REQUESTS, _VERB, _DETERMINER, _ADJECTIVE, _NOUN = (1 << bit for bit in range(6))


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


QUESTIONS = _word_set("what which who whom whose when where why how")

# Base forms that begin a request. Verbs that only introduce another one ("help me write", "let us discuss") and
# auxiliaries ("do you know") are left out.
VERBS = _word_set(
    """
    act add advise advocate analyse analyze announce answer apply argue arrange ask assess assign assume bake
    balance brainstorm break build buy calculate categorise categorize celebrate change characterise characterize
    check choose cite clarify classify clean collect combine comment compare compile complete compose compute
    conclude conduct consider construct contrast convert convince cook correct count craft create critique cultivate
    cut deal debate decide define deliver demonstrate derive describe design detail detect determine develop devise
    diagnose differentiate discuss distinguish divide draft draw edit elaborate eliminate emphasise emphasize
    encourage enumerate estimate evaluate examine expand explain explore express extract fill find fix follow
    forecast form formulate gather generate give grow guess guide harvest highlight identify illustrate imagine
    improve include indicate inform inspire install interpret introduce invent investigate join judge justify keep
    learn list locate maintain make manage match measure mention modify name narrate offer order organise organize
    outline paint paraphrase perform persuade pick plan plant play predict prepare present prevent produce propose
    prove provide publish quote raise rank rate read recall recite recommend reduce refute reject relate remove
    rename reorganise reorganize repair rephrase replace reply report request research resolve respond restate
    retell reveal review revise rewrite save say search select sell send share shorten show simplify sketch solve
    sort specify spell start state store structure study submit suggest summarise summarize support take talk teach
    tell think trace train transform translate treat turn understand update use verify visit wash watch weigh write
    """
)

# A noun follows these, so "the use", "a list" and "your answer" contain none of the verbs above.
_DETERMINERS = _word_set("a an the this that these those my your our his her its their some any no every each")

_STOPS = (
    _DETERMINERS
    | QUESTIONS
    | _word_set(
        """
        i me you he him she it we us they them mine yours myself yourself itself themselves someone somebody anyone
        everyone people something anything everything nothing one ones am is are was were be been being do does did
        doing done have has had having can could will would shall should may might must ought need going go get got
        let and or but nor so yet if then than as because while although though unless until since of in on at by
        for from to into onto with without within about above below over under between among through during before
        after against across along around behind beside beyond near off out up down per via like not never ever
        always often usually also too very much many more most less least few several all both either neither other
        another such own same just only even still again already there here now today yesterday tomorrow please
        kindly i'm i've i'd i'll you're it's that's what's there's don't doesn't didn't isn't aren't can't won't two
        three four five six seven eight nine ten first second third last next following help know come try want
        """
    )
)

_ADJECTIVES = _word_set(
    """
    accurate actual additional appropriate available average bad basic beautiful best better big brief broad careful
    certain clear close common complete complex compelling comprehensive concise convincing correct creative current
    deep descriptive detailed different difficult early easy effective engaging entire essential exact famous favorite
    favourite final formal friendly full fun funny general good great happy healthy high historical huge important
    impossible informal informative interesting key known large late little local long low main major modern necessary
    new nice old original overall perfect persuasive personal poetic polite popular possible practical proper quick real
    relevant rich right sad safe short significant similar simple single small special specific strong successful
    suitable sure true typical unique useful usual various vivid well wide worst wrong young
    """
)

_NOUNS_IN_LY = _word_set("family italy reply supply assembly anomaly monopoly butterfly july jelly belly bully")


_LISTED = VERBS | _STOPS | _ADJECTIVES


def verb_nouns(instructions: Iterable[str]) -> Iterator[tuple[str, str] | None]:
    """The verb (or question word) and the noun of each instruction in lower case, or None if either is missing."""
    words, left = Words(), iter(instructions)
    while block := list(islice(left, BLOCK)):
        pairs = words.pairs(*words.split(block)).tolist()
        yield from ((words.names[verb], words.names[noun]) if verb >= 0 else None for verb, noun in pairs)


class Words:
    """Words of instructions, numbered in the order in which they appear. Each is looked up in the lists above once.

    Attributes:
        words: the words in lower case, as ``corpus.words`` finds them.
        names: the names of verbs and nouns: words without a possessive.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.names: list[str] = []
        # Parts of texts without a word, such as a dash, have -1.
        self._parts: dict[str, int] = {}
        self._word_numbers = {"": -1}
        self._name_numbers: dict[str, int] = {}
        self._kinds: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._named: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def split(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The words of all texts one after another, as numbers, and how many each text has."""
        import pyarrow as pa
        import pyarrow.compute as pc

        # As ``words`` does, for each distinct part of a text once. Arrow can read beyond the end of a text that ends
        # with white space, so there must be none.
        parts = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pa.array(texts, pa.string())))
        ends = np.cumsum(np.concatenate([[0], pc.list_value_length(parts)]))
        encoded = pc.list_flatten(parts).dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        self._learn([part for part in distinct if part not in self._parts])
        found = np.array(list(map(self._parts.__getitem__, distinct)), np.int64)[encoded.indices]
        before = np.cumsum(np.concatenate([[0], found >= 0]))
        return found[found >= 0], np.diff(before[ends])

    def _learn(self, parts: list[str]) -> None:
        """Number the words of new parts of texts."""
        for part, word in zip(parts, map(stripped, map(str.casefold, parts)), strict=True):
            if word not in self._word_numbers:
                self._word_numbers[word] = len(self.words)
                self.words.append(word)
            self._parts[part] = self._word_numbers[word]

    def pairs(self, numbers: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Pairs:
        """The verb (or question word) and the noun of each text.

        Args:
            numbers, lengths: what ``split`` returns.

        Returns:
            Numbers of their ``names``, ``(n, 2)``; -1 if either is missing.
        """
        self._look()
        kinds = self._kinds[numbers]
        ends = np.cumsum(lengths)
        starts = ends - lengths
        where = np.arange(len(numbers))
        # The last word up to each one that is no adjective: a determiner there governs the word after it.
        governs = np.maximum.accumulate(np.where(kinds & _ADJECTIVE, -1, where))
        determined = np.zeros(len(numbers) + 1, bool)
        determined[1:] = (governs >= np.repeat(starts, lengths)) & (kinds[governs] & _DETERMINER > 0)
        determined[starts] = False
        determined = determined[:-1]
        first = _first(np.flatnonzero((kinds & _ASKS > 0) | ((kinds & _REQUESTS > 0) & ~determined)), starts, ends)
        is_noun = (kinds & _NOUN > 0) & ((kinds & _VERB == 0) | determined)
        noun = _first(np.flatnonzero(is_noun), first + 1, ends)
        both = (first < ends) & (noun < ends)
        named = self._named[numbers]
        pairs = np.full((len(lengths), 2), -1)
        pairs[both] = np.column_stack([named[first[both]], named[noun[both]]])
        return pairs

    def most_frequent(
        self, pairs: Pairs, verbs: int = 16, nouns: int = 4
    ) -> list[tuple[str, int, list[tuple[str, int]]]]:
        """The most frequent verbs, each with its count and most frequent nouns.

        Ties are sorted alphabetically. Self-Instruct shows 20 verbs with 4 nouns each; 16 are easier to read.

        Args:
            pairs: those of ``pairs`` that are not missing.
            verbs, nouns: how many to return.
        """
        top = []
        for verb, count in self._top(pairs[:, 0], verbs):
            found = self._top(pairs[pairs[:, 0] == verb, 1], nouns)
            top.append((self.names[verb], count, [(self.names[noun], number) for noun, number in found]))
        return top

    def _top(self, numbers: npt.NDArray[np.int64], n: int) -> list[tuple[int, int]]:
        """The most frequent numbers, and how often each is there."""
        counts = np.bincount(numbers, minlength=n)
        # Most words are rare, and only names of frequent ones have to be compared.
        often = np.flatnonzero(counts >= max(1, np.partition(counts, -n)[-n]))
        found = zip(often.tolist(), counts[often].tolist(), strict=True)
        return sorted(found, key=lambda item: (-item[1], self.names[item[0]]))[:n]

    def _look(self) -> None:
        """Look up in the lists above what each new word may be."""
        new = [word.replace("’", "'") for word in self.words[len(self._kinds) :]]
        names = [word.removesuffix("'s") for word in new]
        for name in names:
            if name not in self._name_numbers:
                self._name_numbers[name] = len(self.names)
                self.names.append(name)
        self._kinds = np.append(self._kinds, np.array(list(map(_kind, new, names)), np.uint8))
        self._named = np.append(self._named, np.array(list(map(self._name_numbers.__getitem__, names)), np.int64))


def _first(places: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Any:
    """The first of some sorted places from each start, or the end if there is none before it."""
    return np.minimum(np.append(places, np.iinfo(np.int64).max)[np.searchsorted(places, starts)], ends)


def _kind(word: str, name: str) -> int:
    """What a word may be."""
    noun = _NOUN * _may_be_noun(word)
    if name not in _LISTED:
        return noun
    kinds = {
        _ASKS: name in QUESTIONS,
        _REQUESTS: name in VERBS,
        _VERB: word in VERBS,
        _DETERMINER: word in _DETERMINERS,
        _ADJECTIVE: word in _ADJECTIVES,
    }
    return noun + sum(kind for kind, holds in kinds.items() if holds)


def _may_be_noun(word: str) -> bool:
    if word in _STOPS or word in _ADJECTIVES or not (word.isalpha() or any(map(str.isalpha, word))):
        return False
    return word in VERBS or (len(word) > 1 and not (word.endswith("ly") and len(word) > 4 and word not in _NOUNS_IN_LY))
