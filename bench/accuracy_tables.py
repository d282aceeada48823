"""The tables of accuracy.py, and its bars."""

from dataclasses import dataclass, field

import score
from peer_results import REFERENCE
from report import table

NAMES = {
    "ar": "Arabic", "cy": "Welsh", "de": "German", "en": "English", "es": "Spanish", "fr": "French",
    "hi": "Hindi", "it": "Italian", "ja": "Japanese", "ko": "Korean", "pt": "Portuguese",
    "te": "Telugu", "zh": "Chinese",
}  # fmt: skip
# Languages that the bar for the error rate is about.
SIX = ("en", "es", "fr", "de", "it", "pt")
# In points.
RATE_SLACK, VOICE_SLACK, ENGLISH_MODEL_SLACK, MODEL_SLACK = 0.5, 0.3, 0.5, 1.5
WRONG_LANGUAGES_PERCENT = 3.0
MEDIAN_START_SECONDS, SHARE_OF_STARTS = 0.06, 0.95
PHANTOM_WORDS = 2


@dataclass
class PeerScore:
    texts: dict
    languages: dict
    detected: dict
    words: dict


def peer(results, title, clips):
    texts = results.texts(title, clips)
    found = results.detected(title, clips)
    languages = {file: language for file, (language, _) in found.items()}
    detected = {file: text for file, (_, text) in found.items()}
    return PeerScore({**detected, **texts}, languages, detected, results.words(title, clips))


@dataclass
class Tables:
    clips: list
    ours: object
    theirs: dict
    others: dict
    """Name of a model -> what auris made of the clips with it, with the language given."""
    model: str
    bars: list = field(default_factory=list)
    """(what, figure, bar, whether it is met)."""

    def markdown(self):
        parts = []
        if "given" in self.ours.texts:
            parts += ["### Error rates, language given\n", self.rates(), ""]
        parts += ["### Everything else\n", self.rest()]
        self.judge()
        if self.bars:
            rows = [(what, figure, bar, "met" if met else "**missed**") for what, figure, bar, met in self.bars]
            parts += ["", "### Bars\n", table(["", "auris", "bar", ""], rows)]
        return "\n".join(parts)

    def paragraph(self):
        """What README says: error rates, on these recordings, of this model."""
        rates = []
        for language in SIX:
            errors = score.errors(
                [clip for clip in self.clips if clip.language == language], self.ours.texts["given"]
            )
            if errors.total:
                rates.append(f"{NAMES[language]} {errors.percent():.0f} %")
        minutes = sum(clip.seconds for clip in self.clips) / 60
        said = (
            f"On {len(self.clips)} recordings ({minutes:.0f} minutes; read books, commands, telephone and "
            f"meetings, most of them short and clear), `{self.model}` gets so many words wrong when the "
            f"language is given: {', '.join(rates)}."
        )
        if REFERENCE in self.theirs:
            theirs = score.errors(self.six(), self.theirs[REFERENCE].texts).percent()
            ours = score.errors(self.six(), self.ours.texts["given"]).percent()
            said += (
                f" Over all of these it is {ours:.1f} %, and {theirs:.1f} % with faster-whisper on the "
                "same weights."
            )
        if "detected" in self.ours.texts:
            count = sum(score.phantom_words(self.clips, self.ours.texts["detected"]).values())
            silent = sum(clip.is_silent() for clip in self.clips)
            said += f" In {silent} files in which nobody speaks it writes {count} words."
        return said

    def met(self):
        return all(met for *_, met in self.bars)

    def rates(self):
        """A row for each language and for each kind of English."""
        columns = ["", "files", "words", f"auris, {self.model}"]
        columns += [f"auris, {name}" for name in self.others] + list(self.theirs)
        texts = [self.ours.texts["given"]]
        texts += [other.texts["given"] for other in self.others.values()]
        texts += [peer.texts for peer in self.theirs.values()]
        rows = []
        for title, clips in self.groups():
            sums = [score.errors(clips, each) for each in texts]
            if sums[0].total:
                count = sum(clip.is_scored() for clip in clips)
                rates = [f"{sum_.percent():.1f} %" for sum_ in sums]
                rows.append([title, count, sums[0].total, *rates])
        return table(columns, rows)

    def groups(self):
        by_language = {}
        for clip in self.clips:
            by_language.setdefault(clip.language, []).append(clip)
        english = by_language.pop("en", [])
        yield "English", english
        for kind in dict.fromkeys(clip.kind for clip in english):
            yield f"– {kind}", [clip for clip in english if clip.kind == kind]
        for language in sorted(by_language, key=lambda code: (code not in SIX, NAMES.get(code, code))):
            unit = " (characters)" if language in score.BY_CHARACTER else ""
            yield NAMES.get(language, language) + unit, by_language[language]
        yield "the first six languages", self.six()

    def six(self):
        return [clip for clip in self.clips if clip.language in SIX]

    def rest(self):
        sides = {"auris": (self.ours.texts, self.ours.languages, self.ours.words)}
        for title, peer in self.theirs.items():
            sides[title] = ({"given": peer.texts, "detected": peer.detected}, peer.languages, peer.words)
        rows = [
            [name, *(figure(*side) for side in sides.values())] for name, figure in self.figures().items()
        ]
        return table(["", *sides], rows)

    def figures(self):
        """Name -> function of texts by way, languages and words."""
        figures = {}
        if "detected" in self.ours.texts:
            figures["error rate in the first six, language not given"] = lambda texts, *_: percent(
                score.errors(self.six(), texts["detected"])
            )
            figures["clips of 2 s and more in the wrong language"] = self.wrong_languages
            figures["words in files in which nobody speaks"] = lambda texts, *_: sum(
                score.phantom_words(self.clips, texts["detected"]).values()
            )
            figures["such files with words"] = lambda texts, *_: (
                f"{len(score.phantom_words(self.clips, texts['detected']))} of "
                f"{sum(clip.is_silent() for clip in self.clips)}"
            )
        figures["files with a phrase three times that was said once"] = lambda texts, *_: len(
            {file for each in texts.values() for file in score.circles(self.clips, each)}
        )
        if "without voice activity" in self.ours.texts:
            figures["error rate in the first six, without voice activity"] = lambda texts, *_: (
                percent(score.errors(self.six(), texts["without voice activity"]))
                if "without voice activity" in texts
                else ""
            )
        if "given" in self.ours.texts:
            figures["word starts: median error"] = lambda _t, _l, words: (
                f"{self.times(words).median_error():.3f} s"
            )
            figures["word starts: median shift, below 0 is early"] = lambda _t, _l, words: (
                f"{self.times(words).median_shift():+.3f} s"
            )
            figures["word starts within 0.3 s"] = lambda _t, _l, words: (
                f"{self.times(words).share_within():.1%} of {len(self.times(words).start_errors)}"
            )
            figures["longest word"] = lambda _t, _l, words: f"{self.times(words).longest[0]:.2f} s"
            figures["words that reach over 0.3 s into a pause"] = lambda _t, _l, words: len(
                self.times(words).reaching
            )
        return figures

    def wrong_languages(self, _texts, languages, _words):
        truth = {clip.file: clip.language for clip in self.clips}
        count, wrong = score.wrong_languages(self.clips, languages, truth)
        return f"{len(wrong)} of {count}"

    def times(self, words):
        times = score.WordTimes()
        for clip in self.clips:
            if clip.times:
                times.add(clip, words.get(clip.file, []))
        return times

    def judge(self):
        texts, reference = self.ours.texts, self.theirs.get(REFERENCE)
        six = {way: score.errors(self.six(), each).percent() for way, each in texts.items()}
        if "given" in texts and reference:
            theirs = score.errors(self.six(), reference.texts).percent()
            self.bar(
                "error rate in the first six, language given",
                f"{six['given']:.1f} %",
                f"{theirs + RATE_SLACK:.1f} %",
                six["given"] <= theirs + RATE_SLACK,
            )
        for name, other in self.others.items() if "given" in texts else []:
            self.judge_model(name, other.texts["given"])
        if "detected" in texts and reference:
            count, wrong = score.wrong_languages(self.clips, self.ours.languages, reference.languages)
            share = 100 * len(wrong) / max(1, count)
            self.bar(
                "wrong languages where faster-whisper is right",
                f"{share:.1f} % ({', '.join(f'{file}: {found}' for file, found in wrong) or 'none'})",
                f"{WRONG_LANGUAGES_PERCENT:.0f} %",
                share <= WRONG_LANGUAGES_PERCENT,
            )
        if "detected" in texts:
            phantoms = score.phantom_words(self.clips, texts["detected"])
            self.bar(
                "words where nobody speaks",
                f"{sum(phantoms.values())} ({', '.join(f'{f}: {n}' for f, n in phantoms.items()) or 'none'})",
                PHANTOM_WORDS,
                sum(phantoms.values()) <= PHANTOM_WORDS,
            )
        circles = {}
        for each in texts.values():
            circles |= score.circles(self.clips, each)
        said = "; ".join(f"{file}: {phrase}" for file, phrase in circles.items()) or "none"
        self.bar("files with repetitions", said, "none", not circles)
        if {"given", "without voice activity"} <= set(texts):
            worse = six["given"] - six["without voice activity"]
            self.bar("worse with voice activity by", f"{worse:.2f} points", VOICE_SLACK, worse <= VOICE_SLACK)
        if "given" in texts:
            self.judge_times()

    def judge_model(self, name, texts):
        """Bars for each language against another model, such as the original of a quantised one."""
        for language in SIX:
            clips = [clip for clip in self.clips if clip.language == language and clip.is_scored()]
            if clips:
                ours = score.errors(clips, self.ours.texts["given"]).percent()
                worse = ours - score.errors(clips, texts).percent()
                limit = ENGLISH_MODEL_SLACK if language == "en" else MODEL_SLACK
                what = f"{NAMES[language]}: worse than {name} by"
                self.bar(what, f"{worse:.1f} points", limit, worse <= limit)

    def judge_times(self):
        times = self.times(self.ours.words)
        if times.start_errors:
            middle, share = times.median_error(), times.share_within()
            near, often = middle <= MEDIAN_START_SECONDS, share >= SHARE_OF_STARTS
            self.bar("word starts, median error", f"{middle:.3f} s", MEDIAN_START_SECONDS, near)
            self.bar("word starts within 0.3 s", f"{share:.1%}", f"{SHARE_OF_STARTS:.0%}", often)
            reaching = ", ".join(f"{file}: {word} {seconds} s" for file, word, seconds in times.reaching)
            self.bar("words that reach into a pause", reaching or "none", "none", not reaching)
        longest = score.WordTimes()
        for clip in self.clips:
            longest.add_lengths(clip, self.ours.words.get(clip.file, []))
        seconds, word, file = longest.longest
        limit = score.LONGEST_WORD_SECONDS
        self.bar("longest word in any file", f"{seconds:.2f} s ({word}, {file})", f"{limit} s", seconds <= limit)

    def bar(self, what, figure, bar, met):
        self.bars.append((what, figure, bar, met))


def percent(errors):
    return f"{errors.percent():.1f} %"
