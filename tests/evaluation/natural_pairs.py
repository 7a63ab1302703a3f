"""What tests of judges share: natural responses in two languages, and what a reliable judge knows about them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from x_instruction.config.corpus import Corpus
from x_instruction.corpus.sources import Document, read
from x_instruction.languages import language


@dataclass(frozen=True)
class Natural:
    """Natural responses.

    Args:
        paths: a file of pairs for each language.
        responses: the response by request, as a judge sees it.
        languages: the name of the language by response.
    """

    paths: tuple[Path, ...]
    responses: dict[str, str]
    languages: dict[str, str]


def make(folder: Path) -> Natural:
    """Write the responses of the sample corpus as pairs."""
    paths, responses, languages = [], {}, {}
    for tag in ("fi", "sw"):
        name = language(tag).name
        texts = [d.text.strip() for d in read(Corpus(source="sample"), language(tag)) if isinstance(d, Document)]
        rows = [
            {"id": f"{n}", "instruction": f"Tell me about topic {n}.", "output": text, "language": tag}
            for n, text in enumerate(texts)
        ]
        paths.append(folder / f"{tag}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        responses |= {f"{row['instruction']} Answer in {name}.": row["output"] for row in rows}
        languages |= dict.fromkeys(texts, name)
    return Natural(tuple(paths), responses, languages)
