"""A bare asyncio loop over aiohttp, a semaphore its only control: what no client can beat by much."""

import asyncio
import sys

import aiohttp


async def main(url: str, requests: int, concurrency: int) -> None:
    slots = asyncio.Semaphore(concurrency)
    answers: list[str] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(number: int) -> None:
            body = {"model": "m", "messages": [{"role": "user", "content": f"p {number}"}], "max_tokens": 8}
            async with slots, session.post(f"{url}/chat/completions", json=body) as response:
                answers.append((await response.json())["choices"][0]["message"]["content"])

        await asyncio.gather(*(one(n) for n in range(requests)))
    assert len(answers) == requests


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
