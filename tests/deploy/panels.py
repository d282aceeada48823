#!/usr/bin/env python3
"""Asks a real Prometheus for every panel of the dashboard: panels.py AURIS

Two servers run: one transcribes with the demo model and has a GPU, whose driver is a fake and whose
worker crashes on command; the other has a processor that does so, and a short queue. After some
traffic each expression of the dashboard, of the alerts and of the autoscaler's metric is
sent to Prometheus; those of the dashboard must have data.
"""

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "deploy/observability"
ADAPTER = ROOT / "deploy/kubernetes/components/autoscaling/prometheus-adapter.yaml"
CLIPS = sorted((ROOT / "tests/fixtures/eval").glob("*.flac"))
WELL_SECONDS = 20
# What Grafana would put in for a scrape each second.
VARIABLES = {"$__rate_interval": "10s", "$instance": ".*"}
CRASH = "crash now"


@contextlib.contextmanager
def running(*command, **options):
    """A process, and what it printed so far; it is ended with the block."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    try:
        yield process, lines, reader
    finally:
        process.terminate()
        process.wait(30)


def wait_for(what, condition, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.1)
    raise SystemExit(f"{what} did not happen within {seconds} s")


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


@contextlib.contextmanager
def server(auris, folder, *options, **variables):
    """The address of an auris that is ready."""
    folder.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AURIS_", "CUDA_"))}
    kept |= {"AURIS_MODELS_DIR": str(ROOT / "models"), "AURIS_OFFLINE": "true", "HOME": str(folder)}
    command = [auris, "--log", "warn", "serve", "--models", str(ROOT / "tests/fixtures/models/ggml-demo.bin"), "--listen", "127.0.0.1:0"]
    with running(*command, *options, env=kept | variables, cwd=folder) as (process, lines, reader):
        reader.start()
        first = wait_for("the start of auris", lambda: lines and lines[0].startswith("listening") and lines)
        address = first[0].split("http://")[1].strip()
        wait_for("a model", lambda: get(f"http://{address}/readyz")[0] == 200)
        yield address


def send(address, clip, *fields, path="/v1/audio/transcriptions", background=False):
    command = ["curl", "--silent", "--max-time", "60", "--output", "/dev/null"]
    command += [f"http://{address}{path}", "--form", f"file=@{clip}"]
    command += [part for field in fields for part in ("--form", field)]
    return subprocess.Popen(command) if background else subprocess.run(command, check=False)


def traffic(well, sick):
    """What servers see in their lives, good and bad."""
    # The same audio crashes two workers, and is refused from then on.
    for _ in range(3):
        send(sick, CLIPS[0], f"prompt={CRASH}", "language=en")
    # The GPU fails, and fails again when it is tried; a clip that it failed with is the processor's
    # from then on.
    clips = itertools.cycle(CLIPS)

    def fails_again():
        send(well, next(clips), f"prompt={CRASH}", "language=en")
        return "auris_device_probe_failures_total" in get(f"http://{well}/metrics")[1]

    wait_for("a second failure of the GPU", fails_again, 120)
    until = time.monotonic() + WELL_SECONDS

    def is_well():
        clip = next(clips)
        send(well, clip)
        send(well, clip, path="/v1/jobs")
        send(well, ROOT / "Cargo.toml")
        get(f"http://{well}/v1/nothing")
        for client in [send(sick, clip, background=True) for clip in CLIPS[:12]]:
            client.wait()
        returned = "auris_device_returns_total" in get(f"http://{well}/metrics")[1]
        return returned and time.monotonic() > until

    wait_for("the return of the GPU", is_well, 120)


def fake_driver(folder):
    folder.mkdir()
    for name in "libcuda.so.1", "libnvidia-ml.so.1":
        source = ROOT / "tests/fixtures/fake_libcuda.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / name, source], check=True)
    return str(folder)


@contextlib.contextmanager
def prometheus(folder, targets):
    """The address of a Prometheus with the repository's configuration, which asks `targets`."""
    config = yaml.safe_load((OBSERVABILITY / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(OBSERVABILITY / name) for name in config["rule_files"]]
    # In a cluster, these labels come with the pods.
    labels = {"namespace": "auris", "pod": "auris-0"}
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": targets, "labels": labels}]
    folder.mkdir()
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml"]
    command += [f"--storage.tsdb.path={folder}/data", "--web.listen-address=127.0.0.1:0"]
    with running(*command) as (process, lines, reader):
        reader.start()
        listening = re.compile(r'msg="?Listening on"? .*?address=(127\.0\.0\.1:\d+)')

        def found():
            return next((m for line in list(lines) if (m := listening.search(line))), None)

        address = wait_for("the start of Prometheus", found).group(1)
        wait_for("its readiness", lambda: get(f"http://{address}/-/ready")[0] == 200)
        yield address


def ask(address, expression, start):
    """How many series have a number since then, or None if the expression is refused."""
    query = {"query": expression, "start": start, "end": time.time(), "step": 1}
    status, text = get(f"http://{address}/api/v1/query_range?{urllib.parse.urlencode(query)}")
    if status != 200:
        return None
    series = json.loads(text)["data"]["result"]
    return sum(any(value != "NaN" for _, value in one["values"]) for one in series)


def expressions():
    """Title, legend and expression of each query of the dashboard."""
    dashboard = json.loads((OBSERVABILITY / "grafana/dashboards/auris.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], target["legendFormat"], expression


def scaler_expression():
    (rule,) = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("[2m]", "[10s]")
    return query.replace("<<.LabelMatchers>>", 'namespace="auris",pod=~"auris-0"')


def report(address, start):
    empty, panels = [], {}
    for title, legend, expression in expressions():
        found = ask(address, expression, start)
        panels.setdefault(title, []).append(found)
        if not found:
            empty.append(title)
        print(f"{'refused' if found is None else found:>8}  {title}  {legend}")
    full = sum(all(found) for found in panels.values())
    queries = sum(map(len, panels.values()))
    print(f"\n{full} of {len(panels)} panels have data, in {queries} queries")

    found = ask(address, scaler_expression(), start)
    print(f"the autoscaler's metric has {found} series")
    if not found:
        empty.append("the autoscaler's metric")
    groups = json.loads(get(f"http://{address}/api/v1/rules")[1])["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    well = [rule for rule in rules if rule["health"] == "ok"]
    states = ", ".join(f"{rule['name']} {rule['state']}" for rule in rules)
    print(f"{len(well)} of {len(rules)} alerts can be evaluated: {states}")
    if not rules or len(well) < len(rules):
        empty.append("alerts")
    return empty


def main(auris):
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fake = Path(auris).with_name("auris-fake-worker")
        crash = f"'{fake}' 'abort,chunk=0,prompt={CRASH}'"
        gpu = {"LD_LIBRARY_PATH": fake_driver(folder / "driver")}
        well = stack.enter_context(
            server(auris, folder / "well", "--cuda-program", crash, "--slots", "1", **gpu)
        )
        short = ["--slots", "1", "--max-queue-minutes", "0.2"]
        slow = f"'{fake}' 'abort,chunk=0,prompt={CRASH},speed=20'"
        sick = stack.enter_context(
            server(auris, folder / "sick", "--cpu-program", slow, "--no-gpu", *short)
        )
        address = stack.enter_context(prometheus(folder / "prometheus", [well, sick]))
        start = time.time()
        traffic(well, sick)
        time.sleep(2)  # the last scrapes
        empty = report(address, start)
    if empty:
        print(f"without data: {', '.join(dict.fromkeys(empty))}", file=sys.stderr)
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
