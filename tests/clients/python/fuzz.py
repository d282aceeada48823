"""Sends what openapi.json allows, and what it does not, to a server on the fake engine.

schemathesis makes the requests and checks every answer; schemathesis.toml says how.
"""

import os
import subprocess
import sys
from pathlib import Path

from server import Server

HERE = Path(__file__).resolve().parent


def main():
    options = "--webhook-allow-private", "--webhook-secret", "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
    with Server(*options, engine="fake:none") as server:
        command = [Path(sys.prefix) / "bin" / "schemathesis"]
        command += ["--config-file", HERE.parent / "schemathesis.toml"]
        command += ["run", f"{server.url}/openapi.json", *sys.argv[1:]]
        paths = {"FUZZ_HOOKS": str(HERE / "fuzz_hooks.py"), "PYTHONPATH": str(HERE)}
        status = subprocess.run(
            command, cwd=server.folder.name, env={**os.environ, **paths}
        ).returncode
        errors = [
            line for line in server.log().splitlines() if " ERROR " in line or "panicked" in line
        ]
    if errors:
        print("the server logged errors:", *errors[:20], sep="\n")
    sys.exit(status or bool(errors))


if __name__ == "__main__":
    main()
