#!/usr/bin/env python3
"""Compares the server with pywhispercpp: same model file, same language, same cores, in turns.

    bench/compare.py [--auris target/release/auris] [--rounds 5] [--long-rounds 3]

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
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

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
    parser.add_argument("--rounds", type=int, default=5, help="pairs of turns with clips")
    parser.add_argument("--long-rounds", type=int, default=3, help="pairs with the long file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips, long_file = make_clips(Path(folder)), make_long(Path(folder))
        # A server for each part, so that each peak of memory is its own.
        with_clips = Contest("4 clients, 5 s clips", clips, ["lock", "models"], options.rounds)
        with_long = Contest(
            "1 file of 10 minutes", [long_file], ["whole", "parallel"], options.long_rounds
        )
        passed = [duel(options, with_clips), duel(options, with_long), watch(options, clips)]
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
        try:
            self.child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.child.kill()

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


@dataclass
class Contest:
    """What both sides transcribe, and how often."""

    title: str
    clips: list
    variants: list
    """The peer's ways to do it; the best one counts."""
    rounds: int


def duel(options, contest):
    """Measures the server and each variant of the peer in turns; prints a table; tells whether
    the server is at least as fast as the best variant."""
    clips, ours = contest.clips, []
    theirs = {variant: [] for variant in contest.variants}
    with ExitStack() as stack:
        url, process = stack.enter_context(server.serving(options.auris))
        # A process for each variant, so that each peak of memory is its own.
        peers = {variant: stack.enter_context(Peer(options.model)) for variant in theirs}
        ask_server(url, clips[:CLIENTS])
        for variant, peer in peers.items():
            peer.transcribe(variant, clips[:CLIENTS])
        for _ in range(contest.rounds):
            ours.append(turn(lambda: ask_server(url, clips), process, clips))
            for variant, peer in peers.items():
                work = lambda: peer.transcribe(variant, clips)
                theirs[variant].append(turn(work, peer.process, clips))
        peaks = [server.family_peak_bytes(process)]
        peaks += [server.family_peak_bytes(peer.process) for peer in peers.values()]
    print(f"### {contest.title}\n")
    print("| | audio s per wall s | CPU s per audio minute | peak MiB | WER |")
    print("|---|---|---|---|---|")
    names = ["auris", *(f"pywhispercpp, {variant}" for variant in theirs)]
    minutes = sum(seconds for *_, seconds in clips) / 60
    for name, turns, peak in zip(names, [ours, *theirs.values()], peaks):
        speed, cpu = middle(turns, "speed"), middle(turns, "cpu") / minutes
        print(f"| {name} | {speed:.1f} | {cpu:.2f} | {peak / 2**20:.0f} | {middle(turns, 'wer'):.2%} |")
    best = best_variant(theirs)
    ratio = median(a["speed"] / b["speed"] for a, b in zip(ours, theirs[best]))
    print(f"\nauris / pywhispercpp, {best}: {ratio:.2f}, median of {contest.rounds} pairs (bar: 1.00)\n")
    return ratio >= 1.0


def best_variant(turns_by_variant):
    """The fastest variant among those whose text is about as good as the best."""
    limit = min(middle(turns, "wer") for turns in turns_by_variant.values()) + WER_SLACK
    fair = [name for name, turns in turns_by_variant.items() if middle(turns, "wer") <= limit]
    return max(fair, key=lambda name: middle(turns_by_variant[name], "speed"))


def middle(turns, figure):
    return median(turn[figure] for turn in turns)


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
