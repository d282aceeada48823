"""What a server makes of clips, in three ways: language given, language not given, and without voice
activity."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import requests

import server

# OpenAI's verbose_json has names; the truth has codes. Names that are missing here count as wrong.
LANGUAGES = (
    "ar arabic cy welsh de german en english es spanish fr french gu gujarati hi hindi it italian "
    "ja japanese kn kannada ko korean lv latvian pt portuguese ro romanian te telugu zh chinese"
).split()
CODES = dict(zip(LANGUAGES[1::2], LANGUAGES[::2]))
WORDS = [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")]
WAYS = ("given", "detected", "without voice activity")


@dataclass
class AurisResults:
    texts: dict = field(default_factory=dict)
    """Way -> clip name -> text."""
    languages: dict = field(default_factory=dict)
    """Clip name -> code of the language that was found."""
    words: dict = field(default_factory=dict)
    """Clip name -> words as (word, start, end), with the language given."""


def measure(options, model, clips, ways=WAYS):
    results = AurisResults()
    arguments = ["--models", str(model), "--offline", "--device", "cpu", *options.serve]
    with server.serving(options.auris, arguments) as (url, _):
        for way in ways:
            with ThreadPoolExecutor(options.callers) as pool:
                start = time.monotonic()
                replies = list(pool.map(lambda clip: post(url, clip, way), clips))
                print(f"auris, {model.name}, {way}: {time.monotonic() - start:.0f} s", flush=True)
            results.texts[way] = {c.file: reply["text"] for c, reply in zip(clips, replies)}
            if way == "given":
                results.words = {c.file: timed(reply) for c, reply in zip(clips, replies)}
            if way == "detected":
                found = ((c.file, reply.get("language", "")) for c, reply in zip(clips, replies))
                results.languages = {file: CODES.get(name, name) for file, name in found}
    return results


def post(url, clip, way):
    fields = [("model", "whisper-1"), ("response_format", "verbose_json")]
    if way != "detected" and clip.has_language():
        fields.append(("language", clip.language))
    if way == "given":
        fields += WORDS
    if way == "without voice activity":
        fields.append(("vad", "false"))
    until = time.monotonic() + server.READY_SECONDS
    while True:
        with clip.path.open("rb") as file:
            target = f"{url}/v1/audio/transcriptions"
            reply = requests.post(target, data=fields, files={"file": (clip.path.name, file)}, timeout=900)
        if reply.ok:
            return reply.json()
        if reply.status_code in (400, 413, 415, 422):
            print(f"{clip.file}: {reply.status_code} {reply.text[:300]}")
            return {"text": "", "language": ""}
        if reply.status_code not in (429, 503) or time.monotonic() > until:
            raise SystemExit(f"{clip.file}: the server answered {reply.status_code}: {reply.text[:500]}")
        time.sleep(0.2)


def timed(reply):
    return [(word["word"], word["start"], word["end"]) for word in reply.get("words", [])]
