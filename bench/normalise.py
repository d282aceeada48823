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
# Remarks such as [Music] and (laughs).
REMARKS = re.compile(r"\[[^\]]*\]|\([^)]*\)")


def units(text, language):
    """What errors are counted by: words, or characters for languages in BY_CHARACTER."""
    if language == "en":
        return english()(text).split()
    text = plain(REMARKS.sub(" ", text))
    if language in BY_CHARACTER:
        return list(text.replace(NUKTA, "").replace(" ", ""))
    return text.split()


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
