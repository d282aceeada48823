"""The Python in README.md works as it stands."""

import re
import subprocess
import sys

import pytest

from audio import TEXT
from server import ROOT

EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


def test_there_is_an_example():
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_prints_the_text(demo, example):
    example = example.replace("http://127.0.0.1:8000", demo.url)
    result = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert TEXT in result.stdout
