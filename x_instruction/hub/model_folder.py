"""A folder with a trained model, checked before anything of it is sent."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.cards.model import HUB_ID, eval_results, license_of, model_card
from x_instruction.cards.records import EVALUATION, TRAINING, Facts, read, text
from x_instruction.errors import RecipeError
from x_instruction.refine import calibration
from x_instruction.training.sft import TUNED

README = "README.md"
CONFIG, ADAPTER, TOKENIZER = "config.json", "adapter_config.json", "tokenizer_config.json"
WEIGHTS = {False: "model", True: "adapter_model"}
# Loading these runs code that the file holds.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
TEXTS = (
    *(CONFIG, ADAPTER, "generation_config.json", "tokenizer.json", TOKENIZER, "tokenizer.model"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json", TRAINING, EVALUATION),
    *(calibration.FILE, TUNED),
)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may be published.

    Args:
        folder: where it stands.
        facts: what its card tells.
        adapter: whether it is an adapter, else it has all its weights.
        files: paths of its files, relative to the folder; not of its record, where another is published.
    """

    folder: Path
    facts: Facts
    adapter: bool
    files: tuple[str, ...]

    def texts(self, repository: str) -> dict[str, bytes]:
        """What is written beside its files: the card and its results, and the record where something was stated."""
        made = {README: model_card(self.facts, repository), **eval_results(self.facts.evaluations)}
        if TRAINING not in self.files:
            made[TRAINING] = text(self.facts.training)
        return {path: content.encode() for path, content in made.items()}


def check_folder(folder: Path, base_license: str = "", base_license_link: str = "") -> Model:
    """A model's folder that is whole, safe to load and says what it is.

    Args:
        base_license, base_license_link: stated by whoever publishes; they go before what the record has.

    Raises:
        RecipeError: it is not; the message says what to do.
        EngineError: its calibration is damaged.
    """
    if not folder.is_dir():
        raise RecipeError(f"{folder} is no folder, wanted one with a model in it")
    adapter = (folder / ADAPTER).is_file()
    if not adapter and not (folder / CONFIG).is_file():
        raise RecipeError(
            f"{folder} has neither {CONFIG} nor {ADAPTER}, so it holds no model: name a folder that "
            "save_pretrained wrote"
        )
    if pickles := sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES):
        raise RecipeError(
            f"{folder} holds {pickles[0]}, and loading a pickle runs whatever is in it: save the weights anew with "
            "save_pretrained, which writes safetensors, and move away what the trainer left"
        )
    facts = read(folder)
    stated = bool(base_license or base_license_link)
    if stated:
        named = base_license or facts.training.base_license
        # A link in the record belongs to the licence there.
        training = dataclasses.replace(facts.training, base_license=named, base_license_link=base_license_link)
        facts = dataclasses.replace(facts, training=training)
    license_of(facts.training)
    _check_relation(folder, facts, adapter)
    weights = _weights(folder, WEIGHTS[adapter])
    _check_tokenizer(folder, facts, adapter)
    calibration.read(folder)
    texts = [name for name in TEXTS if (folder / name).is_file() and not (stated and name == TRAINING)]
    return Model(folder, facts, adapter, (*texts, *weights))


def _check_relation(folder: Path, facts: Facts, adapter: bool) -> None:
    training = facts.training
    if adapter != (training.relation == "adapter"):
        kind = "an adapter" if adapter else "a whole model"
        raise RecipeError(f"{folder} holds {kind}, and {TRAINING} says {training.relation!r}: mend the record")
    config = _json(folder / (ADAPTER if adapter else CONFIG))
    if config.get("auto_map"):
        raise RecipeError(f"{folder} needs code of its own to be loaded (auto_map), which is not published")
    if not adapter:
        return
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not HUB_ID.fullmatch(base):
        raise RecipeError(
            f"{folder / ADAPTER} names the base {base!r}, wanted a model's id on the Hub as org/name: nobody else can "
            "load an adapter without its base; set base_model_name_or_path, or merge the adapter"
        )
    if base != training.base_model:
        raise RecipeError(
            f"{folder / ADAPTER} names the base {base!r}, and {TRAINING} {training.base_model!r}: mend one"
        )


def _weights(folder: Path, stem: str) -> list[str]:
    """The weights' files, and the index of several."""
    single, index = f"{stem}.safetensors", f"{stem}.safetensors.index.json"
    if (folder / index).is_file():
        table = _json(folder / index).get("weight_map")
        names = sorted(set(map(str, table.values()))) if isinstance(table, dict) else []
        for name in names:
            if "/" in name or "\\" in name or ".." in name or not name.endswith(".safetensors"):
                raise RecipeError(f"{folder / index} names {name!r}, expected a .safetensors file of this very folder")
            if not (folder / name).is_file():
                raise RecipeError(f"{folder / index} names {name}, which is missing: save the model anew")
        if names:
            return [*names, index]
    if not (folder / single).is_file():
        raise RecipeError(f"{folder} has no {single}: save the model with save_pretrained")
    return [single]


def _check_tokenizer(folder: Path, facts: Facts, adapter: bool) -> None:
    answers = facts.training.task == "answers"
    if adapter and not answers:
        # The pipeline asks it, with the base's tokenizer.
        return
    if not (folder / TOKENIZER).is_file():
        raise RecipeError(f"{folder} has no tokenizer: save it there, too (tokenizer.save_pretrained)")
    if not answers:
        return
    templates = (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file()
    if not templates and not facts.training.prompt and not _json(folder / TOKENIZER).get("chat_template"):
        raise RecipeError(
            f"the tokenizer of {folder} has no chat template and {TRAINING} no prompt, so nobody could know how to ask "
            "the model: write the prompt that it was trained with into the record, with {instruction} in it"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not JSON ({error}): save the model anew") from error
    if not isinstance(table, dict):
        raise RecipeError(f"{path} holds no JSON object: save the model anew")
    return table
