#!/usr/bin/env python3
"""Compares the server with pywhispercpp and faster-whisper: same weights, language and cores.

    bench/compare.py [--auris target/release/auris] [--model models/ggml-demo-q8_0.bin]

Clips of 1, 2 and 5 s from 1, 4 and 16 clients, ten minutes of speech, and ten minutes of which half
is silence. The server and pywhispercpp as it comes are measured in turns; the bars are about them.
What else the peers can do is measured once, with 4 clients and with the files of ten minutes.
Prints Markdown, and exits with 1 if a bar is missed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import environment

environment.enter()

import psutil

import clips
import convert
import server
from evaluation import error_rate
from peer import Peer

DEMO = environment.ROOT / "models" / "ggml-demo-q8_0.bin"
WHISPER_CPP, FASTER_WHISPER = "peer_whisper_cpp.py", "peer_faster_whisper.py"
TITLES = {WHISPER_CPP: "pywhispercpp", FASTER_WHISPER: "faster-whisper"}
FASTER = [
    (FASTER_WHISPER, f"{quantization}, {settings}")
    for quantization in convert.QUANTIZATIONS
    for settings in ("beam_size=1", "defaults")
]
CLIP_RIVALS = [(WHISPER_CPP, "models"), *FASTER]
LONG_RIVALS = [(WHISPER_CPP, "parallel"), *FASTER, (FASTER_WHISPER, "int8, beam_size=1 and vad_filter")]
# How much faster than pywhispercpp as it comes the server shall be …
CLIPS_BAR, SPEECH_BAR, HALF_SILENCE_BAR = 2.5, 1.1, 1.8
# … with a word error rate that is higher by no more than this.
WER_SLACK = 0.005
# The server's and the default peer's row.
OURS, DEFAULT = "auris", "pywhispercpp, default"


@dataclass
class Contest:
    """What everyone transcribes."""

    title: str
    rounds: list
    """The clips of each turn."""
    clients: int
    bar: float
    rivals: list = field(default_factory=list)
    """(program, variant): the other ways that are measured once."""
    text_counts: bool = True
    """Whether there are words enough to compare error rates."""


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        first = clips.short(Path(folder), seconds=5, count=max(options.clients))
        results = [duel(options, contest, first) for contest in contests(options, Path(folder))]
    print("### Bars\n")
    print("| | auris / pywhispercpp | by CPU time | bar | |")
    print("|---|---|---|---|---|")
    print("\n".join(line for line, _ in results))
    sys.exit(0 if all(passed for _, passed in results) else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    numbers = lambda text: [int(number) for number in text.split(",") if number]
    parser.add_argument("--auris", default=environment.ROOT / "target/release/auris", help="the program")
    parser.add_argument("--model", default=DEMO, type=Path, help="a model file of whisper.cpp")
    parser.add_argument("--cost-only", action="store_true", help="leave out the text: for random weights")
    parser.add_argument("--seconds", default=[1, 2, 5], type=numbers, help="lengths of clips: 1,2,5")
    parser.add_argument("--clients", default=[1, 4, 16], type=numbers, help="at once: 1,4,16")
    parser.add_argument("--clips", default=24, type=int, help="clips in a turn")
    parser.add_argument("--minutes", default=10, type=int, help="length of the files; 0: none")
    parser.add_argument("--rounds", default=3, type=int, help="turns of both sides with clips")
    parser.add_argument("--long-rounds", default=2, type=int, help="turns with the long files")
    parser.add_argument("--no-rivals", action="store_true", help="only the server and the default peer")
    options = parser.parse_args()
    # The server is started in another folder.
    options.model = options.model.resolve()
    return options


def contests(options, folder):
    """In their order; each makes its audio when its turn comes."""
    for seconds in options.seconds:
        made = clips.short(folder, seconds, options.clips * options.rounds)
        # Other sentences in each turn, for there are few words in one.
        rounds = [made[turn :: options.rounds] for turn in range(options.rounds)]
        for clients in options.clients:
            yield Contest(
                title=f"{seconds} s clips, {clients} client{'s' if clients > 1 else ''}",
                rounds=rounds,
                clients=clients,
                bar=CLIPS_BAR,
                rivals=CLIP_RIVALS if clients == 4 else [],
                # Five sentences of 16 words fit into a second: one word is 6 points.
                text_counts=seconds > 1,
            )
    if options.minutes:
        length = options.minutes * 60
        for title, file, bar in (
            ("speech", clips.speech(folder, length), SPEECH_BAR),
            ("half speech, half silence", clips.half_silence(folder, length), HALF_SILENCE_BAR),
        ):
            title = f"a file of {options.minutes} minutes, {title}"
            yield Contest(title, [[file]] * options.long_rounds, 1, bar, LONG_RIVALS)


def duel(options, contest, first):
    """Measures everyone and prints a table. The line for the table of bars, and whether all are met.
    The clips `first` are for what a program does at its first calls only."""
    first = first[: contest.clients]
    with ExitStack() as stack:
        arguments = ("--models", options.model, "--offline", "--device", "cpu")
        url, process = stack.enter_context(server.serving(options.auris, arguments))
        peer = stack.enter_context(started(options, contest, WHISPER_CPP, "default"))
        ours = Side(OURS, process, lambda files: ask_server(url, files, contest.clients))
        theirs = Side(DEFAULT, peer.process, peer.transcribe)
        for side in (ours, theirs):
            side.transcribe(first)
        for files in contest.rounds:
            for side in (ours, theirs):
                side.turn(files)
        rows = [ours.row(), theirs.row()]
    for program, variant in [] if options.no_rivals else contest.rivals:
        with started(options, contest, program, variant) as peer:
            side = Side(f"{TITLES[program]}, {variant}", peer.process, peer.transcribe)
            side.transcribe(first)
            side.turn(contest.rounds[0])
            rows.append(side.row())
    columns = ["", "audio s per wall s", "CPU s per audio minute", "peak MiB", "WER"]
    width = len(columns) - options.cost_only
    print(f"### {contest.title}\n")
    for row in (columns, ["---" for _ in columns], *rows):
        print("|", " | ".join(row[:width]), "|")
    print(flush=True)
    return verdict(contest, ours, theirs, options.cost_only)


def verdict(contest, ours, theirs, cost_only):
    pairs = list(zip(ours.turns, theirs.turns))
    ratio = median(b.wall_seconds / a.wall_seconds for a, b in pairs)
    cpu_ratio = median(b.cpu_seconds / a.cpu_seconds for a, b in pairs)
    worse = ours.error_rate() - theirs.error_rate()
    misses = []
    if ratio < contest.bar:
        misses.append("too slow")
    if contest.text_counts and not cost_only and worse > WER_SLACK:
        misses.append(f"WER {worse * 100:.1f} points higher")
    said = ", ".join(misses) or "met"
    return f"| {contest.title} | {ratio:.2f} | {cpu_ratio:.2f} | {contest.bar} | {said} |", not misses


def started(options, contest, program, variant):
    model = options.model
    if program == FASTER_WHISPER:
        model = convert.converted(model, variant.split(",")[0])
    return Peer(program, model, variant, contest.clients)


def ask_server(url, files, clients):
    """Posts the files, as many at once as there are clients; their texts in order."""
    ask = lambda file: server.transcribe(url, file.path, model="whisper-1", language=file.language)
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, files))


@dataclass
class Turn:
    clips: list
    texts: list
    wall_seconds: float
    cpu_seconds: float

    def audio_seconds(self):
        return sum(clip.seconds for clip in self.clips)


@dataclass
class Side:
    """One of those who are compared."""

    name: str
    process: psutil.Process
    transcribe: Callable
    """Clips to their texts."""
    turns: list = field(default_factory=list)

    def turn(self, files):
        cpu, start = server.family_cpu_seconds(self.process), time.monotonic()
        texts = self.transcribe(files)
        wall = time.monotonic() - start
        self.turns.append(Turn(files, texts, wall, server.family_cpu_seconds(self.process) - cpu))

    def error_rate(self):
        """Over all turns."""
        pairs = ((clip.text, text) for turn in self.turns for clip, text in zip(turn.clips, turn.texts))
        return error_rate(list(pairs))

    def row(self):
        """The cells of the table. While the process lives."""
        speed = median(turn.audio_seconds() / turn.wall_seconds for turn in self.turns)
        cpu = median(turn.cpu_seconds * 60 / turn.audio_seconds() for turn in self.turns)
        peak = server.family_peak_bytes(self.process) / 2**20
        return [self.name, f"{speed:.1f}", f"{cpu:.2f}", f"{peak:.0f}", f"{self.error_rate():.2%}"]


if __name__ == "__main__":
    main()
