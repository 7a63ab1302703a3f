"""Which candidate of a page does a rater pick, and how close is it to what the page is about?

Pages are JSON lines with ``id``, ``document``, ``language``, ``source``, ``text``, and the English ``title_en``,
``summary_en`` and ``text_en``. First candidates are written for them, then rated, then compared:

    python benchmarks/ranking.py write pages.jsonl --recipe files --out candidates.jsonl
    python benchmarks/ranking.py rate pages.jsonl candidates.jsonl --rater pmi --rater contrastive --out scores.jsonl
    python benchmarks/ranking.py compare pages.jsonl candidates.jsonl scores.jsonl --split test
    python benchmarks/ranking.py fit pages.jsonl candidates.jsonl scores.jsonl --split design --out combined.json

``compare`` takes candidates that pass the form checks, and prints for each rater the mean over pages of the pick's
cosine to the true title and summary (all-MiniLM-L6-v2), the share of the way from a random pick to the best one, and
two measures without that encoder: chrF to the title and summary, and the share of the pick's longer words that the
English page has. Intervals (95 %) are of the difference to a random pick, 2,000 bootstrap samples of documents. The
rater ``consensus`` uses the same encoder as the first measure, on the candidates alone.

``openings`` prints the share of candidates that were judged good, by their first words (``--opening "What is"``).

``flaws`` rates pages with their own title and summary against the same with a flaw.

``--judged`` names files of judgements: JSON lines with ``id``, ``k``, ``sensible`` and ``on_topic`` (0 or 1). Then
``compare`` also prints the share of picks that are both, and ``fit`` takes these for the good candidates.

``fit`` writes the weights of the rater ``combined``: a candidate counts as good if it was judged so, or, without
``--judged``, from a cosine of ``--good`` on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from x_instruction.config import recipe
from x_instruction.config.model import Model
from x_instruction.config.refine import Refine
from x_instruction.corpus.words import words
from x_instruction.engines import open_engine
from x_instruction.engines.local.embedder import Embedder
from x_instruction.engines.request_cache import RequestCache
from x_instruction.form import find_faults
from x_instruction.generate import generate
from x_instruction.languages import language
from x_instruction.records import Candidate, Passage, extend, text_digest
from x_instruction.refine import Rating, combined, contrastive, labels, logistic, metrics, pmi, prompted, trained
from x_instruction.refine.compare import candidate as labelled
from x_instruction.seed.chrf import chrf
from x_instruction.seed.pairs import Pair

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]
# Columns that each rater adds to the scores.
RATERS: dict[str, dict[str, tuple[Any, dict[str, Any]]]] = {
    "pmi": {"pmi": (pmi, {}), "pmi_per_token": (pmi, {"per_token": True})},
    "contrastive": {"contrastive": (contrastive, {}), "contrastive_per_token": (contrastive, {"per_token": True})},
    "trained": {"trained": (trained, {"response_tokens": 64})},
    "prompted": {"prompted": (prompted, {"response_tokens": 96})},
}
# Combinations that ``fit`` writes, the preferred one first.
COMBINATIONS = [("consensus", "pmi_per_token"), ("consensus",)]
PAGES_AT_ONCE = 12


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def passage(page: Row) -> Passage:
    return Passage(
        id=page["id"],
        language=page["language"],
        text=page["text"],
        document_id=page["document"],
        segment=0,
        source=page["source"],
        url="",
        license="unknown",
        text_hash=text_digest(page["text"]),
        identified=page["language"],
        identified_confidence=1.0,
    )


def truth(page: Row) -> str:
    return ". ".join(text for text in (page["title_en"], page["summary_en"]) if text)


def by_language(pages: Iterable[Row]) -> Iterable[list[Row]]:
    """Pages of one language, some at a time."""
    found: dict[str, list[Row]] = {}
    for page in pages:
        found.setdefault(page["language"], []).append(page)
    for rows in found.values():
        yield from (rows[start : start + PAGES_AT_ONCE] for start in range(0, len(rows), PAGES_AT_ONCE))


def write(given: argparse.Namespace) -> None:
    settings = recipe.load(given.recipe).generate
    settings = settings.replace(
        model=settings.model.replace(threads=given.threads, dtype=given.dtype), candidates=given.number
    )
    engine = open_engine(settings.model)
    with (
        given.out.open("w", encoding="utf-8") as out,
        RequestCache(given.out.with_suffix(".sqlite"), engine, {}) as asked,
    ):
        for pages in by_language(read(given.pages)):
            made = list(generate([passage(page) for page in pages], settings, engine, asked.ask, 7))
            for page in pages:
                own = [m for m in made if isinstance(m, Candidate) and m.id == page["id"]]
                texts = [{"k": one.candidate, "style": one.style, "text": one.instruction} for one in own]
                out.write(json.dumps({"id": page["id"], "candidates": texts}, ensure_ascii=False) + "\n")


def passing(page: Row, candidates: Sequence[Row], given: argparse.Namespace) -> list[Row]:
    """The candidates of a page that pass the form checks."""
    settings = recipe.load(given.recipe).generate
    whole = [one for one in candidates if one["text"] and one.get("finish", "stop") == "stop"]
    faults = find_faults([(one["text"], page["text"]) for one in whole], settings, language("en"))
    return [one for one, fault in zip(whole, faults, strict=True) if fault is None]


def candidate(page: Row, one: Row) -> Candidate:
    return extend(
        passage(page),
        Candidate,
        instruction=one["text"],
        instruction_language="en",
        style=one["style"],
        candidate=one["k"],
        round=0,
        finish_reason="stop",
        generator="",
        generator_revision="",
        generator_prompt="",
    )


def rate(given: argparse.Namespace) -> None:
    """Rate candidates, and each page's title on its own page and on the next page of its language."""
    pages = {page["id"]: page for page in read(given.pages)}
    written = {row["id"]: row["candidates"] for path in given.candidates for row in read(path)}
    done: dict[tuple[str, int], Row] = {}
    adapter = "embedded-rater" if "trained" in given.rater else None
    engine = open_engine(
        Model(name="embedded", threads=given.threads, batch_size=48, adapter=adapter, dtype=given.dtype)
    )
    columns = {name: column for rater in given.rater for name, column in RATERS[rater].items()}
    for rows in by_language(page for id, page in pages.items() if id in written):
        own = [candidate(page, one) for page in rows for one in passing(page, written[page["id"]], given)]
        for page, other in zip(rows, [*rows[1:], rows[0]], strict=True):
            own.append(candidate(page, {"text": truth(page), "style": "search", "k": -1}))
            own.append(candidate(page, {"text": truth(other), "style": "search", "k": -2}))
        with RequestCache(Path(":memory:"), engine, {}) as asked:
            for name, (rater, changes) in columns.items():
                settings = Refine(
                    rater="pmi",
                    model=Model(name="embedded"),
                    direction="instruction",
                    response_tokens=128,
                    other_pages=2,
                ).replace(**changes)
                settings = (
                    settings.replace(rater="trained", model=Model(name="embedded", adapter=adapter))
                    if adapter
                    else settings
                )
                for one, rating in zip(own, rater.rate(own, settings, engine, asked.ask), strict=True):
                    if isinstance(rating, Rating):
                        row = done.setdefault((one.id, one.candidate), {"id": one.id, "k": one.candidate})
                        row[name] = rating.score
    given.out.write_text("".join(json.dumps(row) + "\n" for row in done.values()), "utf-8")


def flaws(given: argparse.Namespace) -> None:
    """AUROC of a page with its own title and summary against the same with a flaw, by kind of flaw."""
    pages = [page for page in read(given.pages) if given.split in ("", page.get("split", ""))][: given.number]
    pairs = [
        Pair(
            id=page["id"],
            instruction=truth(page),
            output=page["text"],
            language=page["language"],
            instruction_language="en",
            source=page["source"],
            document_id=page["document"],
        )
        for page in pages
    ]
    names = [name for name in labels.STRATEGIES if name not in labels.WEAK_STRATEGIES]
    examples = labels.examples(pairs, names, len(names), given.seed)
    columns: dict[str, Floats] = {}
    for adapter, raters in ((None, ("pmi", "contrastive")), ("embedded-rater", ("trained",))):
        model = Model(name="embedded", threads=given.threads, batch_size=48, adapter=adapter, dtype=given.dtype)
        settings = Refine(rater="pmi", model=model, direction="instruction", response_tokens=128, other_pages=2)
        engine = open_engine(model)
        with RequestCache(Path(":memory:"), engine, {}) as asked:
            for name in raters:
                found: dict[int, float] = {}
                for tag in dict.fromkeys(e.language for e in examples):
                    rows = [row for row, e in enumerate(examples) if e.language == tag]
                    made = [labelled(examples[row], row) for row in rows]
                    changed = settings.replace(response_tokens=64) if name == "trained" else settings
                    values = combined.features(made, [name], changed, engine, asked.ask)
                    found |= {
                        row: value[0] for row, value in zip(rows, values, strict=True) if isinstance(value, tuple)
                    }
                columns[name] = np.array([found[row] for row in range(len(examples))])
    good = np.array([e.level == "best" for e in examples])
    for names_ in (("trained", "pmi"), ("trained", "pmi", "contrastive")):
        x = np.column_stack([columns[name] for name in names_])
        odds = np.zeros(len(good))
        for document in dict.fromkeys(e.document for e in examples):
            out = np.array([e.document == document for e in examples])
            odds[out] = combined.fit(x[~out], names_, good[~out]).model.log_odds(x[out])
        error = metrics.calibration_error(logistic.sigmoid(odds), good)
        columns[f"logistic of {', '.join(names_)} (calibration error {error:.2f})"] = odds
    kinds = [name for name in names if name != "pair"]
    print(f"{len(pages)} pages, {len(examples)} pairs\n")
    print(f"| rater | {' | '.join(kinds)} | all |\n|{'---|' * (len(kinds) + 2)}")
    for name, column in columns.items():
        cells = []
        for kind in [*kinds, ""]:
            chosen = np.array([e.level == "best" or kind in ("", e.strategy) for e in examples])
            cells.append(f"{metrics.auroc(column[chosen], good[chosen]):.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


def gather(given: argparse.Namespace) -> list[Row]:
    """For each page with at least two passing candidates: their features, and how close each is to the truth."""
    scores: dict[tuple[str, int], Row] = {}
    for path in given.scores:
        for row in read(path):
            scores.setdefault((row["id"], row["k"]), {}).update(row)
    pages = {page["id"]: page for page in read(given.pages) if given.split in ("", page.get("split", ""))}
    judged = {
        (row["id"], row["k"]): float(row["sensible"] and row["on_topic"]) for path in given.judged for row in read(path)
    }
    encoder = Embedder("embedded", threads=given.threads)
    found = []
    for row in (row for path in given.candidates for row in read(path)):
        page = pages.get(row["id"])
        own = passing(page, row["candidates"], given) if page else []
        if page is None or len(own) < 2:
            continue
        texts = [one["text"] for one in own]
        reference = truth(page)
        vectors = encoder.encode([*texts, reference]).astype(np.float64)
        among = vectors[:-1] @ vectors[:-1].T
        english = {word[:5] for word in words(f"{reference} {page['text_en']}")}
        features = {"consensus": (among.sum(axis=1) - 1) / (len(own) - 1)}
        for column in {name for one in own for name in scores.get((page["id"], one["k"]), {})} - {"id", "k"}:
            values = [scores.get((page["id"], one["k"]), {}).get(column, np.nan) for one in own]
            if not np.isnan(values).any():
                features[column] = np.array(values)
        found.append(
            {
                "page": page,
                "features": features,
                "titles": [scores.get((page["id"], k), {}) for k in (-1, -2)],
                "cosine": vectors[:-1] @ vectors[-1],
                "chrf": np.array([chrf(text.casefold(), reference.casefold()) for text in texts]),
                "words": np.array([_shared(text, english) for text in texts]),
                "length": np.array([float(len(text)) for text in texts]),
                "judged": np.array([judged.get((page["id"], one["k"]), np.nan) for one in own]),
            }
        )
    return found


def _shared(text: str, english: set[str]) -> float:
    """Share of the words of at least five letters whose first five letters a word of the English page has."""
    long = [word[:5] for word in words(text) if len(word) >= 5]
    return sum(word in english for word in long) / len(long) if long else 0.0


def stacked(rows: Sequence[Row], names: Sequence[str], good: float) -> tuple[Floats, npt.NDArray[np.bool_], list[str]]:
    x = np.concatenate([np.column_stack([row["features"][n] for n in names]) for row in rows])
    y = np.concatenate([row["cosine"] >= good if np.isnan(row["judged"]).any() else row["judged"] > 0 for row in rows])
    return x, y, [row["page"]["document"] for row in rows for _ in row["cosine"]]


def compare(given: argparse.Namespace) -> None:
    rows = gather(given)
    columns = sorted({name for row in rows for name in row["features"]})
    for name in columns:
        rows_with = [row for row in rows if name in row["features"]]
        if len(rows_with) < len(rows):
            print(f"{name}: rated on {len(rows_with)} of {len(rows)} pages")
    picks: dict[str, list[int | None]] = {}
    for name in columns:
        picks[name] = [int(np.argmax(row["features"][name])) if name in row["features"] else None for row in rows]
    picks["longest"] = [int(np.argmax(row["length"])) for row in rows]
    for path in given.weights:
        for one in combined.read(path):
            usable = list(one.features)
            picks[f"combined: {', '.join(one.features)}"] = [
                int(np.argmax(np.column_stack([row["features"][name] for name in usable]) @ one.model.weights))
                if set(usable) <= row["features"].keys()
                else None
                for row in rows
            ]
    documents = [row["page"]["document"] for row in rows]
    sources = ", ".join(
        f"{[row['page']['source'] for row in rows].count(s)} {s}" for s in sorted({r["page"]["source"] for r in rows})
    )
    print(f"{len(rows)} pages with {sum(len(row['cosine']) for row in rows)} passing candidates ({sources})\n")
    print(
        "| pick | pages | cosine | against random | way to the best | chrF | words of the page "
        "| judged good, against random | matched > mismatched |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print(line("random", rows, documents, lambda row, number: None, given.seed))
    for name, chosen in picks.items():
        print(line(name, rows, documents, lambda row, number, chosen=chosen: chosen[number], given.seed))  # type: ignore[misc]
    print(line("best", rows, documents, lambda row, number: int(np.argmax(row["cosine"])), given.seed))


def line(
    name: str, rows: Sequence[Row], documents: Sequence[str], pick: Callable[[Row, int], int | None], seed: int
) -> str:
    """A row of the table: means over the pages that have a pick, or over all of them for a random one."""
    chosen = [(row, pick(row, number)) for number, row in enumerate(rows)]
    if name != "random":
        chosen = [(row, index) for row, index in chosen if index is not None]
    owners = [row["page"]["document"] for row, _ in chosen]
    cells = [name, str(len(chosen))]
    gains, room = [], []
    for measure in ("cosine", "chrf", "words"):
        values = np.array([row[measure].mean() if index is None else row[measure][index] for row, index in chosen])
        if measure == "cosine":
            random = np.array([row[measure].mean() for row, _ in chosen])
            best = np.array([row[measure].max() for row, _ in chosen])
            gains, room = values - random, best - random
            low, high = interval_of(gains, owners, seed)
            cells += [f"{values.mean():.3f}", f"{gains.mean():+.3f} ({low:+.3f} to {high:+.3f})"]
            cells.append(f"{gains.mean() / room.mean():.2f}")
        else:
            cells.append(f"{values.mean():.3f}")
    cells.append(_judged(chosen, seed))
    pairs = [[title.get(name, np.nan) for title in row["titles"]] for row, _ in chosen]
    known = np.array([pair for pair in pairs if not np.isnan(pair).any()], dtype=np.float64).reshape(-1, 2)
    cells.append(
        f"{metrics.auroc(known.T.ravel(), [True] * len(known) + [False] * len(known)):.3f}" if len(known) else ""
    )
    return f"| {' | '.join(cells)} |"


def _judged(chosen: Sequence[tuple[Row, int | None]], seed: int) -> str:
    known = [(row, index) for row, index in chosen if not np.isnan(row["judged"]).any()]
    if not known:
        return ""
    values = np.array([row["judged"].mean() if index is None else row["judged"][index] for row, index in known])
    gains = values - np.array([row["judged"].mean() for row, _ in known])
    low, high = interval_of(gains, [row["page"]["document"] for row, _ in known], seed)
    return f"{values.mean():.3f}, {gains.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def interval_of(gains: Floats, documents: Sequence[str], seed: int) -> tuple[float, float]:
    """95 % interval of a mean over pages, by drawing documents."""
    numbers = {document: number for number, document in enumerate(dict.fromkeys(documents))}
    owner = np.array([numbers[document] for document in documents])
    sums, counts = np.bincount(owner, weights=gains), np.bincount(owner)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(2_000, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5]).tolist()
    return low, high


def fitted(rows: Sequence[Row], names: Sequence[str], good: float) -> combined.Combination:
    """Weights that order the candidates of a page, scaled so that they give the probability of a good one."""
    x, y, _ = stacked(rows, names, good)
    if not any(np.isnan(row["judged"]).any() for row in rows):
        return combined.fit(x, names, y)
    cosine = np.concatenate([row["cosine"] for row in rows])
    weights = logistic.fit_order(x, cosine, [number for number, row in enumerate(rows) for _ in row["cosine"]])
    scale = logistic.fit((x @ weights)[:, None], y)
    model = logistic.Logistic(tuple((weights * scale.weights[0]).tolist()), scale.intercept)
    return combined.Combination(tuple(names), model, float(y.mean()))


def fit(given: argparse.Namespace) -> None:
    rows = gather(given)
    made = []
    for names in given.features or COMBINATIONS:
        known = [row for row in rows if set(names) <= row["features"].keys()]
        made.append(fitted(known, names, given.good))
        odds, ways, room, picks = [], 0.0, 0.0, []
        for row in known:
            document = row["page"]["document"]
            others = fitted([other for other in known if other["page"]["document"] != document], names, given.good)
            odds.append(others.model.log_odds(stacked([row], names, given.good)[0]))
            ways += row["cosine"][np.argmax(odds[-1])] - row["cosine"].mean()
            room += row["cosine"].max() - row["cosine"].mean()
            best = int(np.argmax(odds[-1]))
            picks.append((odds[-1][best], bool(stacked([row], names, given.good)[1][best])))
        p, y = logistic.sigmoid(np.concatenate(odds)), stacked(known, names, given.good)[1]
        print(
            f"{', '.join(names)}: {len(known)} pages, {y.mean():.2f} good, left out by document: AUROC "
            f"{metrics.auroc(p, y):.3f}, calibration error {metrics.calibration_error(p, y):.3f}, way to the best "
            f"{ways / room:.2f}, good of the picks {share_good(picks, 1.0):.3f}, "
            f"of the fifth of the picks with the highest scores {share_good(picks, 0.2):.3f}"
        )
    if given.out:
        combined.write(made, given.note, given.out)


def share_good(picks: Sequence[tuple[float, bool]], share: float) -> float:
    """Share of good ones among this share of the picks, those with the highest scores."""
    best = sorted(picks, reverse=True)[: max(1, round(share * len(picks)))]
    return sum(good for _, good in best) / len(best)


def openings(given: argparse.Namespace) -> None:
    """Share of candidates that were judged good, by their first words."""
    judged = {(row["id"], row["k"]): row for path in given.judged for row in read(path)}
    pages = {page["id"] for page in read(given.pages) if given.split in ("", page.get("split", ""))}
    texts = {
        (row["id"], one["k"]): one["text"]
        for path in given.candidates
        for row in read(path)
        for one in row["candidates"]
    }
    print("| opening | candidates | judged good |\n|---|---|---|")
    for opening in given.opening:
        marks = [
            judged[key] for key, text in texts.items() if key in judged and key[0] in pages and text.startswith(opening)
        ]
        good = [mark["sensible"] and mark["on_topic"] for mark in marks]
        print(f"| {opening} | {len(good)} | {np.mean(good) if good else np.nan:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["write", "rate", "compare", "fit", "flaws", "openings"])
    parser.add_argument("pages", type=Path)
    parser.add_argument("files", type=Path, nargs="*", help="candidates*.jsonl, then scores*.jsonl")
    parser.add_argument("--recipe", default="files", help="whose [generate] writes, and gives the limits of the form")
    parser.add_argument("--number", type=int, default=8, help="candidates of a page, or pages for flaws")
    parser.add_argument("--rater", action="append", choices=RATERS, default=[])
    parser.add_argument("--split", default="", help="only pages with this value of ``split``")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="files of weights to compare")
    parser.add_argument("--features", type=lambda text: tuple(text.split(",")), action="append")
    parser.add_argument("--good", type=float, default=0.45, help="least cosine of a good candidate")
    parser.add_argument("--opening", action="append", default=[], help="first words of candidates, for openings")
    parser.add_argument("--judged", type=Path, action="append", default=[], help="files of judgements")
    parser.add_argument("--note", default="", help="what the weights were fitted on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.scores = [path for path in given.files if "scores" in path.name]
    given.candidates = [path for path in given.files if "scores" not in path.name]
    actions = {"write": write, "rate": rate, "compare": compare, "fit": fit, "flaws": flaws, "openings": openings}
    actions[given.action](given)


if __name__ == "__main__":
    main()
