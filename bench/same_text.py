#!/usr/bin/env python3
"""Checks that the server writes what whisper.cpp writes: each single sentence of the evaluation
set, language given, against pywhispercpp with its defaults.

    bench/same_text.py [--url http://127.0.0.1:8000 | --auris target/release/auris]

Prints the sentences that differ, and exits with 1 if there are any.
"""

import argparse
import sys
from contextlib import nullcontext

import environment

environment.enter()

import soundfile
from pywhispercpp.model import Model

import server
from evaluation import FOLDER, is_long, truth


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", help="a running server; without it one is started")
    parser.add_argument("--auris", default=str(environment.ROOT / "target/release/auris"))
    parser.add_argument("--model", default=str(environment.ROOT / "models/ggml-demo-q8_0.bin"))
    options = parser.parse_args()
    peer = Model(
        options.model,
        # The sum of a product depends on how threads share it, so one thread: no luck involved.
        n_threads=1,
        print_progress=False,
        print_timestamps=False,
        redirect_whispercpp_logs_to=None,
    )
    sentences = {name: entry for name, entry in truth().items() if not is_long(entry)}
    different = 0
    running = nullcontext((options.url, None)) if options.url else server.serving(options.auris)
    with running as (url, _):
        for name, entry in sentences.items():
            samples, _ = soundfile.read(FOLDER / name, dtype="float32")
            segments = peer.transcribe(samples, language=entry["language"])
            expected = " ".join(segment.text for segment in segments)
            found = server.transcribe(url, FOLDER / name, language=entry["language"])
            if found != expected:
                different += 1
                print(f"{name}\n  whisper.cpp: {expected}\n  auris:       {found}")
                print(f"  truth:       {entry['text']}")
    print(f"{len(sentences) - different} of {len(sentences)} identical")
    sys.exit(0 if different == 0 else 1)


if __name__ == "__main__":
    main()
