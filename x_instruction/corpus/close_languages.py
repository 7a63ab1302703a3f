"""Close relatives that an identifier cannot tell apart, told apart by words."""

from __future__ import annotations

from x_instruction.corpus.identifiers import Guess


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that one language of a close pair uses and the other does not (different word or spelling for the same thing).
# py3langid takes half of the Indonesian declaration of human rights for Malay; these tell them apart.
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
# How much likelier one telling word makes its language.
WORD_ODDS = 10.0
# Where the words leave it open, the identifier's doubt is settled for the language that was asked for, unless it is
# as sure as this of the other.
PAIR_DOUBT = 0.9


def closer(text: str, wanted: str, guess: Guess) -> tuple[str, float]:
    """Tag and probability after a second look at a close relative.

    Args:
        text: the whole passage.
        wanted: tag of the language that was asked for.
        guess: what the identifier thinks of it.
    """
    for pair, sides in TELLING_WORDS.items():
        if wanted not in pair or guess.tag not in pair:
            continue
        relative = pair[pair.index(wanted) - 1]
        own, other = guess.shares.get(wanted, 0.0), guess.shares.get(relative, 0.0)
        words = text.lower().translate(_PUNCTUATION).split()
        first, second = (sum(map(side.__contains__, words)) for side in sides)
        surplus = first - second if wanted == pair[0] else second - first
        if surplus == 0:
            return (wanted if other < PAIR_DOUBT * (own + other) else relative), own + other
        # Odds among the two alone, bounded so that a long text cannot overflow them.
        odds = (own + 1e-6) / (other + 1e-6) * WORD_ODDS ** max(-20, min(20, surplus))
        share = odds / (1 + odds)
        return (wanted if share >= 0.5 else relative), (own + other) * max(share, 1 - share)
    return guess.tag, guess.shares.get(guess.tag, 0.0)
