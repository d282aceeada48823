"""What the tests share: docker and compose, a running stack, requests to it.

Everything here runs where `docker` is, by `tests/containers/engine run`, with the standard library
and pytest alone.
"""

import contextlib
import http.client
import json
import os
import subprocess
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
# In the containers, by fixtures.yaml.
DEMO = "/fixtures/ggml-demo.bin"
SAMPLE = REPOSITORY / "tests/fixtures/eval/00.flac"
SAMPLE_TEXT = "How is the weather in Boston tomorrow?"
CPU, CUDA = "auris:cpu", "auris:cuda"
RUST = "rust:1.95-slim-trixie"
# The image with the engine for tests in place of `auris-worker-cuda`; see Dockerfile.double.
DOUBLE = "auris:cuda-double"
SERVICES = {"cpu": "auris", "gpu": "auris-gpu"}
PROJECT = "auris-test"
PORT = 18000
# What a person gets to see, for the documents; the driver prints it at the end.
MESSAGES: list[tuple[str, str]] = []


def run(*command, check=True, env=None, cwd=REPOSITORY, **options):
    """A command's result, with what it said on both channels in `stdout`."""
    environment = {**os.environ, **(env or {})}
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=options.pop("timeout", 300),
        **options,
    )
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {result.returncode}:\n{result.stdout}")
    return result


def docker(*words, **options):
    return run("docker", *words, **options)


def inspect(name, form):
    return docker("inspect", "--format", form, name).stdout.strip()


def is_there(name):
    return docker("image", "inspect", name, check=False).returncode == 0


def image(name):
    return json.loads(docker("image", "inspect", name).stdout)[0]


def until(what, condition, seconds=120):
    """Waits for what another process does; the condition is asked again, not slept for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := condition()) is not None and found is not False:
            return found
        time.sleep(0.1)
    raise AssertionError(f"after {seconds} s still not: {what}")


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read().decode()

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:500]}"


def get(path):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return Answer(connection.getresponse())


def transcribe(audio=SAMPLE, **fields):
    return post_file("/v1/audio/transcriptions", audio, **fields)


def post_file(path, audio, **fields):
    """Sends a file, or bytes of one, as a form."""
    boundary = uuid.uuid4().hex
    content = audio if isinstance(audio, bytes) else Path(audio).read_bytes()
    body = b""
    for name, value in fields.items():
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    body += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
    body += content + f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=300)
    with contextlib.closing(connection):
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        connection.request("POST", path, body, headers)
        return Answer(connection.getresponse())


class Stack:
    """compose.yaml with one profile, on a port of its own, with the small model of the tests."""

    def __init__(self, profile, *override, **env):
        self.profile, self.service = profile, SERVICES[profile]
        self.files = [REPOSITORY / "compose.yaml", HERE / "fixtures.yaml", *override]
        self.env = {"AURIS_PORT": str(PORT), "AURIS_MODELS": DEMO, "AURIS_OFFLINE": "true", **env}

    def compose(self, *words, **options):
        files = [word for file in self.files for word in ("--file", file)]
        command = ["docker", "compose", "--project-name", PROJECT, "--project-directory", REPOSITORY]
        return run(*command, *files, "--profile", self.profile, *words, env=self.env, **options)

    def up(self, **options):
        return self.compose("up", "--detach", "--no-build", **options)

    def down(self):
        self.compose("down", "--volumes", "--timeout", "20", "--remove-orphans")

    @property
    def container(self):
        return self.compose("ps", "--all", "--quiet", self.service).stdout.strip()

    def until_healthy(self):
        def healthy():
            state = inspect(self.container, "{{.State.Status}} {{.State.Health.Status}}")
            assert state in ("running starting", "running healthy"), f"{state}\n{self.log()}"
            return state == "running healthy"

        until("healthy", healthy, seconds=180)

    def log(self):
        return docker("logs", self.container, check=False).stdout

    def exec(self, *command, **options):
        return docker("exec", self.container, *command, **options)

    def known_as_auris(self):
        """What a container beside it hears from http://auris:8000."""
        beside = ["run", "--rm", "--network", f"{PROJECT}_default", "--entrypoint"]
        address = docker(*beside, "getent", CPU, "hosts", "auris").stdout.split()[0]
        return docker(*beside, "auris", CPU, "healthcheck", "--listen", f"{address}:8000").stdout

    def workers(self):
        """Process ids of the workers, within the container."""
        found = self.exec("sh", "-c", "grep -lsz '^worker$' /proc/[0-9]*/cmdline || true").stdout
        return [int(path.split("/")[2]) for path in found.split()]

    def __enter__(self):
        self.down()
        self.up()
        self.until_healthy()
        return self

    def __exit__(self, *_):
        self.down()


def tell(case, said):
    """Keeps a message that a person sees for the table of the documents."""
    MESSAGES.append((case, said.strip()))


def write(folder, name, text):
    path = Path(folder) / name
    path.write_text(text)
    return path
