"""The seeds of a recipe, in memory, by language."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from x_instruction.errors import CorpusError
from x_instruction.languages import language
from x_instruction.recipe import Recipe
from x_instruction.records import Dropped
from x_instruction.seed.collect import read
from x_instruction.seed.files import seed_files
from x_instruction.seed.overlap import Evaluations
from x_instruction.seed.pairs import Pair
from x_instruction.seed.screen import screen


def gather(settings: Recipe) -> dict[str, list[Pair]]:
    """Screened seeds by tag, of every language that has any, each in the order that ``screen`` gives.

    Args:
        settings: the recipe; its ``seeds.paths`` may have placeholders, and need not exist for every language.

    Raises:
        RecipeError: a placeholder that is not known, or no identifier knows a language.
        CorpusError: no language has a seed, or a file or an evaluation set cannot be read.
    """
    seeds = settings.seeds
    tags = tuple(language(tag).tag for tag in seeds.languages) or settings.languages
    files = {tag: seed_files(seeds.paths, language(tag)) for tag in tags}
    if not any(files.values()):
        named = ", ".join(seeds.paths) or "nothing"
        raise CorpusError(f"no seeds: seeds.paths names {named}, which is no file for {', '.join(tags)}")
    evaluations = Evaluations(seeds.overlap_words)
    for name in seeds.evaluation:
        evaluations.read(Path(name), seeds.max_row_bytes)
    found: dict[str, list[Pair]] = {}
    reasons: Counter[str] = Counter()
    for tag, paths in files.items():
        wanted = language(tag)
        for record in screen(read(paths, seeds, wanted), seeds, wanted, evaluations) if paths else ():
            if isinstance(record, Dropped):
                reasons[record.reason] += 1
            else:
                found.setdefault(tag, []).append(record)
    if not found:
        seen = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items())) or "they are empty"
        names = ", ".join(sorted({path.name for paths in files.values() for path in paths}))
        raise CorpusError(f"no seed of {', '.join(tags)} in {names} ({seen})")
    return found
