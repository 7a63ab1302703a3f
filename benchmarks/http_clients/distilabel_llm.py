"""distilabel's OpenAI model, in batches of the concurrency, which is how its steps call it."""

import sys

from distilabel.models import OpenAILLM

url, requests, concurrency = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
llm = OpenAILLM(model="m", base_url=url, api_key="none", generation_kwargs={"max_new_tokens": 8})
llm.load()
answers = []
for start in range(0, requests, concurrency):
    numbers = range(start, min(start + concurrency, requests))
    answers += llm.generate(inputs=[[{"role": "user", "content": f"p {n}"}] for n in numbers])
assert len(answers) == requests
