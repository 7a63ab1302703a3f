"""Where passages come from, and which are kept."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from x_instruction.config.fields import INPUT_ONLY, MAX_ROW_BYTES, Invalid, Positive, RowBytes, Share, Strings
from x_instruction.config.section import Section


class LanguageThresholds(Section):
    """Whether a text counts as being in its language."""

    language_check: bool = True
    """Drop texts that are not in their language."""
    min_confidence: Share = 0.6
    """Least probability that the language identifier must give the language."""
    min_script: Share = 0.6
    """Least share of letters in the language's script."""
    max_foreign_lines: Share = 0.15
    """Largest share of characters in sentences of another language. Catches half-translated pages. In a passage with
    a smaller share, lines in another language are removed."""
    lid_model: str | None = None
    """Path of a fastText model such as GlotLID, for languages that py3langid does not know."""
    lid_ensemble: Strings = ()
    """Language identifiers that must agree: `py3langid`, and paths of fastText models. A text is dropped as in none of
    their languages if those that know its language disagree. If empty, `lid_model` or else py3langid decides."""

    @model_validator(mode="after")
    def _identifiers(self) -> Self:
        if self.lid_ensemble and self.lid_model is not None:
            raise Invalid(
                "lid_ensemble", "is set together with lid_model, expected one of them: add the model's path here"
            )
        return self


class Filters(LanguageThresholds):
    """Thresholds of the corpus filters. A share is of characters unless its description says otherwise.

    The defaults follow the lengths of Humpback (200 to 2,500 characters) and the Gopher rules (arXiv 2112.11446, table
    A1) where they hold for scripts without spaces.
    """

    min_chars: Positive = 200
    """Shortest passage, in characters."""
    max_chars: Positive = 2_500
    """Longest passage, in characters. Longer documents are split at paragraphs and sentences."""
    lengths_by_script: bool = True
    """Take `min_chars` and `max_chars` as characters of Latin script, and scale them for scripts that need fewer or
    more for the same text: Han by 0.35, Japanese 0.4, Korean 0.45, Ethiopic 0.6, Hebrew 0.65, Myanmar 1.45, Thaana 1.7.
    If false, they are characters of every script."""
    max_duplicate_lines: Share = 0.3
    """Largest share of lines that occurred before in the passage."""
    max_repeated_ngrams: Share = 0.2
    """Largest share of word n-grams that occurred before in the passage; character n-grams in scripts without
    spaces."""
    max_symbols: Share = 0.1
    """Largest share of symbols."""
    max_digits: Share = 0.25
    """Largest share of digits."""
    max_boilerplate_lines: Share = 0.2
    """Largest share of lines that look like menus, cookie notices or "read more"."""
    max_short_lines: Share = 0.67
    """Largest share of lines that are too short for a sentence."""
    max_unfinished_lines: Share = 0.5
    """Largest share of characters in lines that end no sentence, as in lists of headlines, menus and verse. Does not
    apply to Thai and Lao."""
    max_social_marks: Share = 0.005
    """Most hashtags, mentions, links, emoji, emoticons and drawn-out letters and punctuation per character."""
    max_spaces: Share = 0.14
    """Largest share of spaces in scripts without spaces between words, such as Thai and Khmer. More are a sign of text
    that was split into words."""
    whole_sentences: bool = True
    """Cut off the beginning and the end of a passage where they are not a whole sentence, heading or list. What is then
    shorter than `min_chars` is dropped."""
    max_broken: Share = 0.001
    """Largest share of characters that no text should have: U+FFFD, private use, mojibake."""
    strip_markup: bool = True
    """Remove tags, marks, code blocks, tables and lines of links of HTML, Markdown, AsciiDoc and wikis, and decode
    entities."""
    max_markup: Share = 0.005
    """Largest share of characters in markup that is left after that."""
    max_line_documents: Share = 0.02
    """Largest share of the documents of a source in which a line may occur; a line in more of them, and in at least 5,
    is part of a footer or menu and is removed. Documents are counted in blocks of 2,000, in the order of the corpus,
    and lines are remembered up to the end of a slice (`slice_rows`). 1 removes none."""
    mask_personal_data: bool = True
    """Replace e-mail addresses, phone numbers, IP addresses and IBANs."""
    quality_head: Annotated[str | None, INPUT_ONLY] = None
    """Folder of a quality head that `x-instruction train quality` wrote: a classifier on embeddings of passages."""
    quality_embedder: str = "embedded"
    """Sentence encoder of `quality_head`: a Hub id, a folder, or `embedded`. The head is refused if it was trained on
    another one."""
    min_quality: Share = 0.5
    """Least probability that `quality_head` must give a passage."""
    near_duplicates: bool = True
    """Drop all but the first of passages that are nearly the same (MinHash, then exact Jaccard similarity)."""
    near_duplicate_jaccard: Share = 0.7
    """Jaccard similarity of word 3-grams from which two passages are near duplicates."""

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.min_chars > self.max_chars:
            raise Invalid("min_chars", f"is {self.min_chars}, expected at most max_chars, which is {self.max_chars}")
        return self


class Corpus(Section):
    """Where passages come from, and which are dropped."""

    source: Literal["sample", "files", "hub"]
    """`sample` (ships with the package), `files` or `hub`."""
    paths: Strings = ()
    """For `files`: fsspec paths or globs. `{tag}`, `{code}`, `{iso639_3}` and `{name}` are replaced by those of the
    language. Reads jsonl, json (a list of objects), csv, tsv and txt (a blank line between documents), also compressed
    (.gz, .zst), and parquet. UTF-8, or UTF-16 with a byte order mark."""
    dataset: str | None = None
    """For `hub`: id of the data set. It is streamed, never downloaded as a whole."""
    config: str | None = None
    """For `hub`: config of the data set. Takes the placeholders of `paths`."""
    split: str = "train"
    """For `hub`: split of the data set."""
    revision: str = "main"
    """For `hub`: branch, tag or commit of the data set."""
    text_column: str = "text"
    """Column with a document's text."""
    id_column: str = "id"
    """Column with a document's id. May be missing from the rows."""
    url_column: str = "url"
    """Column with a document's address. May be missing from the rows."""
    license_column: str = "license"
    """Column with a document's licence. May be missing from the rows."""
    license: str = "unknown"
    """Licence of documents whose rows do not state one."""
    decontaminate: Strings = ()
    """Evaluation sets: names, or files such as `eval/mine.{tag}.jsonl` and `hf://datasets/ORG/NAME/{tag}/*.parquet`,
    with the placeholders and formats of `paths`. Passages that share a run of words with any text of one are dropped.
    Names are `belebele`, `flores`, `global-mmlu`, `mgsm`, `paws-x`, `sib200`, `xcopa`, `xnli` and `xquad`. These are
    read from the Hub, without splits for training. A set that lacks a language drops nothing of it."""
    overlap_words: Positive = 8
    """Length of such a run, in words; 1 word is 3 characters in scripts without spaces. A shorter text of an evaluation
    set counts as a whole, if it has at least 6 words."""
    documents: Positive | None = None
    """Most documents to read per language. If not set, all."""
    passages: Positive | None = None
    """Most passages to keep per language. If not set, all."""
    shard_size: Positive | None = None
    """Passages per shard. If not set, shards grow with the corpus: 2,000 passages in each of the first 50 shards,
    20,000 in each of the next 50, and 100,000 in all others."""
    slice_rows: Positive = 20_000
    """For `files`: rows that a worker reads at a time. Several workers share the corpus of a language, slice by slice.
    Repeated lines are looked for within a slice."""
    max_row_bytes: RowBytes = MAX_ROW_BYTES
    filters: Filters = Filters()
    """Thresholds of the filters."""

    @model_validator(mode="after")
    def _source(self) -> Self:
        if self.source == "files" and not self.paths:
            raise Invalid("paths", 'is empty and source is "files", expected at least one path')
        if self.source == "hub" and not self.dataset:
            raise Invalid("dataset", 'is not set and source is "hub", expected the id of a data set')
        return self
