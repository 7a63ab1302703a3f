"""One schema per stage; stages and files keep every field."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from itertools import pairwise
from typing import Any

import factories
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from x_instruction.records import (
    DROPPED_TEXT,
    STAGES,
    Candidate,
    Curated,
    Dropped,
    Passage,
    Rated,
    as_row,
    dropped,
    extend,
    from_row,
    schema,
    storable,
    text_digest,
)

TEXTS = {
    "fi": "Järvi jäätyy yöllä.\n\nSaunalla on lämmin.",
    "th": "น้ำขึ้นน้ำลงเกิดจากดวงจันทร์",
    "bn": "জোয়ার কেন আসে, তা নিয়ে প্রশ্ন।",
}
CANDIDATE = {
    "instruction": "Why does the tide rise?",
    "instruction_language": "en",
    "style": "question",
    "candidate": 3,
    "round": 0,
    "finish_reason": "stop",
    "generator": "tiny",
    "generator_revision": "sha256:1",
    "generator_prompt": "0" * 32,
}
RATED = {"rater": "pmi:tiny", "rater_revision": "r", "score": -0.25, "p_best": None, "p_flawed": None, "p_worst": None}
CURATED = {"cluster": 0, "rank": 7, "selector": "kmeans", "embedder": "e", "embedder_revision": "r"}


def passage(tag: str = "fi") -> Passage:
    own = {"id": f"{tag}-0123456789abcdef", "document_id": "d:1", "segment": 2, "identified_confidence": 0.75}
    return factories.passage(TEXTS[tag], tag, **own)


def curated(tag: str = "fi") -> dict[str, Passage]:
    """The same pair at each stage."""
    first = passage(tag)
    second = extend(first, Candidate, **CANDIDATE)
    third = extend(second, Rated, **RATED)
    return {"passage": first, "candidate": second, "rated": third, "curated": extend(third, Curated, **CURATED)}


KINDS: list[type[Any]] = [*STAGES.values(), Dropped]


def test_a_row_without_a_field_is_refused() -> None:
    row = as_row(passage())
    del row["license"]
    with pytest.raises(KeyError, match="license"):
        from_row(Passage, row)


def test_extend_requires_exactly_the_new_fields() -> None:
    with pytest.raises(TypeError, match="instruction"):
        extend(passage(), Candidate)
    with pytest.raises(TypeError):
        extend(passage(), Candidate, **CANDIDATE, score=1.0)
    with pytest.raises(TypeError, match="text"):
        extend(passage(), Candidate, **CANDIDATE, text="rewritten")


def test_records_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        passage().text = "other"  # type: ignore[misc]


def test_none_is_refused_in_required_columns() -> None:
    row = as_row(passage()) | {"url": None}
    with pytest.raises((pa.ArrowInvalid, ValueError)):
        pq.write_table(pa.Table.from_pylist([row], schema=schema(Passage)), io.BytesIO())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_schema_has_the_fields_in_order(kind: type[Any]) -> None:
    assert schema(kind).names == [field.name for field in dataclasses.fields(kind)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_optional_fields_are_nullable(kind: type[Any]) -> None:
    nullable = {field.name for field in schema(kind) if field.nullable}
    assert nullable == {"p_best", "p_flawed", "p_worst"} & set(schema(kind).names)


def test_each_stage_adds_fields_at_the_end() -> None:
    types = list(STAGES.values())
    assert list(STAGES) == ["passage", "candidate", "rated", "curated"]
    for younger, older in pairwise(types):
        assert list(schema(older))[: len(schema(younger))] == list(schema(younger))
        assert len(schema(older)) > len(schema(younger))


@pytest.mark.parametrize("tag", TEXTS)
def test_extend_keeps_every_field(tag: str) -> None:
    types = list(curated(tag).values())
    for younger, older in pairwise(types):
        assert as_row(younger).items() <= as_row(older).items()
    assert {**as_row(passage(tag)), **CANDIDATE, **RATED, **CURATED} == as_row(types[-1])


@pytest.mark.parametrize("stage", STAGES)
def test_rows_round_trip_through_parquet(stage: str) -> None:
    records = [curated(tag)[stage] for tag in TEXTS]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([as_row(record) for record in records], schema=schema(STAGES[stage])), stream)
    table = pq.read_table(stream)
    assert table.schema.equals(schema(STAGES[stage]))
    assert [from_row(STAGES[stage], row) for row in table.to_pylist()] == records


def test_from_row_ignores_fields_of_later_stages() -> None:
    everything = as_row(curated()["curated"])
    assert from_row(Passage, everything) == passage()


def test_dropped_text_is_truncated() -> None:
    found = dropped("fi-1", "too_long", "d" * 1_000, "t" * 100_000)
    assert found == Dropped(id="fi-1", reason="too_long", detail="d" * 300, text="t" * DROPPED_TEXT)
    assert dropped("fi-1", "empty") == Dropped(id="fi-1", reason="empty", detail="", text="")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        ("plain\n\t", "plain\n\t"),
        ("family \U0001f468\u200d\U0001f469\u200d\U0001f466 \U0010ffff", None),
        ("half \ud83d.", "half \ufffd."),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("a\0b", "ab"),
        ("\0\ud800\0", "\ufffd"),
    ],
)
def test_lone_surrogates_are_replaced(text: str, kept: str | None) -> None:
    assert storable(text) == (text if kept is None else kept)
    assert storable(storable(text)) == storable(text)


def test_a_dropped_record_can_be_stored() -> None:
    found = dropped("fi-1", "wrong_shape", "saw \ud83d", "a\0 \udfff")
    assert (found.detail, found.text) == ("saw \ufffd", "a \ufffd")


def test_the_digest_is_of_the_utf8_bytes() -> None:
    assert text_digest("") == hashlib.sha256(b"").hexdigest()
    assert text_digest("น้ำ") == hashlib.sha256("น้ำ".encode()).hexdigest()
    assert text_digest("\ud800") != text_digest("\udfff")
