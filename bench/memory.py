#!/usr/bin/env python3
"""Memory of server and worker over many files: after the first 50, at the end, and across recycling.

Sends clips of the evaluation set one after another, with prompts and words, to a server on the
demo model, and prints the resident memory of the server and of its workers in MiB.
"""
import argparse
import json
import pathlib
import subprocess
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent


def children(pid):
    found = set()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found.update(int(child) for child in (task / "children").read_text().split())
    return sorted(found)


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def post(url, clip, fields):
    boundary = uuid.uuid4().hex
    body = b""
    for name, value in fields.items():
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    body += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="clip"\r\n\r\n'.encode()
    body += clip + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(url, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def measure(auris, files, recycle):
    server = subprocess.Popen(
        [auris, "--log", "error", "serve", "--models", str(ROOT / "tests/fixtures/models/ggml-demo.bin"), "--listen", "127.0.0.1:0",
         "--slots", "1", "--threads", "1", "--recycle-after", str(recycle)],
        stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[-1]
        clips = [path.read_bytes() for path in sorted((ROOT / "tests/fixtures/eval").glob("*.flac"))]
        seen = {}
        for n in range(1, files + 1):
            fields = {"response_format": "verbose_json", "timestamp_granularities[]": "word",
                      "prompt": f"Ravi, Mumbai, number {n}. " * 20}
            post(f"{address}/v1/audio/transcriptions", clips[n % len(clips)], fields)
            if n in (50, files):
                seen[n] = (resident(server.pid), sum(resident(child) for child in children(server.pid)))
        return seen
    finally:
        server.terminate()
        server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--auris", required=True)
    parser.add_argument("--files", type=int, default=500)
    arguments = parser.parse_args()
    for name, recycle in [("one worker", 1_000_000), ("recycled every 100 chunks", 100)]:
        seen = measure(arguments.auris, arguments.files, recycle)
        (server, worker), (server_end, worker_end) = seen[50], seen[arguments.files]
        print(f"{name}: server {server:.1f} -> {server_end:.1f} MiB ({server_end / server:.3f}), "
              f"worker {worker:.1f} -> {worker_end:.1f} MiB ({worker_end / worker:.3f})", flush=True)


if __name__ == "__main__":
    main()
