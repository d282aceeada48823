//! The forms as the OpenAPI document describes them. Requests are read field by field elsewhere.

use utoipa::ToSchema;

use auris_format::Format;

/// The form of `POST /v1/audio/transcriptions`, for the document only.
///
/// Lists may be sent as `x[]`, as `x[0]` or as `x`, one by one or with commas between.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(in crate::http) struct TranscriptionForm {
    /// The audio: almost any container and codec. Its name and type are not looked at.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// A model of `GET /v1/models`. Without it, or as `whisper-1`, the language decides.
    #[schema(examples("whisper-1"), nullable = false)]
    model: Option<String>,
    /// The spoken language as an ISO 639 code or an English name. Without it, or as `auto`, it
    /// is detected.
    #[schema(examples("en"), nullable = false)]
    language: Option<String>,
    /// The languages that detection may choose from. With one, nothing is detected. `language`
    /// beside it must be one of them, and is then taken.
    #[schema(rename = "languages[]", examples(json!(["en", "hi"])), nullable = false)]
    languages: Option<Vec<String>>,
    /// How the text before would read, in the style wanted. Of a long one the end counts.
    #[schema(examples("A talk about tea, with Ravi."), nullable = false)]
    prompt: Option<String>,
    /// Words and names to expect: at most 100, of 100 characters each and 1000 together.
    #[schema(rename = "keywords[]", examples(json!(["Darjeeling", "Ravi"])), nullable = false)]
    keywords: Option<Vec<String>>,
    /// The same as one text, with commas or spaces between.
    #[schema(examples("Darjeeling, Ravi"), nullable = false)]
    hotwords: Option<String>,
    /// The shape of the answer. `diarized_json` is refused: speakers are not told apart here.
    #[schema(default = "json", nullable = false)]
    response_format: Option<Format>,
    /// From 0 to 1. 0 is the most probable text; it rises only where that is poor.
    #[schema(default = 0.0, minimum = 0.0, maximum = 1.0, nullable = false)]
    temperature: Option<f32>,
    /// `logprobs` for the log probability of each token, with `json` only.
    #[schema(rename = "include[]", nullable = false)]
    include: Option<Vec<Include>>,
    /// What `verbose_json` gives times of: `segment`, `word` or both.
    #[schema(rename = "timestamp_granularities[]", nullable = false)]
    timestamp_granularities: Option<Vec<Granularity>>,
    /// Whether the text comes as it is made; with `json`, `text`, `verbose_json` and `ndjson`.
    #[schema(default = false, nullable = false)]
    stream: Option<bool>,
    /// Whether silence is left out: where nobody speaks, nothing can be made up. Without it, as
    /// the server does, which is `true` unless it was started with `--no-vad`.
    #[schema(examples(true), nullable = false)]
    vad: Option<bool>,
    /// The same as `vad`, under the name that faster-whisper's servers have for it; `vad` counts if both are given.
    #[schema(nullable = false)]
    vad_filter: Option<bool>,
    /// Whether notes of sounds other than speech, such as `[Music]` or `♪`, are ruled out, as in
    /// OpenAI's decoder.
    #[schema(default = true, nullable = false)]
    suppress_non_speech: Option<bool>,
    /// The audio track of a file that has several: its number from 1, or its language as the file
    /// declares it, such as `hin`. Without it, the file's default track, or else the first.
    #[schema(
        examples("1"),
        pattern = "^([1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9-]{0,34})$",
        nullable = false
    )]
    track: Option<String>,
    /// Which channels are heard: `mix` for all of them together, `left`, `right`, or one by its
    /// number. `split` transcribes each on its own, as for calls with a speaker in each channel: segments
    /// come in order of time, each with its `channel`, and each channel counts as audio of its own.
    #[schema(
        default = "mix",
        examples("split"),
        pattern = "^(mix|left|right|split|[1-9][0-9]{0,3})$",
        nullable = false
    )]
    channel: Option<String>,
    /// How the file is cut. `auto` is in pauses, 20 to 30 s after the last, and at silence of 5 s;
    /// `server_vad`, in which each pause ends a chunk, cuts finer and costs more. Its settings may
    /// also be sent as JSON, `{"type": "server_vad", "threshold": 0.5}`.
    #[schema(default = "auto", examples("auto"), nullable = false)]
    chunking_strategy: Option<String>,
    /// `auto` or `server_vad`, if `chunking_strategy` itself is not sent.
    #[schema(rename = "chunking_strategy[type]", examples("server_vad"), nullable = false)]
    chunking_strategy_type: Option<String>,
    /// How much of the silence beside speech stays with it, in milliseconds; at most a quarter of
    /// the longest chunk.
    #[schema(
        rename = "chunking_strategy[prefix_padding_ms]",
        default = 300,
        minimum = 0,
        maximum = 10_000,
        nullable = false
    )]
    prefix_padding_ms: Option<f64>,
    /// The shortest pause that ends a chunk, in milliseconds.
    #[schema(
        rename = "chunking_strategy[silence_duration_ms]",
        default = 200,
        minimum = 50,
        maximum = 10_000,
        nullable = false
    )]
    silence_duration_ms: Option<f64>,
    /// How probable speech must be, from 0 to 1. Below 0.3, everything is speech.
    #[schema(
        rename = "chunking_strategy[threshold]",
        default = 0.5,
        minimum = 0.0,
        maximum = 1.0,
        nullable = false
    )]
    threshold: Option<f32>,
    /// The most characters of a subtitle's line.
    #[schema(default = 42, minimum = 10, maximum = 200, nullable = false)]
    max_line_length: Option<usize>,
    /// The most lines of a subtitle.
    #[schema(default = 2, minimum = 1, maximum = 10, nullable = false)]
    max_lines: Option<usize>,
    /// The most characters of subtitles in a second; without it, as they are spoken.
    #[schema(minimum = 5.0, maximum = 100.0, examples(17.0), nullable = false)]
    max_chars_per_second: Option<f32>,
    /// Where the end of the job is told, signed as Standard Webhooks has it. A request makes a job
    /// with `Prefer: respond-async` or an idempotency key; it is refused in others.
    #[schema(examples("https://example.com/hooks/auris"), nullable = false)]
    webhook_url: Option<String>,
}

/// The form of `POST /v1/jobs`, for the document only: that of a transcription, and more. `stream`
/// is passed over.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(in crate::http) struct JobForm {
    /// What a transcription takes.
    #[serde(flatten)]
    transcription: TranscriptionForm,
    /// `transcribe`, or `translate` for the meaning in English.
    #[schema(default = "transcribe", nullable = false)]
    task: Option<TaskName>,
}

/// The form of `POST /v1/audio/translations`, for the document only. It takes all that a
/// transcription does; these are the fields that OpenAI's has.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(in crate::http) struct TranslationForm {
    /// The audio: almost any container and codec. Its name and type are not looked at.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// A model of `GET /v1/models`. Without it, or as `whisper-1`, the language decides.
    #[schema(examples("whisper-1"), nullable = false)]
    model: Option<String>,
    /// English text that might come before, in the style wanted.
    #[schema(nullable = false)]
    prompt: Option<String>,
    /// The shape of the answer.
    #[schema(default = "json", nullable = false)]
    response_format: Option<Format>,
    /// From 0 to 1. 0 is the most probable text; it rises only where that is poor.
    #[schema(default = 0.0, minimum = 0.0, maximum = 1.0, nullable = false)]
    temperature: Option<f32>,
}

/// What is to be written down.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(in crate::http) enum TaskName {
    /// The words as spoken.
    Transcribe,
    /// Their meaning in English.
    Translate,
}

/// What times are given of.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(in crate::http) enum Granularity {
    /// Times of segments.
    Segment,
    /// Times of words.
    Word,
}

/// What an answer may tell beyond its text.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "described to clients; the form is read field by field")]
pub(in crate::http) enum Include {
    /// The log probability of each token.
    Logprobs,
}
