"""Jobs through the client's plain `post` and `get`, and the webhooks that end them."""

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx2
import openai
import pytest

from audio import TEXT, clip, tone
from server import Server, connect, wait_until

SECRET = "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
STATES = {"queued", "running", "finished", "failed", "cancelled"}


def start(client, file=None, headers=None, **fields):
    """Starts a job; gives the whole answer."""
    return client.post(
        "/jobs",
        cast_to=httpx2.Response,
        body=fields,
        files=[("file", ("clip.flac", file or clip()))],
        options={"headers": {"Content-Type": "multipart/form-data", **(headers or {})}},
    )


def get(client, path):
    return client.get(path, cast_to=object)


def end(client, job):
    """Waits until the job has ended."""
    return wait_for(client, job, "finished", "failed", "cancelled")


def wait_for(client, job, *states):
    """Waits until the job is in one of the states; gives it."""

    def poll():
        now = get(client, f"/jobs/{job}")
        return now["state"] in states and now

    return wait_until(poll, f"job {job} is {' or '.join(states)}")


@pytest.fixture
def slow():
    """A server that needs two seconds for a minute of audio."""
    with Server(slots=1, engine="fake:none,speed=30") as server, connect(server) as client:
        yield client


def test_a_job_is_accepted_and_finished(client):
    answer = start(client, model="demo")
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["object"] == "job" and job["state"] in STATES
    job = end(client, job["id"])
    assert (job["state"], job["text"], job["error"]) == ("finished", TEXT, None)
    assert (job["percent"], job["model"], job["language"]) == (100, "demo", "english")
    assert 3.3 < job["audio_seconds"] < 3.4
    assert job["created_at"] <= job["started_at"] <= job["ended_at"]


def test_a_job_is_in_the_list(client):
    job = start(client, model="demo").json()
    listed = get(client, "/jobs")
    assert listed["object"] == "list"
    assert job["id"] in [entry["id"] for entry in listed["data"]]


@pytest.mark.parametrize("parameter", ["response_format", "format"])
def test_a_transcript_in_each_format(client, parameter):
    job = start(client, model="demo").json()["id"]
    end(client, job)
    for name, needle in [
        ("json", '"usage"'),
        ("verbose_json", '"segments"'),
        ("text", TEXT + "\n"),
        ("srt", "1\n00:00:00,"),
        ("vtt", "WEBVTT\n\n"),
    ]:
        answer = client.get(f"/jobs/{job}/transcript?{parameter}={name}", cast_to=httpx2.Response)
        assert answer.status_code == 200 and needle in answer.text, (name, answer.text)


def test_a_translation_as_a_job(client):
    job = start(client, clip("24.flac"), model="demo", task="translate").json()["id"]
    assert end(client, job)["text"] == "Ravi lives in Mumbai."


def test_a_transcription_can_become_a_job(client):
    raw = client.audio.transcriptions.with_raw_response.create(
        model="demo", file=clip(), extra_headers={"Prefer": "respond-async"}
    )
    assert raw.status_code == 202
    assert raw.headers["preference-applied"] == "respond-async"
    job = json.loads(raw.text)["id"]
    assert raw.headers["location"] == f"/v1/jobs/{job}"
    assert end(client, job)["text"] == TEXT


def test_the_events_of_a_job(client):
    job = start(client, model="demo").json()["id"]
    events = client.get(
        f"/jobs/{job}/events", cast_to=object, stream=True, stream_cls=openai.Stream[object]
    )
    events = list(events)
    deltas = [event["delta"] for event in events if event["type"] == "transcript.text.delta"]
    assert events[-1]["type"] == "transcript.text.done"
    assert "".join(deltas) == events[-1]["text"] == TEXT


def test_the_same_key_is_the_same_job(client):
    headers = {"Idempotency-Key": "once-only"}
    jobs = [start(client, headers=headers, model="demo").json()["id"] for _ in range(2)]
    assert jobs[0] == jobs[1]
    assert start(client, headers={"Idempotency-Key": "other"}, model="demo").json()["id"] != jobs[0]


def test_a_job_says_how_far_it_is(slow):
    job = start(slow, tone(90), model="demo").json()["id"]
    running = wait_for(slow, job, "running")
    assert 0 <= running["percent"] < 100
    assert running["eta_seconds"] is None or running["eta_seconds"] >= 0
    assert end(slow, job)["state"] == "finished"


def test_the_transcript_of_an_unfinished_job(slow):
    job = start(slow, tone(60), model="demo").json()["id"]
    with pytest.raises(openai.ConflictError) as caught:
        get(slow, f"/jobs/{job}/transcript")
    assert set(caught.value.body) == {"message", "type", "param", "code"}


def test_an_unfinished_job_is_cancelled(slow):
    job = start(slow, tone(600), model="demo").json()["id"]
    answer = slow.delete(f"/jobs/{job}", cast_to=httpx2.Response)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    with pytest.raises(openai.NotFoundError):
        get(slow, f"/jobs/{job}")


def test_an_ended_job_is_removed(client):
    job = start(client, model="demo").json()["id"]
    end(client, job)
    assert client.delete(f"/jobs/{job}", cast_to=httpx2.Response).status_code == 204
    with pytest.raises(openai.NotFoundError):
        get(client, f"/jobs/{job}")


@pytest.mark.parametrize("job", ["nothing", "00000000-0000-7000-8000-000000000000"])
def test_a_job_that_does_not_exist(client, job):
    with pytest.raises(openai.NotFoundError):
        get(client, f"/jobs/{job}")


def test_a_job_with_a_wrong_field_is_refused_at_once(client):
    with pytest.raises(openai.BadRequestError) as caught:
        start(client, model="demo", language="klingon")
    assert caught.value.param == "language"


def test_a_job_that_fails_says_why(client):
    try:
        job = end(client, start(client, b"%PDF-1.7 " * 100, model="demo").json()["id"])
        code = (job["state"] == "failed") and job["error"]["code"]
    except openai.APIStatusError as refused:
        code = refused.code
    assert code == "unsupported_audio"


def test_jobs_of_others_are_not_seen():
    keys = {"AURIS_API_KEYS": "first-key-1234567,second-key-123456"}
    with Server(engine="fake:none", variables=keys) as server:
        first = connect(server, api_key="first-key-1234567")
        second = connect(server, api_key="second-key-123456")
        job = start(first, tone(1), model="demo").json()["id"]
        end(first, job)
        for path in [f"/jobs/{job}", f"/jobs/{job}/transcript", f"/jobs/{job}/events"]:
            with pytest.raises(openai.NotFoundError):
                get(second, path)
        with pytest.raises(openai.NotFoundError):
            second.delete(f"/jobs/{job}", cast_to=object)
        assert get(second, "/jobs")["data"] == []
        assert get(first, f"/jobs/{job}")["state"] == "finished"


class Receiver:
    """Takes webhooks at `url` and gives them, headers and body, in the order of their arrival."""

    def __init__(self, statuses=()):
        received, statuses = queue.Queue(), list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                received.put((dict(self.headers.items()), body))
                self.send_response(statuses.pop(0) if statuses else 200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.received = received
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        return self.received.get(timeout=30)


@pytest.fixture(scope="module")
def hooked():
    """A client of a server that signs its webhooks, and may send them to this machine."""
    options = "--webhook-allow-private", "--webhook-secret", SECRET
    with Server(*options) as server, connect(server, webhook_secret=SECRET) as client:
        yield client


def test_the_client_verifies_our_webhooks(hooked):
    receiver = Receiver()
    job = start(hooked, model="demo", webhook_url=receiver.url).json()["id"]
    headers, body = receiver.next()
    event = hooked.webhooks.unwrap(body, headers)
    assert job in json.dumps(event.to_dict())
    assert event.type
    with pytest.raises(openai.InvalidWebhookSignatureError):
        hooked.webhooks.unwrap(body.replace(job.encode(), b"another"), headers)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        hooked.webhooks.unwrap(body, headers, secret="whsec_b3RoZXI=")


def test_a_webhook_is_sent_again_after_a_failure(hooked):
    receiver = Receiver(statuses=[503])
    start(hooked, model="demo", webhook_url=receiver.url)
    (first, body), (second, again) = receiver.next(), receiver.next()
    assert (body, first["webhook-id"]) == (again, second["webhook-id"])
    hooked.webhooks.unwrap(again, second)


@pytest.mark.parametrize("url", ["ftp://example.com", "nonsense", "http://169.254.169.254/x"])
def test_a_webhook_that_cannot_be_is_refused(client, url):
    with pytest.raises(openai.BadRequestError) as caught:
        start(client, model="demo", webhook_url=url)
    assert caught.value.param == "webhook_url"
