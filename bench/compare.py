#!/usr/bin/env python3
"""Compares the server with pywhispercpp: same model file, same language, same cores, in turns.

    bench/compare.py [--auris target/release/auris] [--rounds 5]

(a) four clients with 5 s clips at once, (b) one file of ten minutes, each against the peer's
fastest way; then (c) the latency of /healthz under load, (d) the server process's own CPU time.
Prints Markdown, and exits with 1 if a bar is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, median, quantiles

import environment

environment.enter()

import numpy
import psutil
import requests
import soundfile

import server
from evaluation import FOLDER, error_rate, is_long, truth

CLIENTS = 4
RATE_HZ = 16_000
CLIP_SECONDS = 5
LONG_SECONDS = 600
OWN_CPU_REQUESTS = 50
OWN_CPU_BAR_MS = 10
# A variant of the peer that is faster but worse by more than this is no fair measure.
WER_SLACK = 0.01


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--auris", default=str(environment.ROOT / "target/release/auris"))
    parser.add_argument("--model", default=str(environment.ROOT / "models/ggml-demo-q8_0.bin"))
    parser.add_argument("--rounds", type=int, default=5, help="pairs of turns for each figure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips, long_file = make_clips(Path(folder)), make_long(Path(folder))
        # A server for each part, so that each peak of memory is its own.
        passed = [
            duel(options, "4 clients, 5 s clips", clips, ["lock", "models"]),
            duel(options, "1 file of 10 minutes", [long_file], ["whole", "parallel"]),
            watch(options, clips),
        ]
    sys.exit(0 if all(passed) else 1)


def make_clips(folder):
    """The single English sentences, filled up with silence: [(path, text, seconds)]."""
    clips = []
    for name, entry in truth().items():
        if entry["language"] == "en" and not is_long(entry):
            clip = numpy.zeros(CLIP_SECONDS * RATE_HZ, dtype="float32")
            samples = read(name)
            clip[: len(samples)] = samples
            clips.append(save(folder / f"{name}.wav", clip, entry["text"]))
    return clips


def make_long(folder):
    """The long English files again and again, whole, until ten minutes are full."""
    names = [name for name, entry in truth().items() if entry["language"] == "en" and is_long(entry)]
    names.sort(key=lambda name: -truth()[name]["seconds"])
    parts, texts = [], []
    while sum(map(len, parts)) < LONG_SECONDS * RATE_HZ:
        left = LONG_SECONDS - sum(map(len, parts)) / RATE_HZ
        name = next((name for name in names if truth()[name]["seconds"] <= left), names[-1])
        parts.append(read(name))
        texts.append(truth()[name]["text"])
    return save(folder / "long.wav", numpy.concatenate(parts), " ".join(texts))


def read(name):
    samples, rate = soundfile.read(FOLDER / name, dtype="float32")
    assert rate == RATE_HZ, f"{name}: {rate} Hz"
    return samples


def save(path, samples, text):
    soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")
    return str(path), text, len(samples) / RATE_HZ


class Peer:
    """pywhispercpp in a child process; see peer.py."""

    def __init__(self, model):
        command = [sys.executable, Path(__file__).with_name("peer.py"), model, "en"]
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.process = psutil.Process(self.child.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait(timeout=60)

    def transcribe(self, variant, clips):
        request = {"variant": variant, "files": [path for path, *_ in clips]}
        print(json.dumps(request), file=self.child.stdin, flush=True)
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"the peer ended with {self.child.wait()}")
        return json.loads(line)["texts"]


def ask_server(url, clips):
    """Posts the clips, as many at once as there are clients; their texts in order."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(lambda clip: server.transcribe(url, clip[0]), clips))


def turn(work, process, clips):
    """One measured turn: {speed, cpu, wer}."""
    cpu, start = server.family_cpu_seconds(process), time.monotonic()
    texts = work()
    wall = time.monotonic() - start
    return {
        "speed": sum(seconds for *_, seconds in clips) / wall,
        "cpu": server.family_cpu_seconds(process) - cpu,
        "wer": error_rate([(text, found) for (_, text, _), found in zip(clips, texts)]),
    }


def best_variant(model, clips, variants):
    """The peer's fastest variant among those whose text is about as good as the best."""
    with Peer(model) as peer:
        results = {}
        for variant in variants:
            peer.transcribe(variant, clips[:CLIENTS])
            work = lambda: peer.transcribe(variant, clips)
            results[variant] = turn(work, peer.process, clips)
    limit = min(result["wer"] for result in results.values()) + WER_SLACK
    fair = {name: result for name, result in results.items() if result["wer"] <= limit}
    for name, result in results.items():
        print(f"peer, {name}: {result['speed']:.1f} x real time, WER {result['wer']:.2%}")
    return max(fair, key=lambda name: fair[name]["speed"])


def duel(options, title, clips, variants):
    """Measures both in turns; prints a table; tells whether the server is not slower."""
    variant = best_variant(options.model, clips, variants)
    ours, theirs = [], []
    with server.serving(options.auris) as (url, process), Peer(options.model) as peer:
        ask_server(url, clips[:CLIENTS])
        peer.transcribe(variant, clips[:CLIENTS])
        for _ in range(options.rounds):
            ours.append(turn(lambda: ask_server(url, clips), process, clips))
            theirs.append(turn(lambda: peer.transcribe(variant, clips), peer.process, clips))
        peaks = server.family_peak_bytes(process), server.family_peak_bytes(peer.process)
    ratio = median(a["speed"] / b["speed"] for a, b in zip(ours, theirs))
    audio = sum(seconds for *_, seconds in clips)
    print(f"\n### {title}\n")
    print("| | audio s per wall s | CPU s per audio minute | peak MiB | WER |")
    print("|---|---|---|---|---|")
    for name, turns, peak in zip(("auris", f"pywhispercpp ({variant})"), (ours, theirs), peaks):
        speed, cpu = median(t["speed"] for t in turns), median(t["cpu"] for t in turns)
        wer = mean(t["wer"] for t in turns)
        print(f"| {name} | {speed:.1f} | {cpu * 60 / audio:.2f} | {peak / 2**20:.0f} | {wer:.2%} |")
    print(f"\nratio of speeds, median of {options.rounds} pairs: {ratio:.2f} (bar: 1.00)\n")
    return ratio >= 1.0


def watch(options, clips):
    """The latency of /healthz while every slot works, and the server process's own CPU time."""
    jobs = (clips * OWN_CPU_REQUESTS)[:OWN_CPU_REQUESTS]
    with server.serving(options.auris) as (url, process):
        ask_server(url, clips[:CLIENTS])
        before = server.cpu_seconds(process)
        ask_server(url, jobs)
        own_ms = (server.cpu_seconds(process) - before) * 1000 / len(jobs)
        # After the CPU time is taken: the polls cost some too.
        latencies, done = [], threading.Event()
        poll = threading.Thread(target=poll_health, args=(url, latencies, done))
        poll.start()
        try:
            ask_server(url, jobs)
        finally:
            done.set()
            poll.join()
    p99 = quantiles(latencies, n=100)[98] * 1000
    print("### Under load\n")
    print("| figure | value | bar |")
    print("|---|---|---|")
    print(f"| GET /healthz, p99 of {len(latencies)} | {p99:.1f} ms | |")
    print(f"| CPU of the server process for a 5 s request | {own_ms:.1f} ms | < {OWN_CPU_BAR_MS} ms |")
    return own_ms < OWN_CPU_BAR_MS


def poll_health(url, latencies, done):
    with requests.Session() as session:
        while not done.wait(0.01):
            start = time.monotonic()
            session.get(f"{url}/healthz", timeout=30).raise_for_status()
            latencies.append(time.monotonic() - start)


if __name__ == "__main__":
    main()
