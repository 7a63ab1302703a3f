"""Keys and values that had another name in an earlier release: an error names the new one."""

# By section, the old key and the new one.
RENAMED_KEYS: dict[str, dict[str, str]] = {
    "Corpus": {"max_line_bytes": "max_row_bytes"},
    "Filters": {"language": "language_check"},
}

# By section and key, the old value and the new one.
RENAMED_VALUES: dict[str, dict[str, dict[str, str]]] = {}
