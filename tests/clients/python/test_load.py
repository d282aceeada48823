"""Many requests at once, the asynchronous client, and a worker that is killed."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import openai

from audio import TEXT, clip
from server import Server, connect, wait_until


def test_twenty_at_once(client):
    expected = {"00.flac": TEXT, "01.flac": "Turn off the office radio."}
    names = list(expected) * 10

    def transcribe(name):
        return client.audio.transcriptions.create(model="demo", file=clip(name)).text

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(transcribe, names)) == [expected[name] for name in names]


def test_the_asynchronous_client(demo):
    async def run():
        async with connect(demo, openai.AsyncOpenAI) as client:
            create = client.audio.transcriptions.create
            return await asyncio.gather(
                *(create(model="demo", file=clip()) for _ in range(4)),
                client.models.retrieve("demo"),
            )

    *answers, model = asyncio.run(run())
    assert [answer.text for answer in answers] == [TEXT] * 4
    assert model.id == "demo"


def test_the_asynchronous_client_streams(demo):
    async def run():
        async with connect(demo, openai.AsyncOpenAI) as client:
            stream = await client.audio.transcriptions.create(
                model="demo", file=clip(), stream=True
            )
            return [event async for event in stream]

    *deltas, done = asyncio.run(run())
    assert "".join(event.delta for event in deltas) == done.text == TEXT


def test_a_killed_worker_costs_no_answer():
    with Server(slots=1) as server, connect(server) as client:
        expected = client.audio.transcriptions.create(model="demo", file=clip("29.flac")).text
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(
                client.audio.transcriptions.with_raw_response.create,
                model="demo",
                file=clip("29.flac"),
            )
            wait_until(server.busy_slots, "the file has started")
            for worker in server.workers():
                os.kill(worker, signal.SIGKILL)
            raw = answer.result()
        assert raw.parse().text == expected
        assert "x-fallback-reason" in raw.headers
