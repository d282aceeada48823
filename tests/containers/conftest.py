"""The order and the end of a run: sizes and messages are printed for whoever keeps the documents."""

import os
import shutil
import subprocess

import pytest
import stack


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter):
    for case, said in stack.MESSAGES:
        terminalreporter.write_line(f"\n{case}:")
        terminalreporter.write_line("\n".join(f"    {line}" for line in said.splitlines()))


def pytest_collection_modifyitems(items):
    """`check --no-cuda` has built no image for CUDA: what is about it is left out, and told."""
    left_out = pytest.mark.skip(reason=f"{stack.CUDA} is not built")
    if not stack.is_there(stack.CUDA):
        for item in items:
            about = getattr(item, "callspec", None)
            if item.get_closest_marker("cuda") or (about and stack.CUDA in about.params.values()):
                item.add_marker(left_out)


def pytest_configure(config):
    config.addinivalue_line("markers", "cuda: about the image for CUDA itself")


@pytest.fixture(scope="session")
def fake_driver(tmp_path_factory):
    """compose.override with NVIDIA's libcuda replaced by one that does what its variables say."""
    folder = stack.REPOSITORY / "target/containers/fake-driver"
    folder.mkdir(parents=True, exist_ok=True)
    stack.docker(
        "run",
        "--rm",
        "--volume",
        f"{stack.REPOSITORY}/tests/fixtures:/fixtures:ro",
        "--volume",
        f"{folder}:/out",
        stack.RUST,
        "cc",
        "-shared",
        "-fPIC",
        "-o",
        "/out/libcuda.so.1",
        "/fixtures/fake_libcuda.c",
    )
    library = folder / "libcuda.so.1"

    def override(image, **env):
        lines = "".join(f'      {name}: "{value}"\n' for name, value in env.items())
        text = (
            f"services:\n  auris-gpu:\n    image: {image}\n    volumes:\n"
            f"      - {library}:/usr/lib/x86_64-linux-gnu/libcuda.so.1:ro\n"
            f"    environment:\n      AURIS_PROBE_SECONDS: 2\n{lines}"
        )
        return stack.write(tmp_path_factory.mktemp("compose"), "driver.yaml", text)

    return override


@pytest.fixture
def engine_without_toolkit(tmp_path):
    """The address of another engine, whose PATH has no NVIDIA toolkit, with an empty auris:cuda."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("a second engine takes root and dockerd")
    address = f"unix://{tmp_path}/docker.sock"
    # In a network of its own: it would take the first engine's bridge away.
    options = ["--host", address, "--bridge", "none", "--iptables=false", "--pidfile", tmp_path / "pid"]
    folders = ["--data-root", tmp_path / "data", "--exec-root", tmp_path / "run"]
    with open(tmp_path / "log", "w") as log:
        within = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec dockerd "$@"', "sh"]
        engine = subprocess.Popen(
            [*within, *options, *folders], stdout=log, stderr=log, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        )
    with engine:
        there = {"DOCKER_HOST": address}
        stack.until("the second engine runs", lambda: stack.docker("info", check=False, env=there).returncode == 0)
        (tmp_path / "root").mkdir()
        (tmp_path / "root/auris").write_text("")
        archive = ["tar", "--create", "--directory", tmp_path / "root", "."]
        tar = subprocess.run(archive, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(
            ["docker", "--host", address, "import", "--change", 'CMD ["/auris"]', "-", stack.CUDA],
            input=tar,
            check=True,
        )
        yield there
        engine.terminate()
