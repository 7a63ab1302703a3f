"""The seeds of a recipe, in memory, by language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from x_instruction.config.recipe import Recipe
from x_instruction.errors import CorpusError
from x_instruction.languages import language
from x_instruction.records import Dropped
from x_instruction.seed.collect import none_kept, read
from x_instruction.seed.contamination import ContaminationIndex
from x_instruction.seed.files import seed_files
from x_instruction.seed.pairs import Pair
from x_instruction.seed.screen import screen


def gather(settings: Recipe, say: Callable[[str], None] = lambda text: None) -> dict[str, list[Pair]]:
    """Screened seeds by tag, of every language that has any, each in the order that ``screen`` gives.

    Args:
        settings: the recipe; its ``seeds.paths`` may have placeholders, and need not exist for every language.
        say: tells a person of each language whose files have no seed that is kept.

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
    evaluations = ContaminationIndex(seeds.overlap_words)
    for name in seeds.evaluation:
        evaluations.read(Path(name), seeds.max_row_bytes)
    found: dict[str, list[Pair]] = {}
    without: list[str] = []
    for tag, paths in files.items():
        if not paths:
            continue
        wanted = language(tag)
        own = seeds.of(tag)
        records = list(screen(read(paths, own, wanted), own, wanted, evaluations))
        if kept := [record for record in records if isinstance(record, Pair)]:
            found[tag] = kept
        else:
            reasons = Counter(record.reason for record in records if isinstance(record, Dropped))
            without.append(none_kept(wanted, paths, reasons))
    if not found:
        raise CorpusError("; ".join(without))
    for text in without:
        say(text)
    return found
