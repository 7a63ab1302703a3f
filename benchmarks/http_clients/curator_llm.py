"""Curator's online OpenAI backend without rate limits, its cache in a temporary folder."""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

os.environ |= {"TELEMETRY_ENABLED": "False", "CURATOR_DISABLE_RICH_DISPLAY": "1", "OPENAI_API_KEY": "none"}
# Curator counts tokens with an encoding that is fetched from the network; litellm, which it needs, has it in its wheel.
origin = importlib.util.find_spec("litellm").origin
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(origin).parent / "litellm_core_utils" / "tokenizers")

from bespokelabs import curator
from datasets import Dataset

url, requests, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Ask(curator.LLM):
    def prompt(self, row):
        return row["text"]

    def parse(self, row, response):
        return {"text": response}


with tempfile.TemporaryDirectory() as folder:
    limits = {"max_concurrent_requests": concurrency, "max_requests_per_minute": 10**7, "max_tokens_per_minute": 10**9}
    llm = Ask(
        model_name="gpt-4o-mini",
        backend="openai",
        backend_params={"base_url": url, "require_all_responses": True, **limits},
        generation_params={"max_tokens": 8},
    )
    found = llm(Dataset.from_list([{"text": f"p {n}"} for n in range(requests)]), working_dir=folder)
assert len(found.dataset if hasattr(found, "dataset") else found) == requests
