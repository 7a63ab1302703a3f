"""Token ids of prompts and texts, for the engines that run models here and for training.

The control tokens of a chat template are special. The same strings inside a passage or an output, such as ``</s>`` or
``<|im_end|>``, are encoded as the plain text that they are, so that a text can neither end a turn nor begin one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from x_instruction.engines import Prompt
from x_instruction.engines.conversation import without_system
from x_instruction.engines.local.chat_template import TemplateFailed, TemplateRefused, Turns, render
from x_instruction.engines.truncation import TokenTruncate, tokenizing
from x_instruction.errors import EngineError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Names with which chat templates switch thinking on and off.
_SWITCHES = ("enable_thinking", "thinking")
# A template that begins the answer with thinking.
_OPENED = re.compile(r"(?:<(think|thinking|reasoning|seed:think)>|\[(THINK)\]|◁(think)▷)\s*$")
_SYSTEM, _USER = "Rules of this conversation.", "Say yes."


class PromptEncoder:
    """Encodes for one tokenizer.

    Args:
        tokenizer: a tokenizer of transformers.
        model: the model's name, for messages.
        enable_thinking: whether a model that can think does so. None and False turn thinking off.
    """

    def __init__(self, tokenizer: Any, model: str, enable_thinking: bool | None = None) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.chat = bool(tokenizer.chat_template)
        self.thinks = bool(enable_thinking)
        self.truncate = TokenTruncate(lambda: self._backend(True), model)

    def prompt(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt to be continued. An empty one is the token that begins texts, or else ends them.

        Raises:
            EngineError: the prompt is empty and the tokenizer has no such token, or the model's chat template does not
                render the prompt.
        """
        if not isinstance(prompt, str):
            return self.turns(prompt, True)
        edges = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        encoded = self._plain(prompt, True) or [token for token in edges if token is not None][:1]
        if not encoded:
            raise EngineError("an empty prompt cannot be continued: the tokenizer has no token that begins texts")
        return encoded

    def prompts(self, prompts: Iterable[Prompt]) -> dict[Prompt, list[int]]:
        """Token ids of each prompt, as ``prompt`` returns them. The tokenizer encodes many texts in less time, and on
        all cores.

        Raises:
            EngineError: as ``prompt``.
        """
        distinct = list(dict.fromkeys(prompts))
        encoded: dict[Prompt, list[int]] = {}
        for chat, texts in ((False, self._plain_wholes(distinct)), (True, self._rendered_wholes(distinct))):
            if texts:
                # A rendered conversation has its special tokens.
                with tokenizing(self.model):
                    found = self._backend(not chat).encode_batch_fast(list(texts.values()), add_special_tokens=not chat)
                encoded |= zip(texts, (encoding.ids for encoding in found), strict=True)
        return {prompt: encoded.get(prompt) or self.prompt(prompt) for prompt in distinct}

    def _plain_wholes(self, prompts: Sequence[Prompt]) -> dict[Prompt, str]:
        """The plain prompts that are encoded in one piece."""
        return {
            prompt: prompt
            for prompt in prompts
            if prompt and isinstance(prompt, str) and not (self._undeclared and self._undeclared.search(prompt))
        }

    def _rendered_wholes(self, prompts: Sequence[Prompt]) -> dict[Prompt, str]:
        """The texts of the conversations that are encoded in one piece."""
        turns = {prompt: self._as_taken(prompt) for prompt in prompts if self.chat and not isinstance(prompt, str)}
        whole = {prompt: found for prompt, found in turns.items() if not self._has_control_token(found)}
        return dict(zip(whole, self._rendered(list(whole.values()), True), strict=True))

    def text(self, text: str) -> list[int]:
        """Token ids of a text alone, without tokens that the tokenizer puts around it."""
        return self._plain(text, False)

    def turns(self, turns: Sequence[tuple[str, str]], generation_prompt: bool) -> list[int]:
        """Token ids of a conversation.

        Args:
            turns: role and content of each message.
            generation_prompt: whether the beginning of an answer follows.

        Raises:
            EngineError: the model has no chat template, or it refuses the conversation.
        """
        if not self.chat:
            raise EngineError(f"{self.model} has no chat template: use a plain prompt, or a chat model")
        found = self._as_taken(turns)
        if not self._has_control_token(found):
            [whole] = self._rendered([found], generation_prompt)
            with tokenizing(self.model):
                return list(self.tokenizer(whole, add_special_tokens=False)["input_ids"])
        contents = "\n".join(content for _, content in found)
        # A noncharacter, which no text has, in place of each control token of a content.
        mark = "\ufdd0"
        while mark in contents:
            mark += "\ufdd0"
        hidden: list[str] = []

        def hide(match: re.Match[str]) -> str:
            hidden.append(match[0])
            return f"{mark}{len(hidden) - 1}\ufdd1"

        marked = [(role, self._control.sub(hide, content)) for role, content in found]
        [rendered] = self._rendered([marked], generation_prompt)
        shown = re.compile(f"{mark}(\\d+)\ufdd1")
        return self._between_control_tokens(rendered, lambda text: shown.sub(lambda m: hidden[int(m[1])], text))

    def _backend(self, special_is_text: bool) -> Tokenizer:
        """The tokenizer without the checks of transformers, which take long for a short text."""
        backend: Tokenizer | None = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise EngineError(
                f"the tokenizer of {self.model} is a {type(self.tokenizer).__name__}, expected one with a "
                "tokenizer.json; use another model"
            )
        # Calls of transformers leave their own settings behind.
        if backend.encode_special_tokens != special_is_text:
            backend.encode_special_tokens = special_is_text
        if backend.truncation is not None:
            backend.no_truncation()
        if backend.padding is not None:
            backend.no_padding()
        return backend

    def _as_taken(self, turns: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple(turns) if self._takes_system else without_system(tuple(turns))

    def _has_control_token(self, turns: Turns) -> bool:
        return any(self._control.search(content) for _, content in turns)

    def _between_control_tokens(self, rendered: str, restore: Any) -> list[int]:
        """Token ids of a rendered conversation: the texts between its control tokens are encoded as plain text."""
        ids: list[int] = []
        start, strip_next = 0, False
        for match in [*self._control.finditer(rendered), None]:
            text = rendered[start : match.start() if match else None]
            token = self._added[match[0]] if match else None
            text = text.lstrip() if strip_next else text
            text = text.rstrip() if token is not None and token[1].lstrip else text
            ids += self.text(restore(text))
            if match is not None and token is not None:
                ids.append(token[0])
                start, strip_next = match.end(), token[1].rstrip
        return ids

    def _plain(self, text: str, special: bool) -> list[int]:
        """Token ids of a text whose control tokens mean nothing; ``special`` adds the tokenizer's own around it."""
        # Tokens that are not declared as special are found all the same, unless the text is encoded in two parts.
        cuts = (
            [0, *(match.start() + 1 for match in self._undeclared.finditer(text)), len(text)]
            if self._undeclared
            else []
        )
        if len(cuts) > 2:
            parts = [text[start:end] for start, end in pairwise(cuts)]
            first = self._plain_part(parts[0], special)
            return [*first, *(token for part in parts[1:] for token in self._plain_part(part, False))]
        return self._plain_part(text, special)

    def _plain_part(self, text: str, special: bool) -> list[int]:
        with tokenizing(self.model):
            return list(self.tokenizer(text, add_special_tokens=special, split_special_tokens=True)["input_ids"])

    def _rendered(self, conversations: Sequence[Turns], generation_prompt: bool) -> list[str]:
        try:
            texts = self._apply(conversations, generation_prompt)
        except TemplateRefused as error:
            raise EngineError(f"the chat template of {self.model} refuses the prompt: {error}") from error
        return [self._without_thinking(text) if generation_prompt and not self.thinks else text for text in texts]

    def _without_thinking(self, text: str) -> str:
        opened = _OPENED.search(text)
        if opened is None:
            return text
        # The template has no switch: thinking ends before it has begun.
        tag = opened[0].strip()
        return f"{text.rstrip()}\n{tag[0]}/{tag[1:]}\n\n"

    def _apply(self, conversations: Sequence[Turns], generation_prompt: bool) -> list[str]:
        variables = {**self.tokenizer.special_tokens_map, **self._switches, "add_generation_prompt": generation_prompt}
        try:
            return render(self._source, conversations, variables)
        except TemplateFailed as error:
            raise EngineError(f"the chat template of {self.model} cannot be used: {error}") from error

    @cached_property
    def _switches(self) -> dict[str, bool]:
        return {name: self.thinks for name in _SWITCHES if re.search(rf"\b{name}\b", self._source)}

    @cached_property
    def _source(self) -> str:
        """The chat template; empty without one."""
        try:
            return str(self.tokenizer.get_chat_template()) if self.chat else ""
        except ValueError as error:
            raise EngineError(f"the chat template of {self.model} cannot be used: {error}") from error

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the template renders a system message, rather than refusing it or leaving it out."""
        try:
            return _SYSTEM in self._apply([(("system", _SYSTEM), ("user", _USER))], True)[0]
        except TemplateRefused:
            return False

    @cached_property
    def _added(self) -> dict[str, tuple[int, Any]]:
        """Control tokens: text to id and declaration."""
        return {
            token.content: (number, token)
            for number, token in self.tokenizer.added_tokens_decoder.items()
            # DeepSeek does not declare its <｜User｜> as special.
            if token.content
            and (token.special or (token.content in self._source and re.search("[|｜]", token.content)))
        }

    @cached_property
    def _control(self) -> re.Pattern[str]:
        return _alternatives(self._added)

    @cached_property
    def _undeclared(self) -> re.Pattern[str] | None:
        names = [name for name, (_, token) in self._added.items() if not token.special and len(name) > 1]
        return _alternatives(names) if names else None


def _alternatives(names: Any) -> re.Pattern[str]:
    """Matches any of these strings, the longest first; nothing if there are none."""
    ordered = sorted(names, key=lambda name: (-len(name), name))
    return re.compile("|".join(map(re.escape, ordered)) if ordered else r"(?!)")
