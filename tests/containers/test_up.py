"""./up: what it sees, which profile it takes, and why."""

import os
from pathlib import Path

import pytest
from stack import CPU, DOUBLE, PORT, REPOSITORY, docker, get, run, tell, transcribe, write

# In a project of its own, so that a stack of somebody's is not touched.
ENV = {"COMPOSE_PROJECT_NAME": "auris-test", "AURIS_PORT": str(PORT), "AURIS_MODELS": "base-q8_0", "AURIS_OFFLINE": "true"}


@pytest.fixture(autouse=True)
def nothing_runs():
    yield
    for profile in ("cpu", "gpu"):
        run("docker", "compose", "--profile", profile, "down", "--volumes", "--timeout", "5", env=ENV)


def up(*words, env=(), **options):
    return run("./up", *words, env={**ENV, **dict(env)}, **options)


def with_gpu(folder, image=DOUBLE, smi="echo 'GPU 0: Fake GPU 0 (UUID: GPU-fa)'"):
    """An environment in which the machine seems to have a GPU, and the gpu service is a double."""
    tool = write(folder, "nvidia-smi", f"#!/bin/sh\n{smi}\n")
    tool.chmod(0o755)
    override = write(folder, "double.yaml", f"services:\n  auris-gpu:\n    image: {image}\n")
    files = f"{REPOSITORY}/compose.yaml:{override}"
    # The stub of the toolkit is where the engine of these tests finds it, too.
    path = f"{folder}:{Path(__file__).parent}/toolkit:{os.environ['PATH']}"
    return {"PATH": path, "COMPOSE_FILE": files}


def test_without_a_gpu_it_takes_the_cpu_and_waits_until_it_is_ready():
    said = up().stdout
    tell("./up on a machine without a GPU", said)
    assert "PASS  gpu             none with an NVIDIA driver" in said and "PASS  profile         cpu" in said
    assert f"PASS  ready           http://127.0.0.1:{PORT}" in said
    assert transcribe().headers["x-device"] == "cpu"
    # Again: the port is its own.
    assert f"{PORT} is that of the running auris" in up("--cpu").stdout


def test_it_opens_to_others_only_with_keys_or_if_someone_insists():
    said = up("--cpu", env={"AURIS_BIND": "0.0.0.0"}, check=False)
    tell("./up for others, without keys", said.stdout)
    assert said.returncode == 1 and "FAIL  access          AURIS_BIND=0.0.0.0" in said.stdout
    env = {"AURIS_BIND": "0.0.0.0", "AURIS_API_KEYS": "ann:hush-hush"}
    assert "PASS  access          0.0.0.0, with keys" in up("--cpu", env=env).stdout


def test_with_a_gpu_it_takes_the_place_of_the_cpu_s(tmp_path):
    up("--cpu")
    said = up(env=with_gpu(tmp_path)).stdout
    tell("./up with a GPU, while the CPU's runs", said)
    assert "PASS  profile         gpu" in said and "auris is stopped first" in said
    assert get("/readyz").status == 200
    names = docker("ps", "--format", "{{.Names}}").stdout.split()
    assert names == ["auris-test-auris-gpu-1"]


def test_a_gpu_without_a_toolkit_is_said_and_the_cpu_is_taken(tmp_path):
    env = with_gpu(tmp_path)
    env["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    said = up(env=env).stdout
    tell("./up with a GPU, and Docker has no toolkit", said.split("PASS  port")[0])
    assert "WARN  nvidia-toolkit" in said and "nvidia-ctk runtime configure" in said
    assert "PASS  profile         cpu" in said


def test_a_gpu_that_is_asked_for_and_missing_is_a_failure():
    result = up("--gpu", check=False)
    tell("./up --gpu without a GPU", result.stdout)
    assert result.returncode == 1 and "FAIL  gpu" in result.stdout and "./up --cpu" in result.stdout
    assert not docker("ps", "--quiet").stdout


def test_a_port_in_use_is_found_before_anything_is_started():
    docker("run", "--detach", "--rm", "--name", "auris-test-other", "--publish", f"127.0.0.1:{PORT}:8000",
           "--env", "AURIS_INSECURE_NO_KEYS=true", CPU, "serve", "--models", "base-q8_0")  # fmt: skip
    try:
        result = up("--cpu", check=False)
        tell("./up, and the port is in use", result.stdout)
        assert result.returncode == 1 and "FAIL  port" in result.stdout and "AURIS_PORT=8001" in result.stdout
    finally:
        docker("kill", "auris-test-other")


def test_a_server_that_does_not_start_ends_the_wait_with_its_words():
    result = up("--cpu", env={"AURIS_SLOTS": "many"}, check=False)
    tell("./up, and the server does not start", result.stdout[result.stdout.index("error:") :])
    assert result.returncode == 1 and "invalid value 'many'" in result.stdout and "FAIL  ready" in result.stdout


def test_without_an_engine_it_says_how_to_start_one():
    result = up(env={"DOCKER_HOST": "unix:///nowhere.sock"}, check=False)
    tell("./up, and no engine runs", result.stdout)
    assert result.returncode == 1 and "FAIL  docker" in result.stdout and "systemctl start docker" in result.stdout
