"""Answers as server-sent events."""

import json
import time

import openai
import pytest

from audio import TEXT, clip, tone
from server import Server, connect

LONG = "29.flac"


def check_events(events, text=None):
    """Deltas, then one `done` that says the same."""
    *deltas, done = events
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas) == done.text
    assert text is None or done.text == text
    return deltas, done


def test_deltas_make_up_the_text(client):
    with client.audio.transcriptions.create(model="demo", file=clip(), stream=True) as stream:
        _, done = check_events(list(stream), TEXT)
    assert done.usage.to_dict() == {"type": "duration", "seconds": 4}


def test_a_stream_says_what_a_plain_answer_says(client):
    plain = client.audio.transcriptions.create(model="demo", file=clip(LONG))
    stream = client.audio.transcriptions.create(model="demo", file=clip(LONG), stream=True)
    deltas, _ = check_events(list(stream), plain.text)
    assert len(deltas) > 3


def test_deltas_come_while_the_rest_is_heard():
    with Server(slots=1, engine="fake:none,speed=60") as server, connect(server) as client:
        stream = client.audio.transcriptions.create(model="demo", file=tone(120), stream=True)
        times = [time.monotonic() for _ in stream]
    assert times[-1] - times[0] > 0.5, "everything came at the end"


def test_a_stream_with_log_probabilities(client):
    stream = client.audio.transcriptions.create(
        model="demo", file=clip(), stream=True, include=["logprobs"]
    )
    deltas, _ = check_events(list(stream), TEXT)
    for event in deltas:
        # Tokens keep the spaces that the text is trimmed of.
        assert "".join(token.token for token in event.logprobs).strip() == event.delta.strip()


def test_a_raw_stream(client):
    raw = client.audio.transcriptions.with_raw_response.create(
        model="demo", file=clip(), stream=True
    )
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.request_id
    check_events(list(raw.parse()), TEXT)


def test_the_lines_of_a_stream(client):
    with client.audio.transcriptions.with_streaming_response.create(
        model="demo", file=clip(), stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines), lines
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert events[-1]["text"] == TEXT


def test_a_plain_answer_read_bit_by_bit(client):
    with client.audio.transcriptions.with_streaming_response.create(
        model="demo", file=clip(), response_format="text"
    ) as response:
        assert "".join(response.iter_text()) == TEXT + "\n"


def test_stream_false_is_a_plain_answer(client):
    answer = client.audio.transcriptions.create(model="demo", file=clip(), stream=False)
    assert answer.text == TEXT


def test_what_is_wrong_from_the_start_is_no_stream(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(
            model="demo", file=clip(), stream=True, language="klingon"
        )
    assert caught.value.param == "language"


def test_a_file_that_is_no_audio_is_no_stream(client):
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.transcriptions.create(model="demo", file=b"%PDF-1.7 " * 100, stream=True)
    assert caught.value.status_code == 415


def test_a_failure_in_the_middle_is_an_error_of_the_stream():
    engine = "fake:error,chunk=0,prompt=doom"
    with Server(engine=engine) as server, connect(server) as client:
        with pytest.raises(openai.APIError) as caught:
            list(
                client.audio.transcriptions.create(
                    model="demo", file=tone(90), stream=True, prompt="doom"
                )
            )
    assert caught.value.code == "engine_failed"


def test_a_stream_that_is_left_frees_its_slot():
    with Server(slots=1, engine="fake:none,speed=20") as server, connect(server) as client:
        with client.audio.transcriptions.create(
            model="demo", file=tone(120), stream=True
        ) as stream:
            next(iter(stream))
        answer = client.with_options(timeout=3).audio.transcriptions.create(
            model="demo", file=tone(5)
        )
        assert answer.text
