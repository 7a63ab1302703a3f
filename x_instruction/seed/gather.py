"""Load the screened seeds of a recipe into memory, by language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from x_instruction.config.recipe import Recipe
from x_instruction.corpus.contamination import ContaminationIndex
from x_instruction.errors import CorpusError
from x_instruction.languages import language
from x_instruction.records import Dropped
from x_instruction.seed.collect import none_kept, read
from x_instruction.seed.files import seed_files
from x_instruction.seed.pairs import Pair
from x_instruction.seed.screen import screen


def gather(settings: Recipe, say: Callable[[str], None] = lambda message: None) -> dict[str, list[Pair]]:
    """Screened seeds by language tag, in the order of ``screen``. Languages without seeds are left out.

    Args:
        settings: the recipe. Its ``seeds.paths`` need not match a file for every language.
        say: called with a message for each language whose files have no usable seed.

    Raises:
        RecipeError: unknown placeholder, or no identifier knows a language.
        CorpusError: no language has a seed, or a file or an evaluation set cannot be read.
    """
    seeds = settings.seeds
    tags = tuple(language(tag).tag for tag in seeds.languages) or settings.languages
    files = {tag: seed_files(seeds.paths, language(tag)) for tag in tags}
    if not any(files.values()):
        if not seeds.paths:
            raise CorpusError("no seeds: seeds.paths is empty, expected paths of seed files")
        raise CorpusError(f"no seeds: no file matches seeds.paths ({', '.join(seeds.paths)}) for {', '.join(tags)}")
    evaluations = ContaminationIndex(seeds.overlap_words)
    for name in seeds.exclude_eval:
        evaluations.read(Path(name), seeds.max_row_bytes)
    seeds_by_tag: dict[str, list[Pair]] = {}
    without: list[str] = []
    for tag, paths in files.items():
        if not paths:
            continue
        target = language(tag)
        language_settings = seeds.of(tag)
        records = list(screen(read(paths, language_settings, target), language_settings, target, evaluations))
        if kept := [record for record in records if isinstance(record, Pair)]:
            seeds_by_tag[tag] = kept
        else:
            reasons = Counter(record.reason for record in records if isinstance(record, Dropped))
            without.append(none_kept(target, paths, reasons))
    if not seeds_by_tag:
        raise CorpusError("; ".join(without))
    for message in without:
        say(message)
    return seeds_by_tag
