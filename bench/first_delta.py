#!/usr/bin/env python3
"""When does the first text of a long file come, and how soon is a slot free when its client leaves?

    bench/first_delta.py [--auris target/release/auris] [--rounds 5]

Streams ten minutes of speech, and compares the time to the first delta with the time that one chunk
takes in the engine. Then leaves in the middle of such a stream, and waits until no slot is in use.
Ends with 1 if the first delta takes 1.5 times as long as a chunk, or a slot stays longer than 2 s.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from environment import enter

enter()

import requests

import clips
from server import serving

LONG_SECONDS = 600
MOST_CHUNKS = 1.5
MOST_SECONDS = 2.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--auris", default="target/release/auris", help="the program")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = clips.speech(Path(folder), LONG_SECONDS).path
        with serving(Path(options.auris).resolve()) as (url, _):
            until_free(url)
            passed = [first(url, path, options.rounds, language) for language in ("en", "")]
            passed.append(leave(url, path, options.rounds))
    sys.exit(0 if all(passed) else 1)


def stream(url, path, language):
    """The events of the file's stream, each with the seconds since it was sent."""
    with open(path, "rb") as file:
        fields = {"model": "demo", "language": language, "stream": "true"}
        target = f"{url}/v1/audio/transcriptions"
        started = time.monotonic()
        with requests.post(target, data=fields, files={"file": file}, stream=True) as reply:
            reply.raise_for_status()
            for line in reply.iter_lines():
                if line.startswith(b"data: {"):
                    yield time.monotonic() - started, json.loads(line[6:])


def first(url, path, rounds, language):
    ratios = []
    for _ in range(rounds):
        before = spent(url)
        events = list(stream(url, path, language))
        chunk = (spent(url) - before) / len(events[-1][1]["runs"])
        delta = next(at for at, event in events if event["type"] == "transcript.text.delta")
        ratios.append(delta / chunk)
    ratio = statistics.median(ratios)
    name = f"first delta, {'language given' if language else 'language detected'}"
    print(f"{name}: {ratio:.2f} times a chunk's time (bar {MOST_CHUNKS}; {min(ratios):.2f} to {max(ratios):.2f})")
    return ratio < MOST_CHUNKS


def leave(url, path, rounds):
    seconds = []
    for _ in range(rounds):
        events = stream(url, path, "en")
        next(events)
        events.close()
        left = time.monotonic()
        until_free(url)
        seconds.append(time.monotonic() - left)
    print(f"a client that leaves: slots free after {max(seconds):.2f} s at most (bar {MOST_SECONDS})")
    return max(seconds) < MOST_SECONDS


def spent(url):
    """Seconds in the engine so far, over all chunks."""
    lines = requests.get(f"{url}/metrics").text.splitlines()
    sums = [line for line in lines if line.startswith("auris_inference_seconds_sum")]
    return sum(float(line.split()[-1]) for line in sums)


def until_free(url):
    while True:
        devices = requests.get(f"{url}/v1/devices").json()["devices"]
        if all(device["state"] == "ready" and device["busy_slots"] == 0 for device in devices):
            return
        time.sleep(0.01)


main()
