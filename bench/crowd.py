#!/usr/bin/env python3
"""A crowd at a full server: do those who come back when they are told get in?

Starts a server with a short queue, and many clients that send one request after another. Who is
refused waits for exactly the seconds of Retry-After and sends the same again, as OpenAI's clients
do. Ends with 1 if too few of these returns succeed, or if anything but 200, 429 and 503 is seen.
"""
import argparse
import asyncio
import collections
import io
import math
import pathlib
import re
import struct
import subprocess
import sys
import time
import wave

ROOT = pathlib.Path(__file__).resolve().parent.parent
BAR = 0.95
TIMEOUT_SECONDS = 600
BOUNDARY = "the-same-for-all-so-that-a-retry-is-as-long-as-its-first-attempt"


def clip(seconds, number):
    """A WAV file of a tone."""
    samples = (int(8000 * math.sin(n * (0.05 + number * 1e-4))) for n in range(int(seconds * 16000)))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


def form(audio, language):
    fields = {"model": "demo", "response_format": "text"} | ({"language": language} if language else {})
    lines = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
             for name, value in fields.items()]
    lines.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="upload"\r\n\r\n')
    return "".join(lines).encode() + audio + f"\r\n--{BOUNDARY}--\r\n".encode()


async def post(host, port, body, attempt, counting):
    """Status and headers of the answer; a connection for each request."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = (f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {host}:{port}\r\n"
                f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n")
        if counting:
            head += f"X-Stainless-Retry-Count: {attempt}\r\n"
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    head, _, _ = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    if not status:
        raise ConnectionError("the connection was closed without an answer")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers


class Tally:
    def __init__(self):
        self.requests = self.attempts = self.done = self.returns = self.let_in = 0
        self.refusals = collections.Counter()
        self.others = collections.Counter()
        self.told = []


async def client(number, arguments, address, bodies, tally):
    body = bodies[number % len(bodies)]
    await asyncio.sleep(number / arguments.clients)  # a crowd gathers in a second
    for _ in range(arguments.requests):
        tally.requests += 1
        attempt = 0
        while True:
            tally.attempts += 1
            try:
                sending = post(*address, body, attempt, not arguments.anonymous)
                status, headers = await asyncio.wait_for(sending, TIMEOUT_SECONDS)
            except (OSError, ValueError, asyncio.TimeoutError) as error:
                tally.others[repr(error)] += 1
                break
            tally.returns += attempt > 0
            if status == 200:
                tally.done += 1
                tally.let_in += attempt > 0
                break
            wait = headers.get("retry-after", "")
            if status not in (429, 503) or not wait.isdigit() or not 1 <= int(wait) <= 120:
                tally.others[f"{status}, retry-after {wait!r}"] += 1
                break
            tally.refusals[status] += 1
            tally.told.append(int(wait))
            attempt += 1
            await asyncio.sleep(int(wait))


async def crowd(arguments, address):
    lengths = [arguments.seconds * (0.5 + number / 20) for number in range(1 if arguments.alike else 21)]
    bodies = [form(clip(seconds, number), arguments.language) for number, seconds in enumerate(lengths)]
    tally = Tally()
    clients = (client(number, arguments, address, bodies, tally) for number in range(arguments.clients))
    await asyncio.gather(*clients)
    return tally


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auris", default=ROOT / "target" / "release" / "auris", help="the program")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--requests", type=int, default=5, help="of each client")
    parser.add_argument("--seconds", type=float, default=4, help="of audio in a file, on average")
    parser.add_argument("--queue-minutes", type=float, default=2)
    parser.add_argument("--engine", default="fake:none,speed=20")
    parser.add_argument("--language", default="en", help="empty: it is detected")
    parser.add_argument("--alike", action="store_true", help="all clients send the same file")
    parser.add_argument("--anonymous", action="store_true", help="clients do not count their retries")
    arguments = parser.parse_args()
    server = subprocess.Popen(
        [arguments.auris, "--log", "error", "serve", "--models", str(ROOT / "tests/fixtures/models/ggml-demo.bin"), "--offline", "--device", "cpu",
         "--listen", "127.0.0.1:0", "--slots", "2", "--engine", arguments.engine,
         "--no-vad", "--max-queue-minutes", str(arguments.queue_minutes)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        found = re.search(r"http://([\d.]+):(\d+)", server.stdout.readline())
        if not found:
            raise SystemExit(f"the server ended with {server.wait()} before it listened")
        started = time.monotonic()
        tally = asyncio.run(crowd(arguments, (found[1], int(found[2]))))
        took = time.monotonic() - started
    finally:
        server.terminate()
        server.wait()
    share = tally.let_in / tally.returns if tally.returns else 1.0  # nobody was refused
    refusals = ", ".join(f"{count} x {status}" for status, count in sorted(tally.refusals.items()))
    print(f"{arguments.clients} clients, {tally.requests} requests, {tally.attempts} attempts in {took:.0f} s")
    print(f"200: {tally.done}; refused: {refusals or 'none'}; told to wait up to {max(tally.told, default=0)} s")
    print(f"returns when told: {tally.returns}, of which {share:.1%} succeed (bar: {BAR:.0%})")
    print(f"anything else: {dict(tally.others) or 0}")
    if tally.others or tally.done != tally.requests or share < BAR:
        sys.exit(1)


if __name__ == "__main__":
    main()
