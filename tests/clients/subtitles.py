#!/usr/bin/env python3
"""Checks that ffmpeg reads the subtitles of `auris transcribe` as they are meant.

    tests/clients/subtitles.py [--auris target/release/auris]

Transcribes clips of the evaluation set in two languages with several layouts. ffmpeg must find in
the .srt and .vtt files the same cues, with the same times and text, in the .lrc file the same
lines, and all three must hold the text of the .json file. Needs ffmpeg and Python's standard
library. Prints every difference, and exits with 1 if there is one.
"""

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ["00.flac", "27.flac", "28.flac", "29.flac", "30.flac"]
LAYOUTS = [
    [],
    ["--max-line-length", "12", "--max-lines", "1"],
    ["--max-line-length", "20", "--max-lines", "3", "--max-chars-per-second", "12"],
]
TIMES = re.compile(r"(\d\d+):([0-5]\d):([0-5]\d)[,.](\d{3})")
LONGEST_MS = 7000


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--auris", default=str(ROOT / "target/release/auris"))
    auris = str(Path(parser.parse_args().auris).resolve())
    if not shutil.which("ffmpeg"):
        sys.exit("missing: ffmpeg. Install it with the package manager of this system.")
    wrong = []
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            transcribe(auris, layout, folder)
            for clip in CLIPS:
                for problem in problems(Path(folder) / clip):
                    wrong.append(f"{clip} {' '.join(layout)}: {problem}")
    for problem in wrong:
        print(problem)
    print(f"{len(CLIPS) * len(LAYOUTS)} transcripts, {len(wrong)} differences")
    sys.exit(1 if wrong else 0)


def transcribe(auris, layout, folder):
    command = [auris, "transcribe", *(str(ROOT / "tests/fixtures/eval" / clip) for clip in CLIPS)]
    command += ["--models", "demo", "--models-dir", str(ROOT / "tests/fixtures/models"), "--offline"]
    command += ["--output-dir", folder, "--format", "srt,vtt,lrc,json", *layout]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def problems(clip):
    """What is wrong with the results for `clip`, as sentences."""
    srt = clip.with_suffix(".srt")
    cues = parse(srt.read_text(encoding="utf-8"))
    lines = parse(ffmpeg(clip.with_suffix(".lrc"), "srt"))
    spoken = json.loads(clip.with_suffix(".json").read_text(encoding="utf-8"))["text"]
    if not cues:
        yield "no cues"
    # What ffmpeg writes of SubRip and WebVTT is escaped as those formats want it.
    yield from differences("ffmpeg reads another .srt", cues, parse(ffmpeg(srt, "srt")))
    vtt = parse(html.unescape(ffmpeg(clip.with_suffix(".vtt"), "srt")))
    yield from differences("ffmpeg reads another .vtt", cues, vtt)
    for name, texts in [(".srt", cues), (".lrc", lines)]:
        text = "".join(text for _, _, text in texts)
        if without_spaces(text) != without_spaces(spoken):
            yield f"the {name} says {text!r} and not {spoken!r}"
    for start, end, text in cues:
        if not start < end <= start + LONGEST_MS:
            yield f"{text!r} is shown from {start} ms to {end} ms"
    for (_, end, text), (start, _, _) in zip(cues, cues[1:]):
        if end > start:
            yield f"{text!r} overlaps the next cue"


def differences(what, expected, found):
    if len(expected) != len(found):
        yield f"{what}: {len(found)} cues instead of {len(expected)}"
    for one, other in zip(expected, found):
        if one != other:
            yield f"{what}: {other} instead of {one}"


def ffmpeg(path, form):
    """`path` as ffmpeg reads it, written as `form`."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", form, "-"]
    ran = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    if ran.stderr:
        sys.exit(f"ffmpeg complains of {path.name}: {ran.stderr.strip()}")
    return ran.stdout


def parse(srt):
    """The cues of SubRip text, each as (start in ms, end in ms, text)."""
    cues = []
    for block in srt.strip().split("\n\n") if srt.strip() else []:
        _, times, *lines = block.split("\n")
        start, end = (milliseconds(time) for time in times.split(" --> "))
        cues.append((start, end, "\n".join(lines)))
    return cues


def milliseconds(time):
    hours, minutes, seconds, thousandths = map(int, TIMES.fullmatch(time).groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths


def without_spaces(text):
    return "".join(text.split())


if __name__ == "__main__":
    main()
