#!/usr/bin/env python3
"""The latency of /healthz while every slot works, and the server process's own CPU time.

    bench/under_load.py [--auris target/release/auris]

Prints Markdown, and exits with 1 if the bar is missed.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import quantiles

import environment

environment.enter()

import requests

import clips
import server
from side import ask_server

CLIENTS = 4
REQUESTS = 50
BAR_MS = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--auris", default=environment.ROOT / "target/release/auris", help="the program")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server.serving(options.auris) as (url, process):
        files = clips.short(Path(folder), seconds=5, count=REQUESTS)
        ask_server(url, files[:CLIENTS], CLIENTS)
        before = server.cpu_seconds(process)
        ask_server(url, files, CLIENTS)
        own_ms = (server.cpu_seconds(process) - before) * 1000 / REQUESTS
        # After the CPU time is taken: the polls cost some too.
        latencies, done = [], threading.Event()
        poll = threading.Thread(target=poll_health, args=(url, latencies, done))
        poll.start()
        try:
            ask_server(url, files, CLIENTS)
        finally:
            done.set()
            poll.join()
    p99 = quantiles(latencies, n=100)[98] * 1000
    print("### Under load\n")
    print("| figure | value | bar |")
    print("|---|---|---|")
    print(f"| GET /healthz, p99 of {len(latencies)} | {p99:.1f} ms | |")
    print(f"| CPU of the server process for a 5 s request | {own_ms:.1f} ms | < {BAR_MS} ms |")
    sys.exit(0 if own_ms < BAR_MS else 1)


def poll_health(url, latencies, done):
    with requests.Session() as session:
        while not done.wait(0.01):
            start = time.monotonic()
            session.get(f"{url}/healthz", timeout=30).raise_for_status()
            latencies.append(time.monotonic() - start)


if __name__ == "__main__":
    main()
