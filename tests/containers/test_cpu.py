"""`docker compose up` on the CPU: what it may do, and what a transcript survives."""

import io
import subprocess
import threading
import wave

import pytest
from stack import (
    REPOSITORY,
    SAMPLE,
    SAMPLE_TEXT,
    Stack,
    docker,
    get,
    inspect,
    post_file,
    transcribe,
    until,
)

# The server takes about 20 MB, a worker of the demo model with one slot 65 MB.
ROOMY, TIGHT, FILL_MB = "110m", "48m", 60


@pytest.fixture(scope="module")
def stack():
    with Stack("cpu") as stack:
        yield stack


@pytest.fixture(scope="module")
def speech():
    """A few minutes of the evaluation's sentences as a WAV file."""
    decode = ["flac", "--decode", "--silent", "--stdout", "--force-raw-format", "--endian=little", "--sign=signed"]
    clips = [REPOSITORY / f"tests/fixtures/eval/{number:02}.flac" for number in range(24)]
    file = io.BytesIO()
    with wave.open(file, "wb") as joined:
        joined.setparams((1, 2, 16000, 0, "NONE", ""))
        for clip in clips + clips:
            joined.writeframes(subprocess.run([*decode, clip], stdout=subprocess.PIPE, check=True).stdout)
    return file.getvalue()


@pytest.fixture(scope="module")
def text(stack, speech):
    """What an undisturbed server makes of it."""
    return transcribe(speech, model="demo", language="en").json()["text"]


class Request(threading.Thread):
    """A request that runs while something else is done to the server."""

    def __init__(self, audio):
        super().__init__()
        self.audio, self.answer = audio, None
        self.start()
        until("a chunk runs", lambda: get("/v1/devices").json()["devices"][0]["busy_slots"] > 0)

    def run(self):
        self.answer = transcribe(self.audio, model="demo", language="en")

    def wait(self):
        self.join(timeout=280)
        assert self.answer, "no answer came"
        return self.answer


def test_the_sample_is_transcribed(stack):
    answer = transcribe()
    assert (answer.status, answer.json()["text"]) == (200, SAMPLE_TEXT), answer
    assert answer.headers["x-device"] == "cpu"


def test_health_is_the_program_s_own_word(stack):
    assert inspect(stack.container, "{{.State.Health.Status}}") == "healthy"
    assert stack.exec("auris", "healthcheck", "--ready").stdout.startswith("200")


def test_it_is_a_user_without_capabilities(stack):
    status = stack.exec("cat", "/proc/self/status").stdout
    values = dict(line.split(":", 1) for line in status.splitlines())
    assert values["Uid"].split() == ["10001"] * 4
    assert int(values["CapEff"], 16) == int(values["CapBnd"], 16) == 0
    assert values["NoNewPrivs"].strip() == "1"


@pytest.mark.parametrize("folder", ["/usr/local/bin", "/etc", "/"])
def test_the_root_is_read_only(stack, folder):
    result = stack.exec("touch", f"{folder}/x", check=False)
    assert "Read-only file system" in result.stdout, result
    # Not even for root.
    result = docker("exec", "--user", "0", stack.container, "touch", f"{folder}/x", check=False)
    assert "Read-only file system" in result.stdout, result


def test_models_jobs_and_uploads_have_their_places(stack):
    for folder in ("/models", "/data", "/tmp"):
        stack.exec("sh", "-c", f"touch {folder}/x && rm {folder}/x")
    stack.exec("test", "-d", "/data/jobs")


def test_other_containers_know_it_as_auris(stack):
    assert stack.known_as_auris().startswith("200")


def test_a_killed_worker_costs_no_transcript(stack, speech, text):
    request = Request(speech)
    stack.exec("sh", "-c", f"kill -9 {' '.join(map(str, stack.workers()))}")
    answer = request.wait()
    assert (answer.status, answer.json().get("text")) == (200, text), answer
    assert answer.headers["x-fallback-reason"], answer
    assert inspect(stack.container, "{{.RestartCount}} {{.State.Running}}") == "0 true"


def test_jobs_survive_a_new_container(stack):
    job = post_file("/v1/jobs", SAMPLE).json()["id"]
    until("the job is done", lambda: get(f"/v1/jobs/{job}").json()["state"] == "finished")
    stack.compose("up", "--detach", "--no-build", "--force-recreate")
    stack.until_healthy()
    assert get(f"/v1/jobs/{job}/transcript").json()["text"] == SAMPLE_TEXT


def test_sigterm_waits_for_the_answer(speech, text):
    with Stack("cpu") as stack:
        request = Request(speech)
        stack.compose("stop")
        answer = request.wait()
        assert (answer.status, answer.json().get("text")) == (200, text), answer
        assert inspect(stack.container, "{{.State.Status}} {{.State.ExitCode}}") == "exited 0"


def oom_kills(stack):
    """How many processes the memory limit has killed: cgroup version 2, or 1."""
    files = "/sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control"
    words = stack.exec("sh", "-c", f"cat {files} 2>/dev/null; true").stdout.split()
    return int(words[words.index("oom_kill") + 1])


def test_the_memory_limit_kills_a_worker_and_costs_no_transcript(speech, text):
    with Stack("cpu", AURIS_MEMORY=ROOMY, AURIS_SLOTS="1", AURIS_THREADS="1") as stack:
        (worker,) = stack.workers()
        request = Request(speech)
        # /tmp counts as the container's memory, and what is killed is the process with the most.
        fill = ["dd", "if=/dev/zero", "of=/tmp/fill", "bs=1M", f"count={FILL_MB}"]
        stack.exec(*fill, check=False)
        until("the worker is killed", lambda: oom_kills(stack) > 0 and worker not in stack.workers())
        stack.exec("rm", "-f", "/tmp/fill")
        answer = request.wait()
        assert (answer.status, answer.json().get("text")) == (200, text), answer
        assert answer.headers["x-fallback-reason"], answer
        assert inspect(stack.container, "{{.RestartCount}} {{.State.Running}}") == "0 true"


def test_too_little_memory_for_the_model_is_said_and_the_server_lives():
    stack = Stack("cpu", AURIS_MEMORY=TIGHT, AURIS_SLOTS="1", AURIS_THREADS="1")
    stack.down()
    try:
        stack.up()
        until("it listens", lambda: "listening" in stack.log())
        # Not asked within the container, whose memory has no room for another process.
        until("a worker is killed", lambda: "killed" in stack.log())
        answer = transcribe()
        assert answer.status == 503, answer
        assert answer.json()["error"]["code"] == "model_unavailable" and answer.headers["retry-after"]
        assert get("/healthz").status == 200
        assert get("/readyz").status == 503
        assert inspect(stack.container, "{{.RestartCount}} {{.State.Running}}") == "0 true"
    finally:
        stack.down()
