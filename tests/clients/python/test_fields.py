"""What can be asked for, and how a wrong wish is answered."""

from io import BytesIO

import openai
import pytest

from audio import TEXT, clip
from server import CLIPS

HINDI = "रवि मुंबई में रहता है।"


def transcribe(client, file=None, **fields):
    return client.audio.transcriptions.create(model="demo", file=file or clip(), **fields).text


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(CLIPS / "00.flac", id="path"),
        pytest.param(clip(), id="bytes"),
        pytest.param(BytesIO(clip()), id="BytesIO"),
        pytest.param(('नमस्ते "a"; b/../c\\d.exe', clip()), id="odd name"),
        pytest.param(("a.mp3", clip(), "video/x-wrong"), id="wrong type"),
    ],
)
def test_a_file_can_be_given_as(client, file):
    assert transcribe(client, file) == TEXT


def test_an_open_file(client):
    with open(CLIPS / "00.flac", "rb") as file:
        assert transcribe(client, file) == TEXT


@pytest.mark.parametrize(
    "name, fields, expected",
    [
        ("00.flac", {"language": "en"}, TEXT),
        ("00.flac", {"language": "English"}, TEXT),
        ("24.flac", {"language": "hi"}, HINDI),
        ("24.flac", {"languages": ["en", "hi"]}, HINDI),
        ("00.flac", {"languages": ["en"]}, TEXT),
        ("00.flac", {"prompt": "Boston, Mumbai"}, TEXT),
        ("00.flac", {"keywords": ["Boston", "weather"]}, TEXT),
        ("00.flac", {"temperature": 0}, TEXT),
        ("00.flac", {"temperature": 0.2}, TEXT),
        ("00.flac", {"chunking_strategy": "auto"}, TEXT),
        ("00.flac", {"chunking_strategy": {"type": "server_vad"}}, TEXT),
        (
            "00.flac",
            {
                "chunking_strategy": {
                    "type": "server_vad",
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 200,
                    "threshold": 0.5,
                }
            },
            TEXT,
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_field_is_obeyed(client, name, fields, expected):
    assert transcribe(client, clip(name), **fields) == expected


@pytest.mark.parametrize(
    "param, fields",
    [
        ("language", {"language": "klingon"}),
        ("languages[]", {"languages": ["en", "klingon"]}),
        ("response_format", {"response_format": "xml"}),
        ("response_format", {"response_format": "diarized_json"}),
        ("temperature", {"temperature": "abc"}),
        ("temperature", {"temperature": 1.5}),
        ("timestamp_granularities[]", {"timestamp_granularities": ["page"]}),
        ("include[]", {"include": ["secrets"]}),
        ("chunking_strategy", {"chunking_strategy": "sometimes"}),
        (
            "chunking_strategy[threshold]",
            {"chunking_strategy": {"type": "server_vad", "threshold": 7}},
        ),
        ("stream", {"extra_body": {"stream": "perhaps"}}),
        ("max_line_length", {"response_format": "srt", "extra_body": {"max_line_length": "wide"}}),
        ("model", {"model": "gpt-9"}),
        ("channel", {"extra_body": {"channel": "left"}}),
        ("track", {"extra_body": {"track": "2"}}),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(client, param, fields):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(**{"model": "demo", "file": clip(), **fields})
    error = caught.value
    assert (error.param, error.type) == (param, "invalid_request_error"), error
    assert error.code and error.message and error.request_id


@pytest.mark.parametrize(
    "name, fields, expected",
    [
        ("call.opus", {"channel": "split"}, TEXT + " Turn off the office radio."),
        ("call.opus", {"channel": "left"}, TEXT),
        ("call.opus", {"channel": "right"}, "Turn off the office radio."),
        ("tracks.mkv", {"track": "hin"}, HINDI),
        ("tracks.mkv", {"track": 1}, TEXT),
    ],
    ids=str,
)
def test_a_part_of_a_file_is_chosen(client, name, fields, expected):
    file = (CLIPS.parent / "codecs" / name).read_bytes()
    raw = client.audio.transcriptions.with_raw_response.create(
        model="demo", file=file, response_format="verbose_json", extra_body=fields
    )
    answer = raw.parse()
    assert answer.text == expected
    assert "x-ignored-fields" not in raw.headers, raw.headers
    channels = [segment.channel for segment in answer.segments if hasattr(segment, "channel")]
    assert channels == (["left", "right"] if fields.get("channel") == "split" else [])


def test_what_is_not_known_is_told(client):
    raw = client.audio.transcriptions.with_raw_response.create(
        model="demo", file=clip(), extra_body={"wibble": "1", "vad_filter": "true", "wobble": "1"}
    )
    assert raw.parse().text == TEXT
    ignored = raw.headers.get("x-ignored-fields", "")
    assert sorted(name.strip() for name in ignored.split(",")) == ["wibble", "wobble"]


def test_nothing_is_ignored_of_what_the_client_can_send(client):
    raw = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1",
        file=clip(),
        language="en",
        languages=["en"],
        keywords=["Boston"],
        prompt="Boston",
        temperature=0,
        response_format="json",
        include=["logprobs"],
        chunking_strategy="auto",
        stream=False,
    )
    assert "x-ignored-fields" not in raw.headers, raw.headers


def test_models(client):
    names = [model.id for model in client.models.list()]
    assert names == ["demo", "whisper-1"]
    model = client.models.retrieve("demo")
    assert (model.id, model.object) == ("demo", "model")
    assert isinstance(model.created, int) and model.owned_by


def test_the_answer_tells_where_it_was_made(client):
    raw = client.audio.transcriptions.with_raw_response.create(model="whisper-1", file=clip())
    assert (raw.headers["x-device"], raw.headers["x-model"]) == ("cpu", "demo")
    assert float(raw.headers["x-audio-duration"]) == 3.332
    for name in ["x-queue-time", "x-inference-time", "x-rtf"]:
        assert float(raw.headers[name]) >= 0
    assert "x-fallback-reason" not in raw.headers


def test_an_answer_has_its_request_id(client):
    answer = client.audio.transcriptions.create(model="demo", file=clip())
    other = client.audio.transcriptions.create(model="demo", file=clip())
    assert answer._request_id and answer._request_id != other._request_id


def test_a_request_id_of_the_client_is_kept(client):
    answer = client.audio.transcriptions.create(
        model="demo", file=clip(), extra_headers={"x-request-id": "mine-7"}
    )
    assert answer._request_id == "mine-7"
