"""The YAML head of the README, made by the libraries' own classes and never by hand.

A hand-written ``config_name: no`` is the truth value False to YAML; the libraries quote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import DatasetInfo, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from x_instruction.builders.files import pattern
from x_instruction.builders.schema import ALL, VERSION, features
from x_instruction.cards.escaping import plain
from x_instruction.cards.facts import Facts, LanguageSet, splits_of
from x_instruction.cards.licenses import license_metadata
from x_instruction.corpus.sources import SAMPLE_SOURCE
from x_instruction.hashing import digest


def metadata(sets: Mapping[str, LanguageSet], facts: Facts, pretty_name: str) -> Any:
    """Card data: languages, licence, and per config its files, features, sizes and the digest of its content.

    Args:
        sets: tag to language, the default first.
        facts: facts over all languages.
        pretty_name: title.
    """
    written = [tag for (tag,) in facts.instruction_languages.counts]
    # ``language`` takes two or three letters; the script goes to ``language_details``.
    subtags = dict.fromkeys(tag.partition("-")[0] for tag in (*sets, *sorted(written)))
    data = DatasetCardData(
        pretty_name=plain(pretty_name),
        language=list(subtags),
        language_details=", ".join(f"{s.language.iso639_3}-{s.language.script}" for s in sets.values()),
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated" if synthetic(sets) else "found"],
        multilinguality=["multilingual" if len(subtags) > 1 else "monolingual"],
        size_categories=[_size(sum(one.rows for one in sets.values()))],
        task_categories=["text-generation"],
        tags=["instruction-tuning", "cross-lingual", "synthetic", "x-instruction"],
        **license_metadata(facts.licenses),
    )
    _configs(sets).to_dataset_card_data(data)
    _infos(sets).to_dataset_card_data(data)
    return data


def _configs(sets: Mapping[str, LanguageSet]) -> Any:
    digests = {tag: digest(one.files) for tag, one in sets.items()}
    digests[ALL] = digest(digests)
    configs: dict[str, dict[str, Any]] = {}
    for tag, one in sets.items():
        configs[tag] = {"data_files": [{"split": split, "path": pattern(tag, split)} for split in one.splits]}
    configs[next(iter(sets))]["default"] = True
    paths: dict[str, list[str]] = {}
    for tag, one in sets.items():
        for split in one.splits:
            paths.setdefault(split, []).append(pattern(tag, split))
    configs[ALL] = {"data_files": [{"split": split, "path": paths[split]} for split in splits_of(sets.values())]}
    for name, config in configs.items():
        # The cache of a local folder is keyed by this metadata and not by the files (measured on datasets 5.2), so the
        # files' digest must stand in it: a changed row is a changed key.
        config |= {"version": VERSION, "description": f"sha256:{digests[name]}"}
    return MetadataConfigs(configs)


def _infos(sets: Mapping[str, LanguageSet]) -> Any:
    by_config = {tag: [one] for tag, one in sets.items()} | {ALL: list(sets.values())}
    infos = {}
    for name, members in by_config.items():
        splits = SplitDict()
        for split in splits_of(members):
            parts = [one.splits[split] for one in members if split in one.splits]
            splits.add(SplitInfo(split, num_bytes=sum(p.bytes for p in parts), num_examples=sum(p.rows for p in parts)))
        everything = [part for one in members for part in one.splits.values()]
        infos[name] = DatasetInfo(
            features=features(),
            splits=splits,
            download_size=sum(p.file_bytes for p in everything),
            dataset_size=sum(p.bytes for p in everything),
        )
    return DatasetInfosDict(infos)


def _size(rows: int) -> str:
    bounds = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    for low, high, limit in zip((None, *bounds), bounds, (10**n for n in range(3, 10)), strict=False):
        if rows < limit:
            return f"{low}<n<{high}" if low else f"n<{high}"
    return "n>1B"


def synthetic(sets: Mapping[str, LanguageSet]) -> bool:
    """Whether every response is of the sample corpus, which a language model wrote."""
    return all(source == SAMPLE_SOURCE for one in sets.values() for (source, *_), _ in one.facts.origins.shown())
