"""The YAML metadata of a data set's README, from the libraries' own classes.

Written by hand, ``config_name: no`` would be the boolean False in YAML. The YAML library quotes it.
"""

from __future__ import annotations

from typing import Any

import yaml
from datasets import DatasetInfo, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from x_instruction.builders.files import pattern
from x_instruction.builders.schema import ALL, VERSION, features
from x_instruction.cards.dataset_facts import DatasetFacts
from x_instruction.cards.escaping import plain
from x_instruction.cards.facts import LanguageSet, splits_of
from x_instruction.hashing import digest

# Bounds of the Hub's size categories.
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")


def metadata(facts: DatasetFacts) -> Any:
    """Card data: languages, licence, and for each config its files, features, sizes and a digest of its content."""
    # The Hub's field for languages takes two or three letters. The script goes into ``language_details``.
    subtags = dict.fromkeys(tag.partition("-")[0] for tag in (*facts.sets, *facts.instruction_tags))
    languages = [language_set.language for language_set in facts.sets.values()]
    data = DatasetCardData(
        pretty_name=plain(facts.pretty_name),
        language=list(subtags),
        language_details=", ".join(f"{language.iso639_3}-{language.script}" for language in languages),
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated" if facts.synthetic else "found"],
        multilinguality=["multilingual" if len(subtags) > 1 else "monolingual"],
        size_categories=[_size_category(facts.rows)],
        source_datasets=sorted({use.recipe.corpus for use in facts.recipes}),
        task_categories=["text-generation"],
        tags=["instruction-tuning", "cross-lingual", "synthetic", "x-instruction"],
        **facts.licence,
    )
    _configs(facts).to_dataset_card_data(data)
    _infos(facts).to_dataset_card_data(data)
    return data


def yaml_text(data: Any) -> str:
    """Card data as YAML. The columns, which are those of every config, are written once and referred to."""
    table: dict[str, Any] = data.to_dict()
    infos = table["dataset_info"]
    for info in infos if isinstance(infos, list) else []:
        if info["features"] == infos[0]["features"]:
            # YAML writes one object that is in several places as an anchor and aliases.
            info["features"] = infos[0]["features"]
    text: str = yaml.safe_dump(table, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return text


def _configs(facts: DatasetFacts) -> Any:
    """Files of each config by split, and of the config with all languages."""
    configs: dict[str, dict[str, Any]] = {}
    paths: dict[str, list[str]] = {split: [] for split in facts.splits}
    for tag, language_set in facts.sets.items():
        configs[tag] = {"data_files": [{"split": split, "path": pattern(tag, split)} for split in language_set.splits]}
        for split in language_set.splits:
            paths[split].append(pattern(tag, split))
    configs[facts.default]["default"] = True
    configs[ALL] = {"data_files": [{"split": split, "path": several} for split, several in paths.items()]}
    digests = {tag: digest(language_set.files) for tag, language_set in facts.sets.items()}
    digests[ALL] = digest(digests)
    for name, config in configs.items():
        # datasets keys its cache of a local folder by this metadata and not by the files (measured on 5.2). The digest
        # of the files makes a changed row a changed key.
        config |= {"version": VERSION, "description": f"sha256:{digests[name]}"}
    return MetadataConfigs(configs)


def _infos(facts: DatasetFacts) -> Any:
    """Features, rows and sizes of each config."""
    members = {tag: [language_set] for tag, language_set in facts.sets.items()} | {ALL: list(facts.sets.values())}
    return DatasetInfosDict({name: _info(several) for name, several in members.items()})


def _info(sets: list[LanguageSet]) -> DatasetInfo:
    splits = SplitDict()
    for name in splits_of(sets):
        parts = [language_set.splits[name] for language_set in sets if name in language_set.splits]
        splits.add(
            SplitInfo(name, num_bytes=sum(part.bytes for part in parts), num_examples=sum(part.rows for part in parts))
        )
    everything = [part for language_set in sets for part in language_set.splits.values()]
    return DatasetInfo(
        features=features(),
        splits=splits,
        download_size=sum(part.file_bytes for part in everything),
        dataset_size=sum(part.bytes for part in everything),
    )


def _size_category(rows: int) -> str:
    for low, high, limit in zip((None, *_SIZES), _SIZES, (10**n for n in range(3, 10)), strict=False):
        if rows < limit:
            return f"{low}<n<{high}" if low else f"n<{high}"
    return "n>1B"
