"""The page of a rater: one HTML file that works offline."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from random import Random

from x_instruction.errors import RecipeError
from x_instruction.hashing import derive_seed
from x_instruction.pages.page import asset, page
from x_instruction.pages.text import escape
from x_instruction.review.sheet import KEY, KEY_FORMAT, VERSION, Sheet, json_object
from x_instruction.storage.atomic import atomic


def write(sheet: Sheet, folder: Path, raters: int) -> list[Path]:
    """Write the pages and the key. Equal sheets give equal bytes.

    Returns:
        The pages.

    Raises:
        RecipeError: the folder has another sheet, or there is nothing to judge.
    """
    if not sheet.items:
        raise RecipeError("there are no pairs to judge, expected at least 1")
    key = folder / KEY
    if key.exists() and (there := json_object(key).get("sheet")) != sheet.id:
        raise RecipeError(
            f"{folder} has another sheet ({str(there)[:8]}), whose answers would lose their key: choose another folder "
            "with --out"
        )
    pages = []
    for rater in range(1, raters + 1):
        path = folder / f"rater-{rater}.html"
        with atomic(path) as stream:
            stream.write(html(sheet, rater))
        pages.append(path)
    table = {"format": KEY_FORMAT, "version": VERSION, "sheet": sheet.id, "raters": raters, **asdict(sheet)}
    with atomic(key) as stream:
        stream.write(json.dumps(table, indent=1, ensure_ascii=False).encode())
    return pages


def html(sheet: Sheet, rater: int) -> bytes:
    """The page of a rater."""
    items = list(sheet.items)
    Random(derive_seed(sheet.seed, "pairs", rater)).shuffle(items)
    shown = [
        {
            "id": item.id,
            "language": item.language,
            "instruction_language": item.instruction_language,
            "instruction": item.instruction,
            "texts": item.texts[::-1] if sheet.swapped(rater, item) else item.texts,
        }
        for item in items
    ]
    data = {
        "id": sheet.id,
        "rater": rater,
        "title": sheet.title,
        "labels": sheet.labels,
        "questions": [asdict(question) for question in sheet.questions],
        "editable": sheet.editable,
        "items": shown,
    }
    return page(
        sheet.title,
        _body(sheet),
        data={"sheet": data},
        styles=[asset("x_instruction.review", "sheet.css")],
        scripts=[asset("x_instruction.review", "sheet.js")],
    )


def _body(sheet: Sheet) -> str:
    edit = (
        '<label class="wide">Corrected instruction<textarea id="edit" dir="auto"></textarea></label>'
        if sheet.editable
        else ""
    )
    keys = "".join(
        f"<tr><th scope='row'><kbd>{key}</kbd></th><td>{meaning}</td></tr>"
        for key, meaning in {
            "1 … 9": "choose an answer",
            "← →": "previous, next pair",
            "u": "undo",
            **({"e": "edit the instruction"} if sheet.editable else {}),
            "c": "write a comment (Escape leaves the field)",
            "s": "save to a file",
        }.items()
    )
    more = "Edit the instruction, or comment" if sheet.editable else "Comment"
    guide = "".join(f"<p>{escape(part)}</p>" for part in sheet.guide.split("\n"))
    return f"""<main>
<header class="bar"><h1>{escape(sheet.title)}</h1>
<label>Your name<input id="name" type="text" autocomplete="name" maxlength="80"></label></header>
<details class="no-print"><summary>How to answer</summary>{guide}<table class="keys">{keys}</table></details>
<div class="progress"><progress id="done" aria-label="Answered pairs"></progress><span id="count"></span></div>
<p id="message" role="status"></p>
<p id="warning" class="problem" role="alert" hidden>This browser cannot keep your answers. Save them to a file before \
you close the page.</p>
<noscript><p>This page needs JavaScript: allow it, or open the page in another browser.</p></noscript>
<h2 id="pair" tabindex="-1"></h2>
<section class="panel asked"><h3>Instruction</h3><div id="asked"></div></section>
<div class="texts" id="texts"></div>
<ul class="chips" id="chips" aria-label="Answers to this pair" hidden></ul>
<details id="more"><summary>{more}</summary>{edit}
<label class="wide">Comment<textarea id="comment" dir="auto"></textarea></label></details>
<div class="dock no-print">
<fieldset><legend id="question" tabindex="-1"></legend><div class="choices" id="choices"></div></fieldset>
<div class="row"><button id="back" type="button">Back</button><button id="next" type="button">Next</button>
<button id="undo" type="button">Undo</button>
<button id="share" type="button" class="push" hidden>Share</button>
<button id="save" type="button">Save to a file</button></div>
</div>
<label class="wide no-print">Continue from a saved file<input id="open" type="file"></label>
</main>"""
