#!/usr/bin/env python3
"""Memory of a worker and its time for a second of audio, for each model and number of slots.

    bench/capacity.py --auris target/release/auris --slots 1,2 MODEL…

A MODEL is a name or a file, such as those that bench/random_model.py writes. Each server gets as
many files at once as it has slots, of whole windows of speech, and one thread for each slot. Memory
is the greatest resident size, in MiB; the time is the worker's CPU time for a second of audio.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import environment

environment.enter()

import requests

import clips
from server import cpu_seconds, peak_bytes, serving

WINDOW_SECONDS = 30
PATIENCE_SECONDS = 1800
MIB = 1 << 20


def measure(auris, model, slots, windows, folder):
    """Peaks of the worker and of the server in bytes, and the worker's CPU time for a second of audio."""
    clip = clips.speech(folder, WINDOW_SECONDS * windows)
    arguments = ["--models", model, "--slots", str(slots), "--threads", "1", "--no-gpu"]
    arguments += ["--no-vad", "--stall-seconds", "600"]
    with serving(auris, arguments) as (url, server):
        wait_until_ready(url)
        (worker,) = server.children()
        before = cpu_seconds(worker)
        with ThreadPoolExecutor(slots) as pool:
            heard = sum(pool.map(lambda _: transcribe(url, clip.path), range(slots)))
        spent = cpu_seconds(worker) - before
        return peak_bytes(worker.pid), peak_bytes(server.pid), spent / heard


def wait_until_ready(url):
    until = time.monotonic() + PATIENCE_SECONDS
    while not requests.get(f"{url}/readyz", timeout=10).ok:
        if time.monotonic() > until:
            raise SystemExit("the model is not loaded")
        time.sleep(0.1)


def transcribe(url, path):
    """How many seconds of audio it was."""
    with open(path, "rb") as file:
        target, fields = f"{url}/v1/audio/transcriptions", {"language": "en"}
        reply = requests.post(target, fields, files={"file": file}, timeout=PATIENCE_SECONDS)
    reply.raise_for_status()
    return float(reply.headers["x-audio-duration"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--auris", required=True)
    parser.add_argument("--slots", default="1,2")
    parser.add_argument("--windows", type=int, default=1, help="of 30 s, in each file")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    auris = str(Path(options.auris).resolve())
    print(f"{'model':<28} slots  worker  server  CPU s per s of audio")
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            name = Path(model).stem.removeprefix("ggml-")
            path = str(Path(model).resolve()) if Path(model).exists() else model
            for slots in map(int, options.slots.split(",")):
                row = measure(auris, path, slots, options.windows, Path(folder))
                worker, server = (f"{peak / MIB:7.0f}" for peak in row[:2])
                print(f"{name:<28} {slots:>5} {worker} {server}  {row[2]:.3f}", flush=True)


if __name__ == "__main__":
    main()
