"""What tests of judges share: natural responses in two languages, and what a sound judge knows about them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from x_instruction.cli import main
from x_instruction.config.corpus import Corpus
from x_instruction.corpus.sources import Document, read
from x_instruction.languages import language

sys.path.insert(0, str(Path(__file__).parent))

Say = Callable[..., tuple[int, str, str]]


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


@pytest.fixture(scope="session")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Natural:
    folder = tmp_path_factory.mktemp("natural")
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


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command line in this process: exit code, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["x-instruction", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        return int(ended.value.code or 0), done.out, done.err

    return run
