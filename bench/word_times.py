#!/usr/bin/env python3
"""Writes the words of recordings with their times, as faster-whisper aligns them, for
`cargo bench --bench voice_activity`. Only words that are in the transcript count.

    bench/word_times.py FOLDER --weights MODEL > words.json

FOLDER has truth.json, a list of {"file", "language", "text"}; MODEL is a model of CTranslate2. Where
FOLDER/word_times.json has a file's words, those are taken.
"""

import argparse
import json
import pathlib
import re
import sys
from difflib import SequenceMatcher

import environment

environment.enter()

from faster_whisper import WhisperModel


def plain(word):
    return re.sub(r"[^\w']", "", word.lower())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--weights", required=True)
    options = parser.parse_args()
    model = WhisperModel(options.weights, device="cpu", compute_type="int8")
    by_hand = json.loads((options.folder / "word_times.json").read_text())["files"]
    files = {}
    for entry in json.loads((options.folder / "truth.json").read_text()):
        name, truth = entry["file"], entry["text"]
        if name in by_hand:
            files[name] = by_hand[name]
        elif truth and entry["language"] in model.supported_languages:
            segments, _ = model.transcribe(
                str(options.folder / name), language=entry["language"], word_timestamps=True,
                condition_on_previous_text=False,
            )
            heard = [word for segment in segments for word in segment.words]
            said = [plain(word) for word in truth.split()]
            matcher = SequenceMatcher(None, [plain(word.word) for word in heard], said, False)
            right = [heard[i] for block in matcher.get_matching_blocks()
                     for i in range(block.a, block.a + block.size)]
            files[name] = [[word.word.strip(), word.start, word.end] for word in right]
    json.dump({"files": files}, sys.stdout, indent=1)


main()
