"""Write the pages of docs/ that are made from the code (``make docs``); a test keeps them current."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from click import Context, Group
from click.testing import CliRunner

from x_instruction.cli import cli
from x_instruction.config import mixing
from x_instruction.config.corpus import Corpus, Filters, LanguageThresholds
from x_instruction.config.diversify import Diversify
from x_instruction.config.explain import section_of
from x_instruction.config.generate import Generate, Span
from x_instruction.config.model import Model, Server, Vllm
from x_instruction.config.publish import Publish
from x_instruction.config.recipe import Recipe
from x_instruction.config.refine import Refine
from x_instruction.config.section import Section
from x_instruction.config.seeds import Seeds
from x_instruction.config.site import HfJobs, Ray, Site, Slurm
from x_instruction.config.training import TrainConfig
from x_instruction.experiments.claims import design, wording
from x_instruction.experiments.claims.plot import plot
from x_instruction.experiments.claims.run import described, read_results, verdicts

ROOT = Path(__file__).parent.parent


def commands(group: Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and every group below a group, in the order of the help, as the words that call it."""
    for name in group.list_commands(Context(group)):
        command = group.get_command(Context(group), name)
        yield (*path, name)
        if isinstance(command, Group):
            yield from commands(command, (*path, name))


COMMANDS_HEAD = """# Commands

Written by `make docs` from the help of the commands; a test keeps it current.

Completion in the shell of commands, options and their values:

```bash
eval "$(_X_INSTRUCTION_COMPLETE=bash_source x-instruction)"      # in ~/.bashrc
eval "$(_X_INSTRUCTION_COMPLETE=zsh_source x-instruction)"       # in ~/.zshrc
_X_INSTRUCTION_COMPLETE=fish_source x-instruction | source       # in ~/.config/fish/config.fish
```

An option has the same meaning in every command that has it. Tables go to standard output, as JSON with `--json` or as
CSV with `--csv`; messages go to standard error.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | an error, explained in one line |
| 2 | an unknown command or option, or an invalid value |
| 2, of `run` | it is complete, and a stage kept no row of a language or dropped over 90 % of its rows for one reason |
| 130 | interrupted (Ctrl-C); rerun the same command to continue |
"""


def help_page() -> str:
    """docs/commands.md."""
    parts = [COMMANDS_HEAD]
    for arguments in ((), *commands()):
        line = " ".join(["x-instruction", *arguments, "--help"])
        shown = CliRunner().invoke(cli, [*arguments, "--help"], prog_name="x-instruction", terminal_width=80)
        parts.append(f"```console\n$ {line}\n{shown.output.rstrip()}\n```\n")
    return "\n".join(parts)


SECTIONS: dict[str, type[Section]] = {
    "": Recipe,
    "seeds": Seeds,
    "corpus": Corpus,
    "corpus.filters": Filters,
    "corpus.filters, seeds": LanguageThresholds,
    "generate": Generate,
    "generate.span": Span,
    "generate.model, refine.model": Model,
    "generate.model.server, refine.model.server": Server,
    "generate.model.vllm, refine.model.vllm": Vllm,
    "refine": Refine,
    "generate.train, refine.train": TrainConfig,
    "diversify": Diversify,
    "publish": Publish,
}


def heading(name: str) -> str:
    """The heading of a section's keys."""
    return f"## {f'`[{name}]`' if name else 'Top level'}\n"


def table(section: type[Section]) -> list[str]:
    """Lines of a table with a row per key of its own: its default and its description."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in section.model_fields.items():
        if section_of(section, name) or name not in section.__annotations__:
            continue
        default = "**required**" if field.is_required() else f"`{json.dumps(field.default)}`"
        meaning = (field.description or "").replace("\n", " ").replace("|", "\\|")
        lines.append(f"| `{name}` | {default} | {meaning} |")
    return [*lines, ""]


def recipes_page() -> str:
    """docs/recipes.md."""
    parts = [
        "# Recipes\n",
        "Written by `make docs` from `x_instruction/config`; a test keeps it current.\n",
        "A recipe is one TOML file. Models and corpora have no default; thresholds do. An unknown key is an error.\n",
        "```bash",
        "x-instruction recipe show files > my-recipe.toml        # a file to start from",
        "x-instruction recipe show my-recipe.toml --json         # every setting, as a run keeps it in recipe.json",
        "x-instruction recipe schema > recipe.json               # completion and checks in an editor",
        "```\n",
        "For Even Better TOML (VS Code) or Taplo, put `#:schema ./recipe.json` at the top of the recipe.",
        "[security.md](security.md) says what a recipe from somewhere else can do.",
        "`--set KEY=VALUE` changes a key for one command, such as `--set generate.candidates=8`.\n",
        "This is the recipe `files`:\n",
        f"```toml\n{(ROOT / 'recipes' / 'files.toml').read_text('utf-8').rstrip()}\n```\n",
    ]
    for name, section in SECTIONS.items():
        parts += [heading(name), *table(section)]
    return "\n".join(parts)


MIXING: dict[str, type[Section]] = {
    "": mixing.MixRecipe,
    "crossin": mixing.CrossIn,
    "pinch": mixing.Pinch,
    "afp": mixing.Afp,
    "humpback": mixing.Humpback,
    "x_instruction": mixing.XInstruction,
    "muri": mixing.Muri,
}

MIXING_HEAD = """# Mixing training data

`x-instruction mix` combines data sets into prompts with completions to train on, in exactly the counts that a mixing
recipe sets:

```bash
x-instruction mix x-instruction-mono runs/my-recipe/dataset --set 'languages=["yo"]' \\
    --seeds seeds/yo.jsonl --out mixes/mine
```

The folder `mixes/mine` then has:

- `train-*.parquet`: the rows of the mix, shuffled;
- `dropped.parquet`: rows that could not be used, each with a reason;
- `mix.json`: counts by section, shape, language, direction and tag, and the tags to prompt the trained model with.

`x-instruction recipe list --kind mix` lists the recipes that are included. This is `pinch-six`:

@SHIPPED@

## How rows are chosen

- **Items.** Rows with the same `id` are one item (with `align = "position"`, rows at the same position of their files).
  Each row adds an instruction in its `instruction_language` and a response in its `language`. A row of a data set from
  `x-instruction build` has an English instruction. For other directions, add rows with the same `id`: a translated
  instruction, or an English pair.
- **Exact counts.** Each combination of shape and language pair gets the integer part of its share of the rows. The
  remaining rows go one each to the largest fractional parts. A count in the recipe (`size`, `base`, `budget`, `seeds`,
  `web`, `translation`) is either met exactly or an error. Where no count is set, or below a `cap`, the mix uses all
  rows that fit. A mix without rows is an error, and a language without rows is a warning.
- **Reproducible draws.** Draws depend on ids, `seed` and the recipe only, not on the order of files and rows. An item
  is used once, unless the section says otherwise.

## Keys of a mixing recipe

`make docs` writes this part from `x_instruction/config/mixing.py`.
"""


def mixing_page() -> str:
    """docs/mixing.md."""
    shipped = (ROOT / "recipes" / "mixing" / "pinch-six.toml").read_text("utf-8").rstrip()
    parts = [MIXING_HEAD.replace("@SHIPPED@", f"```toml\n{shipped}\n```")]
    for name, section in MIXING.items():
        parts += [heading(name), f"{' '.join((section.__doc__ or '').split())}\n", *table(section)]
    return "\n".join(parts)


SITES: dict[str, type[Section]] = {"": Site, "slurm": Slurm, "hf_jobs": HfJobs, "ray": Ray}

SITES_HEAD = """# Sites

Written by `make docs` from `x_instruction/config/site.py`; a test keeps it current.

A site is one TOML file about the place where a run is made, such as a cluster: `x-instruction run RECIPE --on slurm
--site site.toml`. It never affects the data, so a run can move to another site. [Scale out](scale.md) has examples.
"""


def sites_page() -> str:
    """docs/sites.md."""
    parts = [SITES_HEAD]
    for name, section in SITES.items():
        parts += [heading(name), *table(section)]
    return "\n".join(parts)


RESULTS_HEAD = """# Results

Written by `make docs` from `docs/results/*.json`, which are files `results.json` of the command below; a test keeps it
current.

Do the methods work that this project follows? Each claim is tested by one design, on one pool of documents with true
English titles. The design is [design.toml](../x_instruction/experiments/claims/design.toml): sizes, measures, and what
is expected. It was written before the first result. `x-instruction experiment show claims` prints it.

```bash
x-instruction experiment run claims --profile cpu       # all figures, in hours on two cores
x-instruction experiment run claims --profile gpu       # larger sizes, in minutes on a GPU
```
"""


def result_files() -> dict[str, dict[str, Any]]:
    """Profile to the results that were committed, the largest sizes first."""
    files = {name: ROOT / "docs" / "results" / f"claims-{name}.json" for name in ("gpu", "cpu")}
    return {name: read_results(file) for name, file in files.items() if file.exists()}


def results_page() -> str:
    """docs/results.md."""
    shipped = design.load()
    found = result_files() or {"cpu": described(shipped, verdicts(shipped, []))}
    parts = [RESULTS_HEAD, f"{shipped.test}\n"]
    if result_files():
        parts.append("![Claims: measured effects and what was expected](results/claims.svg)\n")
    shown: set[tuple[str, str, str]] = set()
    for claim in next(iter(found.values()))["claims"]:
        parts += _claim_section(claim, {name: results["verdicts"] for name, results in found.items()})
        for name, results in found.items():
            parts += _arms(claim, name, results, shown)
    for name, results in found.items():
        if left := results.get("left"):
            parts.append(f"Parts of `{name}` that were not made yet: {', '.join(f'`{part}`' for part in left)}.\n")
    return "\n".join(parts)


def _arms(
    claim: Mapping[str, Any], profile: str, results: Mapping[str, Any], shown: set[tuple[str, str, str]]
) -> list[str]:
    """Tables of the measures that test a claim: a row for each arm, a column for each group of rows."""
    lines = []
    measures = [one["expected"]["measure"] for one in results["verdicts"] if one["claim"] == claim["id"]]
    # What a claim's own measure may hide.
    besides = ["found", "right"] if "gain" in measures else ["auroc"]
    for measure in dict.fromkeys([*measures, *besides]):
        own = [
            figure
            for figure in results.get("figures", [])
            if (figure["experiment"], figure["measure"], figure["baseline"]) == (claim["experiment"], measure, "")
        ]
        if not own or (claim["experiment"], measure, profile) in shown:
            continue
        shown.add((claim["experiment"], measure, profile))
        groups = list(dict.fromkeys(figure["group"] for figure in own))
        cells = {(figure["arm"], figure["group"]): wording.interval(figure) for figure in own}
        lines += [
            f"{wording.named(measure)}, `{profile}`:\n",
            f"| arm | {' | '.join(group.replace('_', ' ') for group in groups)} |",
            f"|---|{'---|' * len(groups)}",
            *(
                f"| {arm} | {' | '.join(cells.get((arm, group), '-') for group in groups)} |"
                for arm in dict.fromkeys(figure["arm"] for figure in own)
            ),
            "",
        ]
    return lines


def _claim_section(claim: Mapping[str, Any], found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    lines = [f"## {claim['statement'].rstrip('.')}\n", f"{claim['method']} Source: {claim['source']}.\n"]
    table_lines = [
        "| comparison | sizes | figure (95 %) | expected | smallest effect | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for name, verdicts_of in found.items():
        own = [verdict for verdict in verdicts_of if verdict["claim"] == claim["id"]]
        advice = wording.advice(claim, own[0])
        lines.append(f"- `{name}`. {wording.meaning(own[0])}{advice and f' **{advice}**'}\n")
        for one in own:
            smallest = wording.amount(one["figure"]["smallest"]) if one["figure"] else "-"
            cells = [wording.comparison(one["expected"]), name, wording.interval(one["figure"])]
            cells += [wording.expectation(one["expected"]), smallest, one["verdict"]]
            table_lines.append(f"| {' | '.join(cells)} |")
    if remark := claim.get("remark"):
        table_lines += ["", remark]
    command = f"x-instruction experiment run claims --profile {next(iter(found))} --only {claim['experiment']}"
    return [*lines, *table_lines, "", f"```bash\n{command}\n```\n"]


def results_plot() -> str:
    """docs/results/claims.svg: the comparison that decides each claim."""
    results = next(iter(result_files().values()))
    return plot([verdict for verdict in results["verdicts"] if verdict["decides"]])


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": help_page,
    "recipes.md": recipes_page,
    "mixing.md": mixing_page,
    "sites.md": sites_page,
    "results.md": results_page,
} | ({"results/claims.svg": results_plot} if result_files() else {})


if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), "utf-8")
    sys.stdout.write(f"written in docs: {', '.join(PAGES)}\n")
