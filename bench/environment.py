"""Runs a measuring tool in its own virtual environment, target/bench-venv.

The environment is made at the first run, and again whenever requirements.txt changes.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "bench-venv"
# The small model of the tests.
DEMO = ROOT / "tests/fixtures/models/ggml-demo.bin"


def enter():
    """Returns inside the environment; else starts the running script again in it."""
    if Path(sys.prefix).resolve() == VENV.resolve():
        return
    python = VENV / "bin" / "python"
    wanted = (ROOT / "bench" / "requirements.txt").read_text()
    stamp = VENV / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        requirements = ROOT / "bench" / "requirements.txt"
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-r", requirements], check=True)
        stamp.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])
