"""A run in ten scripts with every stage, dropped rows of several reasons and hostile rows; and pages of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from factories import curated, passage, settings
from headless import Page, browse

from x_instruction.config.recipe import Recipe
from x_instruction.records import Candidate, Curated, Dropped, Passage, Rated, as_row, dropped, from_row
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import CURATED, PASSAGE, StageKey

# Sentences of ten scripts, each with the words of the next line in another order.
TEXTS = {
    "sw": "Mvua za masika hujaza mito ya bonde, na wakulima hufungua mifereji ili maji yafike kila shamba.",
    "ur": "بہار کی بارشیں وادی کی ندیوں کو بھر دیتی ہیں اور کسان نہروں کے چھوٹے دروازے کھول دیتے ہیں۔",
    "he": "גשמי האביב ממלאים את נחלי העמק, והאיכרים פותחים את שערי התעלות כדי שהמים יגיעו לכל שדה.",
    "th": "ฝนในฤดูใบไม้ผลิทำให้แม่น้ำในหุบเขาเต็ม และชาวนาเปิดประตูคลองเล็กๆ เพื่อให้น้ำไปถึงทุกนา",
    "ta": "வசந்த மழை பள்ளத்தாக்கின் ஆறுகளை நிரப்புகிறது, விவசாயிகள் கால்வாய்களின் சிறிய வாயில்களைத் திறக்கிறார்கள்.",
    "bn": "বসন্তের বৃষ্টি উপত্যকার নদীগুলি ভরে দেয়, আর কৃষকেরা খালের ছোট ফটক খুলে দেন যাতে জল প্রতিটি মাঠে পৌঁছায়।",
    "hi": "वसंत की वर्षा घाटी की नदियों को भर देती है, और किसान नहरों के छोटे द्वार खोल देते हैं।",
    "am": "የጸደይ ዝናብ የሸለቆውን ወንዞች ይሞላል፣ ገበሬዎችም ውሃው ወደ እያንዳንዱ እርሻ እንዲደርስ የቦዮቹን በሮች ይከፍታሉ።",
    "ka": "გაზაფხულის წვიმები ავსებს ხეობის მდინარეებს, გლეხები კი არხების პატარა კარიბჭეებს ხსნიან.",
    "km": "ភ្លៀងនៅនិទាឃរដូវបំពេញទន្លេនៃជ្រលងភ្នំ ហើយកសិករបើកទ្វារប្រឡាយតូចៗ ដើម្បីឱ្យទឹកទៅដល់វាលស្រែគ្រប់កន្លែង។",
}
MARKUP = '</script><script>document.title="evil"</script><img src=x onerror="document.title=1"><b id="evil">x</b>'
BIDI = "file\u202egnp.exe \u2066isolated \x1b[31mred"
LONG = "maneno " * 14_300
VERBS = ("Describe the rivers", "Explain the canals", "Write a story", "What history", "List the fields")


def rows(tag: str, number: int = 6) -> list[Curated]:
    """Curated rows of a language; those of Swahili begin with hostile ones."""
    hostile = [MARKUP, BIDI, LONG] if tag == "sw" else []
    texts = hostile + [f"{TEXTS[tag]} {place}\n{TEXTS[tag]}" for place in range(number - len(hostile))]
    return [
        curated(
            text,
            tag,
            document_id=f"{tag}-{place}",
            url=f"https://example.org/{tag}/{place}",
            source="org/corpus" if place % 2 else "مصدر \u202e<b>",
            instruction=MARKUP if text == MARKUP else f"{VERBS[place % 5]} of valley {place} in {tag}.",
            candidate=1,
            score=round(0.1 + 0.13 * place, 3),
            identified_confidence=0.9 + place / 100,
            cluster=place % 3,
            rank=place,
        )
        for place, text in enumerate(texts)
    ]


def write_run(root: Path, tags: tuple[str, ...], shift: str = "") -> tuple[RunFolder, Recipe]:
    """A run whose shards were made of ``rows``. ``shift`` is appended to the instructions."""
    recipe, run = settings(tags, name=root.name), RunFolder(root)
    for tag in tags:
        made = [replace(row, instruction=row.instruction + shift) for row in rows(tag)]
        losers = [replace(row, candidate=0, instruction=f"A worse one: {row.instruction}", score=0.01) for row in made]
        short = passage("Too short.", tag)
        lost: dict[StageKey, list[Dropped]] = {
            PASSAGE: [dropped(short.id, "too_short", "10 characters, at least 80", short.text)],
            StageKey("candidate"): [dropped(f"{made[0].id}-2", "empty", "", BIDI)],
            StageKey("rated"): [dropped(f"{row.id}-0", "not_best", "0.010", row.instruction) for row in losers],
            CURATED: [],
        }
        kept: dict[StageKey, list[Passage]] = {
            PASSAGE: [from_row(Passage, as_row(row)) for row in made],
            StageKey("candidate"): [from_row(Candidate, as_row(row)) for row in (*losers, *made)],
            StageKey("rated"): [from_row(Rated, as_row(row)) for row in made],
            CURATED: list(made),
        }
        for stage, records in kept.items():
            report = ShardReport(stage.shard(tag), rows_in=len(records) + len(lost[stage]), seconds=1.5)
            run.write(report, [*records, *lost[stage]])
            run.finish(stage, tag, 1)
    (root / "recipe.json").write_text(recipe.model_dump_json(), "utf-8")
    return run, recipe


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run in ten scripts."""
    return write_run(tmp_path_factory.mktemp("report") / "scripts", tuple(TEXTS))[0]


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with the same passages and other instructions, in three of the languages."""
    return write_run(tmp_path_factory.mktemp("report") / "other", ("sw", "ur", "th"), " Answer briefly.")[0]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser for the tests of a file."""
    with browse(tmp_path_factory.mktemp("browser")) as page:
        yield page
