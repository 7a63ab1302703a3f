"""Prompts for chat models, tried on passages.

    python benchmarks/prompts.py answers URL --data PAGES --out rows.jsonl
    python benchmarks/prompts.py tokens --data PAGES

``answers`` asks a model behind an OpenAI-compatible server for an instruction per passage, in turn in each style. It
writes one row per answer: what was read, whether it passes the checks before rating, and if not, why. ``--prompt`` is a
name or a path, and ``PAGES`` a folder of ``<tag>.jsonl`` with ``id`` and ``text``. ``tokens`` counts the prompt tokens
per passage for three styles, and those that the transformers engine computes, which computes shared prefixes once.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from x_instruction.config.generate import Generate
from x_instruction.config.model import Model, Server
from x_instruction.engines import Completed, Completion, Request, Result, open_engine
from x_instruction.generate import generate
from x_instruction.records import Candidate, Passage, text_digest

STYLES = ("question", "instruction", "search")


def passages(folder: Path, tags: list[str], number: int, min_chars: int, max_chars: int) -> Iterator[list[Passage]]:
    """Pages of each language, spread evenly over its file."""
    for tag in tags:
        rows = [json.loads(line) for line in (folder / f"{tag}.jsonl").read_text("utf-8").splitlines()]
        fitting = [row for row in rows if min_chars <= len(row["text"]) <= max_chars]
        yield [_passage(fitting[n * len(fitting) // number], tag) for n in range(min(number, len(fitting)))]


def _passage(row: dict[str, Any], tag: str) -> Passage:
    return Passage(
        id=f"{tag}-{row['id']}",
        language=tag,
        text=row["text"],
        document_id=row["id"],
        segment=0,
        source=row.get("source", ""),
        url="",
        license="",
        text_hash=text_digest(row["text"]),
        identified=tag,
        identified_confidence=1.0,
    )


def answers(given: argparse.Namespace) -> None:
    model = Model(name=given.model, engine="openai", server=Server(url=given.url))
    settings = Generate(
        model=model,
        prompt=given.prompt,
        candidates=1,
        passage_tokens=given.passage_tokens,
    )
    engine: Any = open_engine(model)
    found: list[dict[str, Any]] = []
    for own in passages(given.data, given.languages, given.passages, given.min_chars, given.max_chars):
        for number, passage in enumerate(own):
            style = given.styles[number % len(given.styles)]
            raw: list[str] = []

            def ask(requests: list[Request], raw: list[str] = raw) -> list[Result]:
                results = [result for _, result in engine.answer(requests)]
                raw += [result.text if isinstance(result, Completed) else result.message for result in results]
                return results

            (outcome,) = generate([passage], settings.replace(styles=(style,)), engine, ask, 0)  # type: ignore[arg-type]
            kept = isinstance(outcome, Candidate)
            row = {
                "lang": passage.language,
                "id": passage.id,
                "style": style,
                "passage": passage.text,
                "instruction": outcome.instruction if isinstance(outcome, Candidate) else outcome.detail,
                "kept": kept,
                "reason": "" if isinstance(outcome, Candidate) else outcome.reason,
                "raw": raw[0],
            }
            found.append(row)
            given.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), "utf-8")
        print(own[0].language, dict(Counter(row["reason"] or "kept" for row in found)), flush=True)


def tokens(given: argparse.Namespace) -> None:
    engine: Any = open_engine(Model(name=given.model))
    computed = 0
    forward = engine._forward

    def counting(ids: Any, mask: Any, cache: Any) -> Any:
        nonlocal computed
        computed += int(mask[:, -ids.shape[1] :].sum())
        return forward(ids, mask, cache)

    engine._forward = counting
    for prompt in given.prompts:
        settings = Generate(model=Model(name=given.model), prompt=prompt, styles=STYLES, candidates=3, max_tokens=1)
        computed = read = count = 0
        for own in passages(given.data, given.languages, given.passages, given.min_chars, given.max_chars):

            def ask(requests: list[Request]) -> list[Result]:
                nonlocal read
                results: dict[int, Result] = {}
                for batch in engine.plan(requests):
                    for position, result in engine.answer([requests[row] for row in batch.rows], batch.shared):
                        results[batch.rows[position]] = result
                assert all(isinstance(request, Completion) for request in requests)
                read += sum(result.prompt_tokens for result in results.values())
                return [results[row] for row in range(len(requests))]

            count += len(own)
            list(generate(own, settings, engine, ask, 0))  # type: ignore[arg-type]
        print(f"{prompt}: {read / count:,.0f} prompt tokens per passage, {computed / count:,.0f} computed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    asking = commands.add_parser("answers")
    asking.set_defaults(run=answers)
    asking.add_argument("url")
    asking.add_argument("--model", default="model")
    asking.add_argument("--prompt", default="chat")
    asking.add_argument("--styles", nargs="+", default=["question", "instruction"])
    asking.add_argument("--passage-tokens", type=int, default=384)
    asking.add_argument("--out", type=Path, required=True)
    counting = commands.add_parser("tokens")
    counting.set_defaults(run=tokens)
    counting.add_argument("--model", default="embedded-smollm2")
    counting.add_argument("--prompts", nargs="+", default=["chat"])
    for command in (asking, counting):
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--languages", nargs="+", default=["id", "vi", "tr", "hi", "th"])
        command.add_argument("--passages", type=int, default=8, help="per language")
        command.add_argument("--min-chars", type=int, default=300)
        command.add_argument("--max-chars", type=int, default=1_500)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
