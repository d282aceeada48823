"""What peers make of clips, kept in a file: they are slow, and answer the same each time."""

import hashlib
import json
import os
from pathlib import Path

import convert
from peer import Peer, call

FASTER_WHISPER, WHISPER_CPP = "peer_faster_whisper.py", "peer_whisper_cpp.py"
# Title -> program and variant. The first is the reference.
PEERS = {
    "faster-whisper, float32, beam 5": (FASTER_WHISPER, "float32 defaults"),
    "faster-whisper, int8, beam 5": (FASTER_WHISPER, "int8 defaults"),
    "faster-whisper, int8, batched": (FASTER_WHISPER, "int8 batched"),
    "pywhispercpp": (WHISPER_CPP, "default"),
}
REFERENCE = next(iter(PEERS))


class PeerResults:
    def __init__(self, cache, model, threads):
        self.file, self.model, self.threads = Path(cache), Path(model), threads
        self.known = self.kept()
        self.digest = hashlib.sha256(self.model.read_bytes()).hexdigest()[:16]
        versions = (Path(__file__).with_name("requirements.txt")).read_text().splitlines()
        pinned = ("faster-whisper==", "ctranslate2==", "pywhispercpp==")
        self.versions = " ".join(line.split()[0] for line in versions if line.startswith(pinned))

    def texts(self, title, clips):
        """Clip name -> text, with the language given."""
        clips = [clip for clip in clips if clip.has_language()]
        calls = {clip: call(clip, clip.language) for clip in clips}
        return {clip.file: result["text"] for clip, result in self.ask(title, calls).items()}

    def detected(self, title, clips):
        """Clip name -> (language, text), with the language not given."""
        calls = {clip: call(clip, expected=clip.language) for clip in clips}
        results = self.ask(title, calls)
        same = [clip for clip, result in results.items() if result["text"] is None]
        texts = self.texts(title, same)
        return {
            clip.file: (result["language"], texts.get(clip.file, result["text"]))
            for clip, result in results.items()
        }

    def words(self, title, clips):
        """Clip name -> words as (word, start, end), with the language given."""
        calls = {clip: call(clip, clip.language, words=True) for clip in clips if clip.times}
        return {clip.file: result["words"] for clip, result in self.ask(title, calls).items()}

    def ask(self, title, calls):
        keys = {clip.file: self.key(title, clip, calls[clip]) for clip in calls}
        missing = [clip for clip in calls if keys[clip.file] not in self.known]
        if missing:
            with self.started(title) as peer:
                for number, clip in enumerate(missing, 1):
                    print(f"\r{title}: {number} of {len(missing)} ", end="", flush=True)
                    self.known[keys[clip.file]] = peer.transcribe([calls[clip]])[0]
                    self.save()
            print()
        return {clip: self.known[keys[clip.file]] for clip in calls}

    def key(self, title, clip, settings):
        settings = " ".join(f"{name}={value}" for name, value in settings.items() if name != "path")
        size = clip.path.stat().st_size
        return f"{title}|{self.versions}|{self.digest}|{clip.file}|{size}|{settings}"

    def started(self, title):
        program, variant = PEERS[title]
        model = self.model
        if program == FASTER_WHISPER:
            model = convert.converted(model, variant.split()[0])
        return Peer(program, model, variant, callers=1, threads=self.threads)

    def kept(self):
        return json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}

    def save(self):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Another run may have added to it.
        self.known = self.kept() | self.known
        unfinished = self.file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(self.known, ensure_ascii=False, indent=0), encoding="utf-8")
        unfinished.rename(self.file)
