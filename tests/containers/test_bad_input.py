"""What a person sees who has something wrong; the messages are told at the end, for the documents."""

import pytest
from stack import CPU, PORT, PROJECT, REPOSITORY, Stack, docker, inspect, run, tell, transcribe, until, write


@pytest.fixture(autouse=True)
def nothing_runs():
    yield
    for profile in ("cpu", "gpu"):
        Stack(profile).down()


def last_words(stack):
    """The log of a server that has ended; compose has it started again and again."""
    until("it ends", lambda: inspect(stack.container, "{{.RestartCount}}") != "0")
    return next(line for line in stack.log().splitlines() if "error" in line.lower())


def goes_on(stack):
    """What a server says that does a missing model's work by the bundled one."""
    stack.up()
    stack.until_healthy()
    answer = transcribe(model="tiny")
    assert (answer.status, answer.headers["x-model"]) == (200, "base-q8_0"), answer
    assert answer.headers["x-fallback-reason"] == "model-not-available", answer
    return next(line for line in stack.log().splitlines() if "the bundled model goes on" in line)


def test_a_missing_volume_for_models(tmp_path):
    text = "volumes:\n  models:\n    external: true\n    name: auris-test-nowhere\n"
    result = Stack("cpu", write(tmp_path, "volume.yaml", text)).up(check=False)
    tell("the models volume is external and missing", result.stdout)
    assert result.returncode != 0 and "auris-test-nowhere" in result.stdout


def test_a_models_volume_that_cannot_be_written(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir(mode=0o755)
    override = write(tmp_path, "volume.yaml", f"services:\n  auris:\n    volumes: ['{folder}:/models']\n")
    stack = Stack("cpu", override, AURIS_MODELS="tiny", AURIS_OFFLINE="false")
    said = goes_on(stack)
    tell("the models volume belongs to root, and a model is to be downloaded", said)
    assert "/models" in said


def test_no_models_and_no_network():
    said = goes_on(Stack("cpu", AURIS_MODELS="tiny"))
    tell("AURIS_OFFLINE=true, and the model is not in the volume", said)
    assert "tiny" in said and "/models" in said


def test_a_data_volume_that_cannot_be_written(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    override = write(tmp_path, "volume.yaml", f"services:\n  auris:\n    volumes: ['{folder}:/data']\n")
    stack = Stack("cpu", override)
    stack.up()
    said = last_words(stack)
    tell("the data volume belongs to root", said)
    assert "/data" in said


def test_a_port_in_use():
    docker(
        "run",
        "--detach",
        "--rm",
        "--name",
        "auris-test-other",
        "--publish",
        f"127.0.0.1:{PORT}:8000",
        "--env",
        "AURIS_INSECURE_NO_KEYS=true",
        CPU,
        "serve",
        "--models",
        "base-q8_0",
    )
    try:
        result = Stack("cpu").up(check=False)
        tell("the port is in use", result.stdout)
        assert result.returncode != 0 and "port is already allocated" in result.stdout
    finally:
        docker("kill", "auris-test-other")


def test_a_wrong_profile():
    stack = Stack("cpu")
    stack.profile = "gpus"
    result = stack.up(check=False)
    tell("docker compose --profile gpus up", result.stdout)
    assert result.returncode != 0 and "no service selected" in result.stdout


def test_without_dot_env(tmp_path):
    for name in ("compose.yaml", "Dockerfile.cpu", "Dockerfile.cuda"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    result = run("docker", "compose", "--project-name", PROJECT, "up", check=False, cwd=tmp_path)
    tell(".env is missing", result.stdout)
    assert result.returncode != 0 and "no service selected" in result.stdout
    # The profile can be named instead.
    run("docker", "compose", "--profile", "cpu", "config", cwd=tmp_path)


def test_dot_env_starts_the_cpu():
    services = run("docker", "compose", "config", "--services").stdout.split()
    assert services == ["auris"]


def test_a_wrong_setting():
    stack = Stack("cpu", AURIS_SLOTS="many")
    stack.up()
    said = last_words(stack)
    tell("AURIS_SLOTS=many", said)
    assert "many" in said and "--slots" in said


def test_without_nvidia_s_toolkit(engine_without_toolkit):
    stack = Stack("gpu", **engine_without_toolkit)
    result = stack.up(check=False)
    stack.down()
    tell("the gpu profile, and Docker has no NVIDIA toolkit", result.stdout)
    assert result.returncode != 0 and "could not select device driver" in result.stdout
