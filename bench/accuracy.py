#!/usr/bin/env python3
"""Measures the text, languages and word times of the server on human speech, beside its peers.

    bench/accuracy.py [--speech FOLDER] [--auris target/release/auris] [--model FILE]

The folder holds recordings and a truth.json (see speech.py); without one, ten clips of the
repository are measured, which are too few for an error rate. Every file goes over HTTP to one
server, and to faster-whisper and pywhispercpp on the same weights. Prints Markdown, writes
target/accuracy.json, and exits with 1 if a bar is missed.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import environment

environment.enter()

import accuracy_tables
import auris_results
import report
import speech
from peer_results import PEERS, REFERENCE, PeerResults

TARGET = environment.ROOT / "target"


def main():
    options = arguments()
    clips = speech.load(options.speech, options.only)
    peers = PeerResults(options.peer_results, options.peer_model, options.threads)
    # The server first, since peers take longer.
    ours = auris_results.measure(options, options.model, clips, options.ways)
    others = {
        path.name: auris_results.measure(options, path, clips, ["given"]) for path in options.also
    }
    titles = {"all": list(PEERS), "reference": [REFERENCE], "none": []}[options.peers]
    theirs = {title: accuracy_tables.peer(peers, title, clips) for title in titles}
    tables = accuracy_tables.Tables(clips, ours, theirs, others, options.model.name)
    text = tables.markdown()
    print(f"\n{text}")
    save(options, clips, ours, theirs)
    if options.write:
        command = f"make accuracy SPEECH=FOLDER MODEL={options.model.name}"
        minutes = sum(clip.seconds for clip in clips) / 60
        head = f"`{command}`: {len(clips)} files, {minutes:.0f} minutes. Peers run `{options.peer_model.name}`."
        report.insert(options.write, "accuracy", f"{head}\n\n{text}")
        if "given" in options.ways and options.only == "*":
            report.insert(environment.ROOT / "README.md", "accuracy", tables.paragraph())
            if options.model == bundled().resolve():
                report.insert(environment.ROOT / "models/README.md", "accuracy", tables.paragraph())
    sys.exit(0 if tables.met() else 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--speech", default=speech.FIXTURES, help="a folder with truth.json")
    parser.add_argument("--auris", default=str(TARGET / "release/auris"), help="the program")
    parser.add_argument("--model", default=bundled(), type=Path, help="a model file of whisper.cpp")
    parser.add_argument(
        "--also", default=[], type=Path, nargs="*", help="models that --model may be little worse than"
    )
    parser.add_argument("--peer-model", type=Path, help="what peers run, if not --model: its original in f16")
    parser.add_argument("--peers", default="all", choices=("all", "reference", "none"))
    parser.add_argument("--peer-results", default=TARGET / "bench-peers.json", help="keeps what peers wrote")
    parser.add_argument("--only", default="*", help="files whose name matches, such as 'lang_*'")
    ways = lambda text: [way for way in auris_results.WAYS if way[0] in text]
    parser.add_argument(
        "--ways", default=auris_results.WAYS, type=ways, help="g: language given, d: detected, w: without VAD"
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--callers", default=cores, type=int, help="requests at once")
    parser.add_argument("--threads", default=cores, type=int, help="threads of a peer")
    parser.add_argument("--serve", default="", type=str.split, help="more options of `auris serve`")
    parser.add_argument("--write", help="puts the tables into this document, and a paragraph into both README.md")
    parser.add_argument("--json", default=TARGET / "accuracy.json", type=Path)
    options = parser.parse_args()
    # The server is started in another folder.
    options.model = options.model.resolve()
    options.also = [path.resolve() for path in options.also]
    options.peer_model = (options.peer_model or options.model).resolve()
    return options


def bundled():
    """The model of the release."""
    return next(iter(sorted((environment.ROOT / "models").glob("ggml-*.bin"))), environment.DEMO)


def save(options, clips, ours, theirs):
    options.json.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for clip in clips:
        row = {"file": clip.file, "language": clip.language, "text": clip.text}
        row["auris"] = {way: texts[clip.file] for way, texts in ours.texts.items()}
        row["detected"] = ours.languages.get(clip.file)
        row["words"] = ours.words.get(clip.file)
        row["peers"] = {title: peer.texts.get(clip.file) for title, peer in theirs.items()}
        rows.append(row)
    options.json.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
