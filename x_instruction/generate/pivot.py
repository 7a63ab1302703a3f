"""Instructions that are written over another language."""

from __future__ import annotations

from collections.abc import Sequence

from x_instruction import hashing
from x_instruction.config.generate import Generate
from x_instruction.config.seeds import Translation
from x_instruction.engines import FAILURES, Ask, Engine
from x_instruction.form import find_faults
from x_instruction.generate.draft import Draft
from x_instruction.languages import Language, language
from x_instruction.prompts import Template
from x_instruction.translate import Failure, SourceText, Translator


class Pivot:
    """The route over another language (MURI, arXiv 2409.12958): passages are translated into it, instructions from it.

    A model that reads and writes a language badly may still translate it; the instruction is written from the
    translation, and the response stays the natural text.

    Args:
        settings: the section ``generate`` of the recipe.
        engine: translates and writes.
        ask: returns one result per request.
    """

    def __init__(self, settings: Generate, engine: Engine, ask: Ask) -> None:
        self.language = language(settings.pivot)
        self._translator = Translator(engine, ask, Translation(model=settings.model))

    def digest(self, template: Template) -> str:
        """Digest of the prompts."""
        return hashing.digest([template.digest, self._translator.template.digest])

    def translate(self, texts: Sequence[SourceText]) -> list[SourceText | Failure]:
        """The texts in the language of the pivot; those that are in it already as they are."""
        other = [text for text in texts if text.source != self.language]
        translated = dict(zip(other, self._translator.translate(other), strict=True))
        found = [translated.get(text, text.text) for text in texts]
        return [
            Failure(_translation_reason(text.reason), text.detail)
            if isinstance(text, Failure)
            else SourceText(text, self.language, self.language)
            for text in found
        ]

    def translate_back(self, drafts: Sequence[Draft], settings: Generate, into: Language) -> None:
        """Translate the instructions into the language that was asked for, and check their form there."""
        open_drafts = [draft for draft in drafts if draft.reason is None]
        if into != self.language:
            texts = [SourceText(draft.text, self.language, into) for draft in open_drafts]
            for draft, text in zip(open_drafts, self._translator.translate(texts), strict=True):
                if isinstance(text, Failure):
                    draft.drop(_translation_reason(text.reason), text.detail)
                else:
                    draft.answer, draft.text = f"{draft.text} -> {text}", " ".join(text.split())
            open_drafts = [draft for draft in open_drafts if draft.reason is None]
        faults = find_faults([(draft.text, draft.passage.text) for draft in open_drafts], settings, into)
        for draft, fault in zip(open_drafts, faults, strict=True):
            draft.drop(fault, draft.text)


def _translation_reason(reason: str) -> str:
    """The reason to drop a row of which a translation failed: that of the engine, or ``not_translated``."""
    return reason if reason in FAILURES else "not_translated"
