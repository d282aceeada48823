"""How transcripts differ from what was said: errors, languages, phantom words, circles and times."""

from dataclasses import dataclass, field
from statistics import median

from evaluation import align
from normalise import BY_CHARACTER, plain, units, words

# Words this long or longer are wrong, whatever is said.
LONGEST_WORD_SECONDS = 2.0
START_TOLERANCE_SECONDS = 0.3
# Between two words that follow each other: less is no pause.
PAUSE_SECONDS = 0.4
# A word may reach so far into it.
REACH_SECONDS = 0.3
# A phrase that stands so often is a circle; where nobody wrote down what was said, so often in a row.
CIRCLE, CIRCLE_IN_UNKNOWN_TEXT = 3, 6
LONGEST_PHRASE = 20
# Rounding of times to milliseconds must not decide.
EPSILON = 0.0005


@dataclass
class Errors:
    wrong: int = 0
    total: int = 0

    def add(self, clip, text):
        expected, found = units(clip.text, clip.language), units(text or "", clip.language)
        result = align(expected, found)
        self.wrong += result.wrong
        self.total += result.total

    def percent(self):
        return 100 * self.wrong / self.total if self.total else 0.0


def errors(clips, texts):
    """Over all clips whose transcript is known; `texts` by name of the clip."""
    sum_ = Errors()
    for clip in clips:
        if clip.is_scored():
            sum_.add(clip, texts[clip.file])
    return sum_


def phantom_words(clips, texts):
    """Clip name -> words written for a clip in which nobody speaks, where there are any."""
    counts = {clip.file: len(words(texts[clip.file])) for clip in clips if clip.is_silent()}
    return {file: count for file, count in counts.items() if count}


def circles(clips, texts):
    """Clip name -> a phrase that stands three times in the text and at most once in what was said."""
    found = {}
    for clip in clips:
        # Numbers count as said, whether in words or in digits.
        split = (lambda text: units(text, "en")) if clip.language == "en" else words
        written = split(texts[clip.file] or "")
        if clip.text is None:
            phrase = row(written, CIRCLE_IN_UNKNOWN_TEXT)
        else:
            phrase = circle(split(clip.text), written)
        if phrase:
            found[clip.file] = " ".join(phrase)
    return found


def circle(said, written):
    for length in range(1, LONGEST_PHRASE + 1):
        for at in range(len(written) - length * CIRCLE + 1):
            phrase = written[at : at + length]
            # Short phrases come again in any text, but not one right after the other.
            in_a_row = written[at : at + length * CIRCLE] == phrase * CIRCLE
            if not in_a_row and (length < 3 or count(phrase, written) < CIRCLE):
                continue
            if count(phrase, said) <= 1:
                return phrase
    return None


def row(written, times):
    for length in range(1, LONGEST_PHRASE + 1):
        for at in range(len(written) - length * times + 1):
            phrase = written[at : at + length]
            if written[at : at + length * times] == phrase * times:
                return phrase
    return None


def count(phrase, text):
    length = len(phrase)
    return sum(text[at : at + length] == phrase for at in range(len(text) - length + 1))


@dataclass
class WordTimes:
    """Words of a transcript against words whose times are known."""

    start_errors: list = field(default_factory=list)
    """Seconds, above 0 where a word starts too late."""
    expected: int = 0
    longest: tuple = (0.0, "", "")
    """Seconds, word, clip."""
    reaching: list = field(default_factory=list)
    """(clip, word, seconds) of words that reach into a pause."""

    def add(self, clip, found):
        known = [(key(word), start, end) for word, start, end in clip.times]
        written = [(key(word), start, end) for word, start, end in found if key(word)]
        pairs = align([word for word, *_ in known], [word for word, *_ in written]).pairs
        self.expected += len(known)
        self.start_errors += [written[hit][1] - known[at][1] for at, hit in pairs.items()]
        self.add_lengths(clip, written)
        for first, last in pauses(clip, known):
            for word, start, end in written:
                reach = min(end, last) - max(start, first)
                if reach > REACH_SECONDS + EPSILON:
                    self.reaching.append((clip.file, word, round(reach, 2)))

    def add_lengths(self, clip, found):
        for word, start, end in found:
            self.longest = max(self.longest, (end - start, word, clip.file))

    def median_error(self):
        """Without its direction."""
        return median(map(abs, self.start_errors)) if self.start_errors else float("nan")

    def median_shift(self):
        return median(self.start_errors) if self.start_errors else float("nan")

    def share_within(self):
        close = sum(abs(error) <= START_TOLERANCE_SECONDS + EPSILON for error in self.start_errors)
        return close / len(self.start_errors) if self.start_errors else float("nan")


def key(word):
    """A word as it is compared: one piece, whatever its apostrophes and hyphens."""
    return plain(word).replace(" ", "")


def pauses(clip, known):
    """(start, end) in which nobody speaks: between words that follow each other, and at both ends."""
    said = [key(word) for word in (clip.text or "").split() if key(word)]
    pairs = align(said, [word for word, *_ in known]).pairs
    places = {hit: at for at, hit in pairs.items()}
    found = []
    for index, (_, start, end) in enumerate(known):
        place = places.get(index)
        if place is None:
            continue
        if place == 0:
            found.append((0.0, start))
        if place == len(said) - 1:
            found.append((end, clip.seconds))
        elif places.get(index + 1) == place + 1:
            found.append((end, known[index + 1][1]))
    return [(first, last) for first, last in found if last - first >= PAUSE_SECONDS]


def wrong_languages(clips, detected, reference, at_least_seconds=2.0):
    """(clips that are long enough and whose language the reference finds, those of them that are
    wrong here as (clip name, language)). `detected` and `reference` by name of the clip."""
    judged = [
        clip
        for clip in clips
        if clip.has_language()
        and clip.seconds >= at_least_seconds
        and reference[clip.file] == clip.language
    ]
    wrong = [(c.file, detected[c.file]) for c in judged if detected[c.file] != c.language]
    return len(judged), wrong
