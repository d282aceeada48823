"""The audio that the programs are compared with, made from the evaluation set."""

from dataclasses import dataclass
from itertools import cycle, islice

import numpy
import soundfile

from evaluation import FOLDER, is_long, truth

RATE_HZ = 16_000
# The noise that the evaluation set has in its pauses: digital silence is no pause between people.
NOISE_RMS = 0.002
SEED = 0
# Before and after a sentence, where it leaves room for it.
MARGIN_SECONDS = 0.2
# In the file with silence: so much speech, up to the end of the sentence, and then as much silence.
SPELL_SECONDS = 30


@dataclass
class Clip:
    path: str
    text: str
    seconds: float
    language: str


def short(folder, seconds, count):
    """`count` sentences of the evaluation set that fit into so many seconds, each cut out and filled
    up with silence. The same ones again if there are fewer: English if any fits, else Hindi."""
    fitting = {"en": [], "hi": []}
    for name, entry in truth().items():
        for sentence in entry["sentences"]:
            if sentence["end"] - sentence["start"] <= seconds:
                fitting[entry["language"]].append((name, sentence))
    language = "en" if fitting["en"] else "hi"
    # From all voices, not file by file.
    chosen = numpy.random.default_rng(SEED).permutation(len(fitting[language]))[:count]
    made = []
    for number in chosen:
        name, sentence = fitting[language][number]
        samples = cut(name, sentence, seconds)
        made.append(save(folder / f"{seconds}s-{number}.wav", samples, sentence["text"], language))
    return list(islice(cycle(made), count))


def cut(name, sentence, seconds):
    """One sentence, with half of each pause beside it at most, at the start of a clip of that length."""
    margin = min(MARGIN_SECONDS, (seconds - (sentence["end"] - sentence["start"])) / 2)
    for other in truth()[name]["sentences"]:
        if other["start"] > sentence["start"]:
            margin = min(margin, (other["start"] - sentence["end"]) / 2)
        elif other["end"] < sentence["end"]:
            margin = min(margin, (sentence["start"] - other["end"]) / 2)
    first = max(0, round((sentence["start"] - margin) * RATE_HZ))
    samples = read(name)[first : round((sentence["end"] + margin) * RATE_HZ)]
    clip = silence(seconds)
    clip[: len(samples)] = samples[: len(clip)]
    return clip


def speech(folder, seconds):
    """The long English files again and again, whole, until so many seconds are full."""
    names = [name for name, entry in truth().items() if entry["language"] == "en" and is_long(entry)]
    names.sort(key=lambda name: -truth()[name]["seconds"])
    parts, texts = [], []
    while sum(map(len, parts)) < seconds * RATE_HZ:
        left = seconds - sum(map(len, parts)) / RATE_HZ
        name = next((name for name in names if truth()[name]["seconds"] <= left), names[-1])
        parts.append(read(name))
        texts.append(truth()[name]["text"])
    return save(folder / "speech.wav", numpy.concatenate(parts), " ".join(texts), "en")


def half_silence(folder, seconds):
    """As `speech`, with 30 s of whole sentences and 30 s of silence in turns."""
    parts, texts = [], []
    for samples, text in cycle(list(spoken_spells())):
        if sum(map(len, parts)) >= seconds * RATE_HZ:
            break
        parts += [samples, silence(len(samples) / RATE_HZ)]
        texts.append(text)
    return save(folder / "half-silence.wav", numpy.concatenate(parts), " ".join(texts), "en")


def spoken_spells():
    """(samples, text) of the long English files, cut between sentences after 30 s; the rest of each
    file is left out."""
    for name, entry in truth().items():
        if entry["language"] != "en" or not is_long(entry):
            continue
        samples, sentences = read(name), entry["sentences"]
        first, texts = 0, []
        for sentence, following in zip(sentences, sentences[1:]):
            texts.append(sentence["text"])
            end = (sentence["end"] + following["start"]) / 2
            if end - first >= SPELL_SECONDS:
                yield samples[round(first * RATE_HZ) : round(end * RATE_HZ)], " ".join(texts)
                first, texts = end, []


def silence(seconds):
    noise = numpy.random.default_rng(SEED).standard_normal(round(seconds * RATE_HZ))
    return (NOISE_RMS * noise).astype("f4")


def read(name):
    samples, rate = soundfile.read(FOLDER / name, dtype="float32")
    assert rate == RATE_HZ, f"{name}: {rate} Hz"
    return samples


def save(path, samples, text, language):
    soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")
    return Clip(str(path), text, len(samples) / RATE_HZ, language)
