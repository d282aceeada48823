"""`docker compose --profile gpu up` with an engine that believes in a GPU, and a driver that is well
or fails on command. What runs on a real GPU is tests/gpu's business."""

import os
import re

import pytest
from stack import (
    CUDA,
    DEMO,
    DOUBLE,
    SAMPLE_TEXT,
    SERVICES,
    Stack,
    get,
    inspect,
    tell,
    transcribe,
    until,
    write,
)

# What the driver does, what the header says of it, and a word of the explanation.
FAULTS = [
    ("35", "driver-too-old", "too old"),
    ("100", "no-device", "sees no GPU"),
    ("999", "driver-unavailable", "cannot start its GPUs"),
    ("hang", "init-hangs", "does not answer"),
    ("abort", "init-aborts", "ends the process"),
]

# What auris-worker-cuda is built for, first of all, as `check` has it.
CAPABILITY = re.match(r"\d+", os.environ.get("CUDA_ARCHITECTURES", "75-real"))[0]
# The version of a driver that is newer than any CUDA.
NEWER = 99000


def check_fallback(cause, words):
    """The service is ready on the CPU, and says everywhere why it is not on a GPU."""
    answer = transcribe()
    assert (answer.status, answer.json()["text"]) == (200, SAMPLE_TEXT), answer
    assert (answer.headers["x-device"], answer.headers["x-fallback-reason"]) == ("cpu", cause), answer
    (unused,) = get("/v1/devices").json()["unused"]
    assert unused["cause"] == cause and words in unused["reason"], unused
    return unused["reason"]


@pytest.mark.parametrize(("fault", "cause", "words"), FAULTS)
@pytest.mark.parametrize("image", [CUDA, DOUBLE])
def test_a_driver_that_fails_leaves_the_cpu(fake_driver, image, fault, cause, words):
    with Stack("gpu", fake_driver(image, CUDA_FAKE_INIT=fault)) as stack:
        tell(f"{image}, cuInit: {fault}", f"{cause}: {check_fallback(cause, words)}")
        doctor = stack.exec("auris", "doctor", "--models", DEMO, check=False)
        assert doctor.returncode == 20 and words in doctor.stdout, doctor


@pytest.mark.parametrize("image", [CUDA, DOUBLE])
def test_without_a_driver_the_gpu_service_runs_on_the_cpu(tmp_path, image):
    """As with NVIDIA's toolkit on a machine whose driver is gone."""
    override = write(tmp_path, "image.yaml", f"services:\n  auris-gpu:\n    image: {image}\n")
    with Stack("gpu", override) as stack:
        tell("no libcuda in the container", f"no-driver: {check_fallback('no-driver', 'no NVIDIA driver is found')}")
        assert inspect(stack.container, "{{(index .HostConfig.DeviceRequests 0).Driver}}") == "nvidia"


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("cause", "words", "version", "capability"),
    [
        ("driver-too-old", "CUDA 11.8", 11080, CAPABILITY),
        ("no-kernel", "Fake GPU 0 has 6.1", NEWER, 61),
        # It passes for a good one, until the CUDA runtime finds the rest of it missing.
        ("driver-error", "the driver lists GPUs, and the engine none", NEWER, CAPABILITY),
    ],
)
def test_the_real_gpu_worker_does_not_trust_a_driver_that_only_says_it_is_well(
    fake_driver, cause, words, version, capability
):
    driver = {"CUDA_FAKE_INIT": 0, "CUDA_FAKE_VERSION": version, "CUDA_FAKE_CAPABILITY": capability}
    with Stack("gpu", fake_driver(CUDA, **driver)):
        tell(f"{CUDA}, cuInit: 0", f"{cause}: {check_fallback(cause, words)}")


def test_a_driver_that_is_well_puts_the_work_on_the_gpu(fake_driver):
    with Stack("gpu", fake_driver(DOUBLE, CUDA_FAKE_INIT="0")):
        until("the GPU is ready", lambda: "ready" in [m["state"] for m in device("cuda:0")["models"]])
        answer = transcribe()
        assert (answer.status, answer.headers["x-device"]) == (200, "cuda:0"), answer
        assert "x-fallback-reason" not in answer.headers


def device(name):
    return next((one for one in get("/v1/devices").json()["devices"] if one["id"] == name), {"models": []})


def test_one_profile_takes_the_place_of_the_other(fake_driver):
    """With the same port, the same volumes, and the same name for other containers."""
    override = fake_driver(DOUBLE, CUDA_FAKE_INIT="0")
    with Stack("cpu") as cpu:
        # Both at once cannot be: they have one port.
        gpu = Stack("gpu", override)
        said = gpu.up(check=False)
        tell("the other profile is started while one runs", said.stdout)
        assert said.returncode != 0 and "port is already allocated" in said.stdout, said
        gpu.compose("rm", "--stop", "--force", SERVICES["gpu"])
        assert transcribe().headers["x-device"] == "cpu"
        cpu.compose("stop")
        gpu.up()
        gpu.until_healthy()
        until("the GPU is ready", lambda: "ready" in [m["state"] for m in device("cuda:0")["models"]])
        assert transcribe().headers["x-device"] == "cuda:0"
        assert gpu.known_as_auris().startswith("200")
        gpu.compose("stop")
        cpu.up()
        cpu.until_healthy()
        assert transcribe().headers["x-device"] == "cpu"
