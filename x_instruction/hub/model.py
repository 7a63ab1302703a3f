"""Publishing a model: its files, card and results. Files of an older publication that would mislead readers go."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from x_instruction.cards.model import license_of
from x_instruction.cards.records import EVALUATION
from x_instruction.hub import model_readback
from x_instruction.hub.client import RepoTarget, RepoType
from x_instruction.hub.model_folder import Model, check_folder
from x_instruction.hub.plan import Changes, Source, compare_files, source_size
from x_instruction.hub.remote import look
from x_instruction.hub.verify import check_listing, download
from x_instruction.storage.atomic import file_digest

# Weights of an older publication: readers would load them together with the new ones.
_REPLACED = (".safetensors", ".safetensors.index.json", ".bin", "adapter_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What only models have.

    Args:
        base_license, base_license_link: The base model's licence, where the training record does not state it.
    """

    repo_type: ClassVar[RepoType] = "model"
    base_license: str = ""
    base_license_link: str = ""

    def check(self, folder: Path, repo: str) -> ModelContent:
        """Check a model's folder.

        Raises:
            RecipeError: It is incomplete, unsafe to load, or does not say what it is.
        """
        return ModelContent.of(check_folder(folder, self.base_license, self.base_license_link), repo)


@dataclass(frozen=True, slots=True)
class ModelContent:
    """A model that may be published.

    Args:
        model: The checked folder.
        repo: Id of the model.
        texts: Path to content of what publishing writes: the card, results, and the record if a licence was stated.
        digests: Path to SHA-256 of every file. Weights are large, so they are hashed once.
    """

    repo_type: ClassVar[RepoType] = "model"
    model: Model
    repo: str
    texts: Mapping[str, bytes] = field(repr=False)
    digests: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, model: Model, repo: str) -> ModelContent:
        """The content of a checked folder."""
        texts = model.texts(repo)
        digests = {path: hashlib.sha256(text).hexdigest() for path, text in texts.items()}
        return cls(model, repo, texts, digests | {path: file_digest(model.folder / path) for path in model.files})

    def compare(self, target: RepoTarget) -> Changes:
        """Compare with what is published at a revision now."""
        remote = look(target)
        sources: dict[str, Source] = {path: self.model.folder / path for path in self.model.files}
        others = sorted(remote.files.keys() - self.digests.keys())
        deleted = [path for path in others if "/" not in path and path.endswith(_REPLACED)]
        deleted += [path for path in others if path.startswith((".eval_results/", f"{EVALUATION}/"))]
        training = self.model.records.training
        licence = license_of(training)
        return compare_files(
            remote,
            {**sources, **self.texts},
            self.digests,
            deleted,
            title=f"Publish {'an adapter' if self.model.adapter else 'a model'} of {training.base_model}",
            # Weights of two publishers make no model, so the second one is asked to look again.
            mergeable=False,
            notes=[f"licence of {training.base_model}: {licence.get('license_name', licence['license'])}"],
        )

    def describe(self, changes: Changes) -> list[str]:
        """What is published, and every file with its size."""
        kind = "adapter" if self.model.adapter else "model"
        sizes = {path: source_size(source) for path, source in changes.sent.items()}
        return [
            f"{kind} of {self.model.records.training.base_model}",
            *(f"+ {path}  {size:,} bytes" for path, size in sorted(sizes.items())),
            *(f"- {path}" for path in changes.deleted),
            *(f"= {path}" for path in changes.unchanged),
        ]

    def check_readback(self) -> None:
        """Check that torch, transformers and, for an adapter, peft are installed."""
        model_readback.check_installed(self.model)

    def read_back(self, target: RepoTarget, changes: Changes, head: str, sent: Iterable[str]) -> str:
        """Download the commit, compare weights and load them; then compare the card and every other file."""
        verified = model_readback.read_back(self.model, self.repo, head)
        check_listing(target, head, look(target.at(head)), changes.files)
        for path in self.texts:
            download(target, head, path, self.digests[path], lambda _: None)
        return verified
