"""``croissant.json``: the data set described for machines, in Croissant 1.0 and its vocabulary for responsible AI.

It names files relative to itself, so ``mlcroissant`` loads rows from any copy of the folder. Every number comes from
the rows and the run's reports.
"""

from __future__ import annotations

import json
from typing import Any

from x_instruction.builders.schema import ALL, COLUMNS, DATA, VERSION
from x_instruction.cards.dataset_facts import DatasetFacts
from x_instruction.cards.escaping import model, plain
from x_instruction.cards.facts import RowFacts, StageFacts, Tally
from x_instruction.cards.licenses import model_terms
from x_instruction.cards.limits import BIASES, USE, limits, personal_data
from x_instruction.cards.templates import counted

CROISSANT = "croissant.json"
_TYPES = {"string": "sc:Text", "int32": "cr:Int32", "float64": "cr:Float64"}
_SPLIT = "split of the row: train, validation or test"
# Terms of the vocabulary that the file uses without a prefix (Croissant 1.0, appendix 1).
_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {name: f"cr:{name}" for name in _TERMS}


def croissant(data: DatasetFacts) -> str:
    """The whole file, from facts over all languages."""
    patterns = {tag: f"{DATA}/{tag}/*.parquet" for tag in data.sets} | {ALL: f"{DATA}/*/*.parquet"}
    names = ", ".join(language_set.language.name for language_set in data.sets.values())
    table = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": plain(data.pretty_name),
        "description": f"{counted(data.rows, 'instruction-response pair')} in {names}. {_authorship(data.facts)}",
        "license": data.licence.get("license_details", data.licence["license"]),
        "inLanguage": list(data.sets),
        "keywords": ["instruction-tuning", "cross-lingual", "synthetic"],
        "version": VERSION,
        "isLiveDataset": False,
        "citeAs": data.citation,
        **_responsible_ai(data),
        "distribution": [_files(name, pattern) for name, pattern in patterns.items()],
        "recordSet": [_records(name) for name in patterns],
    }
    return json.dumps(table, indent=1, ensure_ascii=False) + "\n"


def _responsible_ai(data: DatasetFacts) -> dict[str, Any]:
    """The vocabulary for responsible AI."""
    return {
        "rai:dataCollection": f"Passages were extracted from a corpus: {_counts(data.facts.origins)}.",
        "rai:dataCollectionType": ["Machine-generated" if data.synthetic else "Secondary data analysis"],
        "rai:dataCollectionRawData": "Documents as their sources give them. Every row has source, address and licence.",
        "rai:dataPreprocessingProtocol": [
            _stage(tag, stage) for tag, language_set in data.sets.items() for stage in language_set.provenance.stages
        ],
        "rai:dataAnnotationProtocol": f"{_authorship(data.facts)} No person annotated anything.",
        "rai:machineAnnotationTools": [
            f"{plain(model(name))}, revision {plain(revision)}, licence: {model_terms(name)}"
            for tally in (data.facts.generators, data.facts.raters, data.facts.embedders)
            for (name, revision), _ in tally.shown()
        ],
        "rai:dataUseCases": [USE],
        "rai:dataLimitations": limits(data),
        "rai:dataBiases": [BIASES],
        "rai:personalSensitiveInformation": [personal_data(data.masked)],
    }


def _authorship(facts: RowFacts) -> str:
    """Which models wrote and rated the instructions."""
    writers, raters = (
        ", ".join(dict.fromkeys(plain(model(name)) for (name, _), _ in tally.shown()))
        for tally in (facts.generators, facts.raters)
    )
    part = "it" if facts.raters.total() == facts.generators.total() else "some"
    return (
        f"The instructions are synthetic: {writers} wrote each for the text of its response, "
        f"and {f'{raters} rated {part}' if raters else 'no rater scored it'}."
    )


def _counts(tally: Tally) -> str:
    parts = [
        f"{plain(source)} ({plain(licence) or 'no licence stated'}), {counted(number, 'row')}"
        for (source, licence), number in tally.shown()
    ]
    return "; ".join([*parts, f"others, {counted(tally.hidden(), 'row')}"] if tally.hidden() else parts)


def _stage(tag: str, stage: StageFacts) -> str:
    reasons = ", ".join(f"{plain(reason)} {count}" for reason, count in sorted(stage.dropped.items()))
    return f"{tag}, {plain(stage.stage)}: {stage.rows_in} in, {stage.kept} kept, dropped: {reasons or 'none'}"


def _files(name: str, pattern: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"files-of-{name}",
        "name": f"files-of-{name}",
        "description": f"Parquet files of the config {name}.",
        "encodingFormat": "application/x-parquet",
        "includes": pattern,
    }


def _records(name: str) -> dict[str, Any]:
    """One record set: the columns of a config, and the split, which the file names contain."""
    files = {"fileSet": {"@id": f"files-of-{name}"}}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{column.name}",
            "name": f"{name}/{column.name}",
            "description": column.meaning,
            "dataType": _TYPES[column.dtype],
            "source": {**files, "extract": {"column": column.name}},
        }
        for column in COLUMNS
    ]
    split = {
        "@type": "cr:Field",
        "@id": f"{name}/split",
        "name": f"{name}/split",
        "description": _SPLIT,
        "dataType": "sc:Text",
        "source": {**files, "extract": {"fileProperty": "filename"}, "transform": {"regex": "^([a-z]+)-.*$"}},
    }
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"Rows of the config {name}.",
        "field": [split, *fields],
    }
