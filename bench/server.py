"""Starts the server to be measured, and reads what it and its workers use."""

import re
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager

import psutil
import requests

from environment import DEMO, ROOT

READY_SECONDS = 120


@contextmanager
def serving(program, arguments=("--models", str(DEMO))):
    """Runs `program serve` on a free port; gives (url, process) once it is ready."""
    # A log line for each request would bury the tables.
    command = [program, "--log", "warn", "serve", "--listen", "127.0.0.1:0", *arguments]
    # Not the user's own jobs.
    jobs = tempfile.TemporaryDirectory()
    command += ["--jobs-dir", jobs.name]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        url = address(child)
        # What follows on stdout is read as well: a full pipe would stop the server.
        threading.Thread(target=child.stdout.read, daemon=True).start()
        yield url, psutil.Process(child.pid)
    finally:
        child.terminate()
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
        jobs.cleanup()


def address(child):
    for line in child.stdout:
        found = re.search(r"listening on (http://\S+)", line)
        if found:
            return found[1]
    raise SystemExit(f"the server ended with {child.wait()} before it listened")


def transcribe(url, path, session=requests, **fields):
    """Posts one file; gives the text. Waits while the server is not ready yet or full."""
    fields = {"model": "demo", "language": "en", **fields}
    until = time.monotonic() + READY_SECONDS
    while True:
        with open(path, "rb") as file:
            target = f"{url}/v1/audio/transcriptions"
            reply = session.post(target, data=fields, files={"file": file}, timeout=600)
        if reply.ok:
            return reply.json()["text"]
        if reply.status_code not in (429, 503) or time.monotonic() > until:
            raise SystemExit(f"{path}: the server answered {reply.status_code}: {reply.text[:500]}")
        time.sleep(0.1)


def family(process):
    """The process and its children, dead ones left out."""
    return [process, *process.children(recursive=True)]


def cpu_seconds(process):
    """CPU time of the process alone, user and system."""
    times = process.cpu_times()
    return times.user + times.system


def family_cpu_seconds(process):
    """CPU time of the process and all its children, ended ones included."""
    total = 0.0
    for member in family(process):
        times = member.cpu_times()
        total += times.user + times.system
        if member is process:
            # The kernel adds a child's time to these when it is waited for.
            total += times.children_user + times.children_system
    return total


def family_peak_bytes(process):
    """The sum of the greatest resident sizes: pages that processes share count for each."""
    return sum(peak_bytes(member.pid) for member in family(process))


def peak_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        kib = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    return int(kib) * 1024
