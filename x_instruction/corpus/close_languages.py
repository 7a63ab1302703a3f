"""Closely related languages that an identifier confuses, distinguished by characteristic words or characters."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from x_instruction.corpus.identifiers import Guess

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
            agar bagian berdasarkan kecuali kedokteran kesempatan kewarganegaraan layanan lembaga liburan pelayanan
            pengadilan peradilan perkawinan pernyataan pidana resmi sebuah siapapun warga
            pria prioritas rumah-tangga rumahnya sepeda silakan tanggal tas televisi uang unduh universitas wilayah
            """
        ),
        _words(
            """
            bahagian berkahwin hendaklah kerakyatan mahkamah mana-mana mengikut perisytiharan perkahwinan perubatan
            rasmi sesiapa sesiapapun tiada
            adakah ahad awak bahawa berbeza fail filem ialah ianya kedai kerajaan kerana kereta
            kesihatan kualiti mahupun maklumat manakala mesyuarat nombor pejabat pelbagai peratus
            perbezaan perkhidmatan sahaja sebarang sekiranya semasa sukan syarikat tarikh televisyen
            tetapan universiti wang
            """
        ),
    ),
}
# Words of one of two pronunciations of Serbo-Croatian, and those that Croatian has for others. No identifier tells
# Bosnian, Croatian, Montenegrin and Serbian in Latin script apart, so these words decide what the sum of them is.
_EKAVIAN = _words(
    """
    cela celog cene cenu ceo deca dece deci decu dela delo deo dete deteta gde lepo mera mere mesec meseca
    mesta mesto nedelja nedelje negde ovde posle pre pretpostavka primena primene primer reč reči rešenja
    rešenje savest savesti sever sledeći sredstva svest svet sveta svetu telo uspeh uvek vek veka vera vere
    veroispovest veru vrednost vrednosti vreme vremenu zahtev zahteva čovek čoveka čoveku čovečanstva
    """
)
_IJEKAVIAN = _words(
    """
    cijel cijela cijeli cijelog cijene cijenu dijete dio djeca djece djeci djecu djela djelo djeteta gdje
    lijepo mjera mjere mjesec mjeseca mjesta mjesto nedjelja nedjelje negdje ovdje poslije prije primjena
    primjene primjer riječ riječi rješenja rješenje savjest savjesti sjever sljedeći svijest svijet svijeta
    svijetu tijelo uspjeh uvijek vijek vjera vjere vjeroispovijest vjeru vrijednost vrijednosti vrijeme
    zahtjev zahtjeva čovjek čovjeka čovjeku čovječanstva
    """
)
_CROATIAN = _words(
    """
    glazba glazbe kazalište kolovoz kruh kršćanski lipanj listopad nazočnost netko nitko obitelj obitelji opće
    općeg opći općina općine općoj osoba ožujak povijest povijesti prosinac rujan siječanj siječnja srpanj
    studeni sudjelovanje sudjelovati sudjeluje suradnja suradnje sveučilište svibanj tisuća tisuće tjedan
    tjedna tko travanj travnja tvrtka uporaba uporabe veljača vlak znanost znanosti zrak zračna
    """
)
_NOT_CROATIAN = _words(
    """
    april avgust decembar februar hiljada hiljade hleb hljeb januar juni ko lica lice nauka nauke naučni neko
    niko novembar oktobar opšte opšteg opšti opština opštine opštoj porodica porodice porodicu porodični
    pozorište preduzeće saradnja saradnje sedmica sedmice septembar takođe također univerzitet upotreba
    upotrebe učestvovanje učestvovati učestvuje vaspitanje vazduh voz
    """
)
_AMHARIC = _words("ነው ወይም መብት አለው ሁሉ ሰው እና ላይ ውስጥ እንደ ጋር ነበር")
_TIGRINYA = _words("ናይ ኣብ ካብ እዩ ኢዩ ወይ ኩሉ ሰብ መሰል ኣለዎ ኣለዎም እቲ ናብ ምስ ከም ኣይ ነይሩ")
_JAVANESE = _words("lan ing saka kang sing ora duwe nduweni marang karo utawa saben wong iku dadi")
_SUNDANESE = _words("jeung anu nu teu henteu unggal jelema boga ngabogaan dina kana atawa pikeun éta nya ieu sareng")
# Tag to (its words, words that it does not use, the language that a text with these is in). For languages that an
# identifier does not tell apart, because it sums them or knows only one of them.
VARIETIES: dict[str, tuple[frozenset[str], frozenset[str], str]] = {
    "am": (_AMHARIC, _TIGRINYA, "ti"),
    "bs": (_IJEKAVIAN, _EKAVIAN, "sr-Latn"),
    "hr": (_CROATIAN | _IJEKAVIAN, _NOT_CROATIAN | _EKAVIAN, "sr-Latn"),
    "jv": (_JAVANESE, _SUNDANESE, "su"),
    "sr-Latn": (_EKAVIAN | _NOT_CROATIAN, _IJEKAVIAN | _CROATIAN, "hr"),
    "sr-ME": (_IJEKAVIAN, _EKAVIAN, "sr-Latn"),
}
# Characters that written Cantonese has and Mandarin has not: with two of them a text is Cantonese.
_CANTONESE = frozenset("嘅喺唔咗嚟啲冇佢哋咁嗰畀嘢乜咩")
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
    share = guess.shares.get(guess.tag, 0.0)
    base = expected.split("-")[0]
    if base in ("yue", "zh") and guess.tag in (expected, "yue", "zh"):
        return _chinese(text, expected, guess)
    if expected in VARIETIES and guess.tag == expected:
        own_words, other_words, relative = VARIETIES[expected]
        words = text.lower().translate(_PUNCTUATION).split()
        if sum(map(other_words.__contains__, words)) > 1 + sum(map(own_words.__contains__, words)):
            return relative, share
    return guess.tag, share


def _chinese(text: str, expected: str, guess: Guess) -> tuple[str, float]:
    """Cantonese or Mandarin, with the probability of both."""
    is_cantonese = sum(map(text.count, _CANTONESE)) >= 2
    wants_cantonese = expected.startswith("yue")
    both = min(1.0, sum(guess.shares.get(tag, 0.0) for tag in {expected, "yue", "zh"}))
    if is_cantonese == wants_cantonese:
        return expected, both
    return ("yue" if is_cantonese else "zh"), both


def own_variety(text: str, script: str) -> float:
    """Share of the characters of one variety of Chinese among those that only one variety has, 0 to 1.

    Args:
        text: the whole passage.
        script: ``Hans`` or ``Hant``.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    _, simplified, traditional = np.bincount(_varieties().take(codes), minlength=3).tolist()
    own = simplified if script == "Hans" else traditional
    return own / (simplified + traditional) if simplified + traditional else 1.0


@cache
def _varieties() -> NDArray[np.uint8]:
    """1 for each simplified code point, 2 for each traditional one, (0x110000,).

    A character is simplified if GB 2312, the character set of simplified Chinese, has it and Big5, that of traditional
    Chinese, has not; and the other way round.
    """
    table = np.zeros(0x110000, dtype=np.uint8)
    for code in range(0x4E00, 0xA000):
        simplified, traditional = (_encodable(chr(code), name) for name in ("gb2312", "big5"))
        if simplified != traditional:
            table[code] = 1 if simplified else 2
    return table


def _encodable(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
