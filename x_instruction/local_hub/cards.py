"""The front matter of a README: read, and checked as the Hub checks it before a commit."""

from __future__ import annotations

import datetime
import re
from typing import Any

import yaml

_FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|\Z)(.*)\Z", re.DOTALL)
# Aliases can blow a small text up to any size: values are counted as they would be written out.
_MAX_VALUES = 200_000
# The parser in C is quick, and ends the server where values are deep: depth and number are counted before.
_MAX_NODES = 50_000
_MAX_DEPTH = 50
_TOO_MUCH = "too many values, or too deep"
MAX_CHARS = 200_000
_TEXTS = {
    "language": "both",
    "license": "both",
    "tags": "list",
    "size_categories": "both",
    "task_categories": "list",
    "task_ids": "list",
    "annotations_creators": "list",
    "language_creators": "list",
    "source_datasets": "list",
    "datasets": "both",
    "metrics": "both",
    "base_model": "both",
    "pretty_name": "text",
    "pipeline_tag": "text",
    "library_name": "text",
    "license_name": "text",
    "license_link": "text",
}


class BadYaml(ValueError):
    """The front matter cannot be read."""


class _Loader(yaml.CSafeLoader):
    """Without merge keys, which can blow up a small text before anything can be counted."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise BadYaml("merge keys (<<) are not read")


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float | str:
    # In YAML 1.2, which the Hub reads, 1:30 is a text. Here it would be a number of base 60, which takes long to read.
    if ":" in node.value:
        return str(node.value)
    return loader.construct_yaml_int(node) if node.tag.endswith(":int") else loader.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _number)


def split(readme: str) -> tuple[str | None, str]:
    """The YAML text, or None without any, and what follows it."""
    match = _FRONT.match(readme)
    return (match[1], match[2]) if match else (None, readme)


def metadata(readme: str) -> dict[str, Any]:
    """The front matter as values that JSON can hold; empty without any, or when there is too much of it.

    Raises:
        BadYaml: it cannot be read, or is no mapping.
    """
    text, _ = split(readme)
    try:
        found = None
        if text and len(text) <= MAX_CHARS:
            _check_size(text)
            found = yaml.load(text, _Loader)
    except BadYaml:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadYaml(" ".join(str(error).split())) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadYaml(f"expected keys and values, got {type(found).__name__}")
    plain: dict[str, Any] = _plain(found, [_MAX_VALUES], 0)
    return plain


def _check_size(text: str) -> None:
    nodes = depth = 0
    for event in yaml.parse(text, _Loader):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise BadYaml(_TOO_MUCH)


def lenient(readme: str | None) -> dict[str, Any]:
    """The front matter, or nothing where it cannot be read: for showing what was committed by other ways."""
    try:
        return metadata(readme or "")
    except BadYaml:
        return {}


def _plain(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > _MAX_DEPTH:
        raise BadYaml(_TOO_MUCH)
    if isinstance(value, dict):
        return {str(key): _plain(inner, left, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner, left, depth + 1) for inner in value]
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
        return value
    if isinstance(value, bytes | float | datetime.date):
        return str(value)
    return value


def check(readme: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about the front matter."""
    if len(split(readme)[0] or "") > MAX_CHARS:
        return [], [f"the YAML metadata has more than {MAX_CHARS} characters: it was not checked"]
    try:
        found = metadata(readme)
    except BadYaml as error:
        return [f"the YAML metadata cannot be read: {error}"], []
    if not found:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = [error for key, kind in _TEXTS.items() if key in found for error in _text_errors(key, kind, found[key])]
    errors += _config_errors(found.get("configs"))
    errors += _index_errors(found.get("model-index"))
    infos = found.get("dataset_info", {})
    if not all(isinstance(info, dict) for info in (infos if isinstance(infos, list) else [infos])):
        errors.append('"dataset_info" must be a mapping, or a list of mappings')
    return errors, [] if found.get("license") else ['no "license": say what others may do with this']


def _text_errors(key: str, kind: str, value: Any) -> list[str]:
    if value is None or (isinstance(value, str) and kind != "list"):
        return []
    if not isinstance(value, list) or kind == "text":
        expected = {"text": "a string", "list": "a list of strings", "both": "a string or a list of strings"}[kind]
        return [f'"{key}" must be {expected}, not {value!r}']
    hint = " (YAML reads no, yes, on and off as true or false: put it in quotes)"
    return [
        f'"{key}[{number}]" must be a string, not {one!r}{hint if isinstance(one, bool) else ""}'
        for number, one in enumerate(value)
        if not isinstance(one, str)
    ]


def _index_errors(index: Any) -> list[str]:
    if index is None:
        return []
    if not isinstance(index, list) or not all(isinstance(model, dict) for model in index):
        return [f'"model-index" must be a list of mappings, not {index!r}'[:300]]
    return [
        f'"model-index[{n}].results" must be a list of mappings'
        for n, model in enumerate(index)
        if not isinstance(results := model.get("results", []), list) or not all(isinstance(r, dict) for r in results)
    ]


def _config_errors(configs: Any) -> list[str]:
    if configs is None:
        return []
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        return ['"configs" must be a list of mappings']
    names = [config.get("config_name") for config in configs]
    errors = [f'"configs[{n}].config_name" must be a string, not {name!r}' for n, name in enumerate(names)
              if not isinstance(name, str)]  # fmt: skip
    errors += [f'"configs" has {name!r} twice' for name in sorted({str(n) for n in names if names.count(n) > 1})]
    for number, config in enumerate(configs):
        files = config.get("data_files", [])
        parts = files if isinstance(files, list) else [files]
        if not all(isinstance(part, str) or (isinstance(part, dict) and "path" in part) for part in parts):
            errors.append(f'"configs[{number}].data_files" must be paths, or mappings with "split" and "path"')
    return errors
