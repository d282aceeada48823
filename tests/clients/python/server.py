"""Starts the server that the clients are checked with."""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import openai

ROOT = Path(__file__).resolve().parents[3]
CLIPS = ROOT / "tests" / "fixtures" / "eval"

# How long anything may take before it is taken for hung.
PATIENCE_SECONDS = 60


def program():
    return os.environ.get("AURIS", ROOT / "target" / "debug" / "auris")


def wait_until(condition, what, seconds=PATIENCE_SECONDS):
    """Asks again and again; gives the first answer that is true."""
    until = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until, f"after {seconds} s still not so: {what}"
        time.sleep(0.02)
    return answer


class Server:
    """A running `auris serve` on a free port, with a home folder of its own."""

    def __init__(self, *arguments, engine="whisper", slots=2, variables=None, ready=True):
        self.folder = tempfile.TemporaryDirectory(prefix="auris-clients-")
        home = Path(self.folder.name)
        self.log_file = home / "log"
        # What the machine's user has set or stored is not the server's.
        ours = re.compile("AURIS_|HF_|CUDA_|XDG_|OPENAI_|DEVICE$|GPU_AVAILABLE$")
        environment = {k: v for k, v in os.environ.items() if not ours.match(k)}
        environment |= {"HOME": str(home), "TMPDIR": str(home), **(variables or {})}
        command = [program(), "serve", "--listen", "127.0.0.1:0", "--models", "demo", "--offline"]
        command += ["--models-dir", ROOT / "tests/fixtures/models"]
        if engine.startswith("fake:"):
            fake = Path(program()).with_name("auris-fake-worker")
            command += ["--cpu-program", f"'{fake}' '{engine.removeprefix('fake:')}'"]
            # The tones that are sent to it are no speech.
            environment["AURIS_NO_VAD"] = "true"
        # Threads that wait for each other are many times slower where the cores are shared.
        command += ["--slots", str(slots), "--threads", "1", *arguments]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self.process.stdout.readline()
        found = re.search(r"listening on (http://\S+)", line)
        assert found, f"the server did not start: {line}\n{self.log()}"
        self.url = found[1]
        # A full pipe would stop the server.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        if ready:
            wait_until(lambda: self.status("/readyz") == 200, "the server is ready")

    def log(self):
        return self.log_file.read_text(errors="replace")

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_SECONDS) as answer:
            return answer.read().decode()

    def status(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=PATIENCE_SECONDS) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def requests_counted(self, path, status):
        """How often the server says that it has answered `path` with `status`."""
        labels = f'path="{path}",status="{status}"'
        counter = rf"^auris_http_requests_total\{{.*{labels}\}} (\d+)$"
        return sum(map(int, re.findall(counter, self.get("/metrics"), re.M)))

    def busy_slots(self):
        devices = json.loads(self.get("/v1/devices"))["devices"]
        return sum(device["busy_slots"] for device in devices)

    def workers(self):
        """The ids of the worker processes."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return sorted({int(pid) for children in tasks for pid in children.read_text().split()})

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def connect(server, kind=openai.OpenAI, **options):
    """OpenAI's client for `server`. It retries nothing, so that a check sees the first answer."""
    return kind(base_url=f"{server.url}/v1", **{"api_key": "unused", "max_retries": 0, **options})
