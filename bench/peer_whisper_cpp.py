"""The peer pywhispercpp: whisper.cpp in a Python program. Started by `peer.Peer`.

Variants are the ways to serve several callers in one program with it:
  default    one model as it comes, calls one after another behind a lock
  models     a model for each thread, so many calls at once
  parallel   as `default`, the file cut blindly into a part for each thread
"""

import environment

environment.enter()

from queue import SimpleQueue

from faster_whisper.audio import decode_audio
from pywhispercpp.model import Model

from peer import answer

# What whisper.cpp takes where nothing is said (whisper_full_default_params).
DEFAULT_THREADS = 4
# Parameters of a call stay for the next ones.
TEXT = {"token_timestamps": False, "split_on_word": False, "max_len": 0}
WORDS = {"token_timestamps": True, "split_on_word": True, "max_len": 1}


def prepare(path, variant, _callers, threads):
    if variant == "models":
        models, extra = [load(path, threads=1) for _ in range(threads)], {}
    elif variant == "parallel":
        models, extra = [load(path, threads=1)], {"n_processors": threads}
    else:
        models, extra = [load(path, min(DEFAULT_THREADS, threads))], {}
    free = SimpleQueue()
    for model in models:
        free.put(model)

    def run(path, language, words, expected):
        samples = decode_audio(path)
        # With one model this is a lock. The library releases the interpreter's own while it works.
        model = free.get()
        try:
            found = language
            if not language:
                (found, _), _ = model.auto_detect_language(samples)
            result = {"language": found, "text": None}
            if found != expected:
                segments = model.transcribe(samples, language=found, **TEXT, **extra)
                result["text"] = " ".join(part.text.strip() for part in segments)
                if words:
                    parts = model.transcribe(samples, language=found, **WORDS)
                    result["words"] = [[part.text, part.t0 / 100, part.t1 / 100] for part in parts]
            return result
        finally:
            free.put(model)

    return run


def load(path, threads):
    return Model(
        path,
        n_threads=threads,
        print_progress=False,
        print_timestamps=False,
        redirect_whispercpp_logs_to=None,
    )


if __name__ == "__main__":
    answer(prepare)
