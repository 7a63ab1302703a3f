"""Records: one training pair at each of its four stages, and the fixed Arrow schema of each stage.

``Passage -> Candidate -> Rated -> Curated``. A stage adds fields and changes none, so provenance is kept to the end.
``generate.span`` is the one exception: the text of a candidate is then a part of the text of the passage with its id.
All shards of a stage have the same schema: an all-null column in one shard would otherwise break readers
(datasets issues 4491, 7092, 7222).
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Natural text of one language, of response length.

    Args:
        id: ``<language>-<first 16 hex digits of text_hash>``; equal text has an equal id.
        language: tag of the language.
        text: NFC text, personal data masked.
        document_id: the source's own id, or ``<source>:<position>``; splits never cut through a document.
        segment: number of this passage within its document, from 0.
        source: name of the corpus.
        url: where the document was found, or empty.
        license: licence of the text as its source states it, or ``unknown``.
        text_hash: SHA-256 of the text, hex.
        identified: tag that the language identifier gave.
        identified_confidence: its probability, 0 to 1.
    """

    id: str
    language: str
    text: str
    document_id: str
    segment: int
    source: str
    url: str
    license: str
    text_hash: str
    identified: str
    identified_confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Passage):
    """A passage with one instruction that it may answer.

    Args:
        instruction: the written instruction.
        instruction_language: its language, ``en`` by default.
        style: form of the instruction (``question``, ``instruction``, ``search``).
        candidate: number of this candidate for its passage, from 0.
        round: the round of refinement in which it was written, from 0.
        finish_reason: ``stop`` or ``length``.
        generator: model that wrote it.
        generator_revision: that model's revision or content digest.
        generator_prompt: digest of the prompt template.
    """

    instruction: str
    instruction_language: str
    style: str
    candidate: int
    round: int
    finish_reason: str
    generator: str
    generator_revision: str
    generator_prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated(Candidate):
    """A candidate with its rating.

    Args:
        rater: rater and model, such as ``pmi:<model>``.
        rater_revision: that model's revision or content digest.
        score: on the scale of the rater, larger is better (``trained``, ``combined``: probability that the pair is
            good, 0 to 1; ``pmi``: nats per token of the response, or nats where instructions are scored; ``prompted``:
            1 to 5; ``none``: 0).
        p_best: probability that the pair is good, where the rater gives one.
        p_flawed: probability that it is usable but flawed.
        p_worst: probability that it is bad.
    """

    rater: str
    rater_revision: str
    score: float
    p_best: float | None
    p_flawed: float | None
    p_worst: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated(Rated):
    """A pair that was selected for the data set.

    Args:
        cluster: cluster of its instruction's embedding, numbered from the largest, from 0.
        rank: its place in the order of selection, from 0.
        selector: how it was chosen (``kmeans``, ...).
        embedder: sentence encoder of the instructions.
        embedder_revision: that encoder's revision or content digest.
    """

    cluster: int
    rank: int
    selector: str
    embedder: str
    embedder_revision: str


# The stages in order. The name of a stage is also the name of its folder in a run.
STAGES: dict[str, type[Passage]] = {
    "passage": Passage,
    "candidate": Candidate,
    "rated": Rated,
    "curated": Curated,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened(Passage):
    """A passage of one slice of a corpus, before duplicates are removed. A run removes it when the passages are made.

    Args:
        position: its place among the kept and the dropped records of the slice, from 0.
        batch_end: the number of these records up to the end of its batch.
        keys: the band keys of its MinHash signature, 8 bytes each; none without a search for near duplicates.
    """

    position: int
    batch_end: int
    keys: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The embedding of the instruction of a rated record. It is an intermediate result, and no stage of a pair.

    Args:
        id, candidate: of the rated record.
        vector: numbers of 32 bits, little-endian.
    """

    id: str
    candidate: int
    vector: bytes


# What the shards of a run hold, in order.
SHARDS: dict[str, type[Passage] | type[Embedded]] = {
    "screened": Screened,
    **{name: kind for name, kind in STAGES.items() if name != "curated"},
    "embedded": Embedded,
    "curated": Curated,
}

Record = TypeVar("Record", bound=Passage)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that a stage dropped, and why.

    Args:
        reason: a short name from the list of the stage, such as ``too_short``.
        detail: the finding in a few words, for people.
        text: the text that was dropped, at most ``DROPPED_TEXT`` characters.
    """

    id: str
    reason: str
    detail: str
    text: str


Stored = TypeVar("Stored", bound=Passage | Embedded | Dropped)

# Dropped text is kept for people to read. A 100 MB line must not fill the disk a second time.
DROPPED_TEXT = 4_000
_SURROGATE = re.compile("[\ud800-\udfff]")


def dropped(id: str, reason: str, detail: str = "", text: str = "") -> Dropped:
    """A dropped record, with its text truncated to ``DROPPED_TEXT`` characters."""
    return Dropped(id=id, reason=reason, detail=storable(detail[:300]), text=storable(text[:DROPPED_TEXT]))


def schema(record_type: type[Any]) -> pa.Schema:
    """The Arrow schema of a record type (or of ``Dropped``): one field per dataclass field, in order."""
    import pyarrow as pa

    arrow = {str: pa.string(), int: pa.int32(), bytes: pa.binary(), float: pa.float64(), float | None: pa.float64()}
    hints = get_type_hints(record_type)
    return pa.schema(
        [
            pa.field(f.name, arrow[hints[f.name]], nullable=hints[f.name] == float | None)
            for f in dataclasses.fields(record_type)
        ]
    )


def extend(record: Passage, record_type: type[Record], **added: Any) -> Record:
    """A record of the next stage: every field of ``record`` and the fields that the next stage adds."""
    return record_type(**as_row(record), **added)


def as_row(record: Passage | Embedded | Dropped) -> dict[str, Any]:
    """The record as a flat dictionary in schema order."""
    return {name: getattr(record, name) for name in type(record).__dataclass_fields__}


def from_row(record_type: type[Stored], row: Mapping[str, Any]) -> Stored:
    """A record from a dictionary that has at least its fields."""
    return record_type(**{name: row[name] for name in record_type.__dataclass_fields__})


def storable(text: str) -> str:
    """Text as UTF-8 and Parquet hold it: a lone surrogate becomes U+FFFD, and NUL is removed.

    JSON can carry both (``\\ud83d``, ``\\u0000``), so every text that comes from outside passes through here.
    """
    text = text.replace("\0", "")
    try:
        # Few texts have a surrogate, and this is the fastest way to learn it.
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def text_digest(text: str) -> str:
    """SHA-256 of the text's UTF-8, hex. Lone surrogates count as themselves, so no text is refused."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
