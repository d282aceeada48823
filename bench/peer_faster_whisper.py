"""The peer faster-whisper: CTranslate2 behind its own loop. Started by `peer.Peer`.

A variant is a quantization and what `transcribe` is called with: `int8 beam_size=1`,
`int8 batched`, `float32 defaults` (which is a beam of 5). All threads work: one call on each if
there are as many callers.
"""

import environment

environment.enter()

from faster_whisper import BatchedInferencePipeline, WhisperModel

from peer import answer

SETTINGS = {
    "defaults": {},
    "beam_size=1": {"beam_size": 1},
    "batched": {},
    "batched beam_size=1": {"beam_size": 1},
}


def prepare(folder, variant, callers, threads):
    quantization, name = variant.split(" ", 1)
    workers = min(callers, threads)
    model = WhisperModel(
        folder,
        device="cpu",
        compute_type=quantization,
        cpu_threads=threads // workers,
        num_workers=workers,
    )
    transcriber = BatchedInferencePipeline(model) if name.startswith("batched") else model

    def run(path, language, words, expected):
        segments, info = transcriber.transcribe(
            path, language=language, word_timestamps=words, **SETTINGS[name]
        )
        result = {"language": info.language, "text": None}
        # The work is done while the segments are read.
        if language or info.language != expected:
            segments = list(segments)
            result["text"] = " ".join(segment.text.strip() for segment in segments)
            if words:
                timed = [word for segment in segments for word in segment.words]
                result["words"] = [[word.word, word.start, word.end] for word in timed]
        return result

    return run


if __name__ == "__main__":
    answer(prepare)
