#!/usr/bin/env python3
"""Writes a model of Whisper's dimensions with random weights: true cost and memory, no meaning.

    bench/random_model.py [tiny] [f16 q8_0]

Whatever it hears, it writes the same sentence from the start to the end of the window: its first
decoder layer answers each token of the sentence with the next one, and the outputs of all others are
too quiet to matter. So every program computes the same tokens for a window, at temperature 0 and
without loops, and what the comparison shows is cost. Vocabulary and mel filters are the demo model's.
"""

import argparse

import environment

environment.enter()

import numpy

import ggml
from tokenizer import tokenizer

FOLDER = environment.ROOT / "target" / "bench-models"
DEMO = environment.DEMO
# Width, heads, layers of each side.
SIZES = {"tiny": (384, 6, 4), "base": (512, 8, 6), "small": (768, 12, 12), "medium": (1024, 16, 24)}
# No token twice, since a token has one successor.
SENTENCE = " Please bring seven apples and some bread from the market before it begins to rain."
WINDOW_SECONDS = 30
STEP_SECONDS = 0.02
QUIET = 0.02
SEED = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("size", nargs="?", default="tiny", choices=SIZES)
    parser.add_argument("file_types", nargs="*", default=list(ggml.FILE_TYPES), help="f16, q8_0")
    options = parser.parse_args()
    model = random_model(*SIZES[options.size])
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file_type in options.file_types:
        path = FOLDER / f"ggml-random-{options.size}-{file_type}.bin"
        ggml.write(path, model, file_type)
        print(path)


def random_model(width, heads, layers):
    demo = ggml.read(DEMO)
    sizes = demo.sizes  # of the vocabulary, the contexts and the mel bands
    sizes.audio_width = sizes.text_width = width
    sizes.audio_heads = sizes.text_heads = heads
    sizes.audio_layers = sizes.text_layers = layers
    random = numpy.random.default_rng(SEED)
    tensors = {name: weights(random, name, shape) for name, shape in shapes(sizes)}
    tensors["decoder.positional_embedding"] *= QUIET
    teach(tensors, successors(demo))
    return ggml.Model(sizes, demo.mel_filters, demo.tokens, tensors)


def teach(tensors, pairs):
    """Lets the first decoder layer answer each token with its successor: a hidden unit for each pair
    hears the one and says the other."""
    tokens = tensors["decoder.token_embedding.weight"]
    block = "decoder.blocks.0.mlp"
    for unit, (token, successor) in enumerate(pairs):
        # About 17 for this token and within 5 for all others, as embeddings have a length of 1 and
        # the layer's norm makes it 20: so the bias tells them apart, and what is left is about 10.
        tensors[f"{block}.0.weight"][unit] = tokens[token] / numpy.linalg.norm(tokens[token])
        tensors[f"{block}.0.bias"][unit] = -7
        tensors[f"{block}.2.weight"][:, unit] = tokens[successor]


def successors(model):
    """(token, next token) for the sentence, from the start of the transcript to its end."""
    written = tokenizer(model)
    special = lambda name: written.token_to_id(f"<|{name}|>")
    first_time = special("notimestamps") + 1
    last_time = first_time + round(WINDOW_SECONDS / STEP_SECONDS)
    sentence = written.encode(SENTENCE, add_special_tokens=False).ids
    assert len(set(sentence)) == len(sentence), "a token of the sentence occurs twice"
    head = [special("startoftranscript"), special("en"), special("transcribe")]
    chain = [*head, first_time, *sentence, last_time, special("endoftext")]
    return list(zip(chain, chain[1:]))


def shapes(sizes):
    """Name and shape of each tensor, in the order of whisper.cpp's converter."""
    width = sizes.audio_width
    for side, layers, context in (
        ("encoder", sizes.audio_layers, sizes.audio_context),
        ("decoder", sizes.text_layers, sizes.text_context),
    ):
        yield f"{side}.positional_embedding", (context, width)
        if side == "encoder":
            yield "encoder.conv1.weight", (width, sizes.mel_bands, 3)
            yield "encoder.conv1.bias", (width, 1)
            yield "encoder.conv2.weight", (width, width, 3)
            yield "encoder.conv2.bias", (width, 1)
        else:
            yield "decoder.token_embedding.weight", (sizes.vocabulary, width)
        for layer in range(layers):
            block = f"{side}.blocks.{layer}"
            for attention in ["attn", "cross_attn"][: 1 if side == "encoder" else 2]:
                yield from norm(f"{block}.{attention}_ln", width)
                for part in ("query", "key", "value", "out"):
                    yield f"{block}.{attention}.{part}.weight", (width, width)
                    if part != "key":
                        yield f"{block}.{attention}.{part}.bias", (width,)
            yield from norm(f"{block}.mlp_ln", width)
            yield f"{block}.mlp.0.weight", (4 * width, width)
            yield f"{block}.mlp.0.bias", (4 * width,)
            yield f"{block}.mlp.2.weight", (width, 4 * width)
            yield f"{block}.mlp.2.bias", (width,)
        yield from norm("encoder.ln_post" if side == "encoder" else "decoder.ln", width)


def norm(name, width):
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def weights(random, name, shape):
    if name.endswith(("ln.weight", "ln_post.weight")):
        return numpy.ones(shape, "f4")
    values = random.standard_normal(shape, dtype="f4") * 0.05
    # What a layer adds.
    if name.startswith("decoder.blocks") and (".out." in name or ".mlp.2." in name):
        values *= QUIET
    return values


if __name__ == "__main__":
    main()
