//! One slot: turns a chunk's samples into segments, with word times if wanted.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::attention::Head;
use super::decode::{self, Decoded, Prompt, TextDecoder};
use super::ffi::{self, WhisperState};
use super::rules::{self, RuleOptions, Rules};
use super::segments::{self, Stretch, WindowSegments};
use super::{alignment, not_a_number, script, window};
use crate::words::{self, TimedToken};
use auris_core::ipc::{ChunkOptions, Failure, FailureKind};
use auris_core::language::Language;
use auris_core::transcript::{Segment, Task, TokenLogprob};
use auris_worker::{Session, SessionEvent};

/// The most characters of a prompt that can matter: whisper uses 224 tokens of it.
const PROMPT_CHARACTERS: usize = 1_000;

const SAMPLES_PER_SECOND: f64 = 16_000.0;

/// The rest of a chunk is decoded again if it contains at least this much speech, in seconds, or if
/// it is at least this long and the speech is unknown.
const LEAST_SPEECH: f64 = 0.2;
const LEAST_REST: f64 = 0.5;

/// The most windows per chunk, even if the decoder leaves something unfinished.
const MAX_WINDOWS: usize = 8;

pub(super) struct WhisperSession {
    pub(super) state: WhisperState,
    pub(super) rules: Arc<Rules>,
    pub(super) heads: Arc<[Head]>,
    pub(super) whole_windows: bool,
}

/// A chunk and its options.
struct WindowTask<'a> {
    samples: &'a [f32],
    options: &'a ChunkOptions,
    cancel: &'a AtomicBool,
}

impl Session for WhisperSession {
    fn detect(&mut self, samples: &[f32]) -> Result<Vec<(Language, f32)>, Failure> {
        if !self.state.model().shape.multilingual {
            return Ok(vec![(Language::ENGLISH, 1.0)]);
        }
        self.state.encode(samples, self.positions(samples.len()))?;
        let start = self.state.model().shape.start_of_transcript;
        let model = Arc::clone(self.state.model());
        let logits = self.state.decode(&[start], 0)?;
        let logit = |language: &Language| {
            let token = usize::try_from(model.language_token(*language)?).ok()?;
            logits.get(token).copied()
        };
        let (languages, mut logprobs): (Vec<Language>, Vec<f32>) =
            Language::all().filter_map(|language| Some((language, logit(&language)?))).unzip();
        rules::log_softmax(&mut logprobs);
        if logprobs.iter().any(|logprob| !logprob.is_finite()) {
            return Err(not_a_number());
        }
        let mut probabilities: Vec<(Language, f32)> =
            languages.into_iter().zip(logprobs.into_iter().map(f32::exp)).collect();
        probabilities.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Ok(probabilities)
    }

    fn transcribe(
        &mut self,
        samples: &[f32],
        options: &ChunkOptions,
        cancel: &AtomicBool,
        on_event: &mut (dyn FnMut(SessionEvent) + Send),
    ) -> Result<(), Failure> {
        let mut prompt = self.prompt(options);
        let pauses = words::pauses(samples, &options.speech);
        let mut start = 0;
        for _ in 0..MAX_WINDOWS {
            let chunk = WindowTask { samples: &samples[start..], options, cancel };
            let offset = start as f64 / SAMPLES_PER_SECOND;
            let speech_end = options.speech.last().map_or(0.0, |span| span.end - offset);
            prompt.rule_options.speech_until = speech_end - LEAST_SPEECH;
            let (decoded, mut cut) = self.decode_window(&chunk, &prompt, on_event)?;
            if cut.is_truncated {
                self.end_with_tokens(&chunk, &mut cut)?;
            }
            for segment in self.segments(&chunk, &decoded, &cut, (offset, &pauses))? {
                on_event(SessionEvent::Segment(segment));
            }
            // The decoder writes two time tokens if there is more speech than it wrote. The rest is
            // decoded in a window of its own, as short as the rest.
            let Some(rest) =
                cut.unfinished_from.filter(|rest| chunk.is_worth_decoding(*rest, offset))
            else {
                return Ok(());
            };
            start += (rest * SAMPLES_PER_SECOND) as usize;
            // What did not fit is decoded again.
            let text = cut.stretches.iter().flat_map(|kept| &kept.tokens).map(|token| token.id);
            prompt.previous = self.previous(prompt.previous.iter().skip(1).copied().chain(text));
        }
        tracing::warn!("the decoder does not come to the end of a chunk in {MAX_WINDOWS} windows");
        Ok(())
    }
}

impl WindowTask<'_> {
    /// Whether there is speech after `rest` seconds; the window itself started after `offset`.
    fn is_worth_decoding(&self, rest: f64, offset: f64) -> bool {
        let seconds = self.samples.len() as f64 / SAMPLES_PER_SECOND;
        if rest <= 0.0 || self.options.speech.is_empty() {
            return rest > 0.0 && seconds - rest >= LEAST_REST;
        }
        let from = offset + rest;
        let speech = self.options.speech.iter().map(|span| span.end - span.start.max(from));
        speech.filter(|seconds| *seconds > 0.0).sum::<f64>() >= LEAST_SPEECH
    }
}

impl WhisperSession {
    /// Encodes a window and decodes a word, to allocate the buffers of both.
    pub(super) fn warm_up(&mut self) -> Result<(), Failure> {
        self.state.encode(&[0.0; ffi::MIN_SAMPLES], self.state.model().shape.positions)?;
        let start = self.state.model().shape.start_of_transcript;
        self.state.decode(&[start], 0).map(|_| ())
    }

    fn positions(&self, samples: usize) -> usize {
        let all = self.state.model().shape.positions;
        if self.whole_windows { all } else { window::positions(samples, all) }
    }

    fn prompt(&self, options: &ChunkOptions) -> Prompt {
        let model = self.state.model();
        let shape = model.shape;
        let previous = match &options.prompt {
            Some(prompt) => {
                // The end of a long prompt matters most.
                let skipped = prompt.chars().count().saturating_sub(PROMPT_CHARACTERS);
                let tail: String = prompt.chars().skip(skipped).collect();
                self.previous(model.tokenize(&format!(" {}", tail.trim())).into_iter())
            }
            None => Vec::new(),
        };
        let mut task = Vec::new();
        if shape.multilingual {
            task.extend(model.language_token(options.language));
            task.push(match options.task {
                Task::Transcribe => shape.transcribe,
                Task::Translate => shape.translate,
            });
        }
        if !self.rules.timestamps() {
            task.push(shape.no_timestamps);
        }
        Prompt {
            previous,
            start_of_transcript: shape.start_of_transcript,
            task,
            no_speech: shape.no_speech,
            end_of_text: shape.end_of_text,
            text_context: shape.text_context,
            rule_options: RuleOptions {
                suppress_non_speech: options.suppress_non_speech,
                ..RuleOptions::default()
            },
        }
    }

    /// The end of the text before a window, as much as the decoder accepts.
    fn previous(&self, text: impl Iterator<Item = i32>) -> Vec<i32> {
        let shape = self.state.model().shape;
        let text: Vec<i32> = text.collect();
        let most = (shape.text_context / 2).saturating_sub(1);
        let tail = &text[text.len().saturating_sub(most)..];
        match tail {
            [] => Vec::new(),
            tail => [&[shape.previous], tail].concat(),
        }
    }

    /// Decodes a chunk in a window as short as its audio, and in the whole window if that was poor.
    fn decode_window(
        &mut self,
        chunk: &WindowTask<'_>,
        prompt: &Prompt,
        on_event: &mut (dyn FnMut(SessionEvent) + Send),
    ) -> Result<(Decoded, WindowSegments), Failure> {
        let shape = self.state.model().shape;
        let seconds = chunk.samples.len() as f64 / SAMPLES_PER_SECOND;
        let cut = |decoded: &Decoded| {
            segments::cut(decoded, shape.first_timestamp, prompt.max_tokens(), seconds)
        };
        let ChunkOptions { language, temperature, .. } = *chunk.options;
        let rules = Arc::clone(&self.rules);
        let positions = self.positions(chunk.samples.len());
        let mut decoder = WindowDecoder { state: &mut self.state, cancel: chunk.cancel, on_event };
        decoder.encode(chunk.samples, positions)?;
        let mut best = decode::decode(&mut decoder, &rules, prompt, temperature)?;
        if positions < shape.positions && (!best.is_confident() || cut(&best).stretches.is_empty())
        {
            // Poor results are retried in the whole window, not at a higher temperature.
            decoder.encode(chunk.samples, shape.positions)?;
            best = decode::decode(&mut decoder, &rules, prompt, temperature)?;
        }
        best = decode::improve(&mut decoder, &rules, prompt, best)?;
        if prompt.previous.is_empty()
            && chunk.options.task == Task::Transcribe
            && let Some(script) = script::correction(language, &decoder.text(&best))
        {
            let previous = decoder.state.model().tokenize(script.prompt);
            let previous = [&[shape.previous], &previous[..]].concat();
            let steered = Prompt { previous, task: prompt.task.clone(), ..*prompt };
            let text = decode::decode(&mut decoder, &rules, &steered, temperature)?;
            let text = decode::improve(&mut decoder, &rules, &steered, text)?;
            let written = decoder.text(&text);
            if !written.is_empty() && script::correction(language, &written).is_none() {
                best = text;
            }
        }
        let cut = cut(&best);
        Ok((best, cut))
    }

    /// The segments of the window that was decoded last, which started `offset` seconds into the
    /// chunk; `pauses` are the chunk's.
    fn segments(
        &mut self,
        chunk: &WindowTask<'_>,
        decoded: &Decoded,
        cut: &WindowSegments,
        (offset, pauses): (f64, &[Range<f64>]),
    ) -> Result<Vec<Segment>, Failure> {
        let token_times =
            if chunk.options.words { self.token_times(chunk, &cut.stretches)? } else { Vec::new() };
        let mut token_times = token_times.into_iter();
        let model = Arc::clone(self.state.model());
        let segment = |stretch: &Stretch| {
            let bytes: Vec<u8> = stretch
                .tokens
                .iter()
                .flat_map(|token| model.token_bytes(token.id))
                .copied()
                .collect();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let timed: Vec<TimedToken> = stretch
                .tokens
                .iter()
                .zip(token_times.by_ref())
                .map(|(token, time)| TimedToken {
                    bytes: model.token_bytes(token.id).to_vec(),
                    probability: token.logprob.exp(),
                    start: offset + time.start,
                    end: offset + time.end,
                })
                .collect();
            let spaced = chunk.options.task == Task::Translate // into English
                || chunk.options.language.has_spaces();
            let words = words::words(&timed, spaced, pauses);
            let mean = stretch.tokens.iter().map(|token| token.logprob).sum::<f32>()
                / stretch.tokens.len().max(1) as f32;
            let logprob = |token: &decode::Token| TokenLogprob {
                bytes: model.token_bytes(token.id).to_vec(),
                logprob: token.logprob,
            };
            let logprobs = stretch.tokens.iter().filter(|_| chunk.options.logprobs).map(logprob);
            let times = offset + stretch.start..offset + stretch.end;
            let times = words::without_pauses(times, pauses);
            Segment {
                start: times.start,
                end: times.end,
                text,
                tokens: stretch.tokens.iter().map(|token| token.id).collect(),
                temperature: decoded.temperature,
                avg_logprob: mean,
                compression_ratio: segments::compression_ratio(&bytes),
                no_speech_prob: decoded.no_speech_prob,
                words,
                logprobs: logprobs.collect(),
                channel: None,
            }
        };
        let segments: Vec<Segment> = cut.stretches.iter().map(segment).collect();
        Ok(segments.into_iter().filter(|segment| !segment.text.trim().is_empty()).collect())
    }

    /// If a window was full before the decoder closed a segment, ends its text where the last token
    /// is spoken; what follows is unfinished.
    fn end_with_tokens(
        &mut self,
        chunk: &WindowTask<'_>,
        cut: &mut WindowSegments,
    ) -> Result<(), Failure> {
        let times = self.token_times(chunk, &cut.stretches)?;
        if let (Some(last), Some(stretch)) = (times.last(), cut.stretches.last_mut())
            && last.end > stretch.start
            && last.end < stretch.end
        {
            stretch.end = last.end;
            cut.unfinished_from = Some(last.end);
        }
        Ok(())
    }

    /// When each token of the stretches is spoken, in seconds from the start of the window.
    fn token_times(
        &mut self,
        chunk: &WindowTask<'_>,
        stretches: &[Stretch],
    ) -> Result<Vec<Range<f64>>, Failure> {
        let shape = self.state.model().shape;
        let text: Vec<i32> =
            stretches.iter().flat_map(|stretch| &stretch.tokens).map(|token| token.id).collect();
        let mut tokens = vec![shape.start_of_transcript];
        if shape.multilingual {
            tokens.extend(self.state.model().language_token(chunk.options.language));
            tokens.push(shape.transcribe);
        }
        let first = tokens.len();
        tokens.push(shape.no_timestamps);
        tokens.extend(&text);
        let frames = chunk.samples.len().div_ceil(window::SAMPLES_PER_POSITION);
        let heads = self.state.attention(&tokens, &self.heads, frames)?;
        // A token's position is where the decoder looks while it decides on it: at the token
        // before.
        let entries = alignment::entry_frames(&heads, first, tokens.len());
        let time = |frame: &usize| *frame as f64 * rules::SECONDS_PER_TIMESTAMP;
        Ok(entries.windows(2).map(|pair| time(&pair[0])..time(&pair[1])).collect())
    }
}

/// The decoder of the encoded window, until its text is cancelled.
struct WindowDecoder<'a> {
    state: &'a mut WhisperState,
    cancel: &'a AtomicBool,
    on_event: &'a mut (dyn FnMut(SessionEvent) + Send),
}

impl WindowDecoder<'_> {
    fn encode(&mut self, samples: &[f32], positions: usize) -> Result<(), Failure> {
        tracing::debug!(positions, samples = samples.len(), "window encoded");
        self.state.encode(samples, positions)?;
        self.progress()
    }

    fn text(&self, decoded: &Decoded) -> Vec<u8> {
        let end = self.state.model().shape.end_of_text;
        let text = decoded.tokens.iter().filter(|token| token.id < end);
        text.flat_map(|token| self.bytes(token.id)).copied().collect()
    }
}

impl TextDecoder for WindowDecoder<'_> {
    fn logits(&mut self, tokens: &[i32], past: usize) -> Result<&[f32], Failure> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Failure::new(FailureKind::Cancelled, "the request was cancelled"));
        }
        self.state.decode(tokens, past)
    }

    fn progress(&mut self) -> Result<(), Failure> {
        (self.on_event)(SessionEvent::Progress);
        Ok(())
    }

    fn bytes(&self, token: i32) -> &[u8] {
        self.state.model().token_bytes(token)
    }
}
