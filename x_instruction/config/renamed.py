"""Keys and values that had another name in an earlier release: an error names the new one."""

# By section, the old key and the new one.
RENAMED_KEYS: dict[str, dict[str, str]] = {
    "Corpus": {"max_line_bytes": "max_row_bytes"},
    "Filters": {"language": "language_check"},
    "Seeds": {"evaluation": "exclude_eval", "form": "format"},
    "Generate": {"tune": "train", "tuned_prompt": "trained_prompt"},
    "Refine": {
        "tune": "train",
        "builders": "label_strategies",
        "development": "validation",
        "settled": "convergence_tolerance",
        "start": "init_from",
    },
    "Server": {"patience": "outage_timeout"},
    "TrainConfig": {"end_share": "min_lr_ratio", "targets": "target_modules", "warmup": "warmup_ratio"},
    "TrainingRecipe": {
        "tune": "train",
        "learning_rates": "lr_search_rates",
        "trial": "lr_search_steps",
        "development": "lr_search_rows",
    },
    "CrossIn": {"cue": "translation_prompt"},
    "Afp": {"cue": "translation_prompt"},
}

RENAMED_PROMPTS = {"tuned-auto": "trained-auto", "tuned": "trained", "tuned-chat": "trained-chat"}

# By section and key, the old value and the new one.
RENAMED_VALUES: dict[str, dict[str, dict[str, str]]] = {
    "Refine": {
        "label_strategies": {
            "near-miss": "hard-negative",
            "other-page": "random-negative",
            "weaker": "weak-instruction",
            "weaker-answer": "weak-response",
        }
    },
    "TrainConfig": {"sampling": {"in_order": "sequential"}},
}
