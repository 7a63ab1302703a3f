"""Which rater knows good pairs from flawed ones?

Each page is rated with its own instruction (the good pair) and with five flaws, made as the labels of a rater are
(``refine.labels``): the response truncated, shuffled or partly foreign, the instruction of the most similar page of its
language, and that of any other page. Pages have all six levels.

No rater was trained on the pages (``ratings.new``). The combination is a logistic regression of the raters, fitted on
``development`` pages. No document is among these and among the ``rater_pages`` that are measured. Two more arms need no
model: ``length``, the number of characters of instruction and response, and ``random``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from x_instruction.errors import CorpusError, RecipeError
from x_instruction.experiments.claims import noise, ranking, ratings
from x_instruction.experiments.claims.analysis import Figure, Values, mean, paired, ranked
from x_instruction.experiments.claims.lab import Lab
from x_instruction.experiments.claims.parts import Part, Result
from x_instruction.hashing import derive_seed, digest
from x_instruction.refine import combined, labels
from x_instruction.refine.labels import Example
from x_instruction.seed.pairs import Pair

NAME = "raters"
GOOD = "pair"
STRATEGIES = (GOOD, "truncated", "shuffled", "foreign", "hard-negative", "random-negative")
# Features that cost nothing beside those of the design.
BESIDE = {"pmi": ("pmi_per_token",)}
COMBINATION = "combination"
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sets:
    """Examples, the six levels of a page in the order of ``STRATEGIES``, one page after another.

    Args:
        measured: those on which raters are compared.
        fitted: those that the combination is fitted on.
    """

    measured: list[Example]
    fitted: list[Example]


def sets(lab: Lab) -> Sets:
    """The examples of both sets.

    Raises:
        RecipeError: the pool has too few pages.
    """
    known = ratings.new(lab.documents, lab.design.rater_adapter)
    pages = _pages(noise.plant(known, {}, seed=0))
    # Documents of the development set come first, so that they are not among the others.
    development = {document.document for document in lab.split.development}
    order = sorted({page[0].document for page in pages}, key=lambda one: (one not in development, digest([NAME, one])))
    fitted = set(order[: lab.sizes.development])
    first = _spread([page for page in pages if page[0].document in fitted], lab.sizes.development)
    second = _spread([page for page in pages if page[0].document not in fitted], lab.sizes.rater_pages)
    return Sets([one for page in second for one in page], [one for page in first for one in page])


def _pages(planted: Sequence[noise.Pair]) -> list[list[Example]]:
    """The six levels of every page that has all of them."""
    pairs = [
        Pair(
            id=pair.id,
            instruction=pair.instruction,
            output=pair.text,
            language=pair.language,
            instruction_language="en",
            source="pool",
            document_id=pair.document,
        )
        for pair in planted
    ]
    pages: dict[str, dict[str, Example]] = {}
    for example in labels.examples(pairs, STRATEGIES, len(STRATEGIES), seed=0):
        pages.setdefault(example.id.rpartition("/")[0], {})[example.strategy] = example
    return [[page[name] for name in STRATEGIES] for page in pages.values() if len(page) == len(STRATEGIES)]


def _spread(pages: Sequence[list[Example]], number: int) -> list[list[Example]]:
    """So many pages."""
    if len(pages) < number:
        raise RecipeError(
            f"{number} pages with six levels are needed and the pool has {len(pages)}: use a larger pool, or lower "
            "rater_pages and development"
        )
    return ratings.spread(pages, number, lambda page: page[0].document, lambda page: digest([NAME, page[0].id]))


def parts(lab: Lab) -> Iterator[Part]:
    """The scores of each rater on both sets."""
    found = sets(lab)
    # The trained rater last, so that the base model is opened once.
    for name in sorted(lab.design.raters, key=lambda name: name == "trained"):
        for suffix, examples in (("", found.measured), ("-development", found.fitted)):
            yield _part(lab, name, suffix, examples)


def _part(lab: Lab, name: str, suffix: str, examples: Sequence[Example]) -> Part:
    adapter = lab.design.rater_adapter if name == "trained" else ""
    names = (name, *BESIDE.get(name, ()))
    settings = {
        "model": lab.design.model,
        "dtype": lab.design.dtype,
        "adapter": adapter,
        "features": names,
        "response_tokens": ratings.RESPONSE_TOKENS,
        "examples": [asdict(example) for example in examples],
    }

    def make() -> Result:
        columns = ratings.scores(lab, ratings.model(lab, adapter), examples, names)
        return {
            "rows": [
                {
                    "id": one.id,
                    "document": one.document,
                    "strategy": one.strategy,
                    "characters": len(one.instruction) + len(one.text),
                }
                for one in examples
            ],
            "scores": columns,
        }

    return Part(f"{NAME}/{name}{suffix}", settings, make)


def figures(lab: Lab, results: Mapping[str, Result]) -> list[Figure]:
    """AUROC, the share of pages whose own pair is rated first, and its mean rank, for each rater and flaw."""
    return of_results(results, lab.design.raters)


def of_results(results: Mapping[str, Result], raters: Sequence[str]) -> list[Figure]:
    """The figures of the parts that were made.

    Args:
        results: by name of the part: ``RATER`` and ``RATER-development``.
        raters: names of the raters.

    Raises:
        CorpusError: parts have other examples.
    """
    known = [name for name in raters if name in results]
    if not known:
        return []
    rows = results[known[0]]["rows"]
    if any(results[name]["rows"] != rows for name in known):
        raise CorpusError(f"the parts of {NAME} were made of different examples: remove their folder, and run it again")
    columns = {name: np.array(values) for part in known for name, values in results[part]["scores"].items()}
    columns["length"] = np.array([float(row["characters"]) for row in rows])
    columns["random"] = np.array([float(derive_seed(0, NAME, row["id"])) for row in rows])
    if len(known) == len(raters) and all(f"{name}-development" in results for name in raters):
        columns[COMBINATION] = _combined(results, raters, columns)
    comparisons = [(arm, baseline) for arm, baseline in _COMPARED if {arm, baseline} <= columns.keys()]
    return [*_auroc(rows, columns, comparisons), *_places(rows, columns, comparisons)]


_COMPARED = (
    ("trained", "pmi"),
    (COMBINATION, "trained"),
    (COMBINATION, "pmi"),
    ("pmi", "length"),
    ("trained", "length"),
)


def _combined(results: Mapping[str, Result], raters: Sequence[str], columns: Mapping[str, Array]) -> Array:
    parts_of = [results[f"{name}-development"] for name in raters]
    measured = np.column_stack([part["scores"][name] for name, part in zip(raters, parts_of, strict=True)])
    good = [row["strategy"] == GOOD for row in parts_of[0]["rows"]]
    return combined.fit(measured, raters, good).model.log_odds(np.column_stack([columns[name] for name in raters]))


def _auroc(
    rows: Sequence[Mapping[str, str]], columns: Mapping[str, Array], comparisons: Sequence[tuple[str, str]]
) -> list[Figure]:
    made = []
    strategies = np.array([row["strategy"] for row in rows])
    documents = np.array([row["document"] for row in rows])
    for group in ("all", *STRATEGIES[1:]):
        chosen = np.isin(strategies, STRATEGIES if group == "all" else (GOOD, group))
        names, good = documents[chosen].tolist(), strategies[chosen] == GOOD
        arms = {arm: [ranking.auroc(column[chosen], good, names)] for arm, column in columns.items()}
        made += [ranked(NAME, "auroc", arm, names, own, group=group) for arm, own in arms.items()]
        for arm, base in comparisons:
            made.append(ranked(NAME, "auroc", arm, names, arms[arm], base, arms[base], group=group))
    return made


def _places(
    rows: Sequence[Mapping[str, str]], columns: Mapping[str, Array], comparisons: Sequence[tuple[str, str]]
) -> list[Figure]:
    documents = [row["document"] for row in rows[:: len(STRATEGIES)]]
    made = []
    found = {arm: ranking.places(column.reshape(-1, len(STRATEGIES))) for arm, column in columns.items()}
    for number, measure in enumerate(("first", "rank")):
        arms = {arm: Values(documents, values[number][None]) for arm, values in found.items()}
        made += [mean(NAME, measure, arm, own) for arm, own in arms.items()]
        made += [paired(NAME, measure, arm, arms[arm], base, arms[base]) for arm, base in comparisons]
    return made
