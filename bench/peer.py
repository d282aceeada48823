"""A peer in a process of its own, so that its CPU time and memory can be measured.

Both ends of the pipe: `Peer` starts such a process and asks it, `answer` is the process's loop. A
request is a line of JSON with calls, the reply a line with a result for each.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

CORES = len(os.sched_getaffinity(0))


def call(clip, language=None, words=False, expected=None):
    """What a peer is asked about a clip. Without a `language` it finds it out, and where that is the
    `expected` one it leaves the text out: it is the same as with the language given."""
    return {"path": str(clip.path), "language": language, "words": words, "expected": expected}


class Peer:
    def __init__(self, program, model, variant, callers, threads=CORES):
        command = [sys.executable, Path(__file__).with_name(program), model, variant]
        command += [str(callers), str(threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.name = f"{program} ({variant})"
        self.process = psutil.Process(self.child.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        try:
            self.child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.child.kill()

    def transcribe(self, calls):
        """A dictionary for each call: text, language, and words as (word, start, end) if asked for."""
        print(json.dumps(calls), file=self.child.stdin, flush=True)
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.child.wait()}")
        return json.loads(line)


def answer(prepare):
    """Answers until the input ends. `prepare(model, variant, callers, threads)` loads the model, and
    returns what each caller calls."""
    # Libraries print; the answers need stdout for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    model, variant, callers, threads = sys.argv[1:]
    run = prepare(model, variant, int(callers), int(threads))

    def result(one):
        try:
            return run(**one)
        except (OSError, ValueError) as error:  # a file that its decoder cannot read
            return {"language": None, "text": "", "words": [], "error": str(error)}

    for line in sys.stdin:
        with ThreadPoolExecutor(int(callers)) as pool:
            results = list(pool.map(result, json.loads(line)))
        print(json.dumps(results), file=answers, flush=True)
