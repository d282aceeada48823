"""What comes back in each format."""

import re

import openai
import pytest

from audio import TEXT, clip

TIME = r"\d\d:\d\d:\d\d"


def test_json_by_default(client):
    answer = client.audio.transcriptions.create(model="whisper-1", file=clip())
    assert answer.text == TEXT
    assert (answer.usage.type, answer.usage.seconds) == ("duration", 4)


def test_json_by_name(client):
    answer = client.audio.transcriptions.create(model="demo", file=clip(), response_format="json")
    assert (type(answer).__name__, answer.text) == ("Transcription", TEXT)
    assert answer.logprobs is None


@pytest.mark.parametrize(
    "response_format, pattern",
    [
        ("text", re.escape(TEXT) + r"\n"),
        ("srt", rf"1\n{TIME},\d\d\d --> {TIME},\d\d\d\n{re.escape(TEXT)}\n"),
        ("vtt", rf"WEBVTT\n\n{TIME}\.\d\d\d --> {TIME}\.\d\d\d\n{re.escape(TEXT)}\n"),
    ],
)
def test_text_formats_come_as_they_are(client, response_format, pattern):
    answer = client.audio.transcriptions.create(
        model="demo", file=clip(), response_format=response_format
    )
    assert isinstance(answer, str)
    assert re.fullmatch(pattern, answer), answer


@pytest.mark.parametrize("response_format", ["tsv", "lrc"])
def test_formats_that_the_client_does_not_know(client, response_format):
    raw = client.audio.transcriptions.with_raw_response.create(
        model="demo", file=clip(), response_format=response_format
    )
    assert TEXT in raw.text
    assert raw.headers["content-type"].startswith("text/"), raw.headers


def test_verbose_json_is_typed(client):
    answer = client.audio.transcriptions.create(
        model="demo", file=clip(), response_format="verbose_json"
    )
    assert answer.text == TEXT
    assert answer.language == "english"
    assert isinstance(answer.duration, float)
    assert 3.3 < answer.duration < 3.4
    assert answer.words is None
    assert (answer.usage.type, answer.usage.seconds) == ("duration", 4)
    assert answer.to_dict()["task"] == "transcribe"


def test_every_segment_has_every_field(client):
    answer = client.audio.transcriptions.create(
        model="demo", file=clip("28.flac"), response_format="verbose_json"
    )
    assert len(answer.segments) > 1
    assert [segment.id for segment in answer.segments] == list(range(len(answer.segments)))
    end = 0.0
    for segment in answer.segments:
        fields = segment.to_dict()
        for name in type(segment).model_fields:
            assert fields.get(name) is not None, f"{name} is missing: {fields}"
        assert end <= segment.start < segment.end <= answer.duration
        assert all(isinstance(token, int) for token in segment.tokens)
        end = segment.end
    assert "".join(segment.text for segment in answer.segments).split() == answer.text.split()


@pytest.mark.parametrize(
    "granularities, has_segments, has_words",
    [(["segment"], True, False), (["word"], False, True), (["word", "segment"], True, True)],
)
def test_granularities(client, granularities, has_segments, has_words):
    answer = client.audio.transcriptions.create(
        model="demo",
        file=clip(),
        response_format="verbose_json",
        timestamp_granularities=granularities,
    )
    assert (bool(answer.segments), bool(answer.words)) == (has_segments, has_words)
    if has_words:
        assert [word.word for word in answer.words] == TEXT.split()
        times = [time for word in answer.words for time in (word.start, word.end)]
        assert times == sorted(times) and all(isinstance(time, float) for time in times)
    assert all("words" not in segment.to_dict() for segment in answer.segments or [])


def test_words_need_verbose_json(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(
            model="demo", file=clip(), response_format="json", timestamp_granularities=["word"]
        )
    assert caught.value.param == "timestamp_granularities[]"


def test_log_probabilities(client):
    answer = client.audio.transcriptions.create(model="demo", file=clip(), include=["logprobs"])
    assert "".join(token.token for token in answer.logprobs).strip() == TEXT
    for token in answer.logprobs:
        assert token.logprob <= 0
        assert bytes(map(int, token.bytes)).decode() == token.token


def test_log_probabilities_need_json(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(
            model="demo", file=clip(), include=["logprobs"], response_format="text"
        )
    assert caught.value.param == "include[]"


def test_lines_as_long_as_asked_for(client):
    answer = client.audio.transcriptions.create(
        model="demo",
        file=clip("28.flac"),
        response_format="srt",
        extra_body={"max_line_length": "20"},
    )
    lines = [line for line in answer.splitlines() if line and "-->" not in line]
    assert max(map(len, lines)) <= 20, answer
    assert "Stop the timer" in answer


@pytest.mark.parametrize("response_format", ["json", "verbose_json", "text", "srt", "vtt"])
def test_translations(client, response_format):
    answer = client.audio.translations.create(
        model="whisper-1", file=clip("24.flac"), response_format=response_format
    )
    text = answer if isinstance(answer, str) else answer.text
    assert "Ravi lives in Mumbai." in text
    if response_format == "verbose_json":
        assert isinstance(answer.duration, float) and answer.segments
        assert answer.to_dict()["task"] == "translate"
