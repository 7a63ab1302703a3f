"""datatrove's inference runner with an endpoint, its request cache on, as its examples set it up."""

import sys
import tempfile

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter

url, requests, concurrency = sys.argv[1].removesuffix("/v1"), int(sys.argv[2]), int(sys.argv[3])


async def ask(document, generate):
    result = await generate({"messages": [{"role": "user", "content": document.text}], "max_tokens": 8})
    return {"text": result.text}


def documents(data=None, rank=0, world_size=1):
    for number in range(requests):
        yield Document(text=f"p {number}", id=str(number))


with tempfile.TemporaryDirectory() as folder:
    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path="m",
        endpoint_url=url,
        max_concurrent_generations=concurrency,
    )
    runner = InferenceRunner(
        rollout_fn=ask,
        config=config,
        output_writer=JsonlWriter(f"{folder}/out", output_filename="${rank}_${chunk_index}.jsonl"),
        checkpoints_local_dir=f"{folder}/checkpoints",
        records_per_chunk=requests,
    )
    LocalPipelineExecutor([documents, runner], tasks=1, logging_dir=f"{folder}/logs").run()
