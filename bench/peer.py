"""The peer: pywhispercpp in a process of its own, so that what it uses can be told apart.

Reads one JSON request a line from stdin and answers each with one line on stdout:
{"variant", "files"} -> {"texts"}. Not started by hand: compare.py does it.

Variants are the ways to serve several callers in one program with it:
  lock       one model, all cores to one call, calls one after another
  models     a model for each core with one thread, so many calls at once
  whole      one call after another, the file as it is, all cores
  parallel   as `whole`, the file cut blindly into a part for each core
"""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import environment

environment.enter()

from pywhispercpp.model import Model

CLIENTS = 4
CORES = len(os.sched_getaffinity(0))


def main():
    # The library prints; the answers need stdout for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    model_path, language = sys.argv[1:]
    models = {}

    def load(threads, index=0):
        if (threads, index) not in models:
            models[threads, index] = Model(
                model_path,
                n_threads=threads,
                language=language,
                print_progress=False,
                print_timestamps=False,
                redirect_whispercpp_logs_to=None,
            )
        return models[threads, index]

    for line in sys.stdin:
        request = json.loads(line)
        variant, files = request["variant"], request["files"]
        if variant == "lock":
            texts = locked(load(CORES), files)
        elif variant == "models":
            texts = pooled([load(1, index) for index in range(CORES)], files)
        else:
            extra = {"n_processors": CORES} if variant == "parallel" else {}
            threads = 1 if variant == "parallel" else CORES
            texts = [text(load(threads), file, **extra) for file in files]
        print(json.dumps({"texts": texts}), file=answers, flush=True)


def locked(model, files):
    lock = threading.Lock()

    def call(file):
        with lock:
            return text(model, file)

    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(call, files))


def pooled(models, files):
    """The library releases the interpreter's lock while it works, so threads are enough."""
    free = SimpleQueue()
    for model in models:
        free.put(model)

    def call(file):
        model = free.get()
        try:
            return text(model, file)
        finally:
            free.put(model)

    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(call, files))


def text(model, file, **extra):
    return " ".join(segment.text for segment in model.transcribe(file, **extra))


if __name__ == "__main__":
    main()
