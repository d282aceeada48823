#!/usr/bin/env python3
"""Converts a model file of whisper.cpp for faster-whisper, without PyTorch.

    bench/convert.py tests/fixtures/models/ggml-demo.bin [int8 float32]

Writes target/bench-models/NAME-QUANTIZATION: the same weights in CTranslate2's format, and the
tokenizer. Names are mapped as CTranslate2's own converter from transformers does. q8_0 has a scale
for every 32 weights and CTranslate2's int8 one for a row, so int8 rounds once more; float32 does not.
"""

import argparse
import os
import shutil
from itertools import product
from pathlib import Path

import environment

environment.enter()

from ctranslate2.converters import utils
from ctranslate2.specs import common_spec
from ctranslate2.specs.whisper_spec import WhisperSpec

import ggml
from tokenizer import special_tokens, tokenizer

FOLDER = environment.ROOT / "target" / "bench-models"
QUANTIZATIONS = ["int8", "float32"]
# OpenAI's models by vocabulary and layers: the layers and heads that words are timed with, as in
# whisper.cpp's g_aheads.
ALIGNMENT_HEADS = {
    (51864, 4): [(1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)],
    (51865, 4): [(2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)],
    (51864, 6): [(3, 3), (4, 7), (5, 1), (5, 5), (5, 7)],
    (51865, 6): [(3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)],
    (51865, 12): [(5, 3), (5, 9), (8, 0), (8, 4), (8, 7), (8, 8), (9, 0), (9, 7), (9, 9), (10, 5)],
    (51865, 24): [(13, 15), (15, 4), (15, 15), (16, 1), (20, 0), (23, 4)],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("quantizations", nargs="*", default=QUANTIZATIONS)
    options = parser.parse_args()
    for quantization in options.quantizations:
        print(converted(options.model, quantization))


def converted(model_file, quantization):
    """The folder for faster-whisper; made unless it is there and newer than the model file."""
    model_file = Path(model_file)
    folder = FOLDER / f"{model_file.stem}-{quantization}"
    made_from = [model_file, *(Path(__file__).with_name(f"{name}.py") for name in ("convert", "ggml", "tokenizer"))]
    if folder.exists() and all(folder.stat().st_mtime > path.stat().st_mtime for path in made_from):
        return folder
    model = ggml.read(model_file)
    # Half a model never has the final name.
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    spec = whisper_spec(model)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(unfinished))
    tokenizer(model).save(str(unfinished / "tokenizer.json"))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return folder


def whisper_spec(model):
    sizes, tensors = model.sizes, model.tensors
    spec = WhisperSpec(sizes.audio_layers, sizes.audio_heads, sizes.text_layers, sizes.text_heads)
    set_side(spec.encoder, tensors, "encoder")
    set_side(spec.decoder, tensors, "decoder")
    for name in ("conv1", "conv2"):
        convolution = getattr(spec.encoder, name)
        convolution.weight = tensors[f"encoder.{name}.weight"]
        convolution.bias = tensors[f"encoder.{name}.bias"].reshape(-1)
    set_norm(spec.encoder.layer_norm, tensors, "encoder.ln_post")
    set_norm(spec.decoder.layer_norm, tensors, "decoder.ln")
    # The decoder writes with the same matrix that it reads with.
    spec.decoder.embeddings.weight = tensors["decoder.token_embedding.weight"]
    spec.decoder.projection.weight = tensors["decoder.token_embedding.weight"]

    special = special_tokens(sizes)
    times = sizes.vocabulary - len(model.tokens) - len(special)
    written = tokenizer(model)
    tokens = [written.id_to_token(number) for number in range(written.get_vocab_size())]
    spec.register_vocabulary(tokens + [f"<|{index * 0.02:.2f}|>" for index in range(times)])
    first = len(model.tokens)
    numbers = {token: first + index for index, token in enumerate(special)}
    # As in OpenAI's published models; faster-whisper adds the tokens that are no speech.
    spec.config.suppress_ids = [
        numbers[f"<|{name}|>"]
        for name in ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev", "nospeech")
    ]
    spec.config.suppress_ids_begin = [model.tokens.index(b" "), numbers["<|endoftext|>"]]
    spec.config.lang_ids = [numbers["<|startoftranscript|>"] + 1 + index for index in range(sizes.languages())]
    # This is what the converter takes for unknown models.
    layers = range(sizes.text_layers // 2, sizes.text_layers)
    heads = list(product(layers, range(sizes.text_heads)))
    spec.config.alignment_heads = ALIGNMENT_HEADS.get((sizes.vocabulary, sizes.text_layers), heads)
    return spec


def set_side(side, tensors, name):
    """Positions and layers of encoder or decoder."""
    side.position_encodings.encodings = tensors[f"{name}.positional_embedding"]
    for index, layer in enumerate(side.layer):
        block = f"{name}.blocks.{index}"
        query, key, value, out = attention(tensors, f"{block}.attn")
        utils.fuse_linear(layer.self_attention.linear[0], [query, key, value])
        layer.self_attention.linear[1] = out
        set_norm(layer.self_attention.layer_norm, tensors, f"{block}.attn_ln")
        if name == "decoder":
            query, key, value, out = attention(tensors, f"{block}.cross_attn")
            layer.attention.linear[0] = query
            utils.fuse_linear(layer.attention.linear[1], [key, value])
            layer.attention.linear[2] = out
            set_norm(layer.attention.layer_norm, tensors, f"{block}.cross_attn_ln")
        layer.ffn.linear_0 = linear(tensors, f"{block}.mlp.0")
        layer.ffn.linear_1 = linear(tensors, f"{block}.mlp.2")
        set_norm(layer.ffn.layer_norm, tensors, f"{block}.mlp_ln")


def attention(tensors, name):
    return [linear(tensors, f"{name}.{part}") for part in ("query", "key", "value", "out")]


def linear(tensors, name):
    spec = common_spec.LinearSpec()
    spec.weight = tensors[f"{name}.weight"]
    # Keys have none.
    if f"{name}.bias" in tensors:
        spec.bias = tensors[f"{name}.bias"]
    return spec


def set_norm(spec, tensors, name):
    spec.gamma = tensors[f"{name}.weight"]
    spec.beta = tensors[f"{name}.bias"]


if __name__ == "__main__":
    main()
