"""A folder with a trained model, checked before anything is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from x_instruction.cards.model import HUB_ID, eval_results, license_of, model_card
from x_instruction.cards.records import TRAINING, ModelRecords, read, text
from x_instruction.errors import RecipeError
from x_instruction.refine import calibration
from x_instruction.training.job import RESULT

README = "README.md"
CONFIG, ADAPTER, TOKENIZER = "config.json", "adapter_config.json", "tokenizer_config.json"
WEIGHTS = {False: "model", True: "adapter_model"}
# Loading one of these runs code that the file holds.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
TEXTS = (
    *(CONFIG, ADAPTER, "generation_config.json", "tokenizer.json", TOKENIZER, "tokenizer.model"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json", TRAINING),
    *(calibration.FILE, RESULT),
)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may be published.

    Args:
        folder: The folder.
        records: Its training and evaluation records.
        adapter: Whether it is an adapter. Otherwise it has all its weights.
        files: Paths of its files, relative to the folder. Without its record if another one is published.
    """

    folder: Path
    records: ModelRecords
    adapter: bool
    files: tuple[str, ...]

    def texts(self, repository: str) -> dict[str, bytes]:
        """The files that publishing writes: the card, results, and the record if a licence was stated."""
        texts = {README: model_card(self.records, repository), **eval_results(self.records.figures)}
        if TRAINING not in self.files:
            texts[TRAINING] = text(self.records.training)
        return {path: content.encode() for path, content in texts.items()}


def check_folder(folder: Path, base_license: str = "", base_license_link: str = "") -> Model:
    """Check that a model's folder is complete, safe to load and says what it is.

    Args:
        folder: The folder.
        base_license, base_license_link: Stated on the command line. They override the record.

    Raises:
        RecipeError: It is not. The message says what to do.
        EngineError: Its calibration is damaged.
    """
    if not folder.is_dir():
        raise RecipeError(f"{folder} is not a folder: expected a folder with a model")
    adapter = (folder / ADAPTER).is_file()
    if not adapter and not (folder / CONFIG).is_file():
        raise RecipeError(
            f"{folder} has neither {CONFIG} nor {ADAPTER}, so it holds no model: expected a folder that "
            "save_pretrained wrote"
        )
    if pickles := sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES):
        raise RecipeError(
            f"{folder} has {pickles[0]}, and loading a pickle runs any code in it: save the weights again with "
            "save_pretrained, which writes safetensors, and move away the trainer's other files"
        )
    records = read(folder)
    stated = bool(base_license or base_license_link)
    if stated:
        # A link in the record belongs to the licence in the record, so it is replaced together with it.
        training = records.training.replace(
            base_license=base_license or records.training.base_license, base_license_link=base_license_link
        )
        records = ModelRecords(training, records.evaluations)
    license_of(records.training)
    _check_relation(folder, records, adapter)
    weights = _weights(folder, WEIGHTS[adapter])
    _check_tokenizer(folder, records, adapter)
    calibration.read(folder)
    texts = [name for name in TEXTS if (folder / name).is_file() and not (stated and name == TRAINING)]
    # Instances beside the records may hold texts of benchmarks that must not be published.
    results = [record.path.relative_to(folder).as_posix() for record in records.evaluations]
    return Model(folder, records, adapter, (*texts, *results, *weights))


def _check_relation(folder: Path, records: ModelRecords, adapter: bool) -> None:
    training = records.training
    if adapter != (training.relation == "adapter"):
        content = "an adapter" if adapter else "a whole model"
        raise RecipeError(
            f"{folder} holds {content}, and its {TRAINING} has the relation {training.relation!r}: correct the record"
        )
    config = _json(folder / (ADAPTER if adapter else CONFIG))
    if config.get("auto_map"):
        raise RecipeError(f"{folder} needs its own code to load (auto_map), and code is not published")
    if not adapter:
        return
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not HUB_ID.fullmatch(base):
        raise RecipeError(
            f"{folder / ADAPTER} names the base {base!r}, expected a model id on the Hub such as org/name: others "
            "cannot load an adapter without its base; set base_model_name_or_path, or merge the adapter"
        )
    if base != training.base_model:
        raise RecipeError(
            f"{folder / ADAPTER} names the base {base!r}, and {TRAINING} names {training.base_model!r}: correct one"
        )


def _weights(folder: Path, stem: str) -> list[str]:
    """The files with weights, and their index if there are several."""
    single, index = f"{stem}.safetensors", f"{stem}.safetensors.index.json"
    if (folder / index).is_file():
        table = _json(folder / index).get("weight_map")
        names = sorted(set(map(str, table.values()))) if isinstance(table, dict) else []
        for name in names:
            if "/" in name or "\\" in name or ".." in name or not name.endswith(".safetensors"):
                raise RecipeError(f"{folder / index} names {name!r}, expected a .safetensors file in the same folder")
            if not (folder / name).is_file():
                raise RecipeError(f"{folder / index} names {name}, which is missing: save the model again")
        if names:
            return [*names, index]
    if not (folder / single).is_file():
        raise RecipeError(f"{folder} has no {single}: save the model with save_pretrained")
    return [single]


def _check_tokenizer(folder: Path, records: ModelRecords, adapter: bool) -> None:
    answers = records.training.task == "answers"
    if adapter and not answers:
        # Generators and raters run in the pipeline, which uses the base's tokenizer.
        return
    if not (folder / TOKENIZER).is_file():
        raise RecipeError(f"{folder} has no tokenizer: save it there with tokenizer.save_pretrained")
    if not answers:
        return
    templates = (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file()
    if not templates and not records.training.prompt and not _json(folder / TOKENIZER).get("chat_template"):
        raise RecipeError(
            f"the tokenizer of {folder} has no chat template and {TRAINING} has no prompt, so users cannot tell how to "
            "prompt the model: add the prompt that it was trained with to the record, with {instruction} in it"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not JSON ({error}): save the model again") from error
    if not isinstance(table, dict):
        raise RecipeError(f"{path} is not a JSON object: save the model again")
    return table
