"""The images themselves: size, configuration, user, and the processors that they run on."""

import json
import re
import subprocess

import pytest
from stack import CPU, CUDA, REPOSITORY, docker, image, run, tell

MODEL_BYTES = (REPOSITORY / "models/ggml-base-q8_0.bin").stat().st_size


@pytest.mark.parametrize(("name", "most_mb"), [(CPU, 150), (CUDA, 2000)])
def test_the_image_is_small(name, most_mb):
    size = (image(name)["Size"] - MODEL_BYTES) / 1e6
    tell(f"size of {name} without models", f"{size:.0f} MB, at most {most_mb} MB are allowed")
    assert size < most_mb


@pytest.mark.parametrize("name", [CPU, CUDA])
def test_the_label_tells_the_program_s_version(name):
    version = docker("run", "--rm", name, "--version").stdout.split()[-1]
    labels = image(name)["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.base.name"].startswith("debian:trixie-slim")


@pytest.mark.parametrize("name", [CPU, CUDA])
def test_the_image_lists_what_it_is_made_of(name):
    said = docker("run", "--rm", "--entrypoint", "cat", name, "/usr/local/share/doc/auris/auris.cdx.json").stdout
    names = {component["name"] for component in json.loads(said)["components"]}
    assert {"auris", "axum", "whisper-rs-sys"} <= names


@pytest.mark.cuda
def test_both_images_are_configured_alike():
    cpu, cuda = (image(name)["Config"] for name in (CPU, CUDA))
    nvidia = [entry for entry in cuda["Env"] if entry.startswith("NVIDIA_")]
    assert sorted(cpu["Env"]) == sorted(set(cuda["Env"]) - set(nvidia))
    assert len(nvidia) == 2
    for key in ("User", "ExposedPorts", "Volumes", "Entrypoint", "Cmd", "Healthcheck", "StopSignal"):
        assert cpu[key] == cuda[key] and cpu[key], key


@pytest.mark.parametrize("name", [CPU, CUDA])
def test_nobody_in_it_is_root(name):
    said = docker("run", "--rm", "--entrypoint", "id", name).stdout
    assert "uid=10001(auris) gid=10001(auris)" in said
    owners = docker("run", "--rm", "--entrypoint", "stat", name, "--format=%U", "/models", "/data").stdout
    assert owners.split() == ["auris", "auris"]


@pytest.mark.cuda
def test_no_program_needs_a_gpu_to_start():
    for program in ("auris", "auris-worker", "auris-worker-cuda"):
        said = docker("run", "--rm", "--entrypoint", program, CUDA, "--version").stdout
        name = program.removesuffix("-cuda")
        assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\s*", said), said


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The CPU image's program and its libraries, as a tree that an emulator can run in."""
    root = tmp_path_factory.mktemp("image")
    container = docker("create", CPU).stdout.strip()
    with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
        subprocess.run(["tar", "--extract", "--directory", root, "usr"], stdin=export.stdout, check=True)
    docker("rm", container)
    (root / "lib64").symlink_to("usr/lib64")
    (root / "lib").symlink_to("usr/lib")
    return root


def emulated(processor, program, *arguments, name="auris"):
    return ["qemu-x86_64", "-cpu", processor, "-L", str(program), str(program / "usr/local/bin" / name), *arguments]


def test_an_old_processor_gets_a_message_instead_of_sigill(program):
    # Nehalem, of 2008, has SSE4.2 and no AVX. The server asks the worker program by this.
    worker = emulated("Nehalem", program, "--check-cpu", name="auris-worker")
    report = json.loads(run(*worker).stdout)
    assert report["missing_instructions"] == ["AVX", "AVX2", "FMA", "F16C", "BMI2"], report
    result = run(*emulated("Nehalem", program, name="auris-worker"), check=False)
    tell("a CPU without AVX2", result.stdout)
    assert result.returncode == 1 and "this CPU lacks AVX" in result.stdout, result
    # What needs no engine works there, too.
    run(*emulated("Nehalem", program, "models", "list"))


def test_it_has_no_instruction_of_avx_512(program):
    """Neither ggml nor a library that chooses at run time: x86-64-v3 has neither zmm registers nor
    masks."""
    auris = program / "usr/local/bin/auris"
    code = run("objdump", "--disassemble", "--no-show-raw-insn", auris).stdout
    assert "%ymm" in code, "this is not what ggml was meant to be compiled for"
    assert not re.search(r"%zmm|\{%k[1-7]\}", code)
