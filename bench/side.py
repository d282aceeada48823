"""One of the programs that are compared: what it writes, and what that costs."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median

import psutil

import server


@dataclass
class Turn:
    clips: list
    texts: list
    wall_seconds: float
    cpu_seconds: float
    """User and system, of the process and all its children."""

    def audio_seconds(self):
        return sum(clip.seconds for clip in self.clips)


@dataclass
class Side:
    name: str
    process: psutil.Process
    transcribe: Callable
    """Clips to their texts."""
    turns: list = field(default_factory=list)

    def turn(self, clips):
        cpu, start = server.family_cpu_seconds(self.process), time.monotonic()
        texts = self.transcribe(clips)
        wall = time.monotonic() - start
        self.turns.append(Turn(clips, texts, wall, server.family_cpu_seconds(self.process) - cpu))

    def speed(self):
        """Seconds of audio for each second."""
        return median(turn.audio_seconds() / turn.wall_seconds for turn in self.turns)

    def cpu_seconds_per_minute(self):
        return median(turn.cpu_seconds * 60 / turn.audio_seconds() for turn in self.turns)

    def peak_mib(self):
        """While the process lives."""
        return server.family_peak_bytes(self.process) / 2**20

    def results(self):
        """(clip, text) of all turns."""
        return [pair for turn in self.turns for pair in zip(turn.clips, turn.texts)]


def ask_server(url, clips, callers):
    """Posts the clips, as many at once as there are callers; their texts in order."""
    ask = lambda clip: server.transcribe(url, clip.path, model="whisper-1", language=clip.language)
    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(ask, clips))
