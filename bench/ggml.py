"""Model files of whisper.cpp: read and written with numpy alone.

The layout is that of whisper.cpp's models/convert-pt-to-ggml.py: twelve numbers, the mel filters, the
vocabulary, then tensors until the end of the file, with the innermost dimension first.
"""

import struct
from dataclasses import dataclass

import numpy

MAGIC = 0x67676D6C
# ggml's numbers of the types of tensors, and whisper.cpp's of files that consist of them.
F32, F16, Q8_0 = 0, 1, 8
FILE_TYPES = {"f16": 1, "q8_0": 2007}
# 32 weights share a scale.
Q8_0_BLOCK = numpy.dtype([("scale", "<f2"), ("weights", "i1", 32)])


@dataclass
class Sizes:
    """The numbers of a model file, in their order there."""

    vocabulary: int
    audio_context: int
    audio_width: int
    audio_heads: int
    audio_layers: int
    text_context: int
    text_width: int
    text_heads: int
    text_layers: int
    mel_bands: int

    def languages(self):
        """How many the vocabulary has tokens for, 0 for an English model (whisper_model_load)."""
        return self.vocabulary - 51766 if self.vocabulary >= 51865 else 0


@dataclass
class Model:
    sizes: Sizes
    mel_filters: numpy.ndarray
    tokens: list
    """The text tokens as bytes, by their number."""
    tensors: dict
    """Name -> f32 array, with the dimensions in PyTorch's order."""


def read(path):
    with open(path, "rb") as file:
        magic, *sizes, _ = struct.unpack("12i", file.read(48))
        if magic != MAGIC:
            raise SystemExit(f"{path} is no model file of whisper.cpp")
        shape = struct.unpack("2i", file.read(8))
        filters = numpy.frombuffer(file.read(4 * shape[0] * shape[1]), "<f4").reshape(shape)
        tokens = []
        for _ in range(number(file)):
            tokens.append(file.read(number(file)))
        tensors = {}
        while head := file.read(12):
            dimensions, name_bytes, kind = struct.unpack("3i", head)
            shape = struct.unpack(f"{dimensions}i", file.read(4 * dimensions))[::-1]
            name = file.read(name_bytes).decode()
            tensors[name] = values(file, kind, numpy.prod(shape)).reshape(shape)
    return Model(Sizes(*sizes), filters, tokens, tensors)


def number(file):
    return struct.unpack("i", file.read(4))[0]


def values(file, kind, count):
    if kind == Q8_0:
        blocks = numpy.frombuffer(file.read(count // 32 * Q8_0_BLOCK.itemsize), Q8_0_BLOCK)
        return blocks["weights"] * blocks["scale"][:, None].astype("f4")
    type_ = numpy.dtype({F32: "<f4", F16: "<f2"}[kind])
    return numpy.frombuffer(file.read(count * type_.itemsize), type_).astype("f4")


def write(path, model, file_type):
    """Writes the model with matrices of `file_type`, one of FILE_TYPES."""
    with open(path, "wb") as file:
        sizes = vars(model.sizes).values()
        file.write(struct.pack("12i", MAGIC, *sizes, FILE_TYPES[file_type]))
        file.write(struct.pack("2i", *model.mel_filters.shape) + model.mel_filters.tobytes())
        file.write(struct.pack("i", len(model.tokens)))
        for token in model.tokens:
            file.write(struct.pack("i", len(token)) + token)
        for name, tensor in model.tensors.items():
            kind, data = encoded(name, tensor, file_type)
            file.write(struct.pack("3i", tensor.ndim, len(name), kind))
            file.write(struct.pack(f"{tensor.ndim}i", *tensor.shape[::-1]) + name.encode() + data)


def encoded(name, tensor, file_type):
    """The type and the bytes of a tensor: what whisper.cpp adds to others stays f32."""
    if tensor.ndim < 2 or tensor.shape[-1] == 1 or name.endswith("positional_embedding"):
        return F32, tensor.astype("<f4").tobytes()
    # Convolutions are never quantised.
    if tensor.ndim == 3 or file_type == "f16":
        return F16, tensor.astype("<f2").tobytes()
    rows = tensor.astype("f4").reshape(-1, 32)
    scales = numpy.abs(rows).max(axis=1, keepdims=True) / 127
    blocks = numpy.empty(len(rows), Q8_0_BLOCK)
    blocks["scale"] = scales[:, 0]
    blocks["weights"] = numpy.rint(numpy.divide(rows, scales, out=numpy.zeros_like(rows), where=scales > 0))
    return Q8_0, blocks.tobytes()
