"""The peer pywhispercpp: whisper.cpp in a Python program. compare.py starts it.

Variants are the ways to serve several callers in one program with it:
  default    one model as it comes, calls one after another behind a lock
  models     a model for each core with one thread, so many calls at once
  parallel   as `default`, the file cut blindly into a part for each core
"""

import environment

environment.enter()

from queue import SimpleQueue

from pywhispercpp.model import Model

from peer import CORES, answer

# What whisper.cpp takes where nothing is said (whisper_full_default_params), but no more than there
# are cores.
DEFAULT_THREADS = min(4, CORES)


def prepare(path, variant, _clients):
    if variant == "models":
        models, extra = [load(path, threads=1) for _ in range(CORES)], {}
    elif variant == "parallel":
        models, extra = [load(path, threads=1)], {"n_processors": CORES}
    else:
        models, extra = [load(path, DEFAULT_THREADS)], {}
    free = SimpleQueue()
    for model in models:
        free.put(model)

    def call(file, language):
        # With one model this is a lock. The library releases the interpreter's own while it works.
        model = free.get()
        try:
            return " ".join(part.text for part in model.transcribe(file, language=language, **extra))
        finally:
            free.put(model)

    return call


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
