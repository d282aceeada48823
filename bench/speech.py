"""Recordings of human speech and noise with what is said in them.

A folder holds `truth.json`, a list with a row for each file: `file`, `language`, `text` (null where
there is no transcript, empty where nobody speaks), `seconds` and `kind`. `word_times.json`, beside
it or among the fixtures, has the times of words for some of the files.
"""

import json
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from environment import ROOT

FIXTURES = ROOT / "tests" / "fixtures" / "speech"
WORD_TIMES = "word_times.json"


@dataclass(eq=False)
class Clip:
    file: str
    path: Path
    language: str
    text: str | None
    seconds: float
    kind: str
    times: list = field(default_factory=list)
    """(word, start, end) of words whose times are known, in seconds."""

    def is_silent(self):
        """Whether nobody speaks."""
        return self.text == ""

    def is_scored(self):
        """Whether its transcript is known, in one language."""
        return bool(self.text) and self.kind not in ("multilingual", "two at once")

    def has_language(self):
        """Whether people speak in one language that is known."""
        return self.language not in ("zxx", "und") and self.kind != "multilingual"


def load(folder, pattern="*"):
    """The clips of a folder whose names match."""
    folder = Path(folder).resolve()
    times = {}
    for file in (FIXTURES / WORD_TIMES, folder / WORD_TIMES):
        if file.exists():
            times |= json.loads(file.read_text(encoding="utf-8"))["files"]
    clips = []
    for row in json.loads((folder / "truth.json").read_text(encoding="utf-8")):
        name = row["file"]
        if not fnmatch(name, pattern):
            continue
        # A fixture has another name than in the collection that it is from.
        timed = times.get(row.get("word_times", name), [])
        clip = Clip(name, folder / name, row["language"], row["text"], row["seconds"], kind(row), timed)
        clips.append(clip)
    if not clips:
        raise SystemExit(f"{folder}/truth.json has no file that matches {pattern!r}")
    return clips


def kind(row):
    """As the row has it, but for what no error rate makes sense of."""
    if row["file"].startswith("multilingual/"):
        return "multilingual"
    names = [speaker["name"] for speaker in row.get("speakers") or []]
    return "two at once" if any("channel" in name for name in names) else row["kind"]
