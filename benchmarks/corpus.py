"""What the corpus stage costs: alone at growing sizes, against datatrove's filters or another version of itself, and
its near-duplicate search.

    python benchmarks/corpus.py --data PAGES --documents 10000 100000 1000000
    python benchmarks/corpus.py --data PAGES --documents 5000 --against datatrove --python DT/bin/python --repeats 3
    python benchmarks/corpus.py --data PAGES --documents 1500 --language fi th bn --before CHECKOUT --repeats 5
    python benchmarks/corpus.py --data PAGES --documents 20000 --near-duplicates --repeats 3 --python DT/bin/python

``PAGES`` holds ``<tag>.jsonl`` with real pages. A corpus of any size is made from them: most words of a page are
replaced by other words of it and some by words that never were, so that two copies are not alike; a share
(``--planted``) are near duplicates of an earlier one. ``DT`` is an environment with spacy, py3langid and
``datatrove[io,processing]==0.10.1``. Everything runs in processes of its own with one thread each, the sides in turn
``--repeats`` times; medians are printed, one line of JSON per side.

``--before`` compares with another checkout, which has its own ``.venv``: the filters with language check and without
near duplicates, the normal form, and the n-grams of the language check. Its figures are CPU time without imports and
tables, which are loaded once, and a digest of all that each version made of the same documents.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

# datatrove's names of the languages: ISO 639-3 and script.
CODES = {"fi": "fin_Latn", "id": "ind_Latn", "tr": "tur_Latn", "vi": "vie_Latn", "sw": "swh_Latn", "ta": "tam_Taml"}
CODES |= {"hi": "hin_Deva", "bn": "ben_Beng", "ur": "urd_Arab", "th": "tha_Thai"}
LETTERS = "aeiouklmnprst"
# The same work for all three searches: word 3-grams, 25 bands of 5 rows, similarity 0.7.
JACCARD, BANDS, ROWS = 0.7, 25, 5


def make(path: Path, pages: list[str], documents: int, planted: float) -> None:
    """Write a corpus of so many documents, a share of them near duplicates of one of the last hundred."""
    rng = random.Random(documents)
    recent: list[str] = []
    with open(path, "w", encoding="utf-8") as stream:
        for number in range(documents):
            if recent and rng.random() < planted:
                words = rng.choice(recent).split(" ")
                for _ in range(max(1, len(words) // 50)):
                    words[rng.randrange(len(words))] = invented(rng)
                text = " ".join(words)
            else:
                text = changed(rng.choice(pages), rng)
                recent = [*recent[-99:], text]
            stream.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False) + "\n")


def changed(page: str, rng: random.Random) -> str:
    lines = [line.split() for line in page.split("\n")]
    words = [word for line in lines for word in line]

    def other(word: str) -> str:
        chance = rng.random()
        return rng.choice(words) if chance < 0.4 else invented(rng) if chance < 0.42 else word

    return "\n".join(" ".join(map(other, line)) for line in lines)


def invented(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=8))


def read(path: Path) -> Iterator[dict[str, str]]:
    with open(path, encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def stage(path: Path, tag: str, folder: Path, **limits: Any) -> dict[str, Any]:
    """Our stage over the whole file."""
    try:
        from x_instruction.config.corpus import Corpus, Filters
    except ModuleNotFoundError:  # earlier versions
        from x_instruction.recipe import Corpus, Filters
    from x_instruction.corpus.stage import passages
    from x_instruction.languages import language
    from x_instruction.records import Dropped

    corpus = Corpus(source="files", paths=(str(path),), filters=Filters(**limits))
    if limits.get("language_check", True):
        from x_instruction.corpus import ngrams

        ngrams.model()  # loaded once per run, as the other side's models are
    started, used, counts = time.perf_counter(), time.process_time(), Counter[str]()
    records = []
    for record in passages(corpus, language(tag), folder):
        records.append(record)
        counts[record.reason if isinstance(record, Dropped) else "kept"] += 1
    taken = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - used, "counts": dict(counts)}
    return taken | {"digest": digest_of(repr(record) for record in records)}


def digest_of(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def normal_form(path: Path, tag: str, folder: Path) -> dict[str, Any]:
    """The normal form of all texts."""
    from x_instruction.corpus.clean import normalise

    texts = [row["text"] for row in read(path)]
    return repeated(lambda: list(map(normalise, texts)), len(texts), "\n".join)


def features(path: Path, tag: str, folder: Path) -> dict[str, Any]:
    """The n-grams that the language check finds in all texts, in batches of about 256 samples."""
    from x_instruction.corpus import ngrams
    from x_instruction.corpus.identify import sample

    texts = [sample(row["text"]).encode("utf-8", "surrogatepass") for row in read(path)]
    batches = [texts[start : start + 256] for start in range(0, len(texts), 256)]
    model = ngrams.model()

    def found() -> list[Any]:
        return [model.features(batch) for batch in batches]

    return repeated(found, len(texts), lambda made: repr([array.tolist() for arrays in made for array in arrays]))


def repeated(make: Callable[[], Any], texts: int, shown: Callable[[Any], str]) -> dict[str, Any]:
    """The least CPU time of several calls, and a digest of what they make."""
    make()
    least = float("inf")
    for _ in range(5):
        used = time.process_time()
        made = make()
        least = min(least, time.process_time() - used)
    return {"seconds": least, "cpu": least, "counts": {"texts": texts}, "digest": digest_of([shown(made)])}


def near_ours(path: Path, tag: str, folder: Path) -> dict[str, Any]:
    """Our search: hashing, spooling, banding, exact comparison, the survivors read back."""
    from x_instruction.corpus.dedup import Deduplicator
    from x_instruction.records import Passage

    records = [
        Passage(
            id=row["id"], language=tag, text=row["text"], document_id=row["id"], segment=0, source="", url="",
            license="", text_hash="", identified=tag, identified_confidence=1.0,
        )
        for row in read(path)
    ]  # fmt: skip
    started = time.perf_counter()
    with Deduplicator(folder, JACCARD, words=True) as near:
        for record in records:
            near.add(record)
        near.decide()
        kept = sum(isinstance(record, Passage) for record in near.survivors())
    return {"seconds": time.perf_counter() - started, "counts": {"kept": kept}}


def near_rensa(path: Path, tag: str, folder: Path) -> dict[str, Any]:
    """Rensa as its users run it, on the same word 3-grams as text: signatures, index, candidates, union-find."""
    import rensa

    texts = [row["text"] for row in read(path)]
    started = time.perf_counter()
    signatures = [
        found
        for start in range(0, len(texts), 500)
        for found in rensa.RMinHash.from_token_sets(map(word_runs, texts[start : start + 500]), BANDS * ROWS, 42)
    ]
    index = rensa.RMinHashLSH(JACCARD, BANDS * ROWS, BANDS)
    index.insert_many(signatures)
    first = list(range(len(texts)))

    def root(number: int) -> int:
        while first[number] != number:
            first[number] = number = first[first[number]]
        return number

    for number, found in enumerate(index.query_all(signatures)):
        for other in found:
            low, high = sorted((root(number), root(other)))
            first[high] = low
    kept = sum(number == parent for number, parent in enumerate(first))
    return {"seconds": time.perf_counter() - started, "counts": {"kept": kept}}


def near_rensa_flags(path: Path, tag: str, folder: Path) -> dict[str, Any]:
    """Rensa's fastest way on our shingles: a digest matrix, and flags that name both members of a pair."""
    import numpy as np
    import rensa

    texts = [row["text"] for row in read(path)]
    started = time.perf_counter()
    hashed = list(hashed_batches(texts))
    sizes = np.concatenate([np.diff(starts) for _, starts in hashed])
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.uint64)
    flat = np.concatenate([hashes for hashes, _ in hashed])
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, BANDS * ROWS, 42)
    flags = rensa.RMinHashLSH(JACCARD, BANDS * ROWS, BANDS).query_duplicate_flags_matrix_one_shot(matrix)
    return {"seconds": time.perf_counter() - started, "counts": {"unflagged": len(flags) - sum(flags)}}


def word_runs(text: str) -> list[str]:
    words = text.lower().split()
    return [" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))]


def hashed_batches(texts: list[str]) -> Iterator[Any]:
    from x_instruction.corpus.shingles import shingles

    for start in range(0, len(texts), 500):
        yield shingles(texts[start : start + 500], True)


def datatrove_filters(path: Path, tag: str, folder: Path, language: bool = True) -> dict[str, Any]:
    """datatrove's filters, each document until the first that refuses it; py3langid in the place of its fastText."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.formatters import PIIFormatter
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    code = CODES[tag]
    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    class Language:
        name = "language"

        def filter(self, document: Document) -> bool:
            found, share = model.classify(document.text)
            return bool(found == tag and share >= 0.6)

    # No stop words are built in for most languages, and C4 wants ASCII full stops: those two rules are off.
    checks: list[Any] = [Language()] if language else []
    checks += [
        GopherRepetitionFilter(language=code),
        GopherQualityFilter(language=code, min_stop_words=None),
        C4QualityFilter(language=code, filter_no_terminal_punct=False, min_num_sentences=-1),
    ]
    formatter = PIIFormatter()
    warm = Document(text="Satu dua tiga. " * 30, id="warm")
    for check in checks:
        check.filter(warm)
    started, used, counts = time.perf_counter(), time.process_time(), Counter[str]()
    for row in read(path):
        document = Document(text=row["text"], id=row["id"])
        for check in checks:
            passed = check.filter(document)
            if passed is not True:
                counts[check.name] += 1
                break
        else:
            document.text = formatter.format(document.text)
            counts["kept"] += 1
    taken = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - used}
    return taken | {"counts": dict(counts)}


def datatrove_form(path: Path, tag: str, folder: Path) -> dict[str, Any]:
    return datatrove_filters(path, tag, folder, language=False)


def datatrove_minhash(path: Path, tag: str, folder: Path) -> dict[str, Any]:
    """datatrove's four stages on the same text, one task, one worker."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig(n_grams=3, num_buckets=BANDS, hashes_per_bucket=ROWS)
    places = {name: str(folder / name) for name in ("signatures", "buckets", "ids", "kept")}
    reader = JsonlReader(str(path.parent), glob_pattern=path.name)
    stages = [
        [reader, MinhashDedupSignature(output_folder=places["signatures"], config=config, language=CODES[tag])],
        [MinhashDedupBuckets(places["signatures"], output_folder=places["buckets"], config=config)],
        [MinhashDedupCluster(places["buckets"], output_folder=places["ids"], config=config)],
        [reader, MinhashDedupFilter(input_folder=places["ids"]), JsonlWriter(places["kept"], compression=None)],
    ]
    started = time.perf_counter()
    for number, steps in enumerate(stages):
        tasks = BANDS if number == 1 else 1
        LocalPipelineExecutor(pipeline=steps, tasks=tasks, workers=1, logging_dir=str(folder / f"log{number}")).run()
    seconds = time.perf_counter() - started
    kept = sum(file.read_bytes().count(b"\n") for file in Path(places["kept"]).glob("*.jsonl"))
    return {"seconds": seconds, "counts": {"kept": kept}}


def stage_filters(path: Path, tag: str, folder: Path, **limits: Any) -> dict[str, Any]:
    """The stage without near duplicates, in a process that has screened some documents before."""
    few = folder / "few.jsonl"
    few.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:50]))
    stage(few, tag, folder, near_duplicates=False, **limits)
    return stage(path, tag, folder, near_duplicates=False, **limits)


def stage_form(path: Path, tag: str, folder: Path) -> dict[str, Any]:
    return stage_filters(path, tag, folder, language_check=False)


# What runs in a process of its own, by the name that it is asked for.
SIDES: dict[str, Callable[[Path, str, Path], dict[str, Any]]] = {
    "stage": stage,
    "filters": stage_filters,
    "filters without language": stage_form,
    "normal form": normal_form,
    "n-grams": features,
    "datatrove filters": datatrove_filters,
    "datatrove filters without language": datatrove_form,
    "near duplicates": near_ours,
    "rensa, first of each group": near_rensa,
    "rensa, flags only": near_rensa_flags,
    "datatrove minhash": datatrove_minhash,
}


def child(side: str, path: Path, tag: str) -> None:
    """Run one side and write what it cost as one line of JSON."""
    folder = Path(tempfile.mkdtemp(dir=path.parent))
    found = SIDES[side](path, tag, folder)
    shutil.rmtree(folder, ignore_errors=True)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found["peak_mb"] = round(used.ru_maxrss / 1024)
    found["cpu_seconds"] = used.ru_utime + used.ru_stime
    print("\n" + json.dumps(found))


def measure(side: str, path: Path, tag: str, python: str) -> dict[str, Any]:
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    command = [python, str(Path(__file__).resolve()), "--child", side, "--path", str(path), "--language", tag]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | one_thread, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(sides: dict[str, str], path: Path, tag: str, documents: int, repeats: int) -> None:
    """Run each side in turn and print medians, and how much faster the first is than each other one."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, python in sides.items():
            runs[side].append(measure(side, path, tag, python))
    base = statistics.median(run["seconds"] for run in next(iter(runs.values())))
    for side, found in runs.items():
        seconds = statistics.median(run["seconds"] for run in found)
        row = {
            "side": side, "documents": documents, "seconds": round(seconds, 2),
            "spread": [round(run["seconds"], 2) for run in found], "documents_per_second": round(documents / seconds),
            "cpu_seconds_with_loading": round(statistics.median(run["cpu_seconds"] for run in found), 2),
            "times_slower_than_first": round(seconds / base, 2), "peak_mb": max(run["peak_mb"] for run in found),
            "counts": found[0]["counts"],
        }  # fmt: skip
        if "cpu" in found[0]:
            row["documents_per_cpu_second"] = round(documents / statistics.median(run["cpu"] for run in found))
        print(json.dumps(row), flush=True)


def compare_versions(before: Path, path: Path, tag: str, documents: int, repeats: int) -> None:
    """Run this version and another one in turn, and print medians and whether they make the same."""
    pythons = {"before": str(before.resolve() / ".venv" / "bin" / "python"), "after": sys.executable}
    for side in ("filters", "normal form", "n-grams"):
        runs: dict[str, list[dict[str, Any]]] = {version: [] for version in pythons}
        for _ in range(repeats):
            for version, python in pythons.items():
                runs[version].append(measure(side, path, tag, python))
        cpu = {version: statistics.median(run["cpu"] for run in found) for version, found in runs.items()}
        for version, found in runs.items():
            row = {
                "side": side, "language": tag, "version": version, "cpu_seconds": round(cpu[version], 3),
                "spread": sorted(round(run["cpu"], 3) for run in found),
                "documents_per_cpu_second": round(documents / cpu[version]),
                "microseconds": round(1e6 * cpu[version] / documents, 1),
                "times_faster": round(cpu["before"] / cpu[version], 2), "digest": found[0]["digest"],
                "counts": found[0]["counts"],
            }  # fmt: skip
            print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of <tag>.jsonl")
    parser.add_argument("--language", nargs="+", default=["id"])
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000])
    parser.add_argument("--planted", type=float, default=0.2, help="share of near duplicates")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--against", choices=["datatrove"])
    parser.add_argument("--before", type=Path, help="a checkout of another version, with its .venv")
    parser.add_argument("--near-duplicates", action="store_true")
    parser.add_argument("--python", help="python of datatrove's environment")
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.path, options.language[0])
        return
    if options.data is None:
        parser.error("--data is missing: name a folder of <tag>.jsonl")
    if options.against and options.python is None:
        parser.error("--against datatrove needs --python, the python of its environment")
    for tag in options.language:
        pages = [row["text"] for row in read(options.data / f"{tag}.jsonl")]
        with tempfile.TemporaryDirectory() as folder:
            for documents in options.documents:
                path = Path(folder) / f"{documents}.jsonl"
                make(path, pages, documents, options.planted)
                run(options, path, tag, documents)
                path.unlink()


def run(options: argparse.Namespace, path: Path, tag: str, documents: int) -> None:
    """Run what the options ask for on one corpus."""
    ours, theirs, repeats = sys.executable, options.python, options.repeats
    if options.before:
        compare_versions(options.before, path, tag, documents, repeats)
    elif options.near_duplicates:
        sides = dict.fromkeys(("near duplicates", "rensa, first of each group", "rensa, flags only"), ours)
        compare(sides | ({"datatrove minhash": theirs} if theirs else {}), path, tag, documents, repeats)
    elif options.against:
        for rest in ("", " without language"):
            pair = {f"filters{rest}": ours, f"datatrove filters{rest}": theirs}
            compare(pair, path, tag, documents, repeats)
    else:
        compare({"stage": ours}, path, tag, documents, repeats)


if __name__ == "__main__":
    main()
