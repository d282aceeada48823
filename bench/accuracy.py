#!/usr/bin/env python3
"""Measures the server on the evaluation set: text, languages, translation and times.

    bench/accuracy.py [--url http://127.0.0.1:8000 | --auris target/release/auris] [--model demo]

Prints a table of figures with their bars, and exits with 1 if a bar is missed.
"""

import argparse
import sys
from contextlib import nullcontext
from statistics import mean

import environment

environment.enter()

import requests

import server
from evaluation import FOLDER, align, compare, is_long, normalise, truth

NAMES = {"english": "en", "hindi": "hi"}
SEGMENT_TOLERANCE = 0.1
WORD_TOLERANCE = 0.3
# Rounding of times to milliseconds must not decide.
EPSILON = 0.0005
# Fewer words in a row than this are ordinary errors, not a sentence said twice.
DOUBLED_WORDS = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", help="a running server; without it one is started")
    parser.add_argument("--auris", default=str(environment.ROOT / "target/release/auris"))
    parser.add_argument("--model", default="demo", help="the model to ask for")
    options = parser.parse_args()
    files = truth()
    running = nullcontext((options.url, None)) if options.url else server.serving(options.auris)
    with running as (options.url, _):
        answers = {name: transcribe(options, name) for name in files}
        translation = translation_row(options, files)
    rows = text_rows(files, answers) + [language_row(files, answers), translation]
    rows += segment_rows(files, answers) + word_rows(files, answers) + [doubled_row(files, answers)]
    width = max(len(name) for name, *_ in rows)
    for name, figure, bar, ok in rows:
        verdict = "" if bar is None else f"  (bar: {bar}) {'ok' if ok else 'MISSED'}"
        print(f"{name:<{width}}  {figure}{verdict}")
    sys.exit(0 if all(ok for *_, ok in rows) else 1)


def transcribe(options, name):
    fields = [
        ("model", options.model),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    ]
    return post(options, "transcriptions", name, fields)


def post(options, endpoint, name, fields):
    with (FOLDER / name).open("rb") as file:
        url = f"{options.url}/v1/audio/{endpoint}"
        reply = requests.post(url, data=fields, files={"file": (name, file)}, timeout=600)
    if not reply.ok:
        sys.exit(f"{name}: {endpoint} answered {reply.status_code}: {reply.text[:500]}")
    return reply.json()


def text_rows(files, answers):
    groups = {"WER overall": list(files)}
    for name, entry in files.items():
        language = {"en": "English", "hi": "Hindi"}[entry["language"]]
        length = "long" if is_long(entry) else "singles"
        groups.setdefault(f"WER {language} {length}", []).append(name)
    rows = []
    for title, names in groups.items():
        results = {name: compare(files[name]["text"], answers[name]["text"]) for name in names}
        wrong = sum(result.wrong for result in results.values())
        total = sum(result.total for result in results.values())
        bad = ", ".join(name for name, result in results.items() if result.wrong)
        figure = f"{wrong / total:.2%} ({wrong} of {total} words{'; ' + bad if bad else ''})"
        bar, ok = None, True
        if title == "WER overall":
            bar, ok = "2.5 %", wrong / total <= 0.025
        elif title == "WER English singles":
            bar, ok = "0 errors", wrong == 0
        rows.append((title, figure, bar, ok))
    return rows


def language_row(files, answers):
    right = sum(NAMES.get(answers[name]["language"]) == files[name]["language"] for name in files)
    return ("languages right", f"{right} of {len(files)}", "all", right == len(files))


def translation_row(options, files):
    wrong = total = 0
    bad = []
    for name, entry in files.items():
        if entry["language"] != "en":
            answer = post(options, "translations", name, [("model", options.model)])
            result = compare(entry["english"], answer["text"])
            wrong, total = wrong + result.wrong, total + result.total
            if result.wrong:
                bad.append(name)
    figure = f"{wrong} of {total}{' (' + ', '.join(bad) + ')' if bad else ''}"
    return ("translated words wrong", figure, "3", wrong <= 3)


def segment_rows(files, answers):
    """Starts and ends of segments against those of the sentences that they open or close."""
    starts, ends, inside = [], [], 0
    for name, entry in files.items():
        sentences = [normalise(s["text"]).split() for s in entry["sentences"]]
        expected = [(index, word) for index, words in enumerate(sentences) for word in words]
        found, owners = [], []
        for index, segment in enumerate(answers[name]["segments"]):
            words = normalise(segment["text"]).split()
            found += words
            owners += [index] * len(words)
        pairs = align([word for _, word in expected], found).pairs
        for at, (sentence, _) in enumerate(expected):
            if at not in pairs:
                continue
            hit = pairs[at]
            segment = answers[name]["segments"][owners[hit]]
            opens = hit == 0 or owners[hit - 1] != owners[hit]
            closes = hit == len(found) - 1 or owners[hit + 1] != owners[hit]
            first = at == 0 or expected[at - 1][0] != sentence
            last = at == len(expected) - 1 or expected[at + 1][0] != sentence
            inside += (opens and not first) + (closes and not last)
            if opens and first:
                starts.append(segment["start"] - entry["sentences"][sentence]["start"])
            if closes and last:
                ends.append(segment["end"] - entry["sentences"][sentence]["end"])
    sentences = sum(len(entry["sentences"]) for entry in files.values())
    return [
        time_row("segment starts", starts, SEGMENT_TOLERANCE, sentences),
        time_row("segment ends", ends, SEGMENT_TOLERANCE, sentences),
        ("segments cut inside a sentence", f"{inside} ends", None, True),
    ]


def word_rows(files, answers):
    errors, total, backwards = [], 0, 0
    for name, entry in files.items():
        expected = timed(entry["words"])
        found = timed(answers[name].get("words", []))
        pairs = align([word for word, _ in expected], [word for word, _ in found]).pairs
        errors += [found[hit][1] - expected[at][1] for at, hit in pairs.items()]
        total += len(expected)
        times = [start for _, start in found]
        backwards += sum(after < before for before, after in zip(times, times[1:]))
    return [
        time_row("word starts", errors, WORD_TOLERANCE, total),
        ("words that start before the one before", str(backwards), "0", backwards == 0),
    ]


def timed(words):
    """(normalised word, start), without those that have no text: the truth marks pauses so."""
    return [(normalise(w["word"]), w["start"]) for w in words if normalise(w["word"])]


def time_row(title, errors, tolerance, total):
    if not errors:
        return (title, f"none of {total} found", "90 %", False)
    share = sum(abs(error) <= tolerance + EPSILON for error in errors) / len(errors)
    worst = max(errors, key=abs)
    figure = (
        f"{share:.1%} within {tolerance} s, mean {mean(errors):+.3f} s, worst {worst:+.3f} s, "
        f"{len(errors)} of {total} matched"
    )
    return (title, figure, "90 %", share >= 0.9)


def doubled_row(files, answers):
    missing = doubled = 0
    for name, entry in files.items():
        if not is_long(entry):
            continue
        result = compare(entry["text"], answers[name]["text"])
        doubled += sum(length >= DOUBLED_WORDS for length in result.added)
        at = 0
        for sentence in entry["sentences"]:
            length = len(normalise(sentence["text"]).split())
            hits = sum(index in result.pairs for index in range(at, at + length))
            missing += hits < length / 2
            at += length
    figure = f"{missing} missing, {doubled} doubled"
    return ("sentences of the long files", figure, "none", missing + doubled == 0)


if __name__ == "__main__":
    main()
