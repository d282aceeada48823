"""Files to send."""

import wave
from io import BytesIO

from server import CLIPS

TEXT = "How is the weather in Boston tomorrow?"
"""What is said in the clip 00.flac."""


def clip(name="00.flac"):
    return (CLIPS / name).read_bytes()


def tone(seconds, pitch=0):
    """A WAV file that differs from those of other pitches."""
    second = b"".join((n * 37 % (199 + pitch)).to_bytes(2, "little") for n in range(16_000))
    whole, part = divmod(seconds, 1)
    file = BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(16_000)
        wav.writeframes(second * int(whole) + second[: int(part * 16_000) * 2])
    return file.getvalue()
