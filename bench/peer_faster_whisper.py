"""The peer faster-whisper: CTranslate2 behind its own loop. compare.py starts it.

A variant is a quantization and what `transcribe` is called with: `int8, beam_size=1`,
`float32, defaults`. All cores work: one call on each if there are as many callers.
"""

import environment

environment.enter()

from faster_whisper import WhisperModel

from peer import CORES, answer

SETTINGS = {
    "defaults": {},
    "beam_size=1": {"beam_size": 1},
    "beam_size=1 and vad_filter": {"beam_size": 1, "vad_filter": True},
}


def prepare(folder, variant, clients):
    quantization, name = variant.split(", ")
    settings = SETTINGS[name]
    workers = min(clients, CORES)
    model = WhisperModel(
        folder,
        device="cpu",
        compute_type=quantization,
        cpu_threads=CORES // workers,
        num_workers=workers,
    )

    def call(file, language):
        segments, _ = model.transcribe(file, language=language, **settings)
        return " ".join(segment.text.strip() for segment in segments)

    return call


if __name__ == "__main__":
    answer(prepare)
