"""``croissant.json``: the data set for machines, after Croissant 1.0 and its vocabulary for responsible AI.

It names files relative to itself, so ``mlcroissant`` loads rows from a copy of the folder. No number is typed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from x_instruction.builders.schema import ALL, COLUMNS, DATA, VERSION
from x_instruction.cards.dataset import recipes_of, told
from x_instruction.cards.escaping import model, plain
from x_instruction.cards.facts import Facts, LanguageSet, Tally
from x_instruction.cards.licenses import license_metadata, model_terms
from x_instruction.cards.limits import BIASES, USE, limits, personal
from x_instruction.cards.metadata import synthetic

CROISSANT = "croissant.json"
_TYPES = {"string": "sc:Text", "int32": "cr:Int32", "float64": "cr:Float64"}
_SPLIT = "split of the row: train, validation or test"
# Names of the vocabulary that are written short below (Croissant 1.0, appendix 1).
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


def croissant(sets: Mapping[str, LanguageSet], pretty_name: str) -> str:
    """The whole file.

    Args:
        sets: tag to language, the default first.
        pretty_name: title.
    """
    facts = Facts.over(one.facts for one in sets.values())
    patterns = {tag: f"{DATA}/{tag}/*.parquet" for tag in sets} | {ALL: f"{DATA}/*/*.parquet"}
    names = ", ".join(one.language.name for one in sets.values())
    licence = license_metadata(facts.licenses)
    table = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": plain(pretty_name),
        "description": f"Pairs of an instruction and a response in {names}, {_rows(sets)} in all. {_writers(facts)}",
        "license": licence.get("license_details", licence["license"]),
        "inLanguage": list(sets),
        "keywords": ["instruction-tuning", "cross-lingual", "synthetic"],
        "version": VERSION,
        "isLiveDataset": False,
        "citeAs": told(sets, pretty_name)["citation"],
        **_responsible(sets, facts),
        "distribution": [_files(name, pattern) for name, pattern in patterns.items()],
        "recordSet": [_records(name) for name in patterns],
    }
    return json.dumps(table, indent=1, ensure_ascii=False) + "\n"


def _responsible(sets: Mapping[str, LanguageSet], facts: Facts) -> dict[str, Any]:
    """The vocabulary for responsible AI."""
    recipes = recipes_of(sets)
    masked = all(one.settings["corpus"]["filters"]["mask_personal_data"] for one in recipes)
    missing = told(sets, "")["missing"]
    return {
        "rai:dataCollection": f"Passages were taken from a corpus: {_counts(facts.origins)}.",
        "rai:dataCollectionType": ["Machine-generated" if synthetic(sets) else "Secondary data analysis"],
        "rai:dataCollectionRawData": "Documents as sources give them; every row names source, address and licence.",
        "rai:dataPreprocessingProtocol": [_stage(tag, line) for tag, one in sets.items() for line in one.made.funnel],
        "rai:dataAnnotationProtocol": f"{_writers(facts)} No person annotated anything.",
        "rai:machineAnnotationTools": [
            f"{plain(model(name))}, revision {plain(revision)}, licence: {model_terms(name)}"
            for tally in (facts.generators, facts.raters, facts.embedders)
            for (name, revision), _ in tally.shown()
        ],
        "rai:dataUseCases": [USE],
        "rai:dataLimitations": limits(synthetic(sets), masked, missing),
        "rai:dataBiases": [BIASES],
        "rai:personalSensitiveInformation": [personal(masked)],
    }


def _writers(facts: Facts) -> str:
    """Who made what is synthetic."""
    writers, raters = (
        ", ".join(dict.fromkeys(plain(model(name)) for (name, _), _ in tally.shown()))
        for tally in (facts.generators, facts.raters)
    )
    rated = f"{raters} rated {'it' if facts.raters.total() == facts.generators.total() else 'some'}"
    return (
        f"The instructions are synthetic: {writers} wrote each for the text of its response, "
        f"and {rated if raters else 'no rater looked at it'}."
    )


def _counts(tally: Tally) -> str:
    parts = [
        f"{plain(source)} ({plain(licence) or 'no licence stated'}), {n} rows" for (source, licence), n in tally.shown()
    ]
    return "; ".join(parts) + (f"; others, {tally.hidden()} rows" if tally.hidden() else "")


def _stage(tag: str, line: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{plain(reason)} {count}" for reason, count in sorted(line["dropped"].items()))
    return f"{tag}, {line['stage']}: {line['rows_in']} in, {line['kept']} kept, dropped: {reasons or 'none'}"


def _rows(sets: Mapping[str, LanguageSet]) -> int:
    return sum(one.rows for one in sets.values())


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
    """One record set: the columns of a config, and the split, which stands in the files' names."""
    files = {"fileSet": {"@id": f"files-of-{name}"}}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{column.name}",
            "name": f"{name}/{column.name}",
            "description": column.meaning,
            "dataType": _TYPES[column.kind],
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
