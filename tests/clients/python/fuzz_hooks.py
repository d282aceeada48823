"""What openapi.json cannot express: which files are audio, and which fields exclude each other."""

from collections.abc import Mapping

import schemathesis
from hypothesis import strategies

from audio import clip, tone

# Where nothing listens: no webhook leaves this machine.
NOWHERE = "http://127.0.0.1:9/hook"

# Fields that can be refused although their values are as openapi.json has them: the server's
# models and settings decide, or the file, or another field does, as `word` needs `verbose_json`.
BEYOND_THE_SCHEMA = {
    "channel",
    "chunking_strategy",
    "include",
    "known_speaker_names",
    "known_speaker_references",
    "language",
    "languages",
    "model",
    "stream",
    "timestamp_granularities",
    "track",
    "vad",
    "vad_filter",
}

schemathesis.openapi.format(
    "binary", strategies.sampled_from([tone(0.5), tone(1.0, pitch=1), clip("22.flac")])
)


@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, dict) and isinstance(case.body.get("webhook_url"), str):
        if makes_job(case):
            case.body["webhook_url"] = NOWHERE
        else:
            del case.body["webhook_url"]


def makes_job(case):
    """Only jobs call webhooks."""
    headers = case.headers or {}
    prefers = "respond-async" in str(headers.get("Prefer"))
    return case.path == "/v1/jobs" or prefers or "Idempotency-Key" in headers


@schemathesis.hook
def filter_case(context, case):
    """The name of a form's part stands in a header, in quotes; some names cannot."""
    names = case.body if isinstance(case.body, dict) else []
    return all(name and name.isprintable() and "\\" not in name for name in names)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if failure.code == "ST202":  # what the schema allows is refused
        error = response.json()["error"]
        if error["code"] == "idempotency_key_reused":
            return False
        param = response.status_code == 400 and error["param"]
        return not param or param.split("[")[0] not in BEYOND_THE_SCHEMA
    if failure.code == "ST201":  # what the schema forbids is accepted
        return not (has_blank(case.body) or has_blank(case.query))
    return True


def has_blank(fields):
    """Clients send fields that are not set as empty ones, which the server takes so."""
    values = fields.values() if isinstance(fields, Mapping) else []
    return any(isinstance(value, str) and not value.strip() for value in values)
