"""The verb of an English instruction and its object, without a parser.

Self-Instruct (Wang et al., ACL 2023, section 3.2) parses the root verb and its direct object. A parser needs hundreds
of megabytes, so this uses word lists instead. The verb is the first word that is in ``VERBS`` or is a question word;
the noun is the first word after it that is not a stop word, number, adverb in -ly, listed adjective or another verb. A
verb after an article or a possessive counts as a noun ("write a report"). Compounds are not recognised: "a stone
bridge" gives "stone".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from x_instruction.corpus.words import words


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


def verb_noun(instruction: str, known: list[str] | None = None) -> tuple[str, str] | None:
    """The verb (or question word) and the noun of an instruction in lower case, or None if either is missing.

    Args:
        instruction: the text.
        known: its words, if they are known.
    """
    instruction_words = words(instruction.replace("’", "'")) if known is None or "’" in instruction else known
    for index, word in enumerate(instruction_words):
        word = word.removesuffix("'s")
        if word in QUESTIONS or (word in VERBS and not _after_determiner(instruction_words, index)):
            for after in range(index + 1, len(instruction_words)):
                if _is_noun(instruction_words, after):
                    return word, instruction_words[after].removesuffix("'s")
            return None
    return None


def verb_nouns(
    found: Iterable[tuple[str, str] | None], verbs: int = 16, nouns: int = 4
) -> tuple[int, list[tuple[str, int, list[tuple[str, int]]]]]:
    """Number of instructions with a pair, and the most frequent verbs, each with its count and most frequent nouns.

    Ties are sorted alphabetically. Self-Instruct shows 20 verbs with 4 nouns each; 16 are easier to read.

    Args:
        found: ``verb_noun`` of each instruction.
        verbs, nouns: how many to return.
    """
    pairs = {pair: count for pair, count in Counter(found).items() if pair}
    counts: Counter[str] = Counter()
    objects: dict[str, Counter[str]] = {}
    for (verb, noun), count in pairs.items():
        counts[verb] += count
        objects.setdefault(verb, Counter())[noun] += count
    return sum(pairs.values()), [(verb, count, _top(objects[verb], nouns)) for verb, count in _top(counts, verbs)]


def _top(counts: Counter[str], n: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n]


def _after_determiner(instruction_words: Sequence[str], index: int) -> bool:
    """True if an article or possessive precedes, possibly with adjectives in between."""
    while index and instruction_words[index - 1] in _ADJECTIVES:
        index -= 1
    return bool(index) and instruction_words[index - 1] in _DETERMINERS


def _is_noun(instruction_words: Sequence[str], index: int) -> bool:
    word = instruction_words[index]
    return _may_be_noun(word) and (word not in VERBS or _after_determiner(instruction_words, index))


@lru_cache(maxsize=100_000)
def _may_be_noun(word: str) -> bool:
    if word in _STOPS or word in _ADJECTIVES or not any(letter.isalpha() for letter in word):
        return False
    return word in VERBS or (len(word) > 1 and not (word.endswith("ly") and len(word) > 4 and word not in _NOUNS_IN_LY))
