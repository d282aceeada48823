"""The evaluation set, and how texts are compared with it."""

import json
import unicodedata
from dataclasses import dataclass

import jiwer

from environment import ROOT

FOLDER = ROOT / "tests" / "fixtures" / "eval"


def truth():
    """File name -> language, seconds, text, english, sentences and words with their times."""
    return json.loads((FOLDER / "truth.json").read_text(encoding="utf-8"))


def is_long(entry):
    """Whether the file holds more than one sentence."""
    return len(entry["sentences"]) > 1


def normalise(text):
    """Lower case, without punctuation, one space between words."""
    text = unicodedata.normalize("NFC", text).lower()
    kept = (c for c in text if not unicodedata.category(c).startswith("P"))
    return " ".join("".join(kept).split())


@dataclass
class Alignment:
    """How a text differs from the truth, word by word."""

    wrong: int
    """Words substituted, missing or added."""
    total: int
    """Words of the truth."""
    pairs: dict
    """Index of a word of the truth -> index of the same word in the text."""
    added: list
    """Lengths of the runs of words that the truth does not have."""


def align(expected, found):
    """Aligns two lists of normalised words by edit distance."""
    if not expected or not found:
        added = [len(found)] if found else []
        return Alignment(max(len(expected), len(found)), len(expected), {}, added)
    output = jiwer.process_words(" ".join(expected), " ".join(found))
    pairs, added = {}, []
    for chunk in output.alignments[0]:
        length = chunk.ref_end_idx - chunk.ref_start_idx
        if chunk.type == "equal":
            pairs.update((chunk.ref_start_idx + i, chunk.hyp_start_idx + i) for i in range(length))
        elif chunk.type == "insert":
            added.append(chunk.hyp_end_idx - chunk.hyp_start_idx)
    wrong = output.substitutions + output.deletions + output.insertions
    return Alignment(wrong, len(expected), pairs, added)


def compare(expected, found):
    """Aligns two texts."""
    return align(normalise(expected).split(), normalise(found).split())


def error_rate(pairs):
    """The word error rate over (expected, found) texts, from 0."""
    results = [compare(expected, found) for expected, found in pairs]
    return sum(r.wrong for r in results) / max(1, sum(r.total for r in results))
