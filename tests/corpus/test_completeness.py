from __future__ import annotations

import json

import pytest
from real_texts import DATA, needs_real_texts

from x_instruction.corpus.clean import normalise
from x_instruction.corpus.completeness import ended, unfinished, whole
from x_instruction.corpus.segment import segment
from x_instruction.languages import language


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        ("fi", "Otsikko\nVanha mies istui. Tuuli tyyntyi.", "Otsikko\nVanha mies istui. Tuuli tyyntyi."),
        ("fi", "ja meni kotiin. Vanha mies istui.", "Vanha mies istui."),
        ("fi", ", ja meni. Vanha mies istui.", "Vanha mies istui."),
        ("fi", "ja meni\nOtsikko\nVanha mies istui.", "Otsikko\nVanha mies istui."),
        ("fi", "iPhone soi. Mies istui.", "iPhone soi. Mies istui."),
        ("fi", ".NET on alusta.", ".NET on alusta."),
        ("fi", "”Hei”, hän sanoi.", "”Hei”, hän sanoi."),
        ("fi", "Vanha mies istui. Tuuli tyyn", "Vanha mies istui."),
        ("fi", "Vanha mies istui.\nLue lisää\nEtusivu", "Vanha mies istui."),
        ("fi", "Vanha mies istui.\n.", "Vanha mies istui."),
        ("fi", "Hän sanoi: ”Tule!”", "Hän sanoi: ”Tule!”"),
        ("fi", "Tarvitset:\n- vettä\n- suolaa", "Tarvitset:\n- vettä\n- suolaa"),
        ("fi", "1. Avaa ovi.\n2. Sulje ovi", "1. Avaa ovi.\n2. Sulje ovi"),
        ("fi", "ei yhtään kokonaista lausetta", ""),
        ("fi", "Otsikko\nToinen otsikko", ""),
        ("hi", "यह पहला वाक्य है। यह दूसरा वाक्य", "यह पहला वाक्य है।"),
        ("ur", "یہ پہلا جملہ ہے۔ یہ دوسرا", "یہ پہلا جملہ ہے۔"),
        ("am", "ይህ የመጀመሪያው ነው። ይህ ሁለተኛው", "ይህ የመጀመሪያው ነው።"),
        ("zh", "这是第一句。这是第二", "这是第一句。"),
        ("my", "ဤသည်ပထမဖြစ်သည်။ ဤသည်", "ဤသည်ပထမဖြစ်သည်။"),
        ("hy", "Սա առաջինն է։ Սա երկ", "Սա առաջինն է։"),
        ("ka", "ეს პირველი წინადადებაა. ეს მეორე", "ეს პირველი წინადადებაა."),
        ("th", "นี่คือประโยคแรก นี่คือประโยคที่สอง", "นี่คือประโยคแรก นี่คือประโยคที่สอง"),
        ("lo", "ນີ້ແມ່ນປະໂຫຍກທຳອິດ", "ນີ້ແມ່ນປະໂຫຍກທຳອິດ"),
    ],
)
def test_passages_are_trimmed_to_whole_sentences(tag: str, text: str, expected: str) -> None:
    assert whole(text, [text], language(tag).script) == [expected]


def test_after_a_cut_inside_a_sentence_the_passage_begins_with_the_next_sentence() -> None:
    text = "यह एक बहुत लंबा वाक्य है जो कभी समाप्त नहीं होता और चलता रहता है। यह दूसरा वाक्य है।"
    segments = segment(text, 10, 50)
    assert len(segments) > 1
    assert [part for part in whole(text, segments, "Deva") if part] == ["यह दूसरा वाक्य है।"]


def test_lines_without_the_end_of_a_sentence_are_counted() -> None:
    headlines = ["Hallitus sopi", "Kissa löytyi puusta", "Sää viilenee", "Kuka voitti?"]
    assert unfinished("\n".join(headlines), "Latn") == sum(map(len, headlines[:3]))
    assert unfinished("\n".join(headlines), "Thai") == 0
    assert unfinished("Yksi rivi ilman pistettä", "Latn") == 0


@pytest.mark.parametrize("line", ["Hei.", "Hei!»", "他说：“好。”", "كيف؟", "क्या।", "Τι;"])
def test_ends_of_sentences_are_found(line: str) -> None:
    assert ended(line, "Grek" if line == "Τι;" else "Latn")


@needs_real_texts
@pytest.mark.skipif(not (DATA / "passages_more").is_dir(), reason="no connected prose")
@pytest.mark.parametrize("tag", ["am", "ha", "km", "my", "sw", "ta", "th", "yo"])
def test_connected_prose_is_kept(tag: str) -> None:
    rows = [json.loads(line) for line in (DATA / "passages_more" / f"{tag}.jsonl").read_text("utf-8").splitlines()]
    texts = [text for row in rows if len(text := normalise(row["text"])) >= 200]
    trimmed = ["\n".join(whole(text, [text], language(tag).script)) for text in texts]
    kept = [(text, part) for text, part in zip(texts, trimmed, strict=True) if len(part) >= 200]
    assert len(kept) >= 0.95 * len(texts)
    assert sum(len(part) for _, part in kept) >= 0.95 * sum(len(text) for text, _ in kept)
