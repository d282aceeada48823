"""Texts as they are compared: without case, punctuation, and for English without differences of
spelling and ways to write numbers."""

import re
import unicodedata
from functools import cache

from whisper_normalizer.english import EnglishTextNormalizer

# Scripts without spaces between words, and languages whose transcripts spell words in several ways.
BY_CHARACTER = {"zh", "yue", "ja", "ko", "th", "lo", "my", "km", "hi", "te", "kn", "gu"}
# A dot below a letter of an Indic script, which transcripts often leave out.
NUKTA = "\u093c"
HALF_OF_DAY = re.compile(r"\b([ap])\.\s?m\b")
# Remarks such as [Music] and (laughs).
REMARKS = re.compile(r"\[[^\]]*\]|\([^)]*\)")


def units(text, language):
    """What errors are counted by: words, or characters for languages in BY_CHARACTER."""
    if language == "en":
        text = HALF_OF_DAY.sub(r"\1m", text.lower())
        return [piece for word in english()(text).split() for piece in digits_apart(word)]
    text = plain(REMARKS.sub(" ", text))
    if language in BY_CHARACTER:
        return list(text.replace(NUKTA, "").replace(" ", ""))
    return text.split()


def digits_apart(word):
    """A number digit by digit: `123`, `1-2-3` and `one two three` are said alike."""
    if not any(c.isdigit() for c in word):
        # The normaliser writes a 1 that stands alone as a word.
        return ["1" if word == "one" else word]
    return re.findall(r"\d|[^\W\d_]+", word)


def plain(text):
    """Letters, digits and the marks that belong to them, in lower case. Marks stay: vowels of Indic
    scripts are marks, and without them other words come out."""
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(letter(c) for c in text).split())


def letter(character):
    category = unicodedata.category(character)
    if category[0] in "LMN":
        return character
    # Joiners and other characters without a width.
    return "" if category == "Cf" else " "


def words(text):
    """Words in any language; a character counts as one where scripts have no spaces."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+", plain(text))


@cache
def english():
    return EnglishTextNormalizer()
