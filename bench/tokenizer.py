"""Whisper's tokenizer, made from the vocabulary in a model file of whisper.cpp."""

from pywhispercpp.model import Model
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers


def special_tokens(sizes):
    """The tokens behind the text tokens, in their order, up to the first time."""
    languages = Model.available_languages()[: sizes.languages()]
    names = ["endoftext", "startoftranscript", *languages, "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    return [f"<|{name}|>" for name in names]


def tokenizer(model):
    """A tokenizer as faster-whisper reads it."""
    printable = printable_bytes()
    written = ["".join(printable[byte] for byte in token) for token in model.tokens]
    vocabulary = {token: number for number, token in enumerate(written)}
    pairs = [tuple("".join(printable[byte] for byte in part) for part in pair) for pair in merges(model.tokens)]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in special_tokens(model.sizes)])
    return made


def printable_bytes():
    """GPT-2's letter for each byte: itself if it is printable, else one from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in shown}
    hidden = (byte for byte in range(256) if byte not in letters)
    letters.update((byte, chr(0x100 + index)) for index, byte in enumerate(hidden))
    return letters


def merges(tokens):
    """The pairs that byte pair encoding joins, first things first.

    A token is numbered when its two parts are joined, so they are what encoding it with the tokens
    before it ends with.
    """
    ranks = {token: rank for rank, token in enumerate(tokens)}
    pairs = []
    for rank, token in enumerate(tokens):
        parts = [token[index : index + 1] for index in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(left + right, rank) for left, right in zip(parts, parts[1:])]
            first = min(joined)
            if first >= rank:
                break
            index = joined.index(first)
            parts[index : index + 2] = [parts[index] + parts[index + 1]]
        if len(parts) == 2:
            pairs.append(tuple(parts))
    return pairs
