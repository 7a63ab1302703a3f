"""Pairs of closely related languages that an identifier confuses, distinguished by characteristic words."""

from __future__ import annotations

from x_instruction.corpus.identifiers import Guess


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that only one language of a pair uses (a different word or spelling for the same thing). py3langid identifies
# half of the Indonesian declaration of human rights as Malay; these words decide.
TELLING_WORDS: dict[tuple[str, str], tuple[frozenset[str], frozenset[str]]] = {
    ("id", "ms"): (
        _words(
            """
            adanya apakah artinya bahwa berbeda berkas bisa butuh gratis jaringan kantor karena kesehatan khusus
            kualitas kulkas listrik maupun mobil nomor olahraga pemerintahan pengaturan perbedaan perusahaan ponsel
            pria prioritas rumah-tangga rumahnya sepeda silakan tanggal tas televisi uang unduh universitas wilayah
            """
        ),
        _words(
            """
            adakah ahad awak bahawa berbeza fail filem ialah ianya kedai kerajaan kerana kereta
            kesihatan kualiti mahupun maklumat manakala mesyuarat nombor pejabat pelbagai peratus
            perbezaan perkhidmatan sahaja sebarang sekiranya semasa sukan syarikat tarikh televisyen
            tetapan universiti wang
            """
        ),
    ),
}
_PUNCTUATION = str.maketrans(dict.fromkeys(".,;:!?\"'()“”", " "))
# Factor by which one characteristic word raises the odds of its language.
WORD_ODDS = 10.0
# Without a majority of words the expected language is assumed, unless the identifier gives the other language at least
# this share of the probability of both.
PAIR_DOUBT = 0.9


def closer(text: str, expected: str, guess: Guess) -> tuple[str, float]:
    """Tag and probability of the language, corrected where the identifier confuses two related languages.

    Args:
        text: the whole passage.
        expected: tag of the language that the passage should be in.
        guess: the identifier's result for it.
    """
    for pair, sides in TELLING_WORDS.items():
        if expected not in pair or guess.tag not in pair:
            continue
        relative = pair[pair.index(expected) - 1]
        own, other = guess.shares.get(expected, 0.0), guess.shares.get(relative, 0.0)
        words = text.lower().translate(_PUNCTUATION).split()
        first, second = (sum(map(side.__contains__, words)) for side in sides)
        surplus = first - second if expected == pair[0] else second - first
        if surplus == 0:
            return (expected if other < PAIR_DOUBT * (own + other) else relative), own + other
        # Odds among the two alone, bounded so that a long text cannot overflow them.
        odds = (own + 1e-6) / (other + 1e-6) * WORD_ODDS ** max(-20, min(20, surplus))
        share = odds / (1 + odds)
        return (expected if share >= 0.5 else relative), (own + other) * max(share, 1 - share)
    return guess.tag, guess.shares.get(guess.tag, 0.0)
