import dataclasses
import shutil
from pathlib import Path

import factories
import pytest

from x_instruction.config.recipe import Recipe
from x_instruction.records import STAGES, Curated, Dropped, Passage, dropped
from x_instruction.storage.run_folder import RunFolder, ShardReport
from x_instruction.storage.shard_key import StageKey

WORDS = {
    "sw": "Kilimo cha mahindi hutegemea mvua za masika",
    "th": "การปลูกข้าวต้องอาศัยน้ำฝน",
    "ur": "کھیتی باڑی کا دارومدار بارش پر ہے",
    "no": "Norge har mange fjorder og høye fjell",
}
LANGUAGES = tuple(WORDS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Every test has a cache of its own and no network; datasets reads its environment only when imported."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf" / "datasets"))
    monkeypatch.delenv("X_INSTRUCTION_DATASET", raising=False)
    import datasets
    import huggingface_hub

    cache = tmp_path / "hf" / "datasets"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", cache / "downloads")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def curated(tag: str, number: int, **changes: object) -> Curated:
    """A curated record; three passages make a document."""
    fields = {
        "document_id": f"{tag}-doc-{number // 3}",
        "segment": number % 3,
        "url": f"https://example.org/{number}",
        "license": "CC BY-SA 4.0",
        "identified_confidence": 0.9 + number / 10_000,
        "instruction": f"What is known of number {number}?",
        "score": 0.1 * number,
        "cluster": number % 4,
        "rank": number,
    }
    record = factories.curated(f"{WORDS.get(tag, 'text')} {number}. " * 5, tag, **fields)
    return dataclasses.replace(record, **changes)


def records(tag: str, rows: int = 24) -> list[Curated]:
    return [curated(tag, number) for number in range(rows)]


def write(run: RunFolder, tag: str, rows: list[Curated], shards: int = 2) -> None:
    """The shards of a language at every stage, as the run loop leaves them."""
    step = -(-len(rows) // shards) or 1
    for stage, kind in STAGES.items():
        for index in range(shards):
            part: list[Passage | Dropped] = [_younger(row, kind) for row in rows[index * step : (index + 1) * step]]
            part.append(dropped(f"{tag}-x", "quota" if stage == "curated" else f"{stage}_bad"))
            spent = {"seconds": 1.5, "requests": len(part), "prompt_tokens": 1_000, "output_tokens": 100}
            run.write(ShardReport(StageKey(stage).shard(tag, index), rows_in=len(part), **spent), part)
        run.finish(StageKey(stage), tag, shards)


def _younger(row: Curated, kind: type[Passage]) -> Passage:
    return kind(**{field.name: getattr(row, field.name) for field in dataclasses.fields(kind)})


def make_recipe(languages: tuple[str, ...] = ("sw", "th"), **publish: object) -> Recipe:
    return factories.settings(languages, **publish)


def rows(several: list[Curated]) -> list[dict[str, object]]:
    """Records as they are published."""
    from x_instruction.builders.schema import published

    return published(factories.batch(several)).to_pylist()


class Kit:
    """The helpers, as one fixture: test modules do not import each other."""

    languages = LANGUAGES
    curated = staticmethod(curated)
    records = staticmethod(records)
    rows = staticmethod(rows)
    write = staticmethod(write)
    recipe = staticmethod(make_recipe)


@pytest.fixture
def kit():
    return Kit


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A run with four languages and the data set of it, made once and copied for every test."""
    from x_instruction.builders.layout import build

    root = tmp_path_factory.mktemp("prepared")
    for tag in LANGUAGES:
        write(RunFolder(root / "run"), tag, records(tag))
    build(RunFolder(root / "run"), make_recipe(LANGUAGES), root / "data-set")
    return root


@pytest.fixture
def run(prepared, tmp_path) -> RunFolder:
    """A run with four languages."""
    shutil.copytree(prepared / "run", tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def built(prepared, folder) -> Path:
    """The data set of that run."""
    shutil.copytree(prepared / "data-set", folder)
    return folder


@pytest.fixture
def split_recipe():
    return make_recipe(LANGUAGES, validation=0.2, test=0.2, rows_per_file=7)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "data-set"
