"""Which language model runs, and on what."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import field_validator, model_validator

from x_instruction.config.fields import (
    RUNTIME_ONLY,
    Invalid,
    NotNegative,
    NotNegativeFloat,
    Positive,
    PositiveFloat,
    PositiveShare,
)
from x_instruction.config.section import Section


def checked_address(url: str) -> str:
    """The address of a server.

    Raises:
        ValueError: it is none, or holds a password; the message continues a sentence.
    """
    if not url.startswith(("http://", "https://")) or not url.split("//", 1)[1]:
        raise ValueError(f"is {url!r}, expected an address such as http://localhost:8000/v1")
    if "@" in url.split("//", 1)[-1].split("/", 1)[0]:
        raise ValueError("holds a user or password: put the key into the variable that key_variable names")
    return url


class Server(Section):
    """A server that runs the model (engines `openai`, `tgi` and `batch`)."""

    url: Annotated[str, RUNTIME_ONLY] = ""
    """Address of the server, such as `http://localhost:8000/v1`."""
    endpoints_file: Annotated[str, RUNTIME_ONLY] = ""
    """File with an address per line, instead of `url`, for several servers of the same model. It is read again every
    few seconds, so servers may come and go."""
    key_variable: Annotated[str, RUNTIME_ONLY] = "X_INSTRUCTION_API_KEY"
    """Environment variable that holds the API key. Nothing is sent if it is not set. A name other than
    `X_INSTRUCTION_..._KEY` has to be allowed with `--allow-key`, so that a recipe cannot send any secret anywhere."""
    timeout: Annotated[PositiveFloat, RUNTIME_ONLY] = 600.0
    """Seconds for one request, including its time in the server's queue."""
    concurrency: Annotated[Positive, RUNTIME_ONLY] = 256
    """Most requests in flight at once, per worker. Lowered automatically while the server is slow or rejects
    requests."""
    retries: Annotated[NotNegative, RUNTIME_ONLY] = 6
    """Times to retry a request after a temporary failure."""
    outage_timeout: Annotated[PositiveFloat, RUNTIME_ONLY] = 300.0
    """Seconds without any answer from the server after which the run stops."""
    tokenizer: str | None = None
    """Hub id, folder or `tokenizer.json` of the model's tokenizer, used to truncate passages to exact numbers of
    tokens. If not set, 3 bytes of UTF-8 count as 1 token."""
    chat: bool = True
    """For `batch`: whether the model has a chat template."""
    system_role: bool = True
    """For `batch`: whether the model's chat template takes a system message. If false, its text is put before the first
    user message. Other engines find out."""
    extra_body: str = ""
    """JSON object that is merged into every request, such as `{"reasoning_effort": "low"}`. A null removes a key."""
    stream: Annotated[bool, RUNTIME_ONLY] = False
    """For `tgi`: stream answers token by token, for proxies that close idle connections."""
    prompt_price: Annotated[NotNegativeFloat, RUNTIME_ONLY] = 0.0
    """Price of 1,000,000 prompt tokens, in any currency. Costs are shown only if a price is set."""
    output_price: Annotated[NotNegativeFloat, RUNTIME_ONLY] = 0.0
    """Price of 1,000,000 output tokens, in the currency of `prompt_price`."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        return checked_address(url) if url else url

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.url and self.endpoints_file:
            raise Invalid("endpoints_file", "is set and url too, expected one of them")
        return self

    @property
    def place(self) -> str:
        """The address, or the file of addresses."""
        return self.url or self.endpoints_file

    @field_validator("extra_body")
    @classmethod
    def _object(cls, extra_body: str) -> str:
        try:
            body = json.loads(extra_body or "{}")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise ValueError(f"is {extra_body!r}, expected a JSON object")
        return extra_body


class Vllm(Section):
    """vLLM in this process (engine `vllm`)."""

    memory: Annotated[PositiveShare, RUNTIME_ONLY] = 0.9
    """Share of a GPU's memory that vLLM may use."""
    tensor_parallel: Annotated[Positive, RUNTIME_ONLY] = 1
    """GPUs that one model is split over. Each worker uses this many."""
    max_model_len: Positive | None = None
    """Longest sequence, in tokens. If not set, the model's context length."""
    max_num_seqs: Annotated[Positive | None, RUNTIME_ONLY] = None
    """Most sequences at once. If not set, vLLM chooses."""
    quantization: str | None = None
    """Quantization method as vLLM names it, such as `awq` or `fp8`. If not set, it is read from the model."""
    eager: Annotated[bool, RUNTIME_ONLY] = False
    """Run without CUDA graphs: slower, but starts at once."""


class Model(Section):
    """A language model and the engine that runs it."""

    name: str
    """A Hub id, a local folder, `embedded` or `embedded-smollm2`. For a server, the name that it serves."""
    engine: str = "transformers"
    """`transformers`, `vllm`, `openai`, `tgi` or `batch`. `x-instruction engine list` describes them."""
    revision: str = "main"
    """Branch, tag or commit of the model on the Hub."""
    adapter: str | None = None
    """LoRA adapter on top of the model: a folder or a Hub id. For a TGI server, its `adapter_id`."""
    enable_thinking: bool | None = None
    """Whether a chat model that can think before it answers does so. If not set, thinking is turned off wherever the
    chat template has a switch for it (`enable_thinking` or `thinking`, for a server `chat_template_kwargs`). Set
    `generate.thinking_tokens` if it thinks. `tgi` has no switch; `batch` sends it only if it is set."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Data type of the weights. `auto` is the one that the device computes fast: float32 on a CPU, bfloat16 on a
    GPU."""
    device: Annotated[str, RUNTIME_ONLY] = "auto"
    """Device to run on: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`."""
    batch_tokens: Annotated[Positive, RUNTIME_ONLY] = 16_384
    """Most tokens in one forward pass, padding included."""
    batch_size: Annotated[Positive, RUNTIME_ONLY] = 64
    """Most sequences in one forward pass. Also the most that an interrupted run loses."""
    threads: Annotated[Positive, RUNTIME_ONLY] = 1
    """CPU threads of one worker. Another number rounds sums differently."""
    batching: Annotated[Literal["auto", "static", "continuous"], RUNTIME_ONLY] = "auto"
    """`static`, `continuous` (paged), or `auto`: continuous if the device supports it."""
    server: Server = Server()
    """The server that runs the model."""
    vllm: Vllm = Vllm()
    """Settings of vLLM."""
