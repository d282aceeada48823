#!/usr/bin/env python3
"""Compares the cost of the server with faster-whisper and pywhispercpp: same weights, files and cores.

    bench/compare.py [--speech FOLDER] [--auris target/release/auris] [--model FILE]

Clips of English speech from one caller and from four, and one long file joined of them. All
programs run in turns; CPU seconds are user and system time of a program with all its processes.
Prints Markdown, writes target/compare.json, and exits with 1 if auris is slower than pywhispercpp.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import environment

environment.enter()

import numpy
import soundfile
from faster_whisper.audio import decode_audio

import convert
import report
import server
import speech
from accuracy import bundled
from peer import Peer, call
from peer_results import FASTER_WHISPER, WHISPER_CPP
from score import Errors
from side import Side, ask_server

RATE_HZ = 16_000
PEERS = {
    "faster-whisper, int8, beam 1": (FASTER_WHISPER, "int8 beam_size=1"),
    "faster-whisper, int8, beam 5": (FASTER_WHISPER, "int8 defaults"),
    "faster-whisper, int8, batched, beam 1": (FASTER_WHISPER, "int8 batched beam_size=1"),
    "faster-whisper, int8, batched, beam 5": (FASTER_WHISPER, "int8 batched"),
    "pywhispercpp": (WHISPER_CPP, "default"),
}
# Short clips measure what a program does with its first window, long ones what it does at the edges.
SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 30.0


@dataclass
class Contest:
    title: str
    clips: list
    callers: int
    rounds: int


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        parts, figures, slower = [], {}, []
        for contest in contests(options, Path(folder)):
            rows, ratios = duel(options, contest)
            parts.append(f"### {contest.title}\n\n{rows}\n")
            print(f"\n{parts[-1]}", flush=True)
            figures[contest.title] = ratios
            if ratios.get("pywhispercpp", (1, 1))[0] < 1:
                slower.append(contest.title)
    options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if options.write:
        command = f"make bench SPEECH=FOLDER MODEL={options.model.name}"
        head = f"`{command}` on {report.machine()}.\n"
        report.insert(options.write, "compare", "\n".join([head, *parts]).rstrip())
    sys.exit(f"slower than pywhispercpp: {', '.join(slower)}" if slower else 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    target = environment.ROOT / "target"
    numbers = lambda text: [int(number) for number in text.split(",") if number]
    parser.add_argument("--speech", default=speech.FIXTURES, help="a folder with truth.json")
    parser.add_argument("--auris", default=str(target / "release/auris"), help="the program")
    parser.add_argument("--model", default=bundled(), type=Path, help="a model file of whisper.cpp")
    parser.add_argument("--callers", default=[1, 4], type=numbers, help="at once: 1,4")
    parser.add_argument("--clips", default=40, type=int, help="clips in a turn, at most")
    parser.add_argument("--long-seconds", default=231, type=int, help="length of the long file; 0: none")
    parser.add_argument("--rounds", default=3, type=int, help="turns of each program")
    parser.add_argument("--no-peers", action="store_true", help="only auris")
    parser.add_argument("--serve", default="", type=str.split, help="more options of `auris serve`")
    parser.add_argument("--write", help="a document to put the tables into, such as docs/benchmarks.md")
    parser.add_argument("--json", default=target / "compare.json", type=Path)
    options = parser.parse_args()
    # The server is started in another folder.
    options.model = options.model.resolve()
    return options


def contests(options, folder):
    english = [clip for clip in speech.load(options.speech) if clip.language == "en" and clip.is_scored()]
    fitting = [c for c in english if SHORTEST_SECONDS <= c.seconds <= LONGEST_SECONDS and c.kind != "container"]
    # From the whole collection, not its first folder.
    chosen = fitting[:: max(1, -(-len(fitting) // options.clips))]
    seconds = sum(clip.seconds for clip in chosen)
    for callers in options.callers:
        said = f"{len(chosen)} clips of {seconds / len(chosen):.1f} s on average, {callers} caller"
        yield Contest(said + "s" * (callers > 1), chosen, callers, options.rounds)
    if options.long_seconds:
        file = joined(fitting, options.long_seconds, folder)
        yield Contest(f"one file of {file.seconds:.0f} s", [file], 1, options.rounds)


def joined(clips, seconds, folder):
    """The longest clips, one after another, until they fill so many seconds."""
    samples, texts = [], []
    for clip in sorted(clips, key=lambda clip: -clip.seconds):
        decoded = decode_audio(str(clip.path))
        if sum(map(len, samples)) + len(decoded) <= seconds * RATE_HZ:
            samples.append(decoded)
            texts.append(clip.text)
    path = folder / "joined.wav"
    soundfile.write(path, numpy.concatenate(samples), RATE_HZ, subtype="PCM_16")
    length = sum(map(len, samples)) / RATE_HZ
    return speech.Clip(path.name, path, "en", " ".join(texts), length, "longform")


def duel(options, contest):
    """The table, and for each peer how many times as fast auris is, by wall clock and by CPU time."""
    with ExitStack() as stack:
        sides = [stack.enter_context(ours(options, contest))]
        if not options.no_peers:
            sides += [stack.enter_context(theirs(options, contest, title)) for title in PEERS]
        for side in sides:
            # What a program does at its first calls only.
            side.transcribe(contest.clips[: contest.callers])
        for _ in range(contest.rounds):
            for side in sides:
                side.turn(contest.clips)
        rows = [row(side, sides[0]) for side in sides]
    columns = ["", "audio s per s", "CPU s per audio minute", "peak MiB", "words wrong"]
    columns += ["auris is faster by", "auris needs less CPU by"]
    ratios = {
        side.name: (
            sides[0].speed() / side.speed(),
            side.cpu_seconds_per_minute() / sides[0].cpu_seconds_per_minute(),
        )
        for side in sides[1:]
    }
    return report.table(columns, rows), ratios


def row(side, first):
    errors = Errors()
    for clip, text in side.results():
        errors.add(clip, text)
    faster = first.speed() / side.speed()
    cheaper = side.cpu_seconds_per_minute() / first.cpu_seconds_per_minute()
    cells = [side.name, f"{side.speed():.1f}", f"{side.cpu_seconds_per_minute():.2f}"]
    cells += [f"{side.peak_mib():.0f}", f"{errors.percent():.1f} %"]
    return cells + (["", ""] if side is first else [f"{faster:.2f}", f"{cheaper:.2f}"])


@contextmanager
def ours(options, contest):
    """The server as a side."""
    arguments = ["--models", str(options.model), "--offline", "--device", "cpu", *options.serve]
    with server.serving(options.auris, arguments) as (url, process):
        yield Side("auris", process, lambda clips: ask_server(url, clips, contest.callers))


@contextmanager
def theirs(options, contest, title):
    """A peer as a side."""
    program, variant = PEERS[title]
    model = options.model
    if program == FASTER_WHISPER:
        model = convert.converted(model, variant.split()[0])
    with Peer(program, model, variant, contest.callers) as peer:
        ask = lambda clips: peer.transcribe([call(clip, clip.language) for clip in clips])
        yield Side(title, peer.process, lambda clips: [result["text"] for result in ask(clips)])


if __name__ == "__main__":
    main()
