"""Each way to fail, as the client's own class, and how often the client tries."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openai
import pytest

from audio import clip, tone
from server import Server, connect, wait_until

ROUTE = "/v1/audio/transcriptions"


class Attempts:
    """When each request of a client was sent, and the statuses of the answers."""

    def __init__(self):
        self.sent, self.statuses = [], []
        hooks = {
            "request": [lambda _: self.sent.append(time.monotonic())],
            "response": [lambda answer: self.statuses.append(answer.status_code)],
        }
        self.http_client = openai.DefaultHttpxClient(event_hooks=hooks)


def check_failure(server, status, kind, file, retries=2, **fields):
    """Sends what fails in the same way each time; it must be sent once only."""
    attempts = Attempts()
    before = server.requests_counted(ROUTE, status)
    with connect(server, max_retries=retries, http_client=attempts.http_client) as client:
        with pytest.raises(kind) as caught:
            client.audio.transcriptions.create(**{"model": "demo", "file": file, **fields})
    error = caught.value
    assert type(error) is kind
    assert error.status_code == status, error
    assert attempts.statuses == [status], f"sent {len(attempts.sent)} times: {attempts.statuses}"
    assert error.response.headers["x-should-retry"] == "false"
    assert set(error.body) == {"message", "type", "param", "code"}, error.body
    assert error.request_id == error.response.headers["x-request-id"]
    assert server.requests_counted(ROUTE, status) == before + 1
    return error


def test_400_empty_file(fast):
    error = check_failure(fast, 400, openai.BadRequestError, ("empty.wav", b""))
    assert (error.param, error.code) == ("file", "empty_file")


def test_400_unknown_model(fast):
    error = check_failure(fast, 400, openai.BadRequestError, tone(1), model="gpt-9")
    assert (error.param, error.code) == ("model", "model_not_found")


def test_404_unknown_model(fast):
    with connect(fast, max_retries=2) as client, pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


def test_404_unknown_address(fast):
    with connect(fast, max_retries=2) as client, pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="demo", input="x")
    assert set(caught.value.body) == {"message", "type", "param", "code"}


def test_405_is_an_error_of_ours_too(fast):
    with connect(fast) as client, pytest.raises(openai.APIStatusError) as caught:
        client.delete("/models", cast_to=object)
    assert (caught.value.status_code, caught.value.code) == (405, "method_not_allowed")


def test_413_upload_too_large():
    with Server("--max-upload-bytes", "100000", engine="fake:none") as server:
        error = check_failure(server, 413, openai.APIStatusError, tone(10))
    assert (error.param, error.code) == ("file", "file_too_large")
    assert "--max-upload-bytes" in error.message


def test_413_audio_too_long():
    with Server("--max-audio-hours", "0.001", engine="fake:none") as server:
        error = check_failure(server, 413, openai.APIStatusError, tone(10))
    assert error.code == "audio_too_long"


def test_415_no_audio_format(fast):
    error = check_failure(fast, 415, openai.APIStatusError, ("a.wav", b"%PDF-1.7 " * 100))
    assert (error.param, error.code) == ("file", "unsupported_audio")
    assert "FLAC" in error.message


def test_a_file_that_is_no_audio_is_no_fault_of_the_server():
    with Server(engine="fake:none") as server, connect(server) as client:
        for file in [b"\0\1", b"%PDF-1.7 " * 100, clip()[:1000], b"RIFF\xff\xff\xff\xffWAVE"]:
            with pytest.raises(openai.APIStatusError) as caught:
                client.audio.transcriptions.create(model="demo", file=file)
            assert caught.value.status_code in (415, 422), caught.value
        errors = [line for line in server.log().splitlines() if " ERROR " in line]
    assert not errors


def test_422_no_samples(fast):
    error = check_failure(fast, 422, openai.UnprocessableEntityError, ("a.wav", tone(0)))
    assert (error.param, error.code) == ("file", "no_audio")


def test_422_audio_that_crashes_the_engine():
    with Server(engine="fake:abort,chunk=0") as server:
        error = check_failure(server, 422, openai.UnprocessableEntityError, tone(1))
    assert error.code == "audio_quarantined"


def test_500_is_not_sent_again():
    with Server(engine="fake:error,chunk=0") as server:
        error = check_failure(server, 500, openai.InternalServerError, tone(1))
    assert (error.code, error.type) == ("engine_failed", "server_error")


KEYS = ["first-key-1234567", "second-key-123456"]


@pytest.fixture(scope="module")
def guarded():
    """A server that wants one of the `KEYS`."""
    with Server(engine="fake:none", variables={"AURIS_API_KEYS": ",".join(KEYS)}) as server:
        yield server


@pytest.mark.parametrize("api_key", ["wrong", "first-key-123456", "first-key-12345678"])
def test_401_wrong_key(guarded, api_key):
    with connect(guarded, api_key=api_key, max_retries=2) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.audio.transcriptions.create(model="demo", file=tone(1))
    assert caught.value.code == "invalid_api_key"
    assert api_key not in caught.value.message


@pytest.mark.parametrize("api_key", KEYS)
def test_a_right_key_is_let_in(guarded, api_key):
    with connect(guarded, api_key=api_key) as client:
        assert client.audio.transcriptions.create(model="demo", file=tone(1)).text


@contextmanager
def busy(*arguments):
    """A server that has more to do, for two seconds, than it lets wait, and a client's attempts."""
    arguments = "--max-queue-minutes", "0.5", *arguments
    with (
        Server(*arguments, slots=1, engine="fake:none,speed=60") as server,
        ThreadPoolExecutor() as pool,
    ):
        with connect(server) as client:
            long = pool.submit(
                lambda: client.audio.transcriptions.create(model="demo", file=tone(120))
            )
            wait_until(server.busy_slots, "the long file has started")
            yield server
            assert long.result().text


@pytest.mark.parametrize(
    "arguments, status, kind, code",
    [
        ([], 429, openai.RateLimitError, "rate_limit_exceeded"),
        (["--caller-share", "1"], 503, openai.InternalServerError, "overloaded"),
    ],
)
def test_who_brings_too_much_is_told_when_to_come_again(arguments, status, kind, code):
    with busy(*arguments) as server:
        with connect(server) as client, pytest.raises(kind) as caught:
            client.audio.transcriptions.create(model="demo", file=tone(5))
        error = caught.value
        assert (error.status_code, error.code) == (status, code)
        assert 1 <= int(error.response.headers["retry-after"]) <= 3
        assert "x-should-retry" not in error.response.headers

        attempts = Attempts()
        with connect(server, max_retries=2, http_client=attempts.http_client) as client:
            assert client.audio.transcriptions.create(model="demo", file=tone(5)).text
        assert attempts.statuses[0] == status and attempts.statuses[-1] == 200
        assert attempts.sent[1] - attempts.sent[0] >= 1, "Retry-After was not obeyed"


def test_503_is_tried_three_times():
    with Server(engine="fake:load-bad", ready=False) as server:
        attempts = Attempts()
        with connect(server, max_retries=2, http_client=attempts.http_client) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                client.audio.transcriptions.create(model="demo", file=tone(1))
        error = caught.value
        assert (error.status_code, error.code) == (503, "model_unavailable")
        assert attempts.statuses == [503] * 3
        wait = int(error.response.headers["retry-after"])
        gaps = [later - sooner for sooner, later in zip(attempts.sent, attempts.sent[1:])]
        assert all(gap >= wait for gap in gaps), f"Retry-After {wait}, gaps {gaps}"
        assert server.requests_counted(ROUTE, 503) == 3


def test_429_of_a_key_with_a_rate(tmp_path):
    keys = tmp_path / "keys.toml"
    digest = hashlib.sha256(b"slow-key-1234567890").hexdigest()
    keys.write_text(f'[[key]]\nname = "slow"\nsha256 = "{digest}"\nrequests_per_minute = 1\n')
    with Server("--api-keys-file", str(keys), engine="fake:none") as server:
        with connect(server, api_key="slow-key-1234567890") as client:
            assert client.audio.transcriptions.create(model="demo", file=tone(1)).text
            with pytest.raises(openai.RateLimitError) as caught:
                client.audio.transcriptions.create(model="demo", file=tone(1))
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert caught.value.type == "rate_limit_error"


def test_a_client_that_gives_up_leaves_nothing_behind():
    with Server(slots=1, engine="fake:none,speed=10") as server:
        with connect(server, timeout=1.0) as client, pytest.raises(openai.APITimeoutError):
            client.audio.transcriptions.create(model="demo", file=tone(300))
        wait_until(lambda: server.busy_slots() == 0, "the slot is free again", seconds=10)
        with connect(server) as client:
            assert client.audio.transcriptions.create(model="demo", file=clip()).text
