#!/usr/bin/env python3
"""Slots against threads on the CPU: the same cores as many slots with one thread, or the reverse.

    bench/slots.py [--auris target/release/auris] [--model tests/fixtures/models/ggml-demo.bin]

Every way to share the cores out is measured in turns, with clips of 5 s from one client and from as
many as there are cores, and with a file of five minutes. Prints Markdown.
"""

import argparse
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import environment

environment.enter()

import clips
import server
from environment import DEMO
from peer import CORES
from side import Side, ask_server

LONG_SECONDS = 300


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--auris", default=environment.ROOT / "target/release/auris", help="the program")
    parser.add_argument("--model", default=DEMO, type=Path, help="a model file of whisper.cpp")
    parser.add_argument("--clips", default=24, type=int, help="clips in a turn")
    parser.add_argument("--rounds", default=3, type=int, help="turns of each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        short = clips.short(Path(folder), seconds=5, count=options.clips)
        contests = [
            ("5 s clips, 1 client", short, 1),
            (f"5 s clips, {CORES} clients", short, CORES),
            (f"a file of {LONG_SECONDS} s", [clips.speech(Path(folder), LONG_SECONDS)], 1),
        ]
        rows = [[title, *measure(options, files, clients)] for title, files, clients in contests]
    ways = [f"{slots} × {threads}" for slots, threads in shares()]
    print("Audio seconds for each second, and CPU seconds for each audio minute, as slots × threads:\n")
    for row in (["", *ways], ["---" for _ in range(1 + len(ways))], *rows):
        print("|", " | ".join(row), "|")


def shares():
    """(slots, threads) that use every core."""
    return [(slots, CORES // slots) for slots in range(1, CORES + 1) if CORES % slots == 0]


def measure(options, files, clients):
    """A cell for each way."""
    with ExitStack() as stack:
        sides = [stack.enter_context(serving(options, clients, *share)) for share in shares()]
        for own in sides:
            own.transcribe(files[:clients])
        for _ in range(options.rounds):
            for own in sides:
                own.turn(files)
    return [cell(own) for own in sides]


@contextmanager
def serving(options, clients, slots, threads):
    """A server with so many slots and threads."""
    shape = ("--slots", str(slots), "--threads", str(threads))
    arguments = ("--models", options.model.resolve(), "--offline", "--device", "cpu", *shape)
    with server.serving(options.auris, arguments) as (url, process):
        yield Side(f"{slots} × {threads}", process, lambda files: ask_server(url, files, clients))


def cell(own):
    speed = median(turn.audio_seconds() / turn.wall_seconds for turn in own.turns)
    cpu = median(turn.cpu_seconds * 60 / turn.audio_seconds() for turn in own.turns)
    return f"{speed:.1f}, {cpu:.2f}"


if __name__ == "__main__":
    main()
