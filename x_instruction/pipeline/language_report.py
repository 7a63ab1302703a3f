"""What a language would give and cost before money is spent: nothing is asked of a model, and nothing is kept."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from x_instruction.config.corpus import Corpus
from x_instruction.config.model import Model
from x_instruction.config.recipe import Recipe
from x_instruction.corpus import ensemble, sources
from x_instruction.corpus.density import DENSITY
from x_instruction.corpus.identify import LanguageCheck
from x_instruction.corpus.stage import passages
from x_instruction.engines import embedded, engine_spec
from x_instruction.engines.budget import cost
from x_instruction.engines.models import locate
from x_instruction.engines.truncation import token_counter
from x_instruction.errors import RecipeError
from x_instruction.languages import Language, language
from x_instruction.prompts import read_text
from x_instruction.records import Dropped, Passage

# Documents of a language that are read.
DOCUMENTS = 200
# The report says "no" to a language with less of its text kept, more of it in another language, or more tokens than so
# many times those of English for the same text. A tokenizer that has seen a language needs 1 to 3 times as many.
LEAST_KEPT = 0.2
MOST_OTHER = 0.2
MOST_TOKENS = 4.0
# New tokens of an instruction if the recipe does not limit them (config.generate.Generate.max_tokens).
_MAX_TOKENS = 96
# English that the tokens of the other languages are compared with. Written for this project.
ENGLISH = (
    "Rain fills the rivers of the valley in spring, and the farmers open the small gates of the canals so that "
    "the water reaches every field. Each family has a day of the week. No one remembers who made the first list, "
    "but the order has not changed for eighty years. When two families marry, their days stay with the land and "
    "not with the people. In dry summers the elders meet under the old tree, shorten the turns and count the "
    "hours with a bowl that has a hole in it. Children learn to read the bowl before they learn to read a clock."
)


@dataclass(frozen=True, slots=True)
class LanguageReport:
    """What a language would give and cost.

    Args:
        language: its tag.
        name: its English name.
        documents: in the corpus; None when only reading all of it would tell.
        read: documents of the sample.
        kept: passages of the sample that are kept.
        share: of the passages of the sample that are kept, 0 to 1.
        dropped: number of passages of the sample by reason.
        identified: number of passages by the language that they are identified as, most frequent first.
        tokens_per_character: of the model's tokenizer; None if it is unknown.
        against_english: tokens for the same text, as a multiple of those for English; None likewise.
        passages: expected of the whole corpus; None if its size is unknown.
        prompt_tokens: that writing the instructions of these passages reads, about.
        output_tokens: that it writes, at most.
        cost: of both at the prices of the recipe; None without prices.
        go: whether nothing speaks against the language.
        why: what speaks against it, or ``go``.
    """

    language: str
    name: str
    documents: int | None = None
    read: int = 0
    kept: int = 0
    share: float = 0.0
    dropped: dict[str, int] = field(default_factory=dict)
    identified: dict[str, int] = field(default_factory=dict)
    tokens_per_character: float | None = None
    against_english: float | None = None
    passages: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    go: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Yield:
    """What the corpus stage does with the first documents of a language."""

    read: int
    kept: list[str]
    dropped: Counter[str]
    identified: Counter[str]

    @property
    def share(self) -> float:
        """Share of the passages that are kept."""
        return len(self.kept) / max(1, len(self.kept) + self.dropped.total())


def reports(settings: Recipe, count_tokens: bool = True) -> list[LanguageReport]:
    """A report for each language of a recipe.

    Args:
        settings: names the corpus, the model and its prices.
        count_tokens: use the tokenizer of ``generate.model``.

    Raises:
        CorpusError: the corpus cannot be read.
        EngineError: the tokenizer cannot be read.
        MissingExtra: a package that the tokenizer or a fastText model needs is not installed.
    """
    count = _counter(settings.generate.model) if count_tokens else None
    return [_report(settings, language(tag), count) for tag in settings.languages]


def _report(settings: Recipe, expected: Language, count: Callable[[str], int] | None) -> LanguageReport:
    corpus = settings.corpus
    refused = _refused(corpus, expected)
    if refused:
        # The other figures need no identifier.
        corpus = corpus.replace(filters=corpus.filters.replace(language_check=False))
    found = _yield(corpus, expected)
    documents = sources.count(settings.corpus, expected)
    if documents is None and found.read < DOCUMENTS:
        documents = found.read
    per_character, against = _tokens(found.kept, expected, count)
    rows = _rows(corpus, found, documents)
    why = refused or _against(found, expected, against)
    prompt, output = _writing(settings, found, rows, count)
    model = settings.generate.model
    is_priced = model.server.prompt_price + model.server.output_price > 0
    return LanguageReport(
        expected.tag,
        expected.name,
        documents,
        found.read,
        len(found.kept),
        round(found.share, 4),
        dict(found.dropped.most_common()),
        dict(found.identified.most_common()),
        per_character,
        against,
        rows,
        prompt,
        output,
        cost(model, prompt, output) if is_priced and prompt is not None and output is not None else None,
        not why,
        why or "go",
    )


def _refused(corpus: Corpus, expected: Language) -> str:
    """Why the language cannot be checked, or nothing."""
    try:
        ensemble.check([expected], corpus.filters)
    except RecipeError as error:
        return str(error)
    return ""


def _yield(corpus: Corpus, expected: Language) -> _Yield:
    sample = corpus.replace(documents=min(corpus.documents or DOCUMENTS, DOCUMENTS), passages=None)
    read = 0

    def seen(documents: int) -> None:
        nonlocal read
        read = documents

    with tempfile.TemporaryDirectory() as folder:
        records = list(passages(sample, expected, Path(folder), seen))
        kept = [record.text for record in records if isinstance(record, Passage)]
        dropped = Counter(record.reason for record in records if isinstance(record, Dropped))
        identified: Counter[str] = Counter()
        if sample.filters.language_check:
            # The language is asked of all passages, also of those that another filter drops after it.
            unchecked = sample.replace(filters=sample.filters.replace(language_check=False, near_duplicates=False))
            texts = [r.text for r in passages(unchecked, expected, Path(folder)) if isinstance(r, Passage)]
            verdicts = LanguageCheck(expected, sample.filters).judge(texts)
            identified.update(verdict.identified for verdict in verdicts)
    return _Yield(read, kept, dropped, identified)


def _counter(model: Model) -> Callable[[str], int] | None:
    """Counts the tokens of a text; None if the tokenizer of a server is not named."""
    if engine_spec(model).remote:
        return token_counter(model.server.tokenizer) if model.server.tokenizer else None
    # The tokenizer is enough, of a model on the Hub as well.
    return token_counter(str(locate(model.name).folder) if model.name in embedded.MODELS else model.name)


def _tokens(
    texts: list[str], expected: Language, count: Callable[[str], int] | None
) -> tuple[float | None, float | None]:
    """Tokens per character, and tokens for the same text as a multiple of English."""
    if count is None or not texts:
        return None, None
    per_character = sum(map(count, texts)) / sum(map(len, texts))
    # Scripts need different numbers of characters for the same text.
    against = per_character * DENSITY.get(expected.script, 1.0) * len(ENGLISH) / count(ENGLISH)
    return round(per_character, 3), round(against, 2)


def _rows(corpus: Corpus, found: _Yield, documents: int | None) -> int | None:
    if documents is None:
        return corpus.passages
    rows = round(documents * len(found.kept) / max(1, found.read))
    return min(rows, corpus.passages or rows)


def _writing(
    settings: Recipe, found: _Yield, rows: int | None, count: Callable[[str], int] | None
) -> tuple[int | None, int | None]:
    """Tokens that writing reads and writes: each candidate reads the prompt and the passage."""
    if count is None or rows is None or not found.kept:
        return None, None
    generate = settings.generate
    frame = count(read_text("chat" if generate.prompt in ("auto", "trained-auto") else generate.prompt))
    read = sum(min(count(text), generate.passage_tokens) for text in found.kept) / len(found.kept)
    requests = rows * generate.candidates
    written = (generate.max_tokens or _MAX_TOKENS) + generate.thinking_tokens
    prompt, output = requests * (frame + read), requests * written
    if span := generate.span:
        prompt += rows * (count(read_text(span.prompt)) + read)
        output += rows * (span.max_tokens + generate.thinking_tokens)
    return round(prompt), output


def _against(found: _Yield, expected: Language, against_english: float | None) -> str:
    """What speaks against the language, or nothing."""
    others = {tag: number for tag, number in found.identified.items() if tag not in (expected.tag, "und")}
    other = max(others, key=others.__getitem__, default="")
    total = found.identified.total()
    if total and others and sum(others.values()) > MOST_OTHER * total:
        share = sum(others.values()) / total
        return f"{share:.0%} of the text is identified as another language, mostly {other}"
    if found.share < LEAST_KEPT:
        reason = found.dropped.most_common(1)
        return f"{found.share:.0%} of the text is kept" + (f", mostly dropped as {reason[0][0]}" if reason else "")
    if against_english is not None and against_english > MOST_TOKENS:
        return f"the tokenizer needs {against_english:g} tokens for one of English, so the model has hardly read it"
    return ""
