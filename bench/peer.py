"""A peer in a process of its own, so that what it uses can be told apart from everything else.

Both ends of the pipe: `Peer` starts such a process and asks it, `answer` is the process's loop. A
request is a line of JSON with clips, [[path, language], …], the answer a line with their texts.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

CORES = len(os.sched_getaffinity(0))


class Peer:
    def __init__(self, program, model, variant, clients):
        command = [sys.executable, Path(__file__).with_name(program), model, variant, str(clients)]
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
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

    def transcribe(self, clips):
        request = [[clip.path, clip.language] for clip in clips]
        print(json.dumps(request), file=self.child.stdin, flush=True)
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.child.wait()}")
        return json.loads(line)


def answer(prepare):
    """Answers until the input ends. `prepare(model, variant, clients)` loads the model, and gives
    what each client calls with path and language for the text."""
    # Libraries print; the answers need stdout for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    model, variant, clients = sys.argv[1:]
    call = prepare(model, variant, int(clients))
    for line in sys.stdin:
        with ThreadPoolExecutor(int(clients)) as pool:
            texts = list(pool.map(lambda clip: call(*clip), json.loads(line)))
        print(json.dumps(texts), file=answers, flush=True)
